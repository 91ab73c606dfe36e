"""``glottis align``: where each word and each phone of a corpus is said.

The aligner is trained on the corpus alone (:mod:`glottis.corpus.aligner`), in any language that
the front end speaks. Times are those of the original recordings. A stop begins with its closure,
not with its burst.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import soxr

from glottis.audio.files import read
from glottis.corpus.aligner import (
    PAUSE,
    RATE,
    Aligner,
    AlignerConfig,
    Found,
    Speech,
    mel_cepstra,
    train,
)
from glottis.corpus.labels import Interval, ctm, hts_label, text_grid
from glottis.corpus.prepare import SKIPPED, front_end
from glottis.corpus.processes import choose_jobs, ordered_map
from glottis.corpus.readers import Layout, Row, Skipped, metadata_file, read_rows
from glottis.errors import InputError
from glottis.files import replacing
from glottis.text import Utterance
from glottis.text.phones import Phone, phones


@dataclass(frozen=True)
class AlignConfig:
    """How a corpus is aligned.

    Attributes:
        language, speaker, layout, lexicon, phonemes: as in
            :class:`glottis.corpus.prepare.PrepareConfig`.
        training_minutes: the aligner learns from recordings chosen by chance until they last so
            long; all recordings are aligned.
        seed: of that choice.
        aligner: what it looks at and how it is trained.
    """

    language: str = "en-us"
    speaker: str | None = None
    layout: Layout = "auto"
    lexicon: str | None = None
    phonemes: Literal["espeak", "text"] = "espeak"
    training_minutes: float = 60.0
    seed: int = 0
    aligner: AlignerConfig = field(default_factory=AlignerConfig)

    def __post_init__(self) -> None:
        if not self.training_minutes > 0:
            raise InputError(f"training_minutes must be above 0, not {self.training_minutes}")


@dataclass(frozen=True)
class Aligned:
    """One utterance: its id, its ``duration`` in seconds, the times of words and phones, and the
    ``score``, the mean log-likelihood of a frame in nats, low where the transcript does not fit."""

    id: str
    duration: float
    words: tuple[Interval, ...]
    phones: tuple[Interval, ...]
    score: float


@dataclass(frozen=True)
class Summary:
    """How many recordings were aligned into ``out``, how many minutes they last, and how many rows
    were ``skipped``, the first of them in words."""

    out: Path
    aligned: int
    minutes: float
    skipped: int
    first: str

    def __str__(self) -> str:
        text = f"{self.out}: {self.aligned} recordings aligned, {self.minutes:.1f} minutes"
        if self.skipped:
            rows = f"{self.skipped} row{'s' * (self.skipped != 1)} skipped"
            text += f"\n{rows}, see {self.out / SKIPPED}; first {self.first}"
        return text


def align_corpus(
    corpus: Path,
    out: Path,
    *,
    config: AlignConfig | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Align every recording of a corpus folder and write the times.

    ``out`` gets ``textgrid/ID.TextGrid`` (tiers words and phones), ``labels/ID.lab`` (HTS, phones)
    and ``labels/words/ID.lab``, ``words.ctm`` and ``phones.ctm`` for all, ``scores.tsv`` (id,
    seconds, log-likelihood a frame, the worst first: transcripts that may not fit) and
    ``skipped.jsonl``.

    Args:
        corpus: a folder as :mod:`glottis.corpus.readers` describes, or its transcript file.
        out: where to write; made when missing.
        config: the defaults when left out.
        jobs: processes that read recordings; as many as cores when left out.
        progress: called as ``progress(done, total)``.

    Raises:
        InputError: the corpus cannot be read, nothing of it can be aligned, or ``out`` cannot be
            written.
    """
    config = config or AlignConfig()
    corpus, out = Path(corpus), Path(out)
    if out.resolve() == metadata_file(corpus).parent.resolve():
        raise InputError(f"--out {out} is the corpus itself; choose another folder")
    front_end(config.language, config.lexicon, config.phonemes)  # a wrong language fails here
    rows = list(read_rows(corpus, layout=config.layout, speaker=config.speaker))
    rounds, done = sum(config.aligner.rounds), 0
    total = len(rows) * 2 + rounds

    def report(steps: int) -> None:
        nonlocal done
        done += steps
        if progress is not None:
            progress(min(done, total), total)

    kept = _training(rows, config, choose_jobs(jobs, len(rows)), report)
    usable = [item for item in kept.values() if isinstance(item, Read)]
    if not usable:
        bad = [item for item in kept.values() if isinstance(item, Skipped)]
        raise InputError(f"nothing in {corpus} can be aligned; first {bad[0] if bad else 'no row'}")
    aligner = train([item.speech for item in usable], config.aligner, lambda *_: report(1))
    # Recordings beyond the training ones are read now, one after another.
    others = [row for at, row in enumerate(rows) if at not in kept]
    fresh = ordered_map(partial(read_row, config), others, choose_jobs(jobs, len(others)))
    everything = (kept[at] if at in kept else next(fresh) for at in range(len(rows)))
    outcomes = (_aligned(aligner, item, report) for item in everything)
    return _write(out, outcomes)


@dataclass(frozen=True)
class Read:
    """A row as it is aligned."""

    row: Row
    seconds: float
    utterance: Utterance
    phones: tuple[Phone, ...]
    speech: Speech


