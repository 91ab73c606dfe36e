"""Corpus folders of every layout, and what is said about rows that cannot be used."""

from itertools import product
from pathlib import Path

import pytest

from glottis.corpus.readers import Row, Skipped, count_lines, detect_layout, read_rows
from glottis.errors import InputError


def make(corpus: Path, metadata: bytes | str, audio: list[str]) -> Path:
    corpus.mkdir(exist_ok=True)
    data = metadata.encode() if isinstance(metadata, str) else metadata
    (corpus / "metadata.csv").write_bytes(data)
    for name in audio:
        (corpus / name).parent.mkdir(exist_ok=True, parents=True)
        (corpus / name).write_bytes(b"sound")  # readers look for files, they do not open them
    return corpus


@pytest.mark.parametrize(
    ("folder", "suffix", "named", "mark", "end"),
    [
        *product(("wav", "wavs", "audio", "."), (".wav", ".mp3"), (True, False), (b"",), ("\n",)),
        *product(("wavs",), (".flac", ".ogg", ".opus"), (True, False), (b"",), ("\n",)),
        *product(("wav",), (".wav",), (True,), (b"", b"\xef\xbb\xbf"), ("\n", "\r\n", "\n\n")),
    ],
)
def test_every_layout_gives_the_same_rows(
    tmp_path: Path, folder: str, suffix: str, named: bool, mark: bytes, end: str
) -> None:
    key = suffix if named else ""
    text = f"a1{key}|Grüß Gott.{end}a2{key}|Two words{end}"
    files = [f"{folder}/a1{suffix}", f"{folder}/a2{suffix}"]
    corpus = make(tmp_path / "anna", mark + text.encode(), files)
    rows = list(read_rows(corpus))
    assert [row.id for row in rows] == ["a1", "a2"]
    assert all(isinstance(row, Row) for row in rows)
    assert [row.text for row in rows] == ["Grüß Gott.", "Two words"]  # type: ignore[union-attr]
    assert {row.speaker for row in rows} == {"anna"}  # type: ignore[union-attr]
    assert rows[0].audio.resolve() == (corpus / files[0]).resolve()  # type: ignore[union-attr]
    assert count_lines(corpus / "metadata.csv") == 2


def test_the_normalised_column_is_what_is_read(tmp_path: Path) -> None:
    table = "a|In 1440|In fourteen forty\nb|Left as it is|\n"
    rows = list(read_rows(make(tmp_path / "c", table, ["wavs/a.wav", "wavs/b.wav"])))
    assert [(row.raw, row.text) for row in rows] == [  # type: ignore[union-attr]
        ("In 1440", "In fourteen forty"),
        ("Left as it is", "Left as it is"),
    ]


def test_speakers_are_told_from_transcripts(tmp_path: Path) -> None:
    table = "p1/a.wav|p1|Hello there you.\np2/b.wav|p2|Good morning to all.\n"
    corpus = make(tmp_path / "c", table, ["wav/p1/a.wav", "wav/p2/b.wav"])
    rows = list(read_rows(corpus))
    assert [(row.id, row.speaker, row.raw) for row in rows] == [  # type: ignore[union-attr]
        ("p1/a", "p1", "Hello there you."),
        ("p2/b", "p2", "Good morning to all."),
    ]
    assert [row.speaker for row in read_rows(corpus, layout="ljspeech", speaker="x")] == ["x"] * 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("table", "layout"),
    [
        ("a|Dr. Who|Doctor Who\nb|Yes|Yes\n", "ljspeech"),
        ("a|One|one\nb|Two|two\nc|Three|three\n", "ljspeech"),
        ("a|x|one\nb|y|two\n" + "".join(f"c{i}|x|three\n" for i in range(8)), "speakers"),
        ("a|Hello there\n", "ljspeech"),
        ("a|jim|Hello there\n", "speakers"),
    ],
)
def test_layout_of_three_columns(tmp_path: Path, table: str, layout: str) -> None:
    assert detect_layout(make(tmp_path / "c", table, []) / "metadata.csv") == layout


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        ("bad\tsome text", "bad row", "tabs: replace"),
        ("bad;some text", "bad row", "semicolons: replace"),
        ("bad,some text", "bad row", "commas: replace"),
        ("bad", "bad row", "write id|transcript"),
        ("bad|a|b|c", "bad row", "4 columns"),
        ("|text", "bad row", "no id"),
        ("ok|", "no transcript", "write one or remove the row"),
        ("ok|  |", "no transcript", "write one"),
        ("nothere|Text", "no audio", "no file 'nothere'"),
        ("first|Text", "repeated id", "line 1"),
        (b"ok|caf\xe9", "bad row", "not UTF-8"),
    ],
)
def test_a_bad_row_is_named_and_loses_no_other(
    tmp_path: Path, line: str | bytes, kind: str, says: str
) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    table = b"first|Before it.\n" + raw + b"\nlast|After it.\n"
    corpus = make(tmp_path / "c", table, ["first.wav", "ok.wav", "last.wav"])
    first, bad, last = read_rows(corpus)
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(bad, Skipped)
    assert (bad.kind, bad.where) == (kind, "metadata.csv:2")
    assert says in bad.reason


def test_a_header_line_is_no_row(tmp_path: Path) -> None:
    table = "file|speaker|text\na|jim|Hello there\nb|joe|Hello again\n"
    rows = list(read_rows(make(tmp_path / "c", table, ["a.wav", "b.wav"])))
    assert [row.id for row in rows] == ["a", "b"]
    # A recording may be called like a header's word; then it is a row.
    rows = list(read_rows(make(tmp_path / "d", "file|Hello there\n", ["file.wav"])))
    assert [row.id for row in rows] == ["file"]


def test_rows_are_read_lazily(tmp_path: Path) -> None:
    lines = "a|One two\n" + "missing|Three four\n" * 1000
    rows = read_rows(make(tmp_path / "c", lines, ["a.wav"]))
    next(rows)
    (tmp_path / "c" / "a.wav").unlink()
    assert isinstance(next(rows), Skipped)
    rows.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda c: None, "no corpus at"),
        (lambda c: c.mkdir(), "no metadata.csv"),
        (lambda c: make(c, "", []), "metadata.csv is empty"),
        (lambda c: make(c, b"\xef\xbb\xbf\r\n\n", []), "metadata.csv is empty"),
        (lambda c: make(c, "a|Text".encode("utf-16"), []), "UTF-16"),
        (
            lambda c: [make(c, "", []), (c / "metadata.csv").rename(c / "x.json")],
            "no metadata.csv",
        ),
    ],
)
def test_no_corpus(tmp_path: Path, prepare: object, says: str) -> None:
    prepare(tmp_path / "c")  # type: ignore[operator]
    with pytest.raises(InputError, match=says):
        list(read_rows(tmp_path / "c"))


def test_other_names_of_the_table(tmp_path: Path) -> None:
    corpus = make(tmp_path / "c", "a|Text here\n", ["a.wav"])
    (corpus / "metadata.csv").rename(corpus / "transcripts.csv")
    assert [row.id for row in read_rows(corpus)] == ["a"]
    assert [row.id for row in read_rows(corpus / "transcripts.csv")] == ["a"]
    (corpus / "other.csv").write_text("")
    with pytest.raises(InputError, match=r"found other\.csv, transcripts\.csv"):
        list(read_rows(corpus))
    (corpus / "corpus.json").write_text("{}")
    with pytest.raises(InputError, match="prepared corpus already"):
        list(read_rows(corpus))
