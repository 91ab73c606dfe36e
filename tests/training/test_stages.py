"""Several stages: predicted log-mels are a corpus, and a stopped run goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from safetensors.torch import load_file

from glottis.config import build
from glottis.corpus import Prepared, load_audio, load_mel, load_pitch
from glottis.corpus.prepare import PrepareConfig, prepare
from glottis.errors import InputError
from glottis.export import export_voice
from glottis.training import predicted
from glottis.training.predicted import write_predicted
from glottis.training.recipe import list_stages, read_recipe, read_values
from glottis.training.run import train
from glottis.training.stages import Stages
from glottis.voice import Voice
from small_recipes import TRAINING
from synthetic_corpus import speech, write_corpus

TACOTRON = {
    "channels": 8,
    "encoder_layers": 1,
    "attention_channels": 4,
    "attention_state": 8,
    "decoder_state": 8,
    "prenet_channels": 4,
    "postnet_channels": 4,
    "postnet_layers": 2,
    "reduction": 4,
    "frames_per_symbol": 1.0,
    "pitch": True,
}
WAVENET = {
    "layers": 2,
    "stacks": 1,
    "residual_channels": 4,
    "gate_channels": 8,
    "skip_channels": 4,
    "components": 2,
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of three stages, small enough for a test."""
    training = {**TRAINING, "max_steps": 2, "validate_every": 2, "checkpoint_every": 1}
    for name, network in (("tacotron2", TACOTRON), ("wavenet", WAVENET)):
        values = {"model": name, "network": network, "training": training}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    stages: list[dict[str, Any]] = [
        {"name": "features", "recipe": str(tmp_path / "tacotron2.yaml")},
        {"name": "mels", "predict": "features"},
        {"name": "vocoder", "recipe": str(tmp_path / "wavenet.yaml"), "data": "mels"},
    ]
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump({"stages": stages}))
    return path


def test_one_command_runs_every_stage_and_goes_on_where_it_stopped(
    recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    class Stop(Exception):
        pass

    # Stopped in the middle of writing log-mels.
    groups, count = predicted._groups, 0

    def some(source: Path, size: int) -> Any:
        for group in groups(source, 4):
            nonlocal count
            count += 1
            if count == 3:
                raise Stop
            yield group

    with monkeypatch.context() as patch:
        patch.setattr(predicted, "_groups", some)
        with pytest.raises(Stop):
            train(str(recipe), [data], [], out)
    weights = (out / "features" / "model.safetensors").read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in (out / "mels").rglob("*.npy")}
    assert len(kept) == 2 * 8, "log-mels and pitch"
    assert not list((out / "mels").rglob("corpus.json"))

    assert train(str(recipe), [data], ["vocoder.max_steps=3", "log_every=2"], out) == out
    assert (out / "features" / "model.safetensors").read_bytes() == weights
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert load_file(out / "vocoder" / "model.safetensors")
    assert json.loads((out / "vocoder" / "done.json").read_text()) == {"steps": 3}

    (folder,) = (out / "mels").glob("0-*")
    ours, theirs = Prepared([folder]), Prepared([data])
    assert ours.mel == theirs.mel
    assert ours.counts == theirs.counts
    for split in ("train", "test"):
        for mine, other in zip(ours.cuts(split), theirs.cuts(split), strict=True):
            made, recorded = load_mel(mine), load_mel(other)
            assert made.shape == recorded.shape
            assert np.isfinite(made).all()
            assert not np.allclose(made, recorded)
            assert np.array_equal(load_audio(mine), load_audio(other))
            assert np.array_equal(load_pitch(mine), load_pitch(other))
    facts = json.loads((out / "vocoder" / "run.json").read_text())
    assert facts["data"] == [str(folder)]

    # The whole again does nothing; a stage alone does what it is told.
    before = (out / "vocoder" / "model.safetensors").read_bytes()
    train(str(recipe), [data], ["vocoder.max_steps=3"], out)
    assert (out / "vocoder" / "model.safetensors").read_bytes() == before
    train(str(recipe), [data], ["only=vocoder", "max_steps=4"], out)
    assert json.loads((out / "vocoder" / "done.json").read_text()) == {"steps": 4}
    assert json.loads((out / "features" / "done.json").read_text()) == {"steps": 2}

    # Other weights make other log-mels.
    train(str(recipe), [data], ["only=features", "max_steps=3"], out)
    write_predicted(out / "features", [data], out / "mels")
    changed = [path for path in (out / "mels").rglob("*.npy") if path not in kept]
    assert len(changed) >= 2 * 16
    with pytest.raises(InputError, match="predicts no log-mels"):
        write_predicted(out / "vocoder", [data], tmp_path / "no")
    path = export_voice(out / "features", tmp_path / "v.onnx", vocoder=out / "vocoder")
    assert Voice.load(path).speak("So be it.", seed=1).duration > 0.02


