"""Everything beside speech: listings, errors, keys, conversion, the page."""

import io
import json
import re
import shutil
import subprocess
import uuid
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from served import serving

from glottis import __version__
from glottis.errors import InputError
from glottis.serve import ServeConfig

SPEECH = "/v1/audio/speech"


def got(served, path, **headers):
    status, _, data = served.ask("GET", path, **headers)
    assert status == 200
    return json.loads(data)


def test_health(served):
    found = got(served, "/health")
    assert found["status"] == "ok"
    assert found["version"] == __version__
    assert (found["voices"], found["jobs"], found["requests"]) == (4, 2, 0)


def test_models(served):
    (model,) = got(served, "/v1/models")["data"]
    assert model["object"] == "model"
    assert got(served, f"/v1/models/{model['id']}") == model
    status, _, data = served.ask("GET", "/v1/models/other")
    assert (status, json.loads(data)["error"]["param"]) == (404, "model")


def test_every_voice_that_is_listed_can_be_asked_for(served):
    listed = got(served, "/v1/audio/voices")["voices"]
    assert [each["id"] for each in listed] == [
        *("fake/ada", "fake/bert", "fake-piper", "light/kathleen", "light/lj"),
        *("pair/ada", "pair/bert"),
    ]
    for each in listed:
        voice, speaker = served.voices.find(each["id"])
        assert (each["speaker"], each["sample_rate"]) == (speaker, voice.sample_rate)
        assert each["language"] in each["languages"]
        assert each["converts"] == (each["voice"] == "pair")
        assert each["parametric"] == (each["voice"] == "light")


WRONG = [
    ("input", {"input": ""}, 400),
    ("input", {"input": " \n"}, 400),
    ("input", {"input": "..."}, 400),
    ("input", {"input": 3}, 400),
    ("input", {"input": None}, 400),
    ("input", {"input": "a" * 20_001}, 413),
    ("input", {"input": "<speak>a"}, 400),
    ("input", {"input": "a", "voice": "fake", "extra": "b" * 400_000}, 413),
    ("voice", {"voice": "alloy"}, 400),
    ("voice", {"voice": "fake/eve"}, 400),
    ("voice", {"voice": "fake/7"}, 400),
    ("voice", {"voice": "fake/"}, 400),
    ("voice", {"voice": "fake-piper/a"}, 400),
    ("voice", {"voice": 1}, 400),
    ("voice", {"voice": {"name": "fake"}}, 400),
    ("model", {"model": "whisper-1"}, 404),
    ("speed", {"speed": 5}, 400),
    ("speed", {"speed": "fast"}, 400),
    ("speed", {"speed": True}, 400),
    ("language", {"language": "de"}, 400),
    ("language", {"language": 3}, 400),
    ("noise_scale", {"noise_scale": -1}, 400),
    ("noise_w", {"noise_w": 11}, 400),
    ("pitch", {"pitch": 1.5}, 400),
    ("pitch", {"pitch": 9, "voice": "light"}, 400),
    ("timbre", {"timbre": 9, "voice": "light"}, 400),
    ("pause", {"pause": -1}, 400),
    ("paragraph_pause", {"paragraph_pause": 61}, 400),
    ("lead", {"lead": -1}, 400),
    ("seed", {"seed": 1.5}, 400),
    ("seed", {"seed": "1"}, 400),
    ("ssml", {"ssml": "yes"}, 400),
    ("stream", {"stream": 1}, 400),
    ("stream", {"stream": False, "stream_format": "sse"}, 400),
    ("stream_format", {"stream_format": "ndjson"}, 400),
    ("response_format", {"response_format": "aac"}, 400),
    ("response_format", {"response_format": "ogg"}, 400),
    ("response_format", {"response_format": "flac", "stream_format": "sse"}, 400),
    ("sample_rate", {"sample_rate": 96000}, 400),
    ("sample_rate", {"sample_rate": 1e400}, 400),
    ("sped", {"sped": 1}, 400),
]


@pytest.mark.parametrize(("field", "fields", "status"), WRONG, ids=str)
def test_errors_name_the_field(served, field, fields, status):
    found, error = served.refused({"input": "Hello.", **fields})
    assert (found, error["param"]) == (status, field)
    assert error["type"] == "invalid_request_error"
    assert (
        field in error["message"]
        or status in (404, 413)
        or field in ("input", "voice", "language", "pitch")
    )


