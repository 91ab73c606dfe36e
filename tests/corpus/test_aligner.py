"""The aligner, on sounds whose places are known by construction."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from glottis.corpus.aligner import RATE, Aligner, AlignerConfig, Speech, mel_cepstra, train
from glottis.corpus.forced_alignment import AlignConfig, align_corpus
from glottis.errors import InputError
from synthetic_corpus import TEXTS, write_corpus

SOUNDS = {"a": (500, 1000), "b": (250, 2200), "s": (4000, 6500), "m": (120, 900), "x": (1500, 3000)}
QUICK = AlignerConfig(rounds=(8, 2, 2), mels=24, cepstra=10, context=3, discriminants=16)


def utterance(seed: int) -> tuple[np.ndarray, tuple[str, ...], tuple[int, ...], list[float]]:
    """Bands of noise, one a phone, in words with and without pauses between: samples, phones,
    where words begin, and where phones do in seconds."""
    rng = np.random.default_rng(seed)
    phones: list[str] = []
    words, starts, parts = [], [], [rng.normal(0, 1e-3, int(rng.uniform(0.05, 0.3) * RATE))]
    for _ in range(rng.integers(3, 6)):
        words.append(len(phones))
        for _ in range(rng.integers(1, 5)):
            phone = str(rng.choice([name for name in SOUNDS if [name] != phones[-1:]]))
            size = int(rng.uniform(0.04, 0.15) * RATE)
            starts.append(sum(map(len, parts)) / RATE)
            spectrum = np.fft.rfft(rng.normal(0, 1, size))
            hertz = np.fft.rfftfreq(size, 1 / RATE)
            low, high = SOUNDS[phone]
            spectrum[(hertz < low) | (hertz > high)] = 0
            sound = np.fft.irfft(spectrum, size)
            parts.append(0.1 * sound / sound.std() + rng.normal(0, 1e-3, size))
            phones.append(phone)
        if rng.random() < 0.5:
            parts.append(rng.normal(0, 1e-3, int(rng.uniform(0.03, 0.2) * RATE)))
    parts.append(rng.normal(0, 1e-3, int(rng.uniform(0.05, 0.3) * RATE)))
    return np.concatenate(parts).astype(np.float32), tuple(phones), tuple(words[1:]), starts


@pytest.fixture(scope="module")
def trained() -> tuple[Aligner, list[Speech], list[list[float]]]:
    speech, starts = [], []
    for seed in range(40):
        samples, phones, words, places = utterance(seed)
        speech.append(Speech(mel_cepstra(samples, QUICK), phones, words))
        starts.append(places)
    return train(speech, QUICK), speech, starts


def test_boundaries_are_found(trained: tuple[Aligner, list[Speech], list[list[float]]]) -> None:
    aligner, speech, starts = trained
    off = np.concatenate(
        [
            aligner.align(item).starts * QUICK.hop - at
            for item, at in zip(speech, starts, strict=True)
        ]
    )
    assert np.median(np.abs(off)) < 0.006
    assert (np.abs(off) < 0.025).mean() > 0.95


def test_paths_are_in_order_and_pauses_stand_between_words_only(
    trained: tuple[Aligner, list[Speech], list[list[float]]],
) -> None:
    aligner, speech, _ = trained
    for item in speech:
        found = aligner.align(item)
        assert ((found.ends - found.starts) >= 3).all()
        assert found.ends[-1] <= len(item.cepstra)
        gaps = found.starts[1:] - found.ends[:-1]
        assert (gaps >= 0).all()
        assert set(np.flatnonzero(gaps) + 1) <= set(item.words)


def test_a_wrong_transcript_scores_lower(
    trained: tuple[Aligner, list[Speech], list[list[float]]],
) -> None:
    aligner, speech, _ = trained
    other = {"a": "s", "s": "m", "m": "x", "x": "b", "b": "a"}
    for item in speech[:10]:
        wrong = Speech(item.cepstra, tuple(other[phone] for phone in item.phones), item.words)
        assert aligner.align(wrong).score < aligner.align(item).score - 1


def test_what_cannot_be_aligned_is_refused(
    trained: tuple[Aligner, list[Speech], list[list[float]]],
) -> None:
    aligner, speech, _ = trained
    with pytest.raises(InputError, match="does the transcript fit"):
        aligner.align(Speech(speech[0].cepstra[:20], ("a",) * 7, ()))
    with pytest.raises(InputError, match="has not heard q"):
        aligner.align(Speech(speech[0].cepstra, ("a", "q"), ()))
    with pytest.raises(InputError, match="has not heard anything"):
        aligner.align(Speech(speech[0].cepstra, (), ()))
    with pytest.raises(InputError, match="no recording is long enough"):
        train([Speech(speech[0].cepstra[:2], ("a",), ())], QUICK)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hop": 0.05, "window": 0.02}, "hop and window"),
        ({"cepstra": 40}, "cepstra must be"),
        ({"rounds": (0, 1, 1)}, "at least 1"),
    ],
)
def test_wrong_settings_are_refused(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AlignerConfig(**values)


def test_a_corpus_gets_all_its_files_whatever_is_wrong_with_a_row(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", rows=5)
    with open(corpus / "metadata.csv", "a", encoding="utf-8") as table:
        table.write("gone|Not there.\nu0b|...\n")
    (corpus / "wavs" / "u0b.wav").write_bytes((corpus / "wavs" / "u0.wav").read_bytes())
    short = corpus / "wavs" / "u1.wav"
    short.write_bytes(short.read_bytes()[: 44 + 4410])
    config = AlignConfig(aligner=AlignerConfig(rounds=(2, 1, 1)))
    steps: list[tuple[int, int]] = []
    summary = align_corpus(
        corpus, tmp_path / "out", config=config, jobs=1, progress=lambda *at: steps.append(at)
    )
    out = tmp_path / "out"
    assert summary.aligned == 4
    assert summary.skipped == 3
    assert "3 rows skipped" in str(summary)
    assert steps[-1][0] == steps[-1][1]
    reasons = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert {row["id"] for row in reasons} == {"gone", "u0b", "u1"}
    assert sorted(path.stem for path in (out / "textgrid").iterdir()) == ["u0", "u2", "u3", "u4"]
    words = [line.split(" ") for line in (out / "words.ctm").read_text().splitlines()]
    assert [row[4] for row in words if row[0] == "u0"] == TEXTS[0].rstrip(".").split(" ")
    labels = [line.split(" ") for line in (out / "labels" / "u0.lab").read_text().splitlines()]
    assert all(a[1] == b[0] for a, b in pairwise(labels))
    assert len((out / "scores.tsv").read_text().splitlines()) == 4


def test_the_training_share_is_learned_from_and_all_is_aligned(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", rows=4, texts=TEXTS[:1])
    config = AlignConfig(aligner=AlignerConfig(rounds=(2, 1, 1)), training_minutes=0.01)
    assert align_corpus(corpus, tmp_path / "out", config=config, jobs=1).aligned == 4


def test_a_corpus_that_says_nothing_and_bad_places_are_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", rows=1, texts=["..."])
    with pytest.raises(InputError, match="nothing in .* can be aligned"):
        align_corpus(corpus, tmp_path / "out", jobs=1)
    with pytest.raises(InputError, match="is the corpus itself"):
        align_corpus(corpus, corpus, jobs=1)
    with pytest.raises(InputError, match="training_minutes"):
        AlignConfig(training_minutes=0)
