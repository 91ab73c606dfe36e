"""Laws of preparation, and what bad input gets."""

import dataclasses
import errno
import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import glottis.corpus.prepare as preparation
from glottis.audio.mel import MelConfig, log_mel
from glottis.config import build
from glottis.corpus import Prepared, load_audio, load_mel
from glottis.corpus.conditioning import ConditioningConfig
from glottis.corpus.prepare import PrepareConfig, prepare, split_of
from glottis.errors import InputError
from synthetic_corpus import TEXTS, speech, write_corpus

HALF = PrepareConfig(test_share=0.5)


def contents(folder: Path) -> dict[str, str]:
    """Relative path -> hash of every file; temporary files of a killed run do not count."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def cuts(folder: Path) -> list[Any]:
    prepared = Prepared([folder])
    return [*prepared.cuts("train"), *prepared.cuts("test")]


@pytest.fixture
def conditioned(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The recordings that were conditioned, in order (with one process)."""
    seen: list[Path] = []
    original = preparation._store

    def counting(out: Path, stem: str, source: Path, config: PrepareConfig) -> dict[str, Any]:
        seen.append(source)
        return original(out, stem, source, config)

    monkeypatch.setattr(preparation, "_store", counting)
    return seen


def test_what_is_stored_is_consistent(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "anna", 8, rate=24000, extension=".ogg")
    summary = prepare(corpus, tmp_path / "out", config=HALF, jobs=1)
    assert summary.counts["train"] + summary.counts["test"] == 8
    assert summary.counts["skipped"] == 0
    assert summary.speakers == ("anna",)
    loaded = cuts(tmp_path / "out")
    assert len(loaded) == 8
    for cut in loaded:
        audio, mel = load_audio(cut), load_mel(cut)
        assert audio.dtype == mel.dtype == np.float32
        assert len(audio) == mel.shape[1] * 256 == cut.num_frames * 256 == cut.num_samples
        np.testing.assert_allclose(mel, log_mel(audio), atol=1e-5)
        # Lhotse itself reads the same.
        np.testing.assert_array_equal(cut.load_features().T, mel)
        np.testing.assert_array_equal(cut.load_audio()[0], audio)
        (supervision,) = cut.supervisions
        assert supervision.speaker == "anna"
        assert supervision.language == "en-us"
        assert supervision.custom["raw"] in TEXTS
        assert any(sign in supervision.custom["phonemes"] for sign in "ˈˌ")
        assert supervision.custom["split"] == split_of(supervision.custom["raw"], 0.5)
    minutes = sum(cut.duration for cut in loaded) / 60
    assert sum(summary.minutes.values()) == pytest.approx(minutes)
    assert "8 recordings" in str(summary)


def test_the_order_is_that_of_the_corpus(tmp_path: Path) -> None:
    prepare(write_corpus(tmp_path / "c", 12), tmp_path / "out", jobs=2)
    ids = [cut.id for cut in Prepared([tmp_path / "out"]).cuts("train")]
    numbers = [int(name.removeprefix("c-u")) for name in ids]
    assert numbers == sorted(numbers)


def test_twice_is_once(tmp_path: Path, conditioned: list[Path]) -> None:
    corpus, out = write_corpus(tmp_path / "c", 6), tmp_path / "out"
    first = prepare(corpus, out, config=HALF, jobs=1)
    assert (len(conditioned), first.reused) == (6, 0)
    before = contents(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    second = prepare(corpus, out, config=HALF, jobs=1)
    assert (len(conditioned), second.reused) == (6, 6)
    assert contents(out) == before
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")} == times


def test_processes_do_not_change_the_result(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", 20)
    (corpus / "wavs" / "u3.wav").unlink()
    for jobs in (1, 2):
        prepare(corpus, tmp_path / f"out{jobs}", config=HALF, jobs=jobs)
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), OSError(errno.EIO, "I/O")])
def test_interrupted_and_resumed_is_unbroken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conditioned: list[Path], error: BaseException
) -> None:
    corpus = write_corpus(tmp_path / "c", 6)
    prepare(corpus, tmp_path / "whole", config=HALF, jobs=1)
    conditioned.clear()
    with monkeypatch.context() as patch:
        original = np.save

        def failing(*args: Any, **kwargs: Any) -> None:
            if len(conditioned) == 4:
                raise error
            original(*args, **kwargs)

        patch.setattr(np, "save", failing)
        with pytest.raises((type(error), InputError)):
            prepare(corpus, tmp_path / "out", config=HALF, jobs=1)
    assert not (tmp_path / "out" / "corpus.json").exists()
    with pytest.raises(InputError, match="glottis prepare"):
        Prepared([tmp_path / "out"])
    conditioned.clear()
    assert prepare(corpus, tmp_path / "out", config=HALF, jobs=1).reused == 3
    assert len(conditioned) == 3
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not list((tmp_path / "out").rglob(".*")), "an interrupted run leaves no temporary file"


