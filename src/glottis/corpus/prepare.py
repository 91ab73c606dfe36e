"""From a corpus folder to a prepared one, in parallel and resumable.

Every recording is conditioned and its log-mels and pitch are computed once: the results lie under a
name made of a hash of the recording's bytes and a hash of the audio settings, and a small JSON file
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
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from glottis import __version__
from glottis.audio.files import read
from glottis.audio.mel import MelConfig, log_mel
from glottis.audio.pitch import f0
from glottis.config import as_dict
from glottis.corpus.conditioning import ConditioningConfig, condition
from glottis.corpus.prepared import FORMAT, MANIFEST, PITCH, SETTINGS, fits, load_array
from glottis.corpus.processes import choose_jobs, ordered_map
from glottis.corpus.readers import Layout, Row, Skipped, count_lines, metadata_file, read_rows
from glottis.errors import InputError
from glottis.files import replacing
from glottis.text.guess import common_words, other_language

SKIPPED = "skipped.jsonl"
# Raise this when conditioning or features change for the same settings: it is part of their hash.
AUDIO_VERSION = 2


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
    in both splits, ``reused`` how many recordings had been conditioned before, and ``reasons`` a
    line for each kind of skipped rows, the commonest first. ``other_language`` is what transcripts
    look like when that is clearly not the ``language`` that they were read as.
    """

    out: Path
    speakers: tuple[str, ...]
    counts: dict[str, int]
    minutes: dict[str, float]
    reused: int
    reasons: tuple[str, ...]
    language: str
    other_language: str | None = None

    def __str__(self) -> str:
        total = self.counts["train"] + self.counts["test"]
        lines = [
            f"{self.out}: {total} recordings, {sum(self.minutes.values()):.1f} minutes, "
            f"{len(self.speakers)} speaker{'s' * (len(self.speakers) != 1)} "
            f"({self.counts['test']} recordings, {self.minutes['test']:.1f} minutes held out; "
            f"{self.reused} were done before)"
        ]
        if skipped := self.counts["skipped"]:
            lines.append(f"{skipped} row{'s' * (skipped != 1)} skipped, see {self.out / SKIPPED}:")
            lines += [f"  {reason}" for reason in self.reasons]
        if self.other_language:
            lines.append(
                f"warning: the transcripts were read as {self.language}, and look like "
                f"{self.other_language}; if so, prepare them again with --language "
                f"{self.other_language}"
            )
        return "\n".join(lines)


