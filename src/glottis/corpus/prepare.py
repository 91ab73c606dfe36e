"""From a corpus folder to a prepared one, in parallel and resumable.

Every recording is conditioned and its log-mels are computed once: the results lie under a name
made of a hash of the recording's bytes and a hash of the audio settings, and a small JSON file
beside them, written last, says that they are complete. So a run that was killed goes on where it
stopped, a second run finds everything done, changed audio settings redo the audio, and a changed
front end redoes only what is cheap: transcripts are always read anew. The manifest is written line
by line in the order of the corpus, whatever the number of processes.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import unicodedata
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from glottis import __version__
from glottis.audio.files import read
from glottis.audio.mel import MelConfig, log_mel
from glottis.config import as_dict
from glottis.corpus.conditioning import ConditioningConfig, condition
from glottis.corpus.prepared import FORMAT, MANIFEST, SETTINGS
from glottis.corpus.readers import Layout, Row, Skipped, count_lines, metadata_file, read_rows
from glottis.errors import InputError
from glottis.files import replacing

SKIPPED = "skipped.jsonl"
# Raise this when conditioning or features change for the same settings: it is part of their hash.
AUDIO_VERSION = 1
_CHUNK = 8  # rows handed to a process at a time


@dataclass(frozen=True)
class PrepareConfig:
    """How a corpus is prepared.

    Attributes:
        language: an eSpeak NG voice, such as ``en-us``, ``de`` or ``nl``.
        speaker: the name of a corpus's only speaker; its folder's name when left out.
        layout: the meaning of three columns, see :func:`glottis.corpus.readers.read_rows`.
        lexicon: path of a pronunciation lexicon that wins over eSpeak NG.
        phonemes: ``"espeak"``, or ``"text"`` for plain characters.
        minimum_seconds, maximum_seconds: what is shorter or longer after trimming is skipped.
        test_share: share of the sentences held out, between 0 and 1.
        conditioning: what is done to the audio.
        mel: sample rate and features.
    """

    language: str = "en-us"
    speaker: str | None = None
    layout: Layout = "auto"
    lexicon: str | None = None
    phonemes: Literal["espeak", "text"] = "espeak"
    minimum_seconds: float = 0.4
    maximum_seconds: float = 20.0
    test_share: float = 0.04
    conditioning: ConditioningConfig = field(default_factory=ConditioningConfig)
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_seconds < self.maximum_seconds:
            raise InputError(
                "minimum_seconds must be at least 0 and below maximum_seconds, not "
                f"{self.minimum_seconds} and {self.maximum_seconds}"
            )
        if not 0 <= self.test_share <= 1:
            raise InputError(f"test_share must lie between 0 and 1, not {self.test_share}")


@dataclass(frozen=True)
class Summary:
    """What a run of :func:`prepare` left behind.

    ``counts`` has cuts of ``train`` and ``test`` and the ``skipped`` rows, ``minutes`` the speech
    in both splits, ``reused`` how many recordings had been conditioned before, and ``reasons`` the
    skipped rows' reasons with their numbers, the commonest first.
    """

    out: Path
    speakers: tuple[str, ...]
    counts: dict[str, int]
    minutes: dict[str, float]
    reused: int
    reasons: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        total = self.counts["train"] + self.counts["test"]
        lines = [
            f"{self.out}: {total} recordings, {sum(self.minutes.values()):.1f} minutes, "
            f"{len(self.speakers)} speaker{'s' * (len(self.speakers) != 1)} "
            f"({self.counts['test']} recordings, {self.minutes['test']:.1f} minutes held out; "
            f"{self.reused} were done before)"
        ]
        if self.counts["skipped"]:
            lines.append(f"{self.counts['skipped']} rows skipped, see {self.out / SKIPPED}:")
            lines += [f"  {count} x {reason}" for reason, count in self.reasons[:8]]
        return "\n".join(lines)


def prepare(
    corpus: Path,
    out: Path,
    *,
    config: PrepareConfig | None = None,
    jobs: int | None = None,
    progress: bool = False,
) -> Summary:
    """Prepare one corpus folder: conditioned audio, log-mels, phonemes and a Lhotse manifest.

    Args:
        corpus: a folder as :mod:`glottis.corpus.readers` describes, or its transcript file.
        out: the prepared folder; made when missing, continued when there.
        config: the defaults when left out.
        jobs: processes; as many as cores when left out. The result does not depend on it.
        progress: whether to draw a progress bar on standard error.

    Rows that cannot be used are listed in ``skipped.jsonl`` and do not stop the others.

    Raises:
        InputError: the corpus cannot be read, nothing of it can be used, or ``out`` cannot be
            written (what was done so far stays and is used by the next run).
    """
    config = config or PrepareConfig()
    corpus, out = Path(corpus), Path(out)
    metadata = metadata_file(corpus)
    if out.resolve() == metadata.parent.resolve():
        raise InputError(f"--out {out} is the corpus itself; choose another folder")
    total = count_lines(metadata)
    rows = read_rows(corpus, layout=config.layout, speaker=config.speaker)
    task = _Task(out, config, audio_digest(config))
    totals = _Totals()
    with (
        replacing(out / SKIPPED) as skipped_path,
        replacing(out / MANIFEST) as manifest_path,
        open(skipped_path, "w", encoding="utf-8") as skipped_file,
        _gzip_text(manifest_path) as manifest,
        contextlib.closing(_outcomes(task, rows, _jobs(jobs, total))) as outcomes,
    ):
        for outcome in _with_progress(outcomes, total, metadata.parent.name, progress):
            if isinstance(outcome, Done) and (problem := _length_problem(outcome, config)):
                outcome = Skipped(outcome.row.id, outcome.row.where, problem)
            if isinstance(outcome, Skipped):
                totals.skip(outcome)
                skipped_file.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
            else:
                totals.add(outcome)
                cut = _cut(outcome, config, task.digest)
                manifest.write(json.dumps(cut, ensure_ascii=False) + "\n")
        if not totals.usable:
            raise InputError(totals.nothing_left(metadata))
    summary = totals.summary(out)
    _write_settings(out, metadata.parent, config, summary)
    _remove_outdated(out, task.digest)
    return summary


@dataclass(frozen=True)
class Done:
    """One usable row: ``stem`` names its files under ``audio/`` and ``mels/``."""

    row: Row
    stem: str
    samples: int
    spoken: str
    phonemes: str
    split: Literal["train", "test"]
    reused: bool
    rate: int
    hop: int

    @property
    def seconds(self) -> float:
        """Duration after trimming."""
        return self.samples / self.rate


@dataclass(frozen=True)
class _Task:
    """What a process needs besides the row."""

    out: Path
    config: PrepareConfig
    digest: str


def audio_digest(config: PrepareConfig) -> str:
    """Ten hexadecimal digits that change with everything audio and features depend on."""
    settings = [AUDIO_VERSION, as_dict(config.conditioning), as_dict(config.mel)]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]


def split_of(text: str, test_share: float) -> Literal["train", "test"]:
    """The side on which a sentence falls, by a hash of its letters and digits.

    Case, punctuation and spacing do not count, so that repeats of a sentence, also in another
    corpus, fall on one side; the front end is not asked, so that its changes move nothing.
    """
    letters = unicodedata.normalize("NFKC", text).casefold()
    words = re.findall(r"\w+", letters.replace("_", " "))
    digest = hashlib.sha256(" ".join(words).encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < test_share * 2**64 else "train"


def _process(task: _Task, rows: list[Row | Skipped]) -> list[Done | Skipped]:
    """What a process does: each row's audio, features and phonemes."""
    return [row if isinstance(row, Skipped) else _process_row(task, row) for row in rows]


