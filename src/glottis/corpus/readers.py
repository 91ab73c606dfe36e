"""Corpus folders as rows: which recording says what, by whom.

A corpus is a folder with ``metadata.csv`` in the manner of LJSpeech: no header, fields between
bars, ``id|transcript``, ``id|transcript|normalised transcript`` or ``file|speaker|transcript``,
and recordings in ``wav/``, ``wavs/``, ``audio/`` or beside it. Bars are never quoted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from glottis.errors import InputError

Layout = Literal["auto", "ljspeech", "speakers"]
Kind = Literal[
    "bad row",
    "repeated id",
    "no transcript",
    "no audio",
    "bad audio",
    "unspeakable",
    "too short",
    "too long",
    "too many phonemes",
]

FOLDERS = ("wav", "wavs", "audio", "")
EXTENSIONS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".WAV", ".FLAC")
HEADER_WORDS = {"id", "file", "filename", "file_name", "audio", "audio_file", "path", "wav"}
_SAMPLE = 1000  # rows looked at to tell the two layouts of three columns apart


@dataclass(frozen=True)
class Row:
    """One recording and its transcript.

    Attributes:
        id: the first column without an extension; unique in the corpus.
        audio: the recording.
        raw: the transcript as written.
        text: what to read it by: the normalised transcript where the corpus has one, else ``raw``.
        speaker: who speaks.
        where: ``file:line``, for messages.
    """

    id: str
    audio: Path
    raw: str
    text: str
    speaker: str
    where: str


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be used.

    Attributes:
        id: its id, or what stands in its place.
        where: ``file:line``.
        kind: what is wrong, in a few words that are the same for all such rows.
        reason: what is wrong with this row, and the remedy.
    """

    id: str
    where: str
    kind: Kind
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.id}: {self.reason}"


def metadata_file(corpus: Path) -> Path:
    """Find the transcript file of a corpus folder (or take ``corpus`` itself if it is a file).

    Raises:
        InputError: nothing there, or no single candidate.
    """
    if corpus.is_file():
        return corpus
    if not corpus.is_dir():
        raise InputError(f"there is no corpus at {corpus}; give a folder that holds metadata.csv")
    for name in ("metadata.csv", "metadata.txt"):
        if (corpus / name).is_file():
            return corpus / name
    if (corpus / "corpus.json").is_file():
        raise InputError(
            f"{corpus} is a prepared corpus already; give the folder of the original recordings"
        )
    others = sorted(corpus.glob("*.csv"))
    if len(others) == 1:
        return others[0]
    found = f"; found {', '.join(path.name for path in others)}" if others else ""
    raise InputError(
        f"{corpus} holds no metadata.csv{found}; write one with a line `id|transcript` for each "
        "recording, and put the recordings into wavs/"
    )


def count_lines(metadata: Path) -> int:
    """Lines that are not blank: the number of rows, good or bad."""
    with open(metadata, "rb") as file:
        return sum(1 for line in file if line.strip(b" \t\r\n\xef\xbb\xbf"))


def read_rows(
    corpus: Path, *, layout: Layout = "auto", speaker: str | None = None
) -> Iterator[Row | Skipped]:
    """Read a corpus row by row, lazily, in the order of its file.

    Args:
        corpus: the folder, or its transcript file.
        layout: what three columns mean: ``"ljspeech"`` (id, transcript, normalised transcript),
            ``"speakers"`` (file, speaker, transcript), or decided by looking (``"auto"``).
        speaker: the name of the only speaker; the folder's name when left out.

    Yields:
        a :class:`Row`, or :class:`Skipped` for a line that cannot be used; bad lines never hide
        good ones.

    Raises:
        InputError: the corpus or its transcript file is missing, empty or unreadable.
    """
    metadata = metadata_file(corpus)
    folder = metadata.parent
    if layout == "auto":
        layout = detect_layout(metadata)
    name = speaker or folder.resolve().name or "speaker"
    finder = _Finder(folder)
    # Ids are the one thing kept for all rows; their hashes take a few bytes each.
    seen: dict[int, int] = {}
    empty = True
    for number, line in _lines(metadata):
        empty = False
        where = f"{metadata.name}:{number}"
        item = _row(line, where, layout, name, finder)
        if item is None and number == 1:
            continue
        assert item is not None
        if isinstance(item, Row):
            first = seen.setdefault(hash(item.id), number)
            if first != number:
                reason = f"the same id stands on line {first}; make ids unique"
                item = Skipped(item.id, where, "repeated id", reason)
        yield item
    if empty:
        raise InputError(
            f"{metadata} is empty; write a line `id|transcript` for each recording into it"
        )


