"""The whole path in one go, by the commands a user types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from glottis import cli
from small_recipes import GLOW, TRAINING, VOCOS
from synthetic_corpus import write_corpus


def _words(table: dict, prefix: str = "") -> list[str]:
    texts = {key: str(value).replace(" ", "") for key, value in table.items()}
    return [f"{prefix}{key}={value}" for key, value in texts.items()]


def _glottis(*words: object) -> str:
    result = CliRunner().invoke(cli.app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_recordings_in_speech_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "corpus", rows=16)

    assert "u0" not in _glottis("doctor", "corpus", "--json", "doctor.json")
    assert json.loads(Path("doctor.json").read_text())

    _glottis("prepare", "corpus", "--out", "data", "--jobs", 1, "test_share=0.2")

    training = _words({**TRAINING, "max_steps": 3})
    glow, vocos = _words(GLOW, "network."), _words(VOCOS, "network.")
    _glottis("train", "glow_tts/small", "--data", "data", "--out", "runs/glow", *training, *glow)
    _glottis("train", "vocos/small", "--data", "data", "--out", "runs/vocos", *training, *vocos)

    _glottis("export", "runs/glow", "--vocoder", "runs/vocos", "-o", "voice.onnx")

    text = "Rice is often served. The hogs were fed chopped corn."
    _glottis("speak", text, "--voice", "voice.onnx", "-o", "a.wav", "--seed", 1)
    _glottis("speak", text, "--voice", "voice.onnx", "-o", "b.flac", "--seed", 1)
    one, rate = soundfile.read("a.wav")
    two, _ = soundfile.read("b.flac")
    assert rate == 22050
    assert len(one) == len(two) > 0.25 * rate
    assert abs(one - two).max() < 1e-4

    Path("texts.txt").write_text("Rice is often served in round bowls.\n")
    _glottis("evaluate", "voice.onnx", "--texts", "texts.txt", "--out", "report")
    assert list(Path("report").glob("*.html"))
    assert list(Path("report").glob("*.json"))