def _process_row(task: _Task, row: Row) -> Done | Skipped:
    config = task.config
    try:
        data = row.audio.read_bytes()
    except OSError as error:
        return Skipped(row.id, row.where, f"cannot read {row.audio}: {error.strerror or error}")
    digest = hashlib.sha256(data).hexdigest()[:20]
    del data
    stem = f"{task.digest}/{digest[:2]}/{digest}"
    facts = _stored_facts(task.out, stem)
    reused = facts is not None
    if facts is None:
        facts = _store(task.out, stem, row.audio, config)
    if "reason" in facts:
        return Skipped(row.id, row.where, f"{row.audio.name}: {facts['reason']}")
    try:
        utterance = _front_end(config.language, config.lexicon, config.phonemes).analyse(row.text)
    except InputError as error:
        return Skipped(row.id, row.where, f"cannot be read aloud: {error}")
    if not any(phoneme.isalpha() for phoneme in utterance.phonemes):
        return Skipped(row.id, row.where, f"nothing in its transcript {row.text!r} can be spoken")
    return Done(
        row,
        stem,
        facts["samples"],
        utterance.spoken,
        "".join(utterance.phonemes),
        split_of(row.text, config.test_share),
        reused,
        config.mel.sample_rate,
        config.mel.hop,
    )


