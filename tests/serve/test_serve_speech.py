"""What is spoken over the wire is what the voice speaks."""

import base64
import http.client
import io
import json
import threading

import numpy as np
import pytest
import soundfile
from served import serving

import fake_voice
from glottis.audio.files import resample
from glottis.errors import InputError
from glottis.voice import Voice

TEXT = "Hello there. It costs $3.50, they say!\n\nA new paragraph; does it end?"
LONG = "This is a sentence of some words, and of some more. " * 300
MARKS = "/v1/audio/speech/marks"


def voice_of(served, name):
    return served.voices.find(name).voice


def pcm(data):
    return np.frombuffer(data, "<i2") / 32767


def decoded(data):
    return soundfile.read(io.BytesIO(data), dtype="float32")


def events(data, sse=False):
    lines = data.decode().split("\n\n" if sse else "\n")
    assert lines.pop() == ""
    prefix = "data: " if sse else ""
    assert all(line.startswith(prefix) for line in lines)
    return [json.loads(line.removeprefix(prefix)) for line in lines]


def audio_of(found):
    return b"".join(base64.b64decode(each["audio"]) for each in found if "audio" in each)


@pytest.mark.parametrize("name", ["fake", "light", "fake/bert", "light/lj"])
@pytest.mark.parametrize("stream", [True, False])
def test_the_same_seed_gives_what_the_voice_speaks(served, name, stream):
    voice, speaker = served.voices.find(name)
    whole = voice.speak(TEXT, seed=5, speaker=speaker).samples
    fields = {"voice": name, "seed": 5, "response_format": "pcm", "sample_rate": 22050}
    samples = pcm(served.speak(TEXT, stream=stream, **fields))
    assert len(samples) == len(whole)
    # A lead, which fake has and light does not, is the same but for rounding.
    step = 1 if stream and name.startswith("fake") else 0.5
    assert np.abs(samples - whole).max() <= (step + 1e-3) / 32767
    other = pcm(served.speak(TEXT, **{**fields, "voice": "fake", "seed": 6}))
    assert len(other) != len(whole) or np.abs(other - whole).max() > 0.01


def test_a_seed_that_was_drawn_is_told_and_gives_the_same_again(served):
    fields = {"input": "Hello there.", "response_format": "wav"}
    _, headers, first = served.ask("POST", "/v1/audio/speech", fields)
    _, others, second = served.ask("POST", "/v1/audio/speech", fields)
    assert headers["x-seed"] != others["x-seed"]
    assert first != second
    assert (
        served.speak(
            **{"text": "Hello there.", "response_format": "wav"}, seed=int(headers["x-seed"])
        )
        == first
    )


# How much louder than its error a format is, in dB, and how much it begins late, in samples.
FORMATS = {"wav": (60, 0), "flac": (60, 0), "pcm": (60, 0), "opus": (10, 0), "mp3": (15, 0)}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_decodes_to_the_same_samples_up_to_its_loss(served, name, stream):
    whole = voice_of(served, "light").speak(TEXT, seed=1).samples
    fields = {"input": TEXT, "voice": "light", "seed": 1, "response_format": name, "stream": stream}
    status, headers, data = served.ask("POST", "/v1/audio/speech", fields)
    assert status == 200
    assert ("content-length" in headers) == (not stream or name == "flac")
    if name == "pcm":
        samples, rate = pcm(data), 24000
    else:
        samples, rate = decoded(data)
    assert headers["x-sample-rate"] == str(rate)
    assert rate == (24000 if name in ("pcm", "opus") else 22050)
    expected = resample(whole, 22050, rate)
    decibels, late = FORMATS[name]
    if name == "mp3" and stream:
        # Without a table of contents, decoders keep the silence that the coder begins with.
        late = int(np.argmax(np.correlate(samples, expected[20000:30000], "valid"))) - 20000
        assert 0 < late < 0.1 * rate
    else:
        assert len(samples) == pytest.approx(len(expected), abs=1)
    samples = samples[late:][: len(expected)]
    assert len(samples) >= len(expected) - 1
    error = samples - expected[: len(samples)]
    assert 10 * np.log10((expected**2).sum() / (error**2).sum()) > decibels