def test_killed_and_resumed_is_unbroken(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", 40)
    out = tmp_path / "out"
    program = (
        "import sys; from pathlib import Path; from glottis.corpus.prepare import prepare\n"
        "prepare(Path(sys.argv[1]), Path(sys.argv[2]), jobs=2)"
    )
    command = [sys.executable, "-c", program, str(corpus), str(out)]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(list(out.rglob("mels/**/*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(parent.pid, signal.SIGKILL)
    # The pipe closes when the last of its processes has ended: none may stay behind.
    parent.communicate(timeout=60)
    assert parent.returncode == -signal.SIGKILL
    prepare(corpus, out, jobs=1)
    prepare(corpus, tmp_path / "whole", jobs=1)
    assert contents(out) == contents(tmp_path / "whole")


def test_files_that_vanished_are_made_again(tmp_path: Path, conditioned: list[Path]) -> None:
    corpus, out = write_corpus(tmp_path / "c", 4), tmp_path / "out"
    prepare(corpus, out, jobs=1)
    before = contents(out)
    next(iter(out.rglob("*.flac"))).unlink()
    next(iter(out.rglob("*.npy"))).unlink()
    list(out.rglob("mels/**/*.json"))[-1].write_text("{half")
    conditioned.clear()
    prepare(corpus, out, jobs=1)
    assert 1 <= len(conditioned) <= 3
    assert contents(out) == before


@pytest.mark.parametrize("ending", ["flac", "npy", "f0.npy", "json"])
@pytest.mark.parametrize(
    "damaged", [b"", b"garbage", b"{}", -40], ids=["empty", "garbage", "table", "cut"]
)
def test_damaged_files_are_made_again(
    tmp_path: Path, conditioned: list[Path], ending: str, damaged: bytes | int
) -> None:
    corpus, out = write_corpus(tmp_path / "c", 3), tmp_path / "out"
    prepare(corpus, out, jobs=1)
    before = contents(out)
    path = next(p for p in out.glob("*/*/*/*") if p.name.partition(".")[2] == ending)
    path.write_bytes(path.read_bytes()[:damaged] if isinstance(damaged, int) else damaged)
    conditioned.clear()
    assert prepare(corpus, out, jobs=1).reused == 2
    assert len(conditioned) == 1
    assert contents(out) == before


def test_changed_settings_redo_what_depends_on_them(
    tmp_path: Path, conditioned: list[Path]
) -> None:
    corpus, out = write_corpus(tmp_path / "c", 4), tmp_path / "out"
    prepare(corpus, out, config=HALF, jobs=1)
    audio = {name for name in contents(out) if name.startswith("audio")}
    conditioned.clear()
    # Text, limits and split do not touch the audio ...
    spelled = dataclasses.replace(HALF, phonemes="text", test_share=0.1, maximum_seconds=30.0)
    prepare(corpus, out, config=spelled, jobs=1)
    assert not conditioned
    assert {name for name in contents(out) if name.startswith("audio")} == audio
    assert "ˈ" not in cuts(out)[0].supervisions[0].custom["phonemes"]
    # ... audio settings redo it, and what they made before is removed.
    for change in (
        {"conditioning": ConditioningConfig(loudness=-30)},
        {"mel": MelConfig(sample_rate=16000, mel_high=7600)},
    ):
        conditioned.clear()
        prepare(corpus, out, config=dataclasses.replace(HALF, **change), jobs=1)
        assert len(conditioned) == 4
        assert len(list((out / "audio").iterdir())) == len(list((out / "mels").iterdir())) == 1
    assert Prepared([out]).mel.sample_rate == 16000


def test_a_changed_recording_is_done_again(tmp_path: Path, conditioned: list[Path]) -> None:
    corpus, out = write_corpus(tmp_path / "c", 4), tmp_path / "out"
    prepare(corpus, out, jobs=1)
    soundfile.write(corpus / "wavs" / "u2.wav", speech(2.0, seed=99), 22050)
    os.utime(corpus / "wavs" / "u1.wav")  # touched, not changed
    conditioned.clear()
    prepare(corpus, out, jobs=1)
    assert [path.name for path in conditioned] == ["u2.wav"]


@pytest.mark.parametrize("extension", [".wav", ".flac", ".ogg", ".mp3"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_formats_rates_and_channels(
    tmp_path: Path, extension: str, channels: int, rate: int
) -> None:
    corpus = tmp_path / "c"
    corpus.mkdir()
    samples = np.stack([speech(1.2, rate)] * channels, axis=1)
    soundfile.write(corpus / f"a{extension}", samples, rate)
    (corpus / "metadata.csv").write_text("a|Four hours of steady work.\n")
    prepare(corpus, tmp_path / "out", config=PrepareConfig(test_share=0), jobs=1)
    (cut,) = cuts(tmp_path / "out")
    assert cut.sampling_rate == 22050
    assert cut.duration == pytest.approx(1.2 + 0.14, abs=0.08)


def write_float(path: Path, samples: np.ndarray) -> None:
    soundfile.write(path, samples, 22050, subtype="FLOAT")


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])


SPOILERS = {
    "no file": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "not NaN": lambda path: write_float(path, np.full(30000, np.nan, np.float32)),
    "one NaN": lambda path: write_float(path, np.r_[speech(), np.float32("nan")]),
    "cut|truncated": truncate,
    "not a sound": lambda path: path.write_text("hello"),
    "samples": lambda path: write_float(path, np.zeros(0, np.float32)),
    "silent": lambda path: write_float(path, np.zeros(22050, np.float32)),
    "minimum_seconds": lambda path: write_float(path, speech(0.1, silence=(0, 0))),
    "maximum_seconds": lambda path: write_float(path, speech(21.0)),
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS.keys())
def test_a_bad_recording_is_listed_and_loses_no_other(tmp_path: Path, spoil: Any) -> None:
    corpus, out = write_corpus(tmp_path / "c", 4), tmp_path / "out"
    spoil(corpus / "wavs" / "u1.wav")
    for _ in range(2):  # the second time from what the first has noted
        summary = prepare(corpus, out, jobs=1)
        assert summary.counts["skipped"] == 1
        assert {cut.id for cut in cuts(out)} == {"c-u0", "c-u2", "c-u3"}
        (skipped,) = map(json.loads, (out / "skipped.jsonl").read_text().splitlines())
        assert skipped["id"] == "u1"
        assert skipped["where"] == "metadata.csv:2"
        assert "1 row skipped" in str(summary)
    # Mended, it is taken.
    soundfile.write(corpus / "wavs" / "u1.wav", speech(), 22050)
    assert prepare(corpus, out, jobs=1).counts["skipped"] == 0


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    said = {}
    for number, (name, spoil) in enumerate(SPOILERS.items()):
        corpus = write_corpus(tmp_path / str(number), 1)
        spoil(corpus / "wavs" / "u0.wav")
        with pytest.raises(InputError, match=r"no row of .* can be used") as error:
            prepare(corpus, tmp_path / "out", jobs=1)
        said[name] = str(error.value)
    assert "no file 'u0'" in said["no file"]
    assert "empty" in said["empty"]
    assert "NaN" in said["not NaN"]
    assert "NaN" in said["one NaN"]
    assert "truncated" in said["cut|truncated"]
    assert "not a sound file" in said["not a sound"]
    assert "no samples" in said["samples"]
    assert "silent" in said["silent"]
    assert "0.4" in said["minimum_seconds"]
    assert "cut it into sentences" in said["maximum_seconds"]
    assert all("metadata.csv:1: u0" in message for message in said.values())


def test_hours_in_one_file_are_not_read(tmp_path: Path, conditioned: list[Path]) -> None:
    corpus = write_corpus(tmp_path / "c", 2)
    soundfile.write(corpus / "wavs" / "u0.wav", np.zeros(8000 * 7200, np.int16), 8000)
    summary = prepare(corpus, tmp_path / "out", jobs=1)
    assert [path.name for path in conditioned] == ["u1.wav"]
    assert "7200.0 s" in summary.reasons[0]


@pytest.mark.parametrize("text", ["...", "—", "?!", "***"])
def test_a_transcript_without_words_is_skipped(tmp_path: Path, text: str) -> None:
    corpus = write_corpus(tmp_path / "c", 2, texts=("Rice is served.", text))
    summary = prepare(corpus, tmp_path / "out", jobs=1)
    assert summary.counts["skipped"] == 1
    assert "can be spoken" in summary.reasons[0]


def test_a_transcript_that_does_not_fit_its_recording_is_skipped(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", 2)
    table = corpus / "metadata.csv"
    table.write_text(table.read_text().replace("u1|", "u1|" + " ".join(TEXTS) + " "))
    summary = prepare(corpus, tmp_path / "out", config=PrepareConfig(test_share=0), jobs=1)
    assert {cut.id for cut in cuts(tmp_path / "out")} == {"c-u0"}
    assert re.search(r"metadata.csv:2: u1: has \d+ phonemes in \d+ frames", summary.reasons[0])
    (skipped,) = map(json.loads, (tmp_path / "out" / "skipped.jsonl").read_text().splitlines())
    assert skipped["kind"] == "too many phonemes"


def test_wrong_delimiter_names_line_and_remedy(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", 3)
    table = corpus / "metadata.csv"
    table.write_text(table.read_text().replace("|", "\t"))
    with pytest.raises(InputError, match=r"metadata\.csv:1.*replace the first by \|"):
        prepare(corpus, tmp_path / "out", jobs=1)
    assert not (tmp_path / "out" / "corpus.json").exists()


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_corpus(tmp_path / "c", 3)
    original = Path.write_bytes

    def full(path: Path, data: Any) -> int:
        if path.suffix == ".flac":
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"No space left.*free some space"):
        prepare(corpus, tmp_path / "out", jobs=1)
    monkeypatch.undo()
    assert prepare(corpus, tmp_path / "out", jobs=1).counts["skipped"] == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_fails_the_manifest_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, out = write_corpus(tmp_path / "c", 3), tmp_path / "out"
    prepare(corpus, out, jobs=1)
    before = contents(out)
    original = preparation._gzip_text
    monkeypatch.setattr(preparation, "_gzip_text", lambda path: original(Path("/dev/full")))
    with pytest.raises(InputError, match="No space left"):
        prepare(corpus, out, jobs=1)
    assert contents(out) == before, "what stood there stays"


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", 2)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .*file.*choose another place"):
        prepare(corpus, tmp_path / "file" / "out", jobs=1)
    with pytest.raises(InputError, match="is the corpus itself"):
        prepare(corpus, corpus, jobs=1)


def test_a_wrong_language_is_told_before_any_work(tmp_path: Path, conditioned: list[Path]) -> None:
    corpus = write_corpus(tmp_path / "c", 2)
    with pytest.raises(InputError, match="xx-nowhere"):
        prepare(corpus, tmp_path / "out", config=PrepareConfig(language="xx-nowhere"), jobs=1)
    assert not conditioned
    with pytest.raises(InputError, match="jobs must be at least 1"):
        prepare(corpus, tmp_path / "out", jobs=0)


def test_settings_are_strict() -> None:
    values = {"language": "de", "conditioning": {"highpass": None}, "mel": {"sample_rate": 16000}}
    config = build(PrepareConfig, values)
    assert config.conditioning.highpass is None
    assert config.mel.sample_rate == 16000
    for wrong in (
        {"langauge": "de"},
        {"test_share": 2.0},
        {"minimum_seconds": 5.0, "maximum_seconds": 4.0},
        {"layout": "vctk"},
        {"conditioning": {"high_pass": 50.0}},
    ):
        with pytest.raises(InputError):
            build(PrepareConfig, wrong)


def test_a_sentence_falls_on_one_side_however_it_is_written() -> None:
    for text in (*TEXTS, "Don't do it!", "Größe, 42 m²", "ﬁne"):
        for share in (0.04, 0.5):
            side = split_of(text, share)
            assert split_of(text.upper(), share) == side
            assert split_of(f"  {text}..!", share) == side
            assert split_of(text.replace(" ", "  "), share) == side
    assert {split_of(text, 0.0) for text in TEXTS} == {"train"}
    assert {split_of(text, 1.0) for text in TEXTS} == {"test"}


def test_the_share_of_the_test_split_is_as_asked() -> None:
    sides = [split_of(f"sentence number {number}", 0.04) for number in range(20000)]
    assert sides.count("test") / 20000 == pytest.approx(0.04, abs=0.005)
    # What is held out at a small share is held out at a larger one.
    assert all(
        split_of(f"sentence number {number}", 0.1) == "test"
        for number, side in enumerate(sides)
        if side == "test"
    )


def test_repeats_fall_on_one_side(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", 12, texts=TEXTS[:4])
    prepare(corpus, tmp_path / "out", config=HALF, jobs=1)
    sides: dict[str, set[str]] = {}
    for cut in cuts(tmp_path / "out"):
        custom = cut.supervisions[0].custom
        sides.setdefault(custom["raw"], set()).add(custom["split"])
    assert [len(found) for found in sides.values()] == [1] * 4


def test_several_speakers(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", 8)
    table = corpus / "metadata.csv"
    rows = [line.split("|") for line in table.read_text().splitlines()]
    table.write_text("".join(f"{r[0]}|s{i % 2}|{r[1]}\n" for i, r in enumerate(rows)))
    summary = prepare(corpus, tmp_path / "out", jobs=1)
    assert summary.speakers == ("s0", "s1")
    assert Prepared([tmp_path / "out"]).speakers == ["s0", "s1"]
    assert {cut.supervisions[0].speaker for cut in cuts(tmp_path / "out")} == {"s0", "s1"}


def test_lexicon_wins(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", 1, texts=("Zyzzx is here.",))
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("zyzzx\tbˈabə\n", encoding="utf-8")
    config = PrepareConfig(lexicon=str(lexicon), test_share=0)
    prepare(corpus, tmp_path / "out", config=config, jobs=1)
    assert cuts(tmp_path / "out")[0].supervisions[0].custom["phonemes"].startswith("bˈabə")


def test_progress_counts_every_row(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", 5)
    (corpus / "wavs" / "u2.wav").unlink()
    steps: list[tuple[int, int]] = []
    prepare(corpus, tmp_path / "out", jobs=1, progress=lambda *step: steps.append(step))
    assert steps == [(done, 5) for done in range(1, 6)]


def test_the_manifest_holds_no_absolute_paths(tmp_path: Path) -> None:
    prepare(write_corpus(tmp_path / "c", 2), tmp_path / "out", jobs=1)
    text = gzip.decompress((tmp_path / "out" / "cuts.jsonl.gz").read_bytes()).decode()
    assert str(tmp_path) not in text


def test_another_language_is_told_in_the_summary(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "anna", 16)
    summary = prepare(corpus, tmp_path / "out", config=PrepareConfig(language="nl"), jobs=1)
    assert summary.other_language == "en"
    assert "read as nl, and look like en" in str(summary)
    assert "warning" not in str(prepare(corpus, tmp_path / "out", jobs=1))
