"""A voice whose files lie, or are damaged, is refused with the file and the key."""

import json

import pytest

import fake_voice
from glottis.errors import InputError
from glottis.voice import Voice

IDS = json.loads(fake_voice.FAKE.with_name("fake.onnx.json").read_text())["phoneme_id_map"]


def refuse(path, *words):
    with pytest.raises(InputError) as error:
        Voice.load(path).speak("Hello.")
    message = str(error.value)
    assert str(path.parent) in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"audio": None}, ["audio.sample_rate", "missing"]),
        ({"audio": {"sample_rate": "22050"}}, ["audio.sample_rate", "whole number", "'22050'"]),
        ({"audio": {"sample_rate": -1}}, ["audio.sample_rate", "positive"]),
        ({"audio": {"sample_rate": 16000}}, ["audio.sample_rate", "22050"]),
        ({"espeak": None}, ["espeak.voice", "missing"]),
        ({"espeak": {"voice": "xx-nowhere"}}, ["espeak.voice", "xx-nowhere"]),
        ({"phoneme_type": "runes"}, ["phoneme_type", "runes", "espeak"]),
        ({"phoneme_id_map": None}, ["phoneme_id_map", "missing"]),
        ({"phoneme_id_map": {"a": [1]}}, ["phoneme_id_map", "'_'"]),
        ({"phoneme_id_map": IDS | {"a": "x"}}, ["phoneme_id_map", "'x'"]),
        ({"phoneme_id_map": IDS | {"a": [256]}}, ["phoneme_id_map", "256", "num_symbols"]),
        ({"num_symbols": 10}, ["phoneme_id_map", "num_symbols is 10"]),
        ({"num_speakers": 0}, ["num_speakers", "positive"]),
        ({"num_speakers": 1, "speaker_id_map": {}}, ["num_speakers", "sid"]),
        ({"num_speakers": 3}, ["num_speakers", "metadata say 2"]),
        ({"speaker_id_map": {"ada": 2}}, ["speaker_id_map.ada", "0 to 1"]),
        ({"hop_length": 300}, ["hop_length", "300"]),
        ({"hop_length": 0}, ["hop_length", "positive"]),
        ({"inference": {"length_scale": 0}}, ["inference.length_scale"]),
        ({"inference": {"noise_scale": float("nan")}}, ["inference.noise_scale"]),
        ({"inference": []}, None),
    ],
)
def test_json_that_lies_about_its_graph_is_refused(tmp_path, changes, words):
    path = fake_voice.copy(fake_voice.FAKE, tmp_path, **changes)
    if words is None:
        assert Voice.load(path).speak("Hello.").duration > 0
    else:
        refuse(path, *words)


def test_ids_beyond_the_embedding_are_named_when_they_are_spoken(tmp_path):
    path = fake_voice.copy(
        fake_voice.FAKE, tmp_path, phoneme_id_map=IDS | {"l": [300]}, num_symbols=301
    )
    refuse(path, "phoneme_id_map", "300")


def test_a_piper_voice_that_claims_speakers_is_refused(tmp_path):
    path = fake_voice.copy(fake_voice.FAKE_PIPER, tmp_path, num_speakers=5)
    refuse(path, "num_speakers", "sid")


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
def test_truncated_graphs_are_refused(tmp_path, share):
    path = fake_voice.copy(fake_voice.FAKE, tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refuse(path, "fake.onnx", "truncated")


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_truncated_json_is_refused(tmp_path, share):
    path = fake_voice.copy(fake_voice.FAKE, tmp_path)
    json_path = path.with_name("fake.onnx.json")
    text = json_path.read_text(encoding="utf-8")
    json_path.write_text(text[: int(len(text) * share)], encoding="utf-8")
    refuse(path, "fake.onnx.json", "truncated")


def test_other_damage_is_named(tmp_path):
    path = fake_voice.copy(fake_voice.FAKE, tmp_path)
    json_path = path.with_name("fake.onnx.json")
    json_path.write_bytes(b'{"a": "\xff"}')
    refuse(path, "UTF-8")
    json_path.write_text("[]")
    refuse(path, "object", "list")
    json_path.unlink()
    refuse(path, "fake.onnx.json", "missing")
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    fake_voice.copy(fake_voice.FAKE, tmp_path, "other")
    json_path.write_bytes((tmp_path / "other.onnx.json").read_bytes())
    refuse(path, "git lfs pull")


def test_a_graph_that_is_no_voice_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = fake_voice.copy(fake_voice.FAKE, tmp_path)
    model = onnx.load(path)
    model.graph.input[0].name = "tokens"
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == "input":
                node.input[i] = "tokens"
    onnx.save(model, path)
    refuse(path, "Piper", "lacks the input input")