def test_the_header_of_a_wav_tells_its_size_when_that_is_known(served):
    fields = {"seed": 1, "response_format": "wav", "voice": "light"}
    streamed, whole = (served.speak(TEXT, stream=stream, **fields) for stream in (True, False))
    assert streamed[44:] == whole[44:]
    assert streamed[4:8] == streamed[40:44] == b"\xff" * 4
    assert int.from_bytes(whole[4:8], "little") == len(whole) - 8
    assert int.from_bytes(whole[40:44], "little") == len(whole) - 44


@pytest.mark.parametrize("rate", [8000, 44100])
def test_any_rate_can_be_asked_for(served, rate):
    whole = voice_of(served, "light").speak(TEXT, seed=1).samples
    data = served.speak(TEXT, voice="light", seed=1, response_format="wav", sample_rate=rate)
    samples, found = decoded(data)
    assert found == rate
    expected = resample(whole, 22050, rate)
    assert len(samples) == pytest.approx(len(expected), abs=1)
    n = min(len(samples), len(expected))
    assert np.abs(samples[:n] - expected[:n]).max() < 1e-3


def test_fields_are_arguments_of_the_voice(served):
    voice = voice_of(served, "light")
    text = 'Hello <break time="1s"/> there. Again.'
    given = {"pitch": 1.2, "timbre": 0.9, "pause": 0.5, "noise_scale": 0.4, "ssml": True}
    whole = voice.speak(text, seed=2, rate=1.5, **given).samples
    fields = {"speed": 1.5, "voice": {"id": "light"}, "sample_rate": 22050, "model": "tts-1"}
    fields |= {"instructions": "Whisper.", "response_format": "pcm", "language": "en"}
    samples = pcm(served.speak(text, seed=2, **given, **fields))
    np.testing.assert_allclose(samples, whole, atol=2e-5)


