"""The command line, in this process where possible: starting Python for each test is slow."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fake_voice
from glottis import __version__
from glottis.audio import files
from glottis.cli import main

VOICE = ["--voice", str(fake_voice.FAKE)]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("GLOTTIS_VOICES", raising=False)


def stdin(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def glottis(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "glottis.cli", *map(str, words)], capture_output=True, **options
    )


@pytest.mark.parametrize("suffix", files.CODECS)
def test_speak_writes_every_format(tmp_path, capsys, suffix):
    path = tmp_path / "deep" / f"out{suffix}"
    assert main(["speak", "Hello there. How are you?", "-o", str(path), *VOICE]) == 0
    samples, rate = files.read(path)
    said = capsys.readouterr().err
    assert f"{len(samples) / rate:.1f}" in said
    assert np.abs(samples).max() > 0.01
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_options_reach_the_voice(tmp_path):
    def spoken(*options):
        assert main(["speak", "Hello there.", "-o", "a.wav", *VOICE, *options]) == 0
        return files.read(tmp_path / "a.wav")[0]

    first = spoken("--seed", "1")
    np.testing.assert_array_equal(first, spoken("--seed", "1"))
    assert not np.array_equal(first, spoken("--seed", "2"))
    bert = spoken("--seed", "1", "--speaker", "bert")
    assert bert.shape != first.shape or not np.array_equal(first, bert)
    assert len(spoken("--rate", "0.5")) > 1.5 * len(first)


def test_without_an_output_speech_wav_is_written(tmp_path, capsys):
    assert main(["speak", "Hello.", *VOICE]) == 0
    assert files.read(tmp_path / "speech.wav")[0].size
    assert "speech.wav" in capsys.readouterr().err


def test_text_comes_from_argument_file_or_standard_input(tmp_path, monkeypatch):
    text = "Grüße, hello – “there”."
    (tmp_path / "text.txt").write_text("\ufeff" + text, encoding="utf-8")
    stdin(monkeypatch, text.encode())
    for name, source in (("a", text), ("b", "text.txt"), ("c", "-")):
        assert main(["speak", source, "-o", f"{name}.wav", "--seed", "1", *VOICE]) == 0
    a, b, c = (files.read(tmp_path / f"{name}.wav")[0] for name in "abc")
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a, c)


@pytest.mark.parametrize(
    "text",
    ["He and/or she.", "and/or", "24/7", "https://example.org/a", "See ./folder/x", "In\na.txt"],
)
def test_words_that_hold_a_slash_are_spoken(tmp_path, text):
    (tmp_path / "folder").mkdir()
    assert main(["speak", text, "-o", "a.wav", *VOICE]) == 0
    assert files.read(tmp_path / "a.wav")[0].size


def test_raw_pcm_is_what_the_file_holds(tmp_path, capsysbinary):
    words = ["speak", "Hello there. Again.", "--seed", "1", *VOICE]
    assert main([*words, "-o", "-"]) == 0
    captured = capsysbinary.readouterr()
    assert b"22050" in captured.err
    assert b"s16le" in captured.err
    assert main([*words, "-o", "a.wav"]) == 0
    pcm = np.frombuffer(captured.out, "<i2") / 32767
    np.testing.assert_allclose(pcm, files.read(tmp_path / "a.wav")[0], atol=1e-4)


def test_ssml_is_read_or_left_as_it_is(tmp_path):
    def seconds(text, *options):
        assert main(["speak", text, "-o", "a.wav", "--seed", "1", *VOICE, *options]) == 0
        samples, rate = files.read(tmp_path / "a.wav")
        return len(samples) / rate

    text = 'Hello <break time="3s"/> there.'
    assert seconds(f"<speak>{text}</speak>") > 3
    assert seconds(text, "--ssml") == pytest.approx(seconds(f"<speak>{text}</speak>"))
    (tmp_path / "a.ssml").write_text(f"<speak>{text}</speak>", encoding="utf-8")
    assert seconds("a.ssml") == pytest.approx(seconds(f"<speak>{text}</speak>"))
    assert main(["speak", f"<speak>{text}</speak>", "--plain", "-o", "b.wav", *VOICE]) == 0


def test_voices_are_listed(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "voices"
    folder.mkdir()
    fake_voice.copy(fake_voice.FAKE, folder)
    fake_voice.copy(fake_voice.FAKE_PIPER, folder)
    monkeypatch.setenv("GLOTTIS_VOICES", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["voices"]) == 0
    listing = capsys.readouterr().out
    for word in ("fake", "fake-piper", "en_US", "ada, bert", "0.0 MB", "CC0-1.0", "not stated"):
        assert word in listing
    assert main(["speak", "Hi.", "--voice", "fake"]) == 0


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"glottis {__version__}\n"


@pytest.mark.parametrize(
    "verb",
    ["speak", "voices", "serve", "prepare", "doctor", "align", "train", "export", "evaluate"],
)
def test_every_verb_has_help(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert "Usage: glottis" in capsys.readouterr().out


def refused(capsys, *words, says):
    assert main(list(words)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    for word in says:
        assert word in captured.err


SPEAK = ["speak", "Hello.", "-o", "out.wav", *VOICE]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["speak", "", *VOICE], ["nothing to say"]),
        (["speak", " \n ", *VOICE], ["nothing to say"]),
        (["speak", "...!?", *VOICE], ["can say nothing"]),
        (["speak", "\x07\x1b", *VOICE], ["can say nothing"]),
        (["speak", "Hi.", "--voice", "nope"], ["no voice 'nope'", "Installed"]),
        (["speak", "Hi.", "--voice", "no/pe.onnx"], ["no/pe.onnx"]),
        (["speak", "missing.txt", *VOICE], ["missing.txt"]),
        (["speak", "my notes.txt", *VOICE], ["there is no text file my notes.txt", "speak -"]),
        (["speak", "./nodir/x", *VOICE], ["there is no text file ./nodir/x"]),
        (["speak", "folder/x", *VOICE], ["there is no text file folder/x"]),
        (["speak", "latin.txt", *VOICE], ["latin.txt", "UTF-8", "byte 2 is 0xe9", "iconv"]),
        ([*SPEAK, "--speaker", "eve"], ["'eve'", "ada, bert"]),
        ([*SPEAK, "--rate", "5"], ["0.25", "4"]),
        ([*SPEAK, "--rate", "nan"], ["0.25", "4"]),
        ([*SPEAK, "--pause", "-1"], ["pause"]),
        ([*SPEAK, "--threads", "0"], ["threads"]),
        ([*SPEAK, "--lexicon", "none.txt"], ["none.txt"]),
        (["speak", "Hi.", "-o", "out.xyz", *VOICE], ["out.xyz", ".wav, .flac"]),
        (["speak", "Hi.", "-o", "out", *VOICE], ["suffix", ".wav, .flac"]),
        (["speak", "Hi.", "-o", "blocked/out.wav", *VOICE], ["blocked", "cannot write"]),
        (["speak", "<speak>Hi <break></speak>", *VOICE], ["SSML, line 1", "column"]),
        ([*SPEAK, "--rate", "fast"], ["--rate"]),
        ([*SPEAK, "--spaeker", "x"], ["--spaeker"]),
        (["speka", "Hi."], ["speka"]),
        (["prepare", "none", "--out", "x"], ["none"]),
        (["prepare", "none", "--out", "x", "lnaguage=de"], ["lnaguage", "language"]),
        (["prepare", "none", "--out", "x", "language"], ["key=value"]),
        (["train", "no-recipe", "--data", "x"], ["no-recipe", "Shipped recipes"]),
        (["export", "run", "-o", "x.onnx", "--weights", "int3"], ["int3", "float16"]),
        (["evaluate", "fake"], ["--texts", "--data"]),
    ],
)
def test_bad_input_gives_one_message_and_status_two(tmp_path, capsys, words, says):
    (tmp_path / "latin.txt").write_bytes(b"Caf\xe9"[1:] + b" au lait")
    (tmp_path / "blocked").write_text("a file where a folder should be")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    refused(capsys, *words, says=says)
    assert sorted(tmp_path.iterdir()) == before


def test_the_doctor_ends_with_one_when_a_corpus_is_unusable(tmp_path, capsys):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "metadata.csv").write_text("a|Hello there.\nb|Good bye.\n")
    words = ["doctor", "corpus", "--jobs", "1"]
    assert main([*words, "--json", "report.json"]) == 1
    assert "NOT usable" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["usable"] is False
    assert main([*words, "--json", "-"]) == 1
    assert json.loads(capsys.readouterr().out)["rows"] == 2
    # It takes the settings of prepare.
    refused(capsys, *words, "phonemz=text", says=["phonemz", "phonemes"])
    refused(capsys, *words, "phonemes=runes", says=["phonemes", "espeak"])


def test_damaged_voices_are_told_without_a_traceback(tmp_path, capsys):
    path = fake_voice.copy(fake_voice.FAKE, tmp_path, hop_length=100)
    refused(capsys, "speak", "Hi.", "--voice", str(path), says=["hop_length", "fake.onnx.json"])
    path.write_bytes(path.read_bytes()[:5000])
    refused(capsys, "speak", "Hi.", "--voice", str(path), says=["truncated", "fake.onnx"])


def test_an_old_file_survives_a_failure(tmp_path, capsys):
    (tmp_path / "out.wav").write_bytes(b"old")
    refused(capsys, "speak", "...", "-o", "out.wav", *VOICE, says=["can say nothing"])
    assert (tmp_path / "out.wav").read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_told(tmp_path, capsys):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    refused(capsys, "speak", "Hi.", "-o", "locked/a.wav", *VOICE, says=["locked/a.wav"])


def test_debug_shows_the_traceback(monkeypatch):
    from glottis.errors import InputError

    for words in (["--debug", "speak", "", *VOICE], ["speak", "", *VOICE, "--debug"]):
        with pytest.raises(InputError):
            main(words)


@pytest.mark.parametrize(
    ("module", "extra", "words"),
    [
        ("torch", "train", ["train", "vocos/small", "--data", "x"]),
        ("lhotse", "train", ["prepare", "corpus", "--out", "x"]),
        ("jiwer", "evaluate", ["evaluate", str(fake_voice.FAKE), "--texts", "t.txt"]),
    ],
)
def test_a_missing_extra_is_named(tmp_path, capsys, monkeypatch, module, extra, words):
    from glottis import cli

    def unavailable(*_, **__):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(cli, "app", unavailable)
    refused(capsys, *words, says=[module, f"pip install 'glottis[{extra}]'"])


def test_playing_goes_through_a_player(tmp_path, monkeypatch):
    player = tmp_path / "paplay"
    player.write_text('#!/bin/sh\necho "$@" > arguments\ncat > played\n')
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    words = ["speak", "Hello there. Again.", "--seed", "1", *VOICE]
    assert main([*words, "--play"]) == 0
    assert not (tmp_path / "speech.wav").exists()
    assert "--rate=22050" in (tmp_path / "arguments").read_text()
    assert main([*words, "-o", "a.wav"]) == 0
    played = np.frombuffer((tmp_path / "played").read_bytes(), "<i2") / 32767
    np.testing.assert_allclose(played, files.read(tmp_path / "a.wav")[0], atol=1e-4)


def test_a_failing_player_is_told_with_its_words(tmp_path, monkeypatch, capsys):
    player = tmp_path / "paplay"
    player.write_text("#!/bin/sh\necho 'no sound card' >&2\nexit 3\n")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    refused(capsys, "speak", "Hi.", "--play", *VOICE, says=["paplay", "no sound card", "-o"])


def test_no_player_is_told(monkeypatch, capsys, tmp_path):
    from glottis.audio import playback

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(playback.importlib.util, "find_spec", lambda name: None)
    refused(capsys, "speak", "Hi.", "--play", *VOICE, says=["no player", "ffplay", "-o"])


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    command = [sys.executable, "-m", "glottis.cli", "speak", "Some words. " * 500, *VOICE, "-o-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(1000)
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(30) == 141
    assert said.splitlines() == ["raw PCM: s16le, mono, 22050 Hz"]


def test_a_reader_that_has_gone_before_is_no_error_either():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "glottis.cli", "voices"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_what_ignores_a_hangup_still_does():
    from glottis.signals import tidy_when_ended

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with tidy_when_ended():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_and_leaves_nothing(tmp_path, number, status):
    text = "Some words, and more words than that. " * 20_000
    command = [sys.executable, "-m", "glottis.cli", "speak", "-", *VOICE, "-o", "a.wav"]

    # A shell's background jobs ignore a signal, and so would what they start.
    def heed():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed,
    )
    process.stdin.write(text)
    process.stdin.close()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".a-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    said = process.stderr.read()
    assert process.wait(30) == status
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_speaking_starts_fast_and_small(tmp_path):
    """Processor time of the whole process, which other work on the machine does not change."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = glottis("speak", "Printing differs from most of the arts.", *VOICE, "--threads", 1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 1.5
