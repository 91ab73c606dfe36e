"""From two prepared corpora to a converted recording, by the commands a user types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from glottis.audio.files import read
from glottis.audio.vocoder import VocoderConfig
from glottis.cli import main
from glottis.corpus import Prepared
from glottis.corpus.prepare import PrepareConfig, prepare
from glottis.models.voice_conversion import Conversion
from glottis.training.conversion import spoken_by
from synthetic_corpus import TEXTS, speech, write_corpus

QUICK = ["mixtures=2", "rounds=2", "alignments=1", "order=12", "steps=5", "channels=8"]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ann and bob, who share two sentences."""
    folder = tmp_path_factory.mktemp("corpora")
    made = []
    for name, texts in (("ann", TEXTS[:5]), ("bob", TEXTS[3:8])):
        write_corpus(folder / name, rows=5, texts=texts)
        config = PrepareConfig(speaker=name, test_share=0.0)
        prepare(folder / name, folder / f"{name}-prepared", config=config, jobs=1)
        made.append(folder / f"{name}-prepared")
    return made


def _train(corpora: list[Path], out: Path, *words: str) -> Conversion:
    data = [word for folder in corpora for word in ("--data", str(folder))]
    assert main(["train", "conversion", *data, "--out", str(out), *QUICK, *words]) == 0
    return Conversion.load(out / "conversion.npz")


@pytest.mark.parametrize("method", ["mixture", "network"])
def test_a_trained_conversion_converts_a_recording(
    corpora: list[Path], tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = _train(corpora, tmp_path / "run", f"method={method}", "pairs=phones")
    assert sorted(made.speakers) == ["ann", "bob"]
    recording, out = tmp_path / "ann.flac", tmp_path / "bob.wav"
    soundfile.write(recording, speech(0.6, rate=16000), 16000)
    words = ["convert", str(recording), "-o", str(out), "--from", "ann"]
    for voice in (tmp_path / "run", tmp_path / "run" / "conversion.npz"):
        assert main([*words, "--to", "bob", "--voice", str(voice), "--seed", "-1"]) == 0
    assert "ann as bob" in capsys.readouterr().err
    samples, rate = read(out)
    assert rate == 22050
    assert abs(len(samples) / rate - soundfile.info(recording).duration) < 0.01
    assert np.abs(samples).max() > 0.01
    assert main([*words, "--to", "cat", "--voice", str(tmp_path / "run")]) == 2
    assert "Speakers: ann, bob" in capsys.readouterr().err


def test_shared_sentences_are_found_and_phones_lie_inside(corpora: list[Path]) -> None:
    corpus = Prepared(corpora)
    cuts = list(corpus.cuts("train"))
    spoken = spoken_by(cuts, VocoderConfig(22050, order=12))
    words = [
        {s.words for s, c in zip(spoken, cuts, strict=True) if c.supervisions[0].speaker == n}
        for n in ("ann", "bob")
    ]
    assert len(words[0] & words[1]) == 2
    for each in spoken:
        assert len(each.phones) == len(each.starts) == len(each.ends) > 10
        assert (np.array(each.starts) < each.ends).all()
        assert each.ends[-1] <= len(each.parameters.pitch) + 1


def test_converting_takes_no_torch(corpora: list[Path], tmp_path: Path) -> None:
    _train(corpora, tmp_path / "run", "pairs=words")
    recording, out = tmp_path / "ann.wav", tmp_path / "bob.wav"
    soundfile.write(recording, speech(0.4), 22050)
    code = f"""
import sys
for name in ("torch", "numba", "lightning", "lhotse"):
    sys.modules[name] = None
from glottis.cli import main
words = ["convert", {str(recording)!r}, "-o", {str(out)!r}, "--from", "ann", "--to", "bob"]
sys.exit(main([*words, "--voice", {str(tmp_path / "run")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert out.is_file()


def test_wrong_settings_are_refused(
    corpora: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "conversion", "--out", str(tmp_path / "run"), "--data", str(corpora[0])]
    assert main([*command, "mixture=3"]) == 2
    assert "mixtures" in capsys.readouterr().err
    assert main([*command, *QUICK, "pairs=words"]) == 2
    assert "at least two speakers" in capsys.readouterr().err
