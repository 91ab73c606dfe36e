"""Reading prepared corpora.

A prepared folder holds ``corpus.json`` (settings and counts), ``cuts.jsonl.gz`` (one Lhotse
MonoCut a line, paths relative to the folder, so that it can be moved), conditioned FLAC under
``audio/``, log-mels and pitch under ``mels/``.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from glottis.audio.mel import MelConfig
from glottis.config import build
from glottis.errors import InputError
from glottis.text.symbols import DEFAULT, Symbols, with_characters

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import MonoCut

Array = NDArray[np.float32]
Split = Literal["train", "test"]

FORMAT = 2
SETTINGS, MANIFEST = "corpus.json", "cuts.jsonl.gz"
FACTS = {
    "language": str,
    "speakers": list,
    "counts": dict,
    "minutes": dict,
    "mel": dict,
    "settings": dict,
}
"""What ``corpus.json`` says."""
MEL = ".npy"
"""How the names of files of log-mels end."""
PITCH = ".f0.npy"
"""How the name of a recording's pitch ends, beside its log-mels."""


class Prepared:
    """One or several prepared folders, read as one.

    Attributes:
        dirs: the folders.
        mel: how the features of all of them were made.
        speakers, languages: sorted names.
        speaker_languages: what each speaker speaks; of several languages the first folder's.
        phonemes: what the transcripts became, ``"espeak"``'s phonemes or plain ``"text"``.
        counts: cuts in each split.
        minutes: minutes of speech in each split.

    Raises:
        InputError: no folder given, one is not a prepared corpus, or two were made with different
            mel settings or phonemes.
    """

    def __init__(self, dirs: Sequence[Path]) -> None:
        self.dirs = [Path(folder) for folder in dirs]
        if not self.dirs:
            raise InputError("no prepared corpus was given; name at least one folder")
        all_settings = [read_settings(folder) for folder in self.dirs]
        mels = [
            build(MelConfig, settings["mel"], f"{folder / SETTINGS}: mel")
            for folder, settings in zip(self.dirs, all_settings, strict=True)
        ]
        for folder, mel in zip(self.dirs, mels, strict=True):
            if mel != mels[0]:
                raise InputError(
                    f"{self.dirs[0]} and {folder} were prepared with different mel settings: "
                    f"{mels[0]} and {mel}; prepare one of them again with the other's settings"
                )
        self.mel = mels[0]
        kinds = [item["settings"].get("phonemes", "espeak") for item in all_settings]
        for folder, kind in zip(self.dirs, kinds, strict=True):
            if kind != kinds[0]:
                raise InputError(
                    f"{self.dirs[0]} was prepared with phonemes={kinds[0]}, {folder} with "
                    f"phonemes={kind}; prepare one of them again with the other's setting"
                )
        self.phonemes: str = kinds[0]
        self.speakers = sorted({name for item in all_settings for name in item["speakers"]})
        self.languages = sorted({item["language"] for item in all_settings})
        self.speaker_languages: dict[str, str] = {}
        for item in all_settings:
            for name in item["speakers"]:
                self.speaker_languages.setdefault(name, item["language"])
        splits: tuple[Split, ...] = ("train", "test")
        self.counts = {s: sum(int(item["counts"][s]) for item in all_settings) for s in splits}
        self.minutes = {s: sum(float(item["minutes"][s]) for item in all_settings) for s in splits}

    @cached_property
    def symbols(self) -> Symbols:
        """Phonemes to ids: Piper's default map, for plain text with the characters that it lacks.

        Raises:
            InputError: the transcripts have too many different characters.
        """
        if self.phonemes == "espeak":
            return DEFAULT
        characters: set[str] = set()
        for folder in self.dirs:
            for item in read_manifest(folder):
                characters.update(item["supervisions"][0]["custom"]["phonemes"])
        return with_characters(characters)

    def cuts(self, split: Split) -> CutSet:
        """The cuts of one split, read from disk each time they are iterated over.

        The order is that of the folders and, inside one, of its corpus. ``len`` is known without
        reading. Paths are absolute or relative to the working directory, as ``dirs`` were.
        """
        from lhotse import CutSet

        if split not in self.counts:
            raise InputError(f"there is no split {split!r}; choices: train, test")
        return CutSet(_Manifests(self.dirs, split, self.counts[split]))


class _Manifests:
    """Iterates over the cuts of manifests, one line in memory at a time."""

    def __init__(self, dirs: Sequence[Path], split: Split, count: int) -> None:
        self.dirs, self.split, self.count = list(dirs), split, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[MonoCut]:
        from lhotse.serialization import deserialize_item

        for folder in self.dirs:
            for item in read_manifest(folder):
                if item["supervisions"][0]["custom"]["split"] != self.split:
                    continue
                features, source = item["features"], item["recording"]["sources"][0]
                features["storage_path"] = str(folder / features["storage_path"])
                source["source"] = str(folder / source["source"])
                yield deserialize_item(item)


