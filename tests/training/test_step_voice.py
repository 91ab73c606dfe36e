"""Tacotron 2 and WaveNet as one voice: what torch says, streamed, without torch."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from glottis.audio.mel import MelConfig
from glottis.blocks.pitch import PitchInput
from glottis.errors import InputError
from glottis.export import export_voice, load_run
from glottis.models import model_class
from glottis.voice import Voice, stepwise
from glottis.voice.attention import Failure
from glottis.voice.fading import faded_whole
from glottis.voice.speech import Speech

SENTENCE = "Rice is often served in round bowls."
MEL = MelConfig(sample_rate=8000, fft_size=64, hop=16, mels=5, mel_high=4000)
TACOTRON: dict[str, Any] = {
    "channels": 12,
    "encoder_layers": 1,
    "attention_channels": 6,
    "location_filters": 2,
    "location_kernel": 5,
    "attention_state": 10,
    "decoder_state": 8,
    "prenet_channels": 6,
    "postnet_channels": 6,
    "postnet_layers": 3,
    "reduction": 2,
    "frames_per_symbol": 1.0,
}
WAVENET: dict[str, Any] = {
    "layers": 4,
    "stacks": 2,
    "residual_channels": 8,
    "gate_channels": 16,
    "skip_channels": 8,
    "components": 2,
    "upsampling": [4, 4],
    "context": 1,
}


def _run(folder: Path, name: str, network: dict[str, Any], speakers: int = 1, **mel: Any) -> Path:
    """A run folder of a network with random weights."""
    folder.mkdir(parents=True)
    values = {**network, "mel": {**asdict(MEL), **mel}}
    if speakers > 1:
        values["speakers"] = speakers
    facts = {
        "model": name,
        "network": values,
        "data": ["data"],
        "speakers": [f"s{i}" for i in range(speakers)],
        "languages": ["en-us"],
        "mel": values["mel"],
    }
    (folder / "run.json").write_text(json.dumps(facts))
    from glottis.config import build

    torch.manual_seed(0)
    network_class, config_class = model_class(name)
    model = network_class(build(config_class, values, "test"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
        for module in model.modules():
            if isinstance(module, PitchInput):  # nothing at first
                torch.nn.init.normal_(module.weight, std=0.5)
        if name == "tacotron2":
            model.decoder.stop.bias.fill_(-9.0)  # so that the bound ends the utterance
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    settings = {**TACOTRON, "prenet_dropout": 0.0}
    return _run(folder / "features", "tacotron2", settings), _run(
        folder / "vocoder", "wavenet", WAVENET
    )


@pytest.fixture(scope="module")
def voice(runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("voice") / "v.onnx"
    return export_voice(runs[0], out, vocoder=runs[1], weights="float32")


@pytest.mark.parametrize(("order", "regression"), [(0, 0), (6, 0), (6, 2)])
def test_the_stream_is_what_torch_speaks_whole(
    runs: tuple[Path, Path], voice: Path, tmp_path: Path, order: int, regression: int
) -> None:
    """Post-net and WaveNet in pieces as they come, against the models over the whole utterance.

    Also with linear prediction and one period ago heard, whose log-mel settings are in the voice's
    JSON, a decoder that says the pitch, a post-net that hears the text, a transformer encoder."""
    if order:
        linear = {**WAVENET, "linear_prediction": order, "period_taps": 3}
        pitched: dict[str, Any] = {"pitch": True, "prenet_dropout": 0.0}
        pitched |= {"regression_layers": regression, "regression_channels": 7}
        pitched |= {"encoder": "transformer", "filter_channels": 12} if regression else {}
        features = _run(tmp_path / "features", "tacotron2", {**TACOTRON, **pitched})
        runs = features, _run(tmp_path / "vocoder", "wavenet", linear)
        voice = export_voice(runs[0], tmp_path / "v.onnx", vocoder=runs[1], weights="float32")
        told = json.loads((tmp_path / "v.onnx.json").read_text())["glottis"]["steps"]["wavenet"]
        assert told["prediction"] == {"mel": asdict(MEL), "order": order, "bits": 16}
        assert told["period"] == {"mel": asdict(MEL)}
    loaded = Voice.load(voice)
    model, vocoder = (load_run(each)[0] for each in runs)
    seen: list[dict[str, Any]] = []
    infer = loaded._infer

    def watched(feeds: dict[str, Any]) -> Any:
        seen.append(feeds)
        return infer(feeds)

    loaded._infer = watched  # type: ignore[method-assign]
    chunks = list(loaded.stream(SENTENCE, seed=5))
    made = Speech.join(chunks).samples
    ids = torch.from_numpy(seen[0]["input"])
    spoken = model.synthesize(ids, torch.tensor([ids.shape[1]]))
    steps = loaded._steps
    assert steps is not None
    begun = steps.begin(infer(seen[0]), 5, 1.0, 0)
    mel = torch.from_numpy(np.concatenate([frames for frames, _ in begun._refined()], axis=1))
    torch.testing.assert_close(mel, spoken.mel[0], atol=1e-4, rtol=1e-4)
    held, learnt = steps._weights, vocoder.weights()
    for field in fields(held):
        if isinstance(getattr(held, field.name), np.ndarray):
            of_file, of_model = getattr(held, field.name), getattr(learnt, field.name)
            np.testing.assert_allclose(of_file, of_model, rtol=1e-3, atol=1e-6)
    # From the file's own frames and weights: rounding may bring a draw to a border's other side.
    sampler = steps.sampler()
    sampler.start([mel.numpy()], 5)
    expected = sampler.advance(sampler.remaining)[0][0]
    expected = faded_whole(expected, 16)
    assert len(made) == len(expected) > 1000
    assert np.median(np.abs(made - expected)) < 1e-4
    assert np.abs(made - expected).max() < 0.02
    assert sum(len(chunk.samples) > 0 for chunk in chunks) > 2
    assert len(chunks[0].samples) < len(made) / 2
    again = loaded.speak(SENTENCE, seed=5)
    assert np.array_equal(again.samples, made)
    assert not np.array_equal(loaded.speak(SENTENCE, seed=6).samples, made)


def test_sound_comes_before_the_sentence_has_been_decoded(
    voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Voice.load(voice)
    assert loaded._steps is not None
    step, steps = loaded._steps.step, []
    monkeypatch.setattr(loaded._steps, "step", lambda feeds: steps.append(0) or step(feeds))
    stream = loaded.stream(SENTENCE, seed=1)
    first = next(stream)
    before = len(steps)
    assert len(first.samples) > 0
    list(stream)
    assert before <= len(steps) / 2


def test_marks_tile_the_sentence_and_failures_are_named(
    voice: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        speech = Voice.load(voice).speak(SENTENCE, seed=2)
    sentence = next(mark for mark in speech.marks if mark.kind == "sentence")
    assert (sentence.start, sentence.text) == (0.0, SENTENCE)
    assert sentence.end == pytest.approx(speech.duration)
    assert [mark.start for mark in speech.marks] == sorted(mark.start for mark in speech.marks)
    assert all(0 <= mark.start <= mark.end <= speech.duration + 1e-9 for mark in speech.marks)
    # Random weights do not know where to stop.
    assert any("attention never stops" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("phonemes", "words"), [("bˈoʊlz", "'bowls'"), ("ˈɔfən sˈɜːvd", "'often served'")]
)
def test_failures_are_told_by_their_words(
    voice: Path,
    phonemes: str,
    words: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = Voice.load(voice)
    whole = "".join(loaded._front_ends["en-us"].analyse(SENTENCE).phonemes)
    first = 1 + whole.index(phonemes)  # after the symbol that begins; pads are not read
    failure = Failure("repeats", first, first + len(phonemes) - 1)
    monkeypatch.setattr(stepwise, "find_failures", lambda attention, stopped: [failure])
    with caplog.at_level(logging.WARNING):
        loaded.speak(SENTENCE, seed=1)
    (record,) = caplog.records
    assert f"attention repeats at {words} (phonemes {phonemes!r})" in record.getMessage()


def test_a_rate_stretches_the_frames(voice: Path) -> None:
    loaded = Voice.load(voice)
    one = loaded.speak(SENTENCE, seed=3)
    for rate in (0.5, 1.7, 2.0):
        other = loaded.speak(SENTENCE, seed=3, rate=rate)
        assert other.duration == pytest.approx(one.duration / rate, abs=2 * 16 / 8000)


def test_several_speakers_sound_different(tmp_path: Path) -> None:
    features = _run(tmp_path / "features", "tacotron2", TACOTRON, speakers=2)
    vocoder = _run(tmp_path / "vocoder", "wavenet", WAVENET, speakers=2)
    loaded = Voice.load(export_voice(features, tmp_path / "v.onnx", vocoder=vocoder))
    one, two = (loaded.speak("So be it.", seed=1, speaker=name) for name in ("s0", "s1"))
    assert np.array_equal(one.samples, loaded.speak("So be it.", seed=1, speaker=0).samples)
    assert not np.array_equal(one.samples[:500], two.samples[:500])


def test_it_speaks_without_torch_and_says_what_it_needs(voice: Path) -> None:
    code = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
from glottis.errors import InputError
from glottis.voice import Voice, stepwise
from glottis.voice.attention import Failure
try:
    assert Voice.load({path!r}).speak("So be it.").duration > 0.05
except InputError as error:
    print(error)
"""
    blocked = ["torch", "lightning", "lhotse"]
    for names, said in ((blocked, ""), ([*blocked, "numba"], "pip install 'glottis[wavenet]'")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(blocked=names, path=str(voice))],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert (said in done.stdout) if said else (done.stdout == "")