def detect_layout(metadata: Path) -> Literal["ljspeech", "speakers"]:
    """Tell ``id|raw|normalised`` from ``file|speaker|text`` by the first thousand rows.

    They name speakers when every second field is a single word and either the third fields are
    longer or the second ones repeat.
    """
    rows = [line.split("|") for _, line in islice(_lines(metadata), _SAMPLE) if line]
    seconds = [row[1].strip() for row in rows if len(row) == 3]
    thirds = [row[2].strip() for row in rows if len(row) == 3]
    if not seconds or any(len(second.split()) != 1 for second in seconds):
        return "ljspeech"
    sentences = sum(len(third.split()) > 1 for third in thirds)
    repeated = len(set(seconds)) <= len(seconds) / 4
    return "speakers" if sentences > len(thirds) / 2 or repeated else "ljspeech"


def _lines(metadata: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank, decoded; an undecodable line is given as ``""``."""
    try:
        file = open(metadata, "rb")  # noqa: SIM115 (opened apart so that only this is guarded)
    except OSError as error:
        raise InputError(f"cannot read {metadata}: {error.strerror or error}") from error
    with file:
        for number, data in enumerate(file, start=1):
            if number == 1:
                if data.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise InputError(
                        f"{metadata} is UTF-16; save it as UTF-8 "
                        "(iconv -f UTF-16 -t UTF-8 old.csv > metadata.csv)"
                    )
                data = data.removeprefix(b"\xef\xbb\xbf")
            if not data.strip():
                continue
            try:
                yield number, data.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                yield number, ""


def _row(line: str, where: str, layout: Layout, name: str, finder: _Finder) -> Row | Skipped | None:
    """One line as a row; None for a header line."""
    if not line:
        reason = "is not UTF-8; convert the file (iconv -f LATIN1 -t UTF-8), or retype the line"
        return Skipped("?", where, "bad row", reason)
    fields = [field.strip() for field in line.split("|")]
    key = fields[0]
    if where.endswith(":1") and key.lower() in HEADER_WORDS and finder.find(key) is None:
        return None
    if len(fields) not in (2, 3):
        return Skipped(key[:40], where, "bad row", _column_problem(line, len(fields)))
    speaker, raw, text = name, fields[1], fields[-1] or fields[1]
    if len(fields) == 3 and layout == "speakers":
        speaker, raw, text = fields[1], fields[2], fields[2]
        if not speaker:
            return Skipped(key, where, "bad row", "has no speaker; write file|speaker|text")
    if not key:
        return Skipped("?", where, "bad row", "has no id before the first bar; write id|transcript")
    if not text:
        return Skipped(key, where, "no transcript", "write one or remove the row")
    audio = finder.find(key)
    if audio is None:
        return Skipped(key, where, "no audio", finder.explain(key))
    return Row(finder.stem(key), audio, raw or text, text, speaker, where)


def _column_problem(line: str, columns: int) -> str:
    if columns > 3:
        return (
            f"has {columns} columns; expected 2 or 3: a bar inside a transcript must be removed, "
            "further columns too"
        )
    for sign, name in (("\t", "tabs"), (";", "semicolons"), (",", "commas")):
        if sign in line:
            return f"has no bar; columns seem to be separated by {name}: replace the first by |"
    return "has one column; write id|transcript"


class _Finder:
    """Finds recordings by id; tries first what worked last, so that a row costs one look."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folders = [name for name in FOLDERS if not name or (folder / name).is_dir()]
        self.last = (self.folders[0], "")

    def find(self, key: str) -> Path | None:
        folder, extension = self.last
        path = self.folder / folder / f"{key}{extension}"
        if path.is_file():
            return path
        for folder in self.folders:
            for extension in ("", *EXTENSIONS):
                path = self.folder / folder / f"{key}{extension}"
                if path.is_file():
                    self.last = (folder, extension)
                    return path
        return None

    def stem(self, key: str) -> str:
        """The id without its extension, if it has a known one."""
        for extension in EXTENSIONS:
            if key.endswith(extension) and len(key) > len(extension):
                return key[: -len(extension)]
        return key

    def explain(self, key: str) -> str:
        looked = ", ".join(f"{name}/" if name else "the corpus folder" for name in self.folders)
        extensions = " ".join(dict.fromkeys(extension.lower() for extension in EXTENSIONS))
        return (
            f"no file {key!r}, with or without {extensions}, in {looked}; add it or remove the row"
        )