def test_events_hold_the_same_audio(served):
    fields = {"voice": "fake", "seed": 3, "response_format": "wav"}
    plain = served.speak(TEXT, **fields)
    _, headers, data = served.ask(
        "POST", "/v1/audio/speech", {"input": TEXT, "stream_format": "sse", **fields}
    )
    assert headers["content-type"].startswith("text/event-stream")
    found = events(data, sse=True)
    assert audio_of(found) == plain
    assert {each["type"] for each in found[:-1]} == {"speech.audio.delta"}
    assert found[-1]["type"] == "speech.audio.done"
    assert set(found[-1]["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}


@pytest.mark.parametrize("framing", ["ndjson", "sse"])
@pytest.mark.parametrize("name", ["fake", "light", "fake-piper"])
def test_marks_are_those_of_the_voice(served, name, framing):
    speech = voice_of(served, name).speak(TEXT, seed=3)
    data = served.speak(TEXT, MARKS, voice=name, seed=3, sample_rate=22050, stream_format=framing)
    found = events(data, sse=framing == "sse")
    assert found[0] == {"type": "start", "format": "pcm", "sample_rate": 22050, "seed": 3}
    assert found[-1]["type"] == "end"
    assert found[-1]["duration"] == pytest.approx(speech.duration, abs=1e-3)
    marks = sorted(
        (each for each in found if each["type"] == "mark"), key=lambda m: (m["start"], -m["end"])
    )
    assert [(m["kind"], m["text"]) for m in marks] == [(m.kind, m.text) for m in speech.marks]
    for ours, theirs in zip(marks, speech.marks, strict=True):
        assert ours["start"] == pytest.approx(theirs.start, abs=1e-3)
        assert ours["end"] == pytest.approx(theirs.end, abs=1e-3)
    if name != "fake-piper":  # whose noise is its own
        np.testing.assert_allclose(pcm(audio_of(found)), speech.samples, atol=4e-5)


def test_many_at_once_get_what_each_gets_alone(served):
    jobs = [
        (f"This is sentence number {i}. And another.", name, i)
        for i, name in enumerate(["fake/ada", "light/lj", "fake/bert", "light/kathleen"] * 3)
    ]

    def spoken(job):
        text, name, seed = job
        return served.speak(text, voice=name, seed=seed, response_format="wav")

    alone = [spoken(job) for job in jobs]
    together = [b""] * len(jobs)

    def run(i):
        together[i] = spoken(jobs[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def hold(served):
    """A client that has asked for much and reads nothing."""
    connection = served.connect(listens=False)
    body = json.dumps({"input": LONG, "response_format": "pcm"})
    connection.request("POST", "/v1/audio/speech", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200
    return connection, answer


def test_a_full_queue_is_told_and_one_who_leaves_makes_room(voices):
    with serving(voices, jobs=1, queue=1) as served:
        held = [hold(served) for _ in range(2)]
        status, headers, data = served.ask("POST", "/v1/audio/speech", {"input": "Hello."})
        assert status == 503
        assert headers["retry-after"]
        assert json.loads(data)["error"]["code"] == "queue_full"
        assert json.loads(data)["error"]["type"] == "server_error"
        connection, answer = held.pop()
        connection.close()
        answer.close()
        served.wait_for_requests(1)
        # One thread, and somebody who does not listen: no reason to keep others waiting.
        assert served.speak("Hello.")
        connection, answer = held.pop()
        connection.close()
        answer.close()
        served.wait_for_requests(0)


def test_who_takes_nothing_is_given_up(voices):
    with serving(voices, jobs=1, patience=0.2) as served:
        connection, answer = hold(served)
        served.wait_for_requests(0)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
        connection.close()


def test_a_server_that_ends_does_not_wait_for_those_who_listen(voices):
    with serving(voices, jobs=1) as served:
        connection, answer = hold(served)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    connection.close()


@pytest.fixture
def own(tmp_path, voices):
    """A server of one voice, and what its graph is made to do at each sentence."""
    voice = Voice.load(fake_voice.copy(fake_voice.FAKE, tmp_path, "own"))
    original, made = voice._infer, []

    def infer(feeds):
        made.append(feeds)
        before(len(made))
        return original(feeds)

    def before(sentence):
        pass

    def does(function):
        nonlocal before
        before = function

    voice._infer = infer
    with serving(type(voices)({"own": voice}), jobs=1, queue=0) as served:
        yield served, does, made


def fails_from(number, folder):
    def fail(sentence):
        if sentence >= number:
            raise InputError(f"{folder / 'own.onnx'}: the graph failed")

    return fail


@pytest.fixture
def gate():
    """Something that a voice does at sentence ``number``: wait until it may go on."""

    class Gate:
        number = 1
        reached, opened = threading.Event(), threading.Event()

        def __call__(self, sentence):
            if sentence == self.number:
                self.reached.set()
                assert self.opened.wait(20)

    return Gate()


def test_the_first_sound_is_there_before_the_text_is_made(own, gate):
    served, does, made = own
    gate.number = 3
    does(gate)
    connection, answer = served.send(
        "POST", "/v1/audio/speech", {"input": TEXT, "response_format": "wav", "lead": 0, "seed": 1}
    )
    assert answer.status == 200
    first = answer.read(60_000)
    assert len(first) == 60_000
    assert len(made) <= 3
    assert served.requests() == 1
    gate.opened.set()
    rest = answer.read()
    connection.close()
    assert first + rest == served.speak(TEXT, response_format="wav", lead=0, seed=1)


@pytest.mark.parametrize("number", [1, 4])
def test_who_goes_makes_room_and_nothing_more_is_made(own, gate, number):
    served, does, made = own
    gate.number = number
    does(gate)
    connection = served.connect()
    body = json.dumps({"input": LONG, "lead": 0})
    connection.request("POST", "/v1/audio/speech", body, {"Content-Type": "application/json"})
    assert gate.reached.wait(10)
    assert served.requests() == 1
    connection.close()
    served.wait_for_requests(0)
    gate.opened.set()
    assert served.speak("Hello.", lead=0)
    assert len(made) == number + 1


def test_a_voice_that_fails_at_once_is_the_servers_fault(own, tmp_path):
    served, does, _ = own
    does(fails_from(1, tmp_path))
    status, error = served.refused({"input": TEXT})
    assert status == 500
    assert error["type"] == "server_error"
    assert "own" in error["message"]
    assert str(tmp_path) not in error["message"]


def test_what_fails_half_way_does_not_look_complete(own, tmp_path):
    served, does, _ = own
    does(fails_from(2, tmp_path))
    connection, answer = served.send(
        "POST", "/v1/audio/speech", {"input": TEXT, "response_format": "pcm", "lead": 0}
    )
    assert answer.status == 200
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    connection.close()
    served.wait_for_requests(0)


def test_what_fails_half_way_is_told_in_the_last_event(own, tmp_path):
    served, does, _ = own
    does(fails_from(2, tmp_path))
    found = events(served.speak(TEXT, MARKS, lead=0))
    assert found[0]["type"] == "start"
    assert found[-1]["type"] == "error"
    assert found[-1]["error"]["type"] == "server_error"