def test_errors_list_the_choices(served):
    for fields, word in (
        ({"voice": "alloy"}, "fake-piper"),
        ({"voice": "fake/eve"}, "ada, bert"),
        ({"language": "xx"}, "en-us"),
        ({"response_format": "aac"}, "opus"),
        ({"sped": 1}, "'speed'"),
        ({"speed": 9}, "0.25"),
    ):
        assert word in served.refused({"input": "Hello.", **fields})[1]["message"]


def test_errors_repeat_only_what_can_be_sent(served):
    for name in ("\ud800", "a" * 100_000):
        for fields in ({name: 1}, {"voice": name}, {"model": name}, {"language": name}):
            _, error = served.refused({"input": "Hello.", **fields})
            assert len(error["message"]) <= 2000
    assert served.speak("Hello \ud800 there.")


@pytest.mark.parametrize(
    "body", ["", "{", "[1]", "\xff", '"a"', "[" * 100_000, '{"input": ' + "9" * 10_000 + "}"]
)
def test_a_body_that_is_no_object_is_refused(served, body):
    data = body.encode("latin-1")
    status, error = served.refused(data, Content_Type="application/json")
    assert status == 400
    assert len(error["message"]) < 300


def test_paths_methods_and_types_that_are_not_there(served):
    status, error = served.refused({"input": "Hello."}, "/v1/audio/nothing")
    assert (status, error["code"]) == (404, "not_found")
    status, _, data = served.ask("GET", SPEECH)
    assert (status, json.loads(data)["error"]["code"]) == (405, "method_not_allowed")
    status, error = served.refused('{"input": "Hello."}', Content_Type="text/plain")
    assert status == 415
    assert "application/json" in error["message"]


def test_a_key_is_asked_for(voices):
    with serving(voices, key="secret") as served:
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic secret"}):
            status, error = served.refused({"input": "Hello."}, **headers)
            assert (status, error["code"]) == (401, "invalid_api_key")
        status, _, data = served.ask(
            "POST", SPEECH, {"input": "Hello."}, Authorization="Bearer secret"
        )
        assert status == 200
        assert data
        assert served.ask("GET", "/")[0] == served.ask("GET", "/health")[0] == 200
        assert served.ask("GET", "/v1/audio/voices")[0] == 401


def test_pages_of_other_sites_are_let_in_by_name(served, voices):
    asked = {"Origin": "https://a.example", "Access_Control_Request_Method": "POST"}
    asked["Access_Control_Request_Headers"] = "authorization,content-type"
    assert "access-control-allow-origin" not in served.ask("OPTIONS", SPEECH, **asked)[1]
    with serving(voices, key="secret", origins=("https://a.example",)) as open_one:
        status, headers, _ = open_one.ask("OPTIONS", SPEECH, **asked)
        assert (status, headers["access-control-allow-origin"]) == (200, "https://a.example")
        asked["Origin"] = "https://b.example"
        assert "access-control-allow-origin" not in open_one.ask("OPTIONS", SPEECH, **asked)[1]


def test_phonemes_are_those_that_are_said(served):
    status, _, data = served.ask(
        "POST", "/v1/audio/phonemes", {"input": "Hello there. It costs $3.50!", "voice": "fake"}
    )
    assert status == 200
    found = json.loads(data)
    analysed = served.voices.find("fake").voice.analyse("Hello there. It costs $3.50!")
    assert [each["text"] for each in found["sentences"]] == ["Hello there.", "It costs $3.50!"]
    for ours, theirs in zip(found["sentences"], analysed, strict=True):
        assert ours["phonemes"] == "".join(theirs.phonemes)
        assert [word["text"] for word in ours["words"]] == [word.text for word in theirs.words]
    assert found["phonemes"].startswith("həlˈoʊ ðˈɛɹ.")
    assert "three dollars" in found["sentences"][1]["spoken"]
    for field, fields in (("input", {}), ("language", {"input": "a", "language": "de"})):
        status, error = served.refused(fields, "/v1/audio/phonemes")
        assert (status, error["param"]) == (400, field)


def recording(seconds, rate=16000, channels=2, form="WAV"):
    time = np.arange(int(seconds * rate)) / rate
    sound = 0.3 * np.sin(2 * np.pi * 150 * time) * np.sin(2 * np.pi * time)
    file = io.BytesIO()
    soundfile.write(file, np.stack([sound] * channels, 1), rate, format=form)
    return file.getvalue()


