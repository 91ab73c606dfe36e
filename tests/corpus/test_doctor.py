"""Planted faults are found, named by their rows, and nothing else is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from glottis.audio.mel import MelConfig
from glottis.corpus.doctor import Report, examine
from glottis.corpus.measurements import bandwidth, clipped_samples, mean_spectrum
from glottis.corpus.prepare import PrepareConfig
from glottis.errors import InputError
from synthetic_corpus import TEXTS, speech, write_corpus

RATE = 22050
ROWS = 16


def found(report: Report) -> dict[str, tuple[str, ...]]:
    """Codes of the findings -> rows, without the remark that a test corpus is small."""
    return {issue.code: issue.ids for issue in report.issues if issue.code != "little-speech"}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("clean") / "anna", ROWS)


@pytest.fixture
def corpus(clean: Path, tmp_path: Path) -> Path:
    """A fresh copy of a corpus without faults."""
    return Path(shutil.copytree(clean, tmp_path / "anna"))


def replace(corpus: Path, row: int, samples: np.ndarray, rate: int = RATE) -> None:
    soundfile.write(corpus / "wavs" / f"u{row}.wav", samples, rate, subtype="FLOAT")


def sound(corpus: Path, row: int) -> np.ndarray:
    return soundfile.read(corpus / "wavs" / f"u{row}.wav", dtype="float32")[0]


def retell(corpus: Path, row: int, text: str) -> None:
    table = corpus / "metadata.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    lines[row] = f"u{row}|{text}"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_clean_corpus_has_no_findings(corpus: Path) -> None:
    report = examine(corpus, jobs=1)
    assert report.usable
    assert found(report) == {}
    assert report.rows == len(report.measurements) == ROWS
    assert report.speakers == {"anna": pytest.approx(report.minutes)}
    quantiles = json.loads(report.json())["distributions"]
    assert quantiles["signal_to_noise_db"]["50%"] > 20
    assert quantiles["leading_silence_seconds"]["50%"] == pytest.approx(0.1, abs=0.03)
    assert quantiles["speech_dbfs"]["50%"] == pytest.approx(-20, abs=3)


def clip(samples: np.ndarray) -> np.ndarray:
    return np.clip(samples * 10, -0.5, 0.5)


def long_silence(samples: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(RATE, np.float32), samples])


def dull(samples: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft(samples)
    spectrum[round(len(spectrum) * 4000 / (RATE / 2)) :] = 0
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def noisy(samples: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal(len(samples)) * 0.05
    return (samples + noise).astype(np.float32)


@pytest.mark.parametrize(
    ("code", "spoil"),
    [
        ("clipping", clip),
        ("silent-ends", long_silence),
        ("uneven-band", dull),
        ("noise", noisy),
        ("uneven-level", lambda samples: samples * 0.1),
        ("dc-offset", lambda samples: samples + np.float32(0.05)),
        ("speaking-rate", lambda samples: np.concatenate([samples] * 3)),
        ("too-short", lambda samples: samples[2000:8000]),
        ("too-long", lambda samples: np.concatenate([samples] * 20)),
        ("several-channels", lambda samples: np.stack([samples, samples], axis=1)),
        ("bad-audio", lambda samples: samples * np.float32(0)),
        ("bad-audio", lambda samples: samples * np.float32("nan")),
        ("bad-audio", lambda samples: samples[:0]),
    ],
)
def test_a_planted_fault_is_found(
    corpus: Path, code: str, spoil: Callable[[np.ndarray], np.ndarray]
) -> None:
    replace(corpus, 5, spoil(sound(corpus, 5)))
    report = examine(corpus, jobs=1)
    assert found(report)[code] == ("u5",)
    # One fault may show in several ways, but not in other rows.
    assert set().union(*found(report).values()) == {"u5"}


@pytest.mark.parametrize(
    ("code", "text", "severity"),
    [
        ("characters", "The birch canoe 🦊 slid on the smooth planks.", "warning"),
        ("characters", "The birch канoe slid on the smooth planks.", "warning"),
        ("digits", "The 2 birch canoes slid on smooth planks.", "note"),
        ("unspeakable", "... --- ...", "error"),
        ("no-transcript", "", "error"),
        ("too-many-phonemes", " ".join(TEXTS), "error"),
        ("same-text", TEXTS[3].upper(), "note"),
    ],
)
def test_a_planted_transcript_is_found(corpus: Path, code: str, text: str, severity: str) -> None:
    retell(corpus, 0, text)
    report = examine(corpus, jobs=1)
    assert "u0" in found(report)[code]
    assert {issue.severity for issue in report.issues if issue.code == code} == {severity}


def test_language_decides_what_can_be_said(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", 2, texts=("Größe und Übung.", "Die schöne Müllerin."))
    assert "characters" not in found(examine(corpus, language="de", jobs=1))
    with pytest.raises(InputError, match="xx-nowhere"):
        examine(corpus, language="xx-nowhere", jobs=1)


def test_copies_of_a_recording(corpus: Path) -> None:
    replace(corpus, 2, sound(corpus, 1))
    replace(corpus, 1, sound(corpus, 1))
    issue = next(issue for issue in examine(corpus, jobs=1).issues if issue.code == "same-audio")
    assert issue.ids == ("u1", "u2")
    assert "1 of them with different transcripts" in issue.finding


def test_a_missing_recording_is_an_error_but_the_rest_is_usable(corpus: Path) -> None:
    (corpus / "wavs" / "u4.wav").unlink()
    report = examine(corpus, jobs=1)
    assert found(report) == {"no-audio": ("u4",)}
    assert report.issues[0].severity == "error"
    assert report.usable


def test_a_corpus_mostly_lost_is_not_usable(corpus: Path) -> None:
    for row in range(9):
        (corpus / "wavs" / f"u{row}.wav").unlink()
    report = examine(corpus, jobs=1)
    assert not report.usable
    assert "NOT usable" in str(report)
    for row in range(9, ROWS):
        (corpus / "wavs" / f"u{row}.wav").unlink()
    report = examine(corpus, jobs=1)
    assert not report.usable
    assert json.loads(report.json())["usable"] is False
    with pytest.raises(InputError, match="nothing to draw"):
        report.pictures(corpus)


def test_rumble_band_limit_and_level_of_a_whole_corpus(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", 6)
    for row in range(6):
        samples = dull(sound(corpus, row)) * np.float32(0.2)
        time = np.arange(len(samples)) / RATE
        replace(corpus, row, samples + 0.01 * np.sin(2 * np.pi * 30 * time).astype(np.float32))
    report = examine(corpus, jobs=1)
    assert {"rumble", "band-limit", "low-level"} <= set(found(report))
    limit = next(issue for issue in report.issues if issue.code == "band-limit")
    assert "4.0 kHz" in limit.finding or "4.1 kHz" in limit.finding
    assert "mel.sample_rate=8000" in limit.remedy
    # At the rate that the remedy names, the remark is gone.
    config = PrepareConfig(mel=MelConfig(sample_rate=8000, mel_high=4000))
    assert "band-limit" not in found(examine(corpus, config=config, jobs=1))


def test_mixed_rates_and_unbalanced_speakers(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", 12)
    replace(corpus, 3, speech(1.5, 16000), 16000)
    table = corpus / "metadata.csv"
    rows = [line.split("|") for line in table.read_text().splitlines()]
    table.write_text("".join(f"{r[0]}|{'b' if r[0] == 'u0' else 'a'}|{r[1]}\n" for r in rows))
    report = examine(corpus, jobs=1)
    assert found(report)["mixed-rates"] == found(report)["low-rate"] == ("u3",)
    assert "unbalanced-speakers" in found(report)
    assert list(report.speakers) == ["a", "b"]
    assert "minutes by speaker" in str(report)


def test_the_report_in_text_and_json_says_the_same(corpus: Path) -> None:
    replace(corpus, 5, clip(sound(corpus, 5)))
    (corpus / "wavs" / "u4.wav").unlink()
    report = examine(corpus, jobs=1)
    text, data = str(report), json.loads(report.json())
    assert [issue["code"] for issue in data["issues"]] == [issue.code for issue in report.issues]
    for issue in report.issues:
        assert f"{issue.severity}: {issue.code}:" in text
        assert all(part in " ".join(text.split()) for part in (issue.hurts, issue.remedy))
    assert [issue["count"] for issue in data["issues"]] == [len(i.ids) for i in report.issues]
    assert data["usable_rows"] == ROWS - 1
    severities = [issue.severity for issue in report.issues]
    assert severities == sorted(severities, key=("error", "warning", "note").index)
    assert max(map(len, text.splitlines()[1:])) <= 100


def test_processes_do_not_change_the_report(corpus: Path) -> None:
    (corpus / "wavs" / "u4.wav").unlink()
    replace(corpus, 5, clip(sound(corpus, 5)))
    steps: list[tuple[int, int]] = []
    one = examine(corpus, jobs=1, progress=lambda *step: steps.append(step))
    assert steps == [(done, ROWS) for done in range(1, ROWS + 1)]
    assert examine(corpus, jobs=2).json() == one.json()


def test_pictures(corpus: Path, tmp_path: Path) -> None:
    paths = examine(corpus, jobs=1).pictures(tmp_path / "pictures")
    assert [path.name for path in paths] == [
        "durations.png",
        "levels.png",
        "speaking-rate.png",
        "bandwidth.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


@pytest.mark.parametrize("limit", [3000, 5000, 8000])
@pytest.mark.parametrize("rate", [22050, 48000])
def test_bandwidth_is_that_of_filtered_noise(limit: int, rate: int) -> None:
    noise = np.random.default_rng(0).standard_normal(3 * rate)
    spectrum = np.fft.rfft(noise)
    spectrum[round(limit * 3) :] = 0
    samples = (0.1 * np.fft.irfft(spectrum, len(noise))).astype(np.float32)
    assert bandwidth(mean_spectrum(samples, rate)) == pytest.approx(limit, abs=200)


def test_clipping_is_counted_and_sines_are_not() -> None:
    sine = np.sin(np.arange(22050) * 0.05).astype(np.float32)
    assert clipped_samples(0.9 * sine) == 0
    clipped = np.clip(sine, -0.7, 0.7)
    share = clipped_samples(clipped) / len(clipped)
    assert share == pytest.approx(2 * np.arccos(0.7) / np.pi, abs=0.02)
    # Made quieter, it is still clipped; silence is not.
    assert clipped_samples(0.3 * clipped) == clipped_samples(clipped)
    assert clipped_samples(np.zeros(100, np.float32)) == 0


def test_transcripts_of_another_language_are_told(corpus: Path) -> None:
    report = examine(corpus, language="de", jobs=1)
    (issue,) = (issue for issue in report.issues if issue.code == "other-language")
    assert issue.severity == "warning"
    assert "--language en" in issue.remedy
    assert "other-language" not in found(examine(corpus, language="en-gb", jobs=1))