def test_what_does_not_fit_is_refused(runs: tuple[Path, Path], voice: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run folder of a WaveNet"):
        export_voice(runs[0], tmp_path / "v.onnx")
    with pytest.raises(InputError, match="a WaveNet follows"):
        export_voice(runs[0], tmp_path / "v.onnx", vocoder=runs[0])
    other = _run(tmp_path / "other", "wavenet", {**WAVENET, "upsampling": [4, 2]}, hop=8)
    with pytest.raises(InputError, match=r"does not fit.*'hop': 8.*'hop': 16"):
        export_voice(runs[0], tmp_path / "v.onnx", vocoder=other)
    for file in voice.parent.glob("v.onnx*"):
        shutil.copy(file, tmp_path / file.name)
    path, steps = tmp_path / "v.onnx", tmp_path / "v.onnx.steps"
    beside = tmp_path / "v.onnx.json"
    values = json.loads(beside.read_text())
    beside.write_text(json.dumps({**values, "hop_length": 8}))
    with pytest.raises(InputError, match="hop_length is 8.*lasts 16 samples"):
        Voice.load(path)
    beside.write_text(json.dumps(values))
    data = steps.read_bytes()
    steps.write_bytes(data[:-7])
    with pytest.raises(InputError, match="SHA-256"):
        Voice.load(path)
    steps.unlink()
    with pytest.raises(InputError, match="three files"):
        Voice.load(path)
    del values["glottis"]["steps"]["reach"]
    beside.write_text(json.dumps(values))
    with pytest.raises(InputError, match="glottis.steps: 'reach' is missing"):
        Voice.load(path)
