"""``glottis serve`` as it is started and ended."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

import fake_voice
from glottis.cli import main
from glottis.errors import InputError
from glottis.serve.voices import Voices

VOICE = ["--voice", str(fake_voice.FAKE)]


def load(*wanted):
    return Voices.load(wanted, threads=1, lexicon=None)


@contextlib.contextmanager
def started(*words, **environment):
    command = [sys.executable, "-m", "glottis.cli", "serve", "--port", "0", *VOICE, *words]
    # A shell's background jobs ignore Ctrl-C, and so would what they start.
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process, re.search(r"http://\S+", process.stderr.readline())[0]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_without_a_word(number, status):
    with started() as (process, address):
        with urllib.request.urlopen(f"{address}/health", timeout=10) as answer:
            assert json.load(answer)["voices"] == 1
        process.send_signal(number)
        assert process.wait(10) == status
        assert process.stderr.read() == ""


def test_the_key_comes_from_the_environment():
    with started("queue=5", "--jobs", "2", GLOTTIS_API_KEY="secret") as (_, address):
        request = urllib.request.Request(
            f"{address}/v1/models", headers={"Authorization": "Bearer secret"}
        )
        assert urllib.request.urlopen(request, timeout=10).status == 200
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{address}/v1/models", timeout=10)
        with urllib.request.urlopen(f"{address}/health", timeout=10) as answer:
            assert json.load(answer)["limit"] == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--voice", "nobody"], "there is no voice 'nobody'"),
        ([*VOICE, *VOICE], "two voices have the name fake"),
        (["--host", "no.such.host.invalid"], "--host"),
        (["--port", "70000"], "port"),
        (["--jobs", "0"], "jobs"),
        (["ques=3"], "Did you mean 'queue'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(capsys, words, said):
    assert main(["serve", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_port_that_is_taken_is_told(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), *VOICE]) == 2
    error = capsys.readouterr().err
    assert str(port) in error
    assert "--port" in error
    assert error.count("\n") == 1


def test_a_missing_extra_is_told(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("glottis.serve.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", *VOICE]) == 2
    assert "pip install 'glottis[serve]'" in capsys.readouterr().err


def test_voices_are_named_and_found(tmp_path, monkeypatch):
    two = load(str(fake_voice.FAKE), f"alloy={fake_voice.FAKE}", "small=english-light")
    assert len(two) == 3
    assert two.find(None).voice is two.find("fake").voice
    assert two.find("alloy/bert").speaker == "bert"
    assert two.find("alloy/1").speaker == 1
    assert two.find("small").speaker is None
    odd = fake_voice.copy(fake_voice.FAKE, tmp_path, "a=b")
    assert load(str(odd)).find("a=b")


def test_without_a_name_all_that_are_installed_are_served(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("GLOTTIS_VOICES", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    fake_voice.copy(fake_voice.FAKE, tmp_path, "mine")
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    found = load()
    assert {each["voice"] for each in found.listing()} == {"mine", "english", "english-light"}
    assert "broken.onnx" in caplog.text
    monkeypatch.setattr("glottis.serve.voices.installed", list)
    with pytest.raises(InputError, match="--voice"):
        load()
