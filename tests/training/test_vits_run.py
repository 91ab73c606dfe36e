"""VITS through the whole of training: batches with audio, a run, its voice file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from glottis.config import build
from glottis.corpus import Prepared, load_audio
from glottis.errors import InputError
from glottis.export import export_voice, load_run, voice_weights
from glottis.text.symbols import DEFAULT
from glottis.training.config import Recipe, TrainingConfig
from glottis.training.data import Batches
from glottis.training.run import run
from glottis.voice import Voice
from small_recipes import TRAINING, VITS, VOCOS


@pytest.fixture(scope="module")
def told(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few steps of a network that is told the pitch, from segments, resumed once."""
    network = {**VITS, "pitch": True, "segment_frames": 20, "adversarial_from": 2, "turns": 2}
    folder = tmp_path_factory.mktemp("runs") / "told"
    for steps in (3, 5):
        values = {"model": "vits", "network": network, "training": {**TRAINING, "max_steps": steps}}
        run(build(Recipe, values, "test"), [data], folder)
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few steps: two that only align, then all losses."""
    values = {"model": "vits", "network": VITS, "training": {**TRAINING, "max_steps": 4}}
    return run(build(Recipe, values, "test"), [data], tmp_path_factory.mktemp("runs") / "vits")


def test_batches_hold_the_samples_under_the_frames(data: Path) -> None:
    corpus = Prepared([data])
    config = TrainingConfig(batch_size=4, buckets=2)
    stream = Batches(corpus, "train", "utterances_with_audio", config, symbols=DEFAULT, once=True)
    batch, _ = next(iter(stream))
    hop = corpus.mel.hop
    assert batch.audio.shape == (len(batch.names), batch.mel.shape[2] * hop)
    assert batch.language.tolist() == [0] * len(batch.names)
    cuts = {cut.id: cut for cut in corpus.cuts("train")}
    for i, name in enumerate(batch.names):
        samples = int(batch.mel_lengths[i]) * hop
        np.testing.assert_array_equal(batch.audio[i, :samples].numpy(), load_audio(cuts[name]))
        assert not batch.audio[i, samples:].any()
    moved = batch.to("cpu")
    assert torch.equal(moved.audio, batch.audio)


@pytest.mark.parametrize("kind", ["trained", "told"])
def test_a_trained_run_is_a_voice_without_a_vocoder(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source = request.getfixturevalue(kind)
    out = export_voice(source, tmp_path / "v.onnx", weights="float32")
    voice = Voice.load(out)
    one = voice.speak("Rice is often served in round bowls.", seed=3)
    again = voice.speak("Rice is often served in round bowls.", seed=3)
    assert np.array_equal(one.samples, again.samples)
    lengths = {
        len(voice.speak("Rice is often served in round bowls.", seed=s).samples) for s in range(6)
    }
    assert len(lengths) > 1, "durations are not drawn"
    calm = {
        len(voice.speak("Rice is often served.", seed=s, noise_w=0.0).samples) for s in range(3)
    }
    assert len(calm) == 1


def test_a_voice_carries_what_finds_alignments_and_no_adversaries(
    trained: Path, tmp_path: Path
) -> None:
    """However large these are: the smallest weights come first into what a voice has room for."""
    out = export_voice(trained, tmp_path / "v.onnx", weights="float32")
    ours, weights = load_file(trained / "model.safetensors"), voice_weights(out)[0]
    for name in ("encoder.mel_mean.weight", "encoder.mel_mean.bias"):
        torch.testing.assert_close(weights[name], ours[name])
    assert any(name.startswith("discriminators.") for name in ours)
    assert not any(name.startswith("discriminators.") for name in weights)


def test_a_decoder_starts_from_a_vocoder_and_the_rest_from_a_model_of_its_size(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    """By name and shape, and the log says which parts."""
    vocos = {**VOCOS, "pitch": True}
    values = {"model": "vocos", "network": vocos, "training": {**TRAINING, "max_steps": 2}}
    vocoder = run(build(Recipe, values, "test"), [data], tmp_path / "vocos")
    network = {**VITS, "pitch": True, "segment_frames": 20}
    training = {**TRAINING, "max_steps": 3, "learning_rate": 0.0}
    started = {}
    for source in (vocoder, trained):
        values = {
            "model": "vits",
            "network": network,
            "training": {**training, "initialize": str(source)},
        }
        started[source] = run(
            build(Recipe, values, "test"), [data], tmp_path / f"from-{source.name}"
        )
    theirs = {source: load_file(source / "model.safetensors") for source in started}
    ours = {source: load_file(run / "model.safetensors") for source, run in started.items()}
    for name in ("stack.layers.0.expand.weight", "head.project.weight"):
        torch.testing.assert_close(ours[vocoder][f"decoder.{name}"], theirs[vocoder][name])
    for name in ("encoder.embed.weight", "posterior.end.bias", "decoder.head.project.weight"):
        torch.testing.assert_close(ours[trained][name], theirs[trained][name])
    log = (started[vocoder] / "train.log").read_text()
    taken = log.partition("taken from")[2].partition("\n")[0]
    assert "decoder (" in taken
    assert " encoder (" not in taken


def test_a_vocoder_is_refused_where_none_is_needed(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="by itself.*--vocoder"):
        export_voice(trained, tmp_path / "v.onnx", vocoder=trained)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_size_is_refused(trained: Path, tmp_path: Path) -> None:
    facts = (trained / "run.json").read_text().replace('"latent": 8', '"latent": 12')
    (tmp_path / "run.json").write_text(facts)
    (tmp_path / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match="does not hold this network"):
        load_run(tmp_path)


def test_a_corpus_that_is_all_held_out_says_what_is_missing(tmp_path: Path) -> None:
    from glottis.corpus.prepare import PrepareConfig, prepare
    from synthetic_corpus import write_corpus

    write_corpus(tmp_path / "corpus", rows=1)
    prepare(tmp_path / "corpus", tmp_path / "data", config=PrepareConfig(test_share=1.0), jobs=1)
    values = {"model": "vits", "network": VITS, "training": {**TRAINING, "validate_every": 1}}
    with pytest.raises(InputError, match="no 'train' utterances"):
        run(build(Recipe, values, "test"), [tmp_path / "data"], tmp_path / "run")


def test_vocos_still_needs_windows(data: Path) -> None:
    assert VOCOS["channels"] == 16
    with pytest.raises(ValueError, match="utterances_with_audio"):
        Batches(Prepared([data]), "train", "sentences", TrainingConfig())