def read_row(config: AlignConfig, row: Row | Skipped) -> Read | Skipped:
    """Features and phones of one row, or why it has none."""
    if isinstance(row, Skipped):
        return row
    try:
        samples, rate = read(row.audio)
        # Below one frame there is nothing to look at.
        short = len(samples) / rate < config.aligner.window
        if short or not np.abs(samples).max() > 0:
            raise InputError(f"{row.audio}: is silent or next to empty; leave it out")
        if rate != RATE:
            samples = np.asarray(soxr.resample(samples, rate, RATE), dtype=np.float32)
        cepstra = mel_cepstra(samples, config.aligner)
    except InputError as error:
        reason = f"{row.audio.name}: {str(error).removeprefix(f'{row.audio}: ')}"
        return Skipped(row.id, row.where, "bad audio", reason)
    try:
        utterance = front_end(config.language, config.lexicon, config.phonemes).analyse(row.text)
    except InputError as error:
        return Skipped(row.id, row.where, "unspeakable", str(error))
    found = tuple(phones(utterance))
    if not found:
        reason = f"nothing in its transcript {row.text!r} can be spoken; rewrite it in words"
        return Skipped(row.id, row.where, "unspeakable", reason)
    begins = tuple(at for at, phone in enumerate(found) if at and phone.word != found[at - 1].word)
    speech = Speech(cepstra, tuple(phone.label for phone in found), begins)
    return Read(row, len(samples) / RATE, utterance, found, speech)


def times(item: Read, found: Found, hop: float) -> tuple[list[Interval], list[Interval]]:
    """``-> (words, phones)`` in seconds."""
    spoken = [
        Interval(start * hop, end * hop, phone.label)
        for phone, start, end in zip(item.phones, found.starts, found.ends, strict=True)
    ]
    words = []
    for number, word in enumerate(item.utterance.words):
        inside = [at for at, phone in enumerate(item.phones) if phone.word == number]
        if inside:
            words.append(Interval(spoken[inside[0]].start, spoken[inside[-1]].end, word.text))
    return words, spoken


def _training(
    rows: list[Row | Skipped], config: AlignConfig, jobs: int, report: Callable[[int], None]
) -> dict[int, Read | Skipped]:
    """Rows by their place, chosen by chance, until there is speech enough."""
    order = list(range(len(rows)))
    random.Random(config.seed).shuffle(order)
    kept: dict[int, Read | Skipped] = {}
    outcomes = ordered_map(partial(read_row, config), (rows[at] for at in order), jobs)
    seconds = 0.0
    for at, outcome in zip(order, outcomes, strict=False):
        kept[at] = outcome
        report(1)
        seconds += outcome.seconds if isinstance(outcome, Read) else 0.0
        if seconds >= 60 * config.training_minutes:
            break
    outcomes.close()
    report(len(rows) - len(kept))
    return kept


def _aligned(
    aligner: Aligner, item: Read | Skipped, report: Callable[[int], None]
) -> Aligned | Skipped:
    report(1)
    if isinstance(item, Skipped):
        return item
    try:
        found = aligner.align(item.speech)
    except InputError as error:
        return Skipped(item.row.id, item.row.where, "too short", str(error))
    words, spoken = times(item, found, aligner.config.hop)
    return Aligned(item.row.id, item.seconds, tuple(words), tuple(spoken), found.score)


def _write(out: Path, outcomes: Iterable[Aligned | Skipped]) -> Summary:
    scores: list[tuple[float, str, float]] = []
    skipped, seconds, first = 0, 0.0, ""
    with (
        replacing(out / SKIPPED) as skipped_path,
        replacing(out / "words.ctm") as words_path,
        replacing(out / "phones.ctm") as phones_path,
        open(skipped_path, "w", encoding="utf-8") as skipped_file,
        open(words_path, "w", encoding="utf-8") as words_file,
        open(phones_path, "w", encoding="utf-8") as phones_file,
    ):
        for outcome in outcomes:
            if isinstance(outcome, Skipped):
                skipped, first = skipped + 1, first or str(outcome)
                skipped_file.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
                continue
            name = re.sub(r"[/\\\s]+", "-", outcome.id)
            tiers = {"words": outcome.words, "phones": outcome.phones}
            grid = text_grid(dict(tiers), outcome.duration)
            _text(out / "textgrid" / f"{name}.TextGrid", grid)
            label = hts_label(outcome.phones, outcome.duration, PAUSE)
            _text(out / "labels" / f"{name}.lab", label)
            label = hts_label(outcome.words, outcome.duration, PAUSE)
            _text(out / "labels" / "words" / f"{name}.lab", label)
            words_file.write(ctm(name, outcome.words))
            phones_file.write(ctm(name, outcome.phones))
            scores.append((outcome.score, name, outcome.duration))
            seconds += outcome.duration
        if not scores:
            raise InputError(f"nothing could be aligned; first {first}")
    lines = [f"{name}\t{length:.3f}\t{score:.3f}\n" for score, name, length in sorted(scores)]
    _text(out / "scores.tsv", "".join(lines))
    return Summary(out, len(scores), seconds / 60, skipped, first)


def _text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