@lru_cache(maxsize=4)
def _front_end(language: str, lexicon: str | None, phonemes: Literal["espeak", "text"]) -> Any:
    from glottis.text import FrontEnd

    return FrontEnd(language, Path(lexicon) if lexicon else None, phonemes)


def _paths(out: Path, stem: str) -> tuple[Path, Path, Path]:
    """Audio, features, and the facts that declare both complete."""
    return out / "audio" / f"{stem}.flac", out / "mels" / f"{stem}.npy", out / f"mels/{stem}.json"


def _stored_facts(out: Path, stem: str) -> dict[str, Any] | None:
    """What an earlier run noted about a recording, if its files are all there."""
    audio, mels, facts_path = _paths(out, stem)
    try:
        facts: dict[str, Any] = json.loads(facts_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if "reason" in facts or (audio.is_file() and mels.is_file()):
        return facts
    return None


def _store(out: Path, stem: str, source: Path, config: PrepareConfig) -> dict[str, Any]:
    """Condition one recording, write audio, features and facts, and return the facts.

    Raises:
        InputError: a file cannot be written. What is wrong with the recording itself becomes a
            fact (``reason``), for it holds until the recording changes.
    """
    import soundfile

    audio_path, mels_path, facts_path = _paths(out, stem)
    mel = config.mel
    facts: dict[str, Any] = {}
    try:
        samples, rate = read(source)
        conditioned = condition(samples, rate, mel.sample_rate, config.conditioning)
        frames = len(conditioned.samples) // mel.hop
        if frames == 0:
            raise InputError("is shorter than one frame; leave it out")
    except InputError as error:
        facts = {"reason": str(error).removeprefix(f"{source}: ")}
    if not facts:
        # Features are computed from what is stored, so that they belong to it exactly.
        samples = np.rint(conditioned.samples[: frames * mel.hop] * 32768)
        pcm = samples.clip(-32768, 32767).astype(np.int16)
        features = log_mel(pcm.astype(np.float32) / np.float32(32768), mel)
        with replacing(audio_path) as path:
            soundfile.write(path, pcm, mel.sample_rate, format="FLAC", subtype="PCM_16")
        with replacing(mels_path) as path:
            np.save(path, np.ascontiguousarray(features.T), allow_pickle=False)
        facts = {
            "samples": len(pcm),
            "start": round(conditioned.start, 4),
            "end": round(conditioned.end, 4),
            "gain": round(conditioned.gain, 3),
        }
    with replacing(facts_path) as path:
        path.write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
    return facts


def _outcomes(
    task: _Task, rows: Iterable[Row | Skipped], jobs: int
) -> Generator[Done | Skipped, None, None]:
    """Map :func:`_process` over rows, in their order, with a bounded number of them in flight."""
    iterator = iter(rows)
    chunks = iter(lambda: list(islice(iterator, _CHUNK)), [])
    if jobs == 1:
        for chunk in chunks:
            yield from _process(task, chunk)
        return
    # Processes are spawned, not forked: the caller may hold threads (torch, a progress bar).
    context = multiprocessing.get_context("spawn")
    with _one_thread_each():
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_ignore_interrupts)
        waiting: deque[Future[list[Done | Skipped]]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_process, task, chunk))
                if len(waiting) > 3 * jobs:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process died, perhaps for want of memory; run again with fewer --jobs, "
                "what is done is kept"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C is for the parent, which lets its processes finish the rows they hold."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside use one thread for matrix products: the cores are taken."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _jobs(jobs: int | None, rows: int) -> int:
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs must be at least 1, not {jobs}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # Starting a process takes longer than a few dozen rows.
    return max(1, min(jobs or cores or 1, rows // 32 if jobs is None else rows))


def _length_problem(done: Done, config: PrepareConfig) -> str | None:
    if done.seconds < config.minimum_seconds:
        return f"is too short after trimming (minimum_seconds={config.minimum_seconds})"
    if done.seconds > config.maximum_seconds:
        return (
            f"is too long after trimming (maximum_seconds={config.maximum_seconds}); "
            "cut it into sentences"
        )
    return None


def _cut(done: Done, config: PrepareConfig, digest: str) -> dict[str, Any]:
    """The row as a Lhotse cut, as a plain dictionary with paths relative to the folder."""
    from lhotse import AudioSource, Features, MonoCut, Recording, SupervisionSegment

    row, rate, hop = done.row, done.rate, done.hop
    # Ids of different corpora meet in training, and they become file names in reports.
    identity = re.sub(r"[/\\\s]+", "-", f"{row.speaker}-{row.id}")
    recording = Recording(
        id=identity,
        sources=[AudioSource(type="file", channels=[0], source=f"audio/{done.stem}.flac")],
        sampling_rate=rate,
        num_samples=done.samples,
        duration=done.seconds,
        channel_ids=[0],
    )
    features = Features(
        type="log-mel",
        num_frames=done.samples // hop,
        num_features=config.mel.mels,
        frame_shift=hop / rate,
        sampling_rate=rate,
        start=0.0,
        duration=done.seconds,
        storage_type="numpy_files",
        storage_path="mels",
        storage_key=f"{done.stem}.npy",
        recording_id=identity,
        channels=0,
    )
    supervision = SupervisionSegment(
        id=identity,
        recording_id=identity,
        start=0.0,
        duration=done.seconds,
        text=done.spoken,
        language=config.language,
        speaker=row.speaker,
        custom={"raw": row.raw, "phonemes": done.phonemes, "split": done.split},
    )
    cut = MonoCut(
        id=identity,
        start=0.0,
        duration=done.seconds,
        channel=0,
        supervisions=[supervision],
        features=features,
        recording=recording,
    )
    return cut.to_dict()


class _Totals:
    """Counts that grow while outcomes pass."""

    def __init__(self) -> None:
        self.speakers: set[str] = set()
        self.counts = {"train": 0, "test": 0, "skipped": 0}
        self.samples = {"train": 0, "test": 0}
        self.rate = 1
        self.reused = 0
        self.reasons: Counter[str] = Counter()
        self.first_skipped: list[Skipped] = []

    @property
    def usable(self) -> int:
        return self.counts["train"] + self.counts["test"]

    def add(self, done: Done) -> None:
        self.speakers.add(done.row.speaker)
        self.counts[done.split] += 1
        self.samples[done.split] += done.samples
        self.rate = done.rate
        self.reused += done.reused

    def skip(self, skipped: Skipped) -> None:
        self.counts["skipped"] += 1
        # What differs from row to row stands in quotes or before a colon; reasons are counted.
        reason = re.sub(r"'[^']*' *", "", re.sub(r"^[^ ]+: ", "", skipped.reason))
        if len(self.reasons) < 1000:
            self.reasons[reason] += 1
        if len(self.first_skipped) < 5:
            self.first_skipped.append(skipped)

    def nothing_left(self, metadata: Path) -> str:
        lines = [f"no row of {metadata} can be used ({self.counts['skipped']} skipped):"]
        lines += [f"  {metadata.parent / s.where}: {s.id} {s.reason}" for s in self.first_skipped]
        return "\n".join(lines)

    def summary(self, out: Path) -> Summary:
        return Summary(
            out=out,
            speakers=tuple(sorted(self.speakers)),
            counts=dict(self.counts),
            minutes={name: count / self.rate / 60 for name, count in self.samples.items()},
            reused=self.reused,
            reasons=tuple(self.reasons.most_common()),
        )


def _write_settings(out: Path, corpus: Path, config: PrepareConfig, summary: Summary) -> None:
    settings = {
        "format": FORMAT,
        "glottis": __version__,
        "name": corpus.resolve().name,
        "language": config.language,
        "speakers": list(summary.speakers),
        "counts": summary.counts,
        "minutes": {name: round(minutes, 3) for name, minutes in summary.minutes.items()},
        "mel": as_dict(config.mel),
        "settings": as_dict(config),
    }
    with replacing(out / SETTINGS) as path:
        path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _remove_outdated(out: Path, digest: str) -> None:
    """Audio and features of other settings are of no use to this manifest."""
    for kind in ("audio", "mels"):
        for folder in (out / kind).iterdir():
            if folder.name != digest and re.fullmatch(r"[0-9a-f]{10}", folder.name):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _gzip_text(path: Path) -> Iterator[io.TextIOWrapper]:
    """A gzip text file whose bytes depend on its contents only (no name, no time)."""
    with (
        open(path, "wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as text,
    ):
        yield text


def _with_progress(
    outcomes: Iterator[Done | Skipped], total: int, name: str, show: bool
) -> Iterator[Done | Skipped]:
    if not show:
        yield from outcomes
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("preparing {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total)
        for outcome in outcomes:
            bar.advance(task)
            yield outcome