def convert(served, file=None, **fields):
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if file is not None:
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        parts.append(head.encode() + file + b"\r\n")
    body = b"".join(parts) + f"--{mark}--\r\n".encode()
    kind = f"multipart/form-data; boundary={mark}"
    return served.ask("POST", "/v1/audio/conversions", body, Content_Type=kind)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG"])
def test_a_recording_is_converted_as_by_the_voice(served, form):
    given = recording(1.0, form=form)
    status, headers, data = convert(
        served, given, voice="pair/bert", source="ada", seed="3", noise_scale="0.5"
    )
    assert status == 200
    assert headers["content-type"] == "audio/wav"
    assert headers["x-seed"] == "3"
    voice = served.voices.find("pair").voice
    samples, rate = soundfile.read(io.BytesIO(given), dtype="float32")
    whole = voice.convert(
        samples.mean(axis=1), source="ada", target="bert", rate=rate, seed=3, noise_scale=0.5
    )
    made, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == whole.sample_rate
    np.testing.assert_allclose(made, whole.samples, atol=5e-5)
    other = convert(served, given, voice="pair/bert", source="0", seed="4", response_format="mp3")
    assert other[0] == 200
    assert other[1]["content-type"] == "audio/mpeg"


def test_what_cannot_be_converted_is_told(served):
    good, fine = recording(1.0), {"voice": "pair/bert", "source": "ada"}
    for field, status, file, fields in (
        ("file", 400, None, fine),
        ("file", 400, b"no sound", fine),
        ("file", 400, b"", fine),
        ("file", 400, recording(0.01), fine),
        ("file", 413, recording(3.1), fine),
        ("voice", 400, good, {**fine, "voice": "fake/bert"}),
        ("voice", 400, good, {**fine, "voice": "pair/eve"}),
        ("source", 400, good, {"voice": "pair/bert"}),
        ("source", 400, good, {**fine, "source": "eve"}),
        ("seed", 400, good, {**fine, "seed": "x"}),
        ("noise_scale", 400, good, {**fine, "noise_scale": "11"}),
        ("noise_scale", 400, good, {**fine, "noise_scale": "nan"}),
        ("rate", 400, good, {**fine, "rate": "1"}),
    ):
        found, _, data = convert(served, file, **fields)
        error = json.loads(data)["error"]
        assert (found, error["param"]) == (status, field), error
    assert served.refused({"voice": "pair"}, "/v1/audio/conversions")[0] == 400
    status, error = served.refused(
        b"--a", "/v1/audio/conversions", Content_Type="multipart/form-data; boundary=b"
    )
    assert status == 400
    status, error = served.refused(
        b"--a", "/v1/audio/conversions", Content_Type="multipart/form-data"
    )
    assert status == 400


def test_an_upload_that_is_too_large_is_refused(voices):
    with serving(voices, largest_upload=10_000) as served:
        status, _, data = convert(served, recording(1.0), voice="pair/bert", source="ada")
        assert (status, json.loads(data)["error"]["param"]) == (413, "file")


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.labels, self.controls, self.ids, self.loads = 0, [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.labels += tag == "label"
        if "id" in given:
            self.ids.append(given["id"])
        if tag in ("input", "select", "textarea"):
            self.controls.append(given["id"])
            assert self.labels == len(self.controls), f"{given['id']} has no label"
        self.loads += [given[key] for key in ("src", "href", "action") if key in given]


def test_the_page_holds_all_that_it_needs(served):
    status, headers, data = served.ask("GET", "/")
    text = data.decode()
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    page = Page(text)
    assert page.loads == ["data:,"]
    assert not re.search(r"https?://|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text
    used = set(re.findall(r'\$\("([\w-]+)"\)', text))
    assert used <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_page_has_a_script_that_can_be_parsed(served, tmp_path):
    script = re.search(r"<script>(.*)</script>", served.ask("GET", "/")[2].decode(), re.S)[1]
    path = tmp_path / "page.js"
    path.write_text(script, encoding="utf-8")
    done = subprocess.run(["node", "--check", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_settings_are_checked():
    for wrong in (
        {"port": 70000}, {"threads": 0}, {"jobs": 0}, {"queue": -1}, {"longest_text": 0},
        {"patience": 0.0}, {"longest_recording": 0.0}, {"host": ""},
    ):  # fmt: skip
        (name,) = wrong
        with pytest.raises(InputError, match=name):
            ServeConfig(**wrong)
    assert ServeConfig(jobs=3).at_once == 3
    assert ServeConfig(threads=1000).at_once == 1
