"""From recordings to a voice that speaks from vocoder parameters, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from glottis.config import build
from glottis.errors import InputError
from glottis.export import export_voice
from glottis.training.config import Recipe
from glottis.training.run import run
from glottis.voice import Voice
from small_recipes import SPSS, TRAINING

SENTENCE = "Rice is often served in round bowls."


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder after a few steps."""
    values = {"model": "spss", "network": SPSS, "training": {**TRAINING, "max_steps": 3}}
    return run(build(Recipe, values, "test"), [data], tmp_path_factory.mktemp("runs") / "spss")


@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_the_voice_speaks_with_marks_and_controls(
    trained: Path, tmp_path: Path, weights: str
) -> None:
    out = export_voice(trained, tmp_path / "v.onnx", weights=weights)  # type: ignore[arg-type]
    voice = Voice.load(out)
    one = voice.speak(SENTENCE, seed=3)
    assert np.array_equal(one.samples, voice.speak(SENTENCE, seed=3).samples)
    assert not np.array_equal(one.samples, voice.speak(SENTENCE, seed=4).samples)
    assert np.isfinite(one.samples).all()
    words = [mark.text for mark in one.marks if mark.kind == "word"]
    assert words == SENTENCE.rstrip(".").split(" ")
    assert voice.speak(SENTENCE, rate=0.5).duration == pytest.approx(2 * one.duration, rel=0.1)
    for manner in ({"pitch": 1.5}, {"timbre": 1.2}):
        other = voice.speak(SENTENCE, seed=3, **manner)
        assert len(other.samples) == len(one.samples)
        assert not np.array_equal(other.samples, one.samples)
    with pytest.raises(InputError, match="pitch must be from 0.5 to 2"):
        voice.speak(SENTENCE, pitch=5.0)


def test_it_speaks_without_the_training_half(trained: Path, tmp_path: Path) -> None:
    out = export_voice(trained, tmp_path / "v.onnx", weights="int8")
    code = f"""
import sys
for name in ("torch", "numba", "lightning", "lhotse"):
    sys.modules[name] = None
from glottis.voice import Voice
assert Voice.load({str(out)!r}).speak({SENTENCE!r}).duration > 0.1
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_does_not_fit_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave --vocoder out"):
        export_voice(trained, tmp_path / "v.onnx", vocoder=trained)
    with pytest.raises(InputError, match="leave --temperature and --duration-temperature out"):
        export_voice(trained, tmp_path / "v.onnx", noise_scale=0.3)
    with pytest.raises(InputError, match="cannot convert"):
        export_voice(trained, tmp_path / "v.onnx", conversion=True)
    out = export_voice(trained, tmp_path / "v.onnx")
    beside = out.with_name(out.name + ".json")
    values = json.loads(beside.read_text(encoding="utf-8"))
    values["glottis"]["parameters"]["order"] = 30
    beside.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(InputError, match="glottis.parameters.global_variance"):
        Voice.load(out)
    fake = Path(__file__).parents[1] / "data" / "fake.onnx"
    with pytest.raises(InputError, match="pitch and timbre cannot be set"):
        Voice.load(fake).speak(SENTENCE, pitch=1.2)