def read_settings(folder: Path) -> dict[str, Any]:
    """The contents of a prepared folder's ``corpus.json``.

    Raises:
        InputError: the folder is not a prepared corpus, its settings are damaged, or it was made by
            another version.
    """
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder} is not a prepared corpus (it has no {SETTINGS}); make one with "
            f"`glottis prepare CORPUS --out {folder}`"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; run `glottis prepare` again") from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise InputError(
            f"{path} was written by another version of glottis; run `glottis prepare` again"
        )
    lost = [name for name, kind in FACTS.items() if not isinstance(settings.get(name), kind)]
    lost += [
        f"{name}.{split}"
        for name in ("counts", "minutes")
        for split in ("train", "test")
        if name not in lost and not isinstance(settings[name].get(split), int | float)
    ]
    if lost:
        raise InputError(f"{path} does not say {', '.join(lost)}; run `glottis prepare` again")
    return settings


def read_manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """The cuts of a prepared folder as plain dictionaries, with paths relative to the folder."""
    path = folder / MANIFEST
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"cannot read {path}: {error}; run `glottis prepare` again to write it anew"
        ) from error


def load_mel(cut: MonoCut, start: int = 0, frames: int | None = None) -> Array:
    """Log-mels of a cut, whole or a window: -> float32 ``[mels, frames]``.

    Only the window is read from disk.

    Args:
        cut: from :meth:`Prepared.cuts`; a truncated cut counts from its own beginning.
        start: the first frame.
        frames: how many; up to the end when left out.

    Raises:
        InputError: the window leaves the cut, or the file is gone.
    """
    return np.ascontiguousarray(_load_features(cut, MEL, start, frames).T)


def load_pitch(cut: MonoCut, start: int = 0, frames: int | None = None) -> Array:
    """Fundamental frequency under a window of mel frames, in Hz, 0 where unvoiced: float32
    ``[frames]``.

    Arguments and errors as :func:`load_mel`; made by :func:`glottis.audio.pitch.f0`.
    """
    return np.array(_load_features(cut, PITCH, start, frames))


def fits(phonemes: int, frames: int) -> bool:
    """Whether so many phonemes can be aligned with so many frames, of which each needs one.

    The beginning and the end have one too, and a model that takes frames in pairs leaves the odd
    one out.
    """
    return phonemes + 2 < frames


def feature_file(folder: str | Path, key: str, ending: str) -> Path:
    """Where a cut's features lie whose manifest names the ``folder`` and the log-mels' ``key``."""
    return Path(folder, key.removesuffix(MEL) + ending)


def _load_features(cut: MonoCut, ending: str, start: int, frames: int | None) -> Array:
    first, count = _window(cut, start, frames)
    features = cut.features
    assert features is not None
    path = feature_file(features.storage_path, features.storage_key, ending)
    stored = load_array(path)
    if len(stored) < first + count:
        raise InputError(
            f"{path} has {len(stored)} frames, and {cut.id} more; run `glottis prepare` again"
        )
    return stored[first : first + count]


def load_array(path: Path) -> Array:
    """A file of features, read from disk where it is looked at.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        stored: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; run `glottis prepare` again") from error
    return stored


def load_audio(cut: MonoCut, start: int = 0, frames: int | None = None) -> Array:
    """The samples under a window of mel frames: -> float32 ``[frames * hop]``.

    Arguments and errors as :func:`load_mel`; frame ``t`` covers samples ``[t * hop, (t+1) * hop)``.
    """
    import soundfile

    first, count = _window(cut, start, frames)
    features, recording = cut.features, cut.recording
    assert features is not None
    assert recording is not None
    hop = round(features.frame_shift * features.sampling_rate)
    path = recording.sources[0].source
    try:
        with soundfile.SoundFile(path) as file:
            file.seek(first * hop)
            samples: Array = file.read(count * hop, dtype="float32")
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(f"cannot read {path}: {error}; run `glottis prepare` again") from error
    return samples


def _window(cut: MonoCut, start: int, frames: int | None) -> tuple[int, int]:
    """The window as (first frame in the file, number of frames)."""
    if cut.features is None:
        raise InputError(f"the cut {cut.id} has no features; take cuts from a prepared corpus")
    shift = cut.features.frame_shift
    first, available = round(cut.start / shift), round(cut.duration / shift)
    count = available - start if frames is None else frames
    if start < 0 or count < 0 or start + count > available:
        raise InputError(
            f"frames {start} to {start + count} do not lie within the {available} frames of "
            f"{cut.id}"
        )
    return first + start, count