def prepare(
    corpus: Path,
    out: Path,
    *,
    config: PrepareConfig | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Prepare one corpus folder: conditioned audio, log-mels, phonemes and a Lhotse manifest.

    Args:
        corpus: a folder as :mod:`glottis.corpus.readers` describes, or its transcript file.
        out: the prepared folder; made when missing, continued when there.
        config: the defaults when left out.
        jobs: processes; as many as cores when left out. The result does not depend on it.
        progress: called as ``progress(done, total)`` after each row.

    Rows that cannot be used are listed in ``skipped.jsonl`` and do not stop the others. Audio and
    features that other settings made in ``out`` are removed at the end.

    Raises:
        InputError: the corpus cannot be read, nothing of it can be used, or ``out`` cannot be
            written (what was done so far stays and is used by the next run).
    """
    config = config or PrepareConfig()
    corpus, out = Path(corpus), Path(out)
    metadata = metadata_file(corpus)
    if out.resolve() == metadata.parent.resolve():
        raise InputError(f"--out {out} is the corpus itself; choose another folder")
    front_end(config.language, config.lexicon, config.phonemes)  # a wrong language fails here
    total = count_lines(metadata)
    rows = read_rows(corpus, layout=config.layout, speaker=config.speaker)
    task = _Task(out, config, audio_digest(config))
    outcomes = ordered_map(partial(_process, task), rows, choose_jobs(jobs, total))
    totals = _Totals(config.mel.sample_rate, config.language)
    with (
        contextlib.closing(outcomes),
        replacing(out / SKIPPED) as skipped_path,
        replacing(out / MANIFEST) as manifest_path,
        open(skipped_path, "w", encoding="utf-8") as skipped_file,
        _gzip_text(manifest_path) as manifest,
    ):
        for done, outcome in enumerate(outcomes, start=1):
            outcome = _of_good_length(outcome, config)
            if isinstance(outcome, Skipped):
                totals.skip(outcome)
                skipped_file.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
            else:
                totals.add(outcome)
                cut = _cut(outcome, config)
                manifest.write(json.dumps(cut, ensure_ascii=False) + "\n")
            if progress is not None:
                progress(done, total)
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
    digest = hashlib.sha256(normalised_words(text).encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < test_share * 2**64 else "train"


def normalised_words(text: str) -> str:
    """A transcript's words by which repeats are recognised: lower case, letters and digits only."""
    letters = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", letters.replace("_", " ")))


def _process(task: _Task, row: Row | Skipped) -> Done | Skipped:
    """What a process does with a row: audio, features and phonemes."""
    if isinstance(row, Skipped):
        return row
    config = task.config
    try:
        with open(row.audio, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:20]
    except OSError as error:
        reason = f"{row.audio.name}: {error.strerror}; copy it again"
        return Skipped(row.id, row.where, "bad audio", reason)
    stem = f"{task.digest}/{digest[:2]}/{digest}"
    facts = _stored_facts(task.out, stem, config.mel)
    reused = facts is not None
    if facts is None:
        seconds = _announced_seconds(row.audio)
        if seconds > config.maximum_seconds + 60:
            # No silent ends explain this: do not even read what may be hours.
            return _too_long(row, seconds, config)
        facts = _store(task.out, stem, row.audio, config)
    if "reason" in facts:
        return Skipped(row.id, row.where, "bad audio", f"{row.audio.name}: {facts['reason']}")
    utterance = analyse(config, row)
    if isinstance(utterance, Skipped):
        return utterance
    return Done(
        row,
        stem,
        facts["samples"],
        utterance.spoken,
        "".join(utterance.phonemes),
        split_of(row.text, config.test_share),
        reused,
    )


def _announced_seconds(path: Path) -> float:
    """Duration by a file's header; 0 when it cannot be read, which reading it will explain."""
    import soundfile

    try:
        return float(soundfile.info(path).duration)
    except (OSError, soundfile.SoundFileError):
        return 0.0


def analyse(config: PrepareConfig, row: Row) -> Any:
    """A row's transcript as one ``glottis.text.Utterance``, or as :class:`Skipped`."""
    try:
        utterance = front_end(config.language, config.lexicon, config.phonemes).analyse(row.text)
    except InputError as error:
        return Skipped(row.id, row.where, "unspeakable", str(error))
    if any(symbol.isalpha() for symbol in utterance.phonemes):
        return utterance
    reason = f"nothing in its transcript {row.text!r} can be spoken; rewrite it in words"
    return Skipped(row.id, row.where, "unspeakable", reason)


@lru_cache(maxsize=4)
def front_end(language: str, lexicon: str | None, phonemes: Literal["espeak", "text"]) -> Any:
    """The front end of this process for these settings."""
    from glottis.text import FrontEnd

    return FrontEnd(language, Path(lexicon) if lexicon else None, phonemes)


def _paths(out: Path, stem: str) -> tuple[Path, Path, Path, Path]:
    """Audio, log-mels, pitch, and the facts that declare all three complete."""
    mels = out / "mels"
    audio = out / "audio" / f"{stem}.flac"
    return audio, mels / f"{stem}.npy", mels / f"{stem}{PITCH}", mels / f"{stem}.json"


def _stored_facts(out: Path, stem: str, mel: MelConfig) -> dict[str, Any] | None:
    """What an earlier run noted about a recording, if its files are all there and whole."""
    *files, facts_path = _paths(out, stem)
    try:
        facts: dict[str, Any] = json.loads(facts_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(facts, dict):
        return None
    if "reason" in facts or _are_whole(files, facts.get("samples", 0), mel):
        return facts
    return None


def _are_whole(files: Sequence[Path], samples: int, mel: MelConfig) -> bool:
    """Whether audio, log-mels and pitch have the lengths of a recording of so many samples."""
    import soundfile

    audio, mels, pitch = files
    frames = samples // mel.hop
    try:
        shapes = [load_array(path).shape for path in (mels, pitch)]
        with soundfile.SoundFile(audio) as file:
            # What was cut short still has its header: its last sample is looked for.
            file.seek(samples - 1)
            heard = file.frames == samples and len(file.read(1)) == 1
    except (InputError, OSError, soundfile.SoundFileError):
        return False
    return heard and shapes == [(frames, mel.mels), (frames,)]


def _store(out: Path, stem: str, source: Path, config: PrepareConfig) -> dict[str, Any]:
    """Condition one recording, write audio, features and facts, and return the facts.

    Raises:
        InputError: a file cannot be written. What is wrong with the recording itself becomes a
            fact (``reason``), for it holds until the recording changes.
    """
    import soundfile

    audio_path, mels_path, pitch_path, facts_path = _paths(out, stem)
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
        stored = pcm.astype(np.float32) / np.float32(32768)
        features = log_mel(stored, mel)
        pitch, _ = f0(stored, mel.sample_rate, mel.hop)
        # libsndfile does not notice a disk that fills up while it closes a file; Python does.
        encoded = io.BytesIO()
        soundfile.write(encoded, pcm, mel.sample_rate, format="FLAC", subtype="PCM_16")
        with replacing(audio_path) as path:
            path.write_bytes(encoded.getbuffer())
        with replacing(mels_path) as path:
            np.save(path, np.ascontiguousarray(features.T), allow_pickle=False)
        with replacing(pitch_path) as path:
            np.save(path, pitch, allow_pickle=False)
        facts = {
            "samples": len(pcm),
            "start": round(conditioned.start, 4),
            "end": round(conditioned.end, 4),
            "gain": round(conditioned.gain, 3),
        }
    with replacing(facts_path) as path:
        path.write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
    return facts


def _of_good_length(outcome: Done | Skipped, config: PrepareConfig) -> Done | Skipped:
    """The outcome itself, or why its length excludes it, as such or for what it says."""
    if isinstance(outcome, Skipped):
        return outcome
    row, seconds = outcome.row, outcome.samples / config.mel.sample_rate
    if seconds < config.minimum_seconds:
        reason = f"has {seconds:.2f} s of speech; minimum_seconds is {config.minimum_seconds}"
        return Skipped(row.id, row.where, "too short", reason)
    if seconds > config.maximum_seconds:
        return _too_long(row, seconds, config)
    frames = outcome.samples // config.mel.hop
    return too_many_phonemes(row, len(outcome.phonemes), frames) or outcome


def too_many_phonemes(row: Row, phonemes: int, frames: int) -> Skipped | None:
    """Why a row is of no use that has so many phonemes in so many frames; none when it is."""
    if fits(phonemes, frames):
        return None
    reason = (
        f"has {phonemes} phonemes in {frames} frames, which nobody can say: correct its "
        "transcript, or leave the recording out"
    )
    return Skipped(row.id, row.where, "too many phonemes", reason)


def _too_long(row: Row, seconds: float, config: PrepareConfig) -> Skipped:
    reason = (
        f"has {seconds:.1f} s of speech; maximum_seconds is {config.maximum_seconds}: "
        "cut it into sentences"
    )
    return Skipped(row.id, row.where, "too long", reason)


def _cut(done: Done, config: PrepareConfig) -> dict[str, Any]:
    """The row as a Lhotse cut, as a plain dictionary with paths relative to the folder."""
    from lhotse import AudioSource, Features, MonoCut, Recording, SupervisionSegment

    row, rate, hop = done.row, config.mel.sample_rate, config.mel.hop
    seconds = done.samples / rate
    # Ids of different corpora meet in training, and they become file names in reports.
    identity = re.sub(r"[/\\\s]+", "-", f"{row.speaker}-{row.id}")
    recording = Recording(
        id=identity,
        sources=[AudioSource(type="file", channels=[0], source=f"audio/{done.stem}.flac")],
        sampling_rate=rate,
        num_samples=done.samples,
        duration=seconds,
        channel_ids=[0],
    )
    features = Features(
        type="log-mel",
        num_frames=done.samples // hop,
        num_features=config.mel.mels,
        frame_shift=hop / rate,
        sampling_rate=rate,
        start=0.0,
        duration=seconds,
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
        duration=seconds,
        text=done.spoken,
        language=config.language,
        speaker=row.speaker,
        custom={"raw": row.raw, "phonemes": done.phonemes, "split": done.split},
    )
    cut = MonoCut(
        id=identity,
        start=0.0,
        duration=seconds,
        channel=0,
        supervisions=[supervision],
        features=features,
        recording=recording,
    )
    return cut.to_dict()


class _Totals:
    """Counts that grow while outcomes pass."""

    def __init__(self, rate: int, language: str) -> None:
        self.rate, self.language = rate, language
        self.words = np.zeros_like(common_words(""))
        self.speakers: set[str] = set()
        self.counts = {"train": 0, "test": 0, "skipped": 0}
        self.samples = {"train": 0, "test": 0}
        self.reused = 0
        self.kinds: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    @property
    def usable(self) -> int:
        return self.counts["train"] + self.counts["test"]

    def add(self, done: Done) -> None:
        self.speakers.add(done.row.speaker)
        self.counts[done.split] += 1
        self.samples[done.split] += done.samples
        self.reused += done.reused
        self.words += common_words(done.row.text)

    def skip(self, skipped: Skipped) -> None:
        self.counts["skipped"] += 1
        self.kinds[skipped.kind] += 1
        self.examples.setdefault(skipped.kind, str(skipped))

    def reasons(self) -> tuple[str, ...]:
        return tuple(
            f"{count} x {kind}, first {self.examples[kind]}"
            for kind, count in self.kinds.most_common()
        )

    def nothing_left(self, metadata: Path) -> str:
        head = f"no row of {metadata} can be used; {self.counts['skipped']} skipped:"
        return "\n".join([head, *(f"  {reason}" for reason in self.reasons())])

    def summary(self, out: Path) -> Summary:
        return Summary(
            out=out,
            speakers=tuple(sorted(self.speakers)),
            counts=dict(self.counts),
            minutes={name: count / self.rate / 60 for name, count in self.samples.items()},
            reused=self.reused,
            reasons=self.reasons(),
            language=self.language,
            other_language=other_language(self.words.tolist(), self.language),
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