def test_a_source_that_was_prepared_again_is_predicted_again(recipe: Path, tmp_path: Path) -> None:
    corpus, data, out = tmp_path / "corpus", tmp_path / "data", tmp_path / "run"
    write_corpus(corpus, rows=8)
    config = PrepareConfig(test_share=0.2)
    prepare(corpus, data, config=config, jobs=1)
    train(str(recipe), [data], ["only=features"], out)
    (folder,) = write_predicted(out / "features", [data], out / "mels")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    assert len(before) == 2 * 8

    # One recording is longer now, and one is new: the others keep their log-mels.
    soundfile.write(corpus / "wavs" / "u2.wav", speech(3.0), 22050)
    soundfile.write(corpus / "wavs" / "u8.wav", speech(2.0), 22050)
    table = corpus / "metadata.csv"
    table.write_text(table.read_text() + "u8|One more is here to be read.\n")
    prepare(corpus, data, config=config, jobs=1)
    write_predicted(out / "features", [data], out / "mels")
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    assert before.items() <= after.items()
    assert len(after) == 2 * 10
    for split in ("train", "test"):
        for mine, other in zip(
            Prepared([folder]).cuts(split), Prepared([data]).cuts(split), strict=True
        ):
            assert mine.id == other.id
            assert load_mel(mine).shape == load_mel(other).shape
    write_predicted(out / "features", [data], out / "mels")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")} == after


def test_bad_stages_are_named(recipe: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="features, mels, vocoder"):
        train(str(recipe), [data], ["only=vocodr"], tmp_path / "run")
    with pytest.raises(InputError, match="'mels' has not been completed"):
        train(str(recipe), [data], ["only=vocoder"], tmp_path / "run")
    with pytest.raises(InputError, match="--data"):
        train(str(recipe), [], [], tmp_path / "run")
    with pytest.raises(InputError, match="no single network"):
        read_recipe(str(recipe))
    for word, said in (
        ("features.max_stepz=3", "max_stepz"),
        ("vocoder.nosuch=1", "nosuch"),
        ("vocoder.network.layers=x", "layers"),
        ("vocoder.freeze=[nosuch]", "no part 'nosuch'"),
    ):
        with pytest.raises(InputError, match=said):
            train(str(recipe), [data], [word], tmp_path / "run")
    assert not (tmp_path / "run").exists(), "nothing is trained before"
    for stage, said in (
        ({"name": "a"}, "either a recipe or predict"),
        ({"name": "a", "recipe": "x", "data": "b"}, "no earlier stage"),
        ({"name": "a", "recipes": "x"}, "recipes.*recipe"),
    ):
        with pytest.raises(InputError, match=said):
            build(Stages, {"stages": [stage]}, "test")


def test_shipped_stages_are_recipes() -> None:
    assert "tacotron2" in list_stages()
    for name in list_stages():
        values = read_values(name)
        if "stages" not in values:
            continue
        for stage in build(Stages, values, name).stages:
            assert stage.recipe is None or read_recipe(stage.recipe).model
