"""Voice conversion from a run folder, by the command a user types."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from glottis.audio.files import read
from glottis.audio.mel import MelConfig
from glottis.cli import main
from glottis.config import as_dict, build
from glottis.errors import InputError
from glottis.export import export_voice, load_run
from glottis.export.storage import Storage
from glottis.models.vits import VITS, Config
from glottis.training.initialize import load_weights
from glottis.voice import Voice
from glottis.voice.embedded import embed, embedded, field, fields
from small_recipes import VITS as SMALL
from synthetic_corpus import speech

TOLD = {"pitch": True, "posterior_input": "log_mels"}
CONTENT = {
    **TOLD,
    "mel_latents": True,
    "posterior_layers": 0,
    "latent": 80,
    "regression_layers": 1,
    "condition_prior": True,
    "conversion": "content",
    "content_width": 32,
    "content_hidden": 48,
    "content_decoder_hidden": 48,
    "content_layers": 1,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of two speakers, as training writes it; its weights are random."""
    folder = tmp_path_factory.mktemp("run")
    return _write(folder, ["ann", "bob"])


def _write(folder: Path, speakers: list[str], **changes: object) -> Path:
    torch.manual_seed(0)
    shared = {"speakers": len(speakers), "mel": as_dict(MelConfig())}
    config = build(Config, {**SMALL, **shared, **changes})
    model = VITS(config)
    converts = [] if model.content is None else model.content.parameters()
    with torch.no_grad():
        for parameter in [*model.flow.parameters(), *converts]:
            parameter.add_(torch.randn_like(parameter) * 0.3)
        if model.config.pitch:
            if model.pitch_input is not None:
                model.pitch_input.weight.normal_()
            model.speaker_pitch.mean.copy_(torch.tensor([110.0, 220.0]).log())
    save_file(model.state_dict(), folder / "model.safetensors")
    facts = {
        "model": "vits",
        "network": as_dict(config),
        "data": [],
        "speakers": speakers,
        "languages": ["en-us"],
        "mel": as_dict(config.mel),
    }
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "ann.flac"
    soundfile.write(path, speech(0.6, rate=16000), 16000)
    return path


def test_convert_writes_the_recording_with_the_other_voice(
    run: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def converted(source: str, target: str, seed: int = 1) -> np.ndarray:
        out = tmp_path / f"{source}-{target}-{seed}.wav"
        words = ["convert", recording, "-o", out, "--voice", run, "--from", source, "--to", target]
        assert main([*map(str, words), "--seed", str(seed)]) == 0
        samples, rate = read(out)
        assert rate == 22050
        return samples

    other = converted("ann", "bob")
    assert "ann as bob" in capsys.readouterr().err
    seconds = soundfile.info(recording).duration
    assert 0 <= seconds - len(other) / 22050 < 2 * 256 / 22050
    np.testing.assert_array_equal(other, converted("ann", "bob"))
    assert not np.array_equal(other, converted("ann", "bob", seed=2))
    assert np.abs(other - converted("ann", "ann")).max() > 1e-3


@pytest.mark.parametrize("seed", [2**64, 2**70, -1, -(2**70)])
def test_any_whole_number_is_a_seed(run: Path, recording: Path, tmp_path: Path, seed: int) -> None:
    voice = export_voice(run, tmp_path / "pair.onnx", weights="float32", conversion=True)
    words = ["convert", str(recording), "--from", "ann", "--to", "bob", "--seed", str(seed)]
    for name, by in (("file", voice), ("run", run)):
        assert main([*words, "--voice", str(by), "-o", str(tmp_path / f"{name}.wav")]) == 0


@pytest.mark.parametrize("changes", [{}, TOLD, CONTENT], ids=["plain", "pitch", "content"])
def test_a_voice_file_converts_as_its_run_does(
    run: Path, recording: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    from glottis.conversion import convert

    if changes:
        run = _write(tmp_path, ["ann", "bob"], **changes)
    out = export_voice(run, tmp_path / "pair.onnx", weights="float32", conversion=True)
    assert sorted(path.name for path in tmp_path.glob("pair*")) == ["pair.onnx", "pair.onnx.json"]
    voice = Voice.load(out)
    # Without noise there is nothing that the two draw in different ways.
    ours = voice.convert(recording, source="ann", target="bob", noise_scale=0.0)
    theirs, rate = convert(run, recording, "ann", "bob", temperature=0.0)
    assert ours.sample_rate == rate
    np.testing.assert_allclose(ours.samples, theirs, atol=1e-3)
    noisy = voice.convert(recording, source="ann", target="bob", seed=3).samples
    again = voice.convert(recording, source=0, target=1, seed=3).samples
    np.testing.assert_array_equal(noisy, again)
    assert not np.array_equal(noisy, ours.samples)
    samples, _ = read(recording, rate)
    given = voice.convert(samples, source="ann", target="bob", noise_scale=0.0)
    np.testing.assert_allclose(given.samples, ours.samples, atol=1e-4)
    words = ["convert", str(recording), "-o", str(tmp_path / "a.wav"), "--voice", str(out)]
    assert main([*words, "--from", "ann", "--to", "bob", "--seed", "3"]) == 0
    np.testing.assert_allclose(read(tmp_path / "a.wav")[0], noisy, atol=1e-4)

    whole = voice.convert((samples * 32768).round().astype(np.int16), source=0, target=1, seed=3)
    np.testing.assert_allclose(whole.samples, noisy, atol=1e-2)
    drawn = [voice.convert(recording, source=0, target=1, seed=None).samples for _ in range(2)]
    assert not np.array_equal(*drawn)
    with pytest.raises(InputError, match="rate must be above 0"):
        voice.convert(samples, source=0, target=1, rate=0)

    with pytest.raises(InputError, match="no speaker 'eve'"):
        voice.convert(recording, source="ann", target="eve")
    with pytest.raises(InputError, match="one analysis window"):
        voice.convert(np.zeros(100, np.float32), source="ann", target="bob")
    for other, weights in (("alone", "float32"), ("small", "int8")):
        alone = export_voice(run, tmp_path / f"{other}.onnx", weights=weights)
        with pytest.raises(InputError, match=rf"{other}\.onnx does not convert.*--conversion"):
            Voice.load(alone).convert(recording, source="ann", target="bob")


@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_what_both_graphs_have_is_kept_once(run: Path, tmp_path: Path, weights: Storage) -> None:
    plain = export_voice(run, tmp_path / "plain.onnx", weights=weights)
    both = export_voice(run, tmp_path / "both.onnx", weights=weights, conversion=True)
    text = "A sentence."
    heard = [Voice.load(path).speak(text, seed=1).samples for path in (plain, both)]
    np.testing.assert_array_equal(*heard)
    second = embedded(both.read_bytes())
    assert second is not None
    assert embedded(plain.read_bytes()) is None
    grown = both.stat().st_size - plain.stat().st_size
    kept = {tensor.name for tensor in onnx.load(plain).graph.initializer}
    shared = [t for t in onnx.load_from_string(second).graph.initializer if t.name in kept]
    assert sum("decoder" in tensor.name for tensor in shared) > 10
    assert grown < len(second) - sum(len(tensor.raw_data) for tensor in shared) + 20_000
    # And other programs see one graph.
    assert onnx.load(both).graph == onnx.load(plain).graph
    onnx.checker.check_model(onnx.load(both))


def test_a_flow_that_converts_alone_comes_back_with_the_voice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the second graph only, and too large for what a voice carries besides."""
    told = {**CONTENT, "conversion": "flow", "centred_flow": True}
    source = _write(tmp_path, ["ann", "bob"], **told)
    monkeypatch.setattr("glottis.export.storage.UNSPOKEN_LIMIT", 0)
    voice = export_voice(source, tmp_path / "v.onnx", weights="float32", conversion=True)
    model, again = load_run(source)[0], load_run(source)[0]
    with torch.no_grad():
        for parameter in again.flow.parameters():
            parameter.zero_()
    load_weights(again, voice)
    x, mask = torch.randn(1, 80, 7), torch.ones(1, 1, 7, dtype=torch.bool)
    pitch = torch.tensor([[0.0, 110.0, 120.0, 0.0, 240.0, 230.0, 0.0]])
    images = []
    with torch.no_grad():
        for one in (model, again):
            condition = one.flow_told(torch.tensor([1]), one.bells(pitch))
            images.append(one.flow.call_and_ladj(x, mask, condition)[0])
    assert float((images[0] - x).abs().max()) > 0.1
    torch.testing.assert_close(images[1], images[0], atol=1e-4, rtol=1e-5)


def test_content_comes_back_with_the_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To whoever has the same name: their gains and biases, whatever the order."""
    source = _write(tmp_path, ["ann", "bob"], **CONTENT)
    monkeypatch.setattr("glottis.export.storage.UNSPOKEN_LIMIT", 0)
    voice = export_voice(source, tmp_path / "v.onnx", weights="float32", conversion=True)
    model = load_run(source)[0]
    again = VITS(build(Config, {**as_dict(model.config), "speakers": 3}))
    names = {"speakers": ["bob", "cyd", "ann"], "languages": ["en-us"]}
    load_weights(again.eval(), voice, names)
    mel, mask = torch.randn(1, 80, 9) - 5, torch.ones(1, 1, 9, dtype=torch.bool)
    bells, noise = (torch.rand(1, 37, 9), torch.rand(1, 37, 9)), torch.randn(1, 32, 9)
    ann, bob = torch.tensor([0]), torch.tensor([1])
    theirs = {0: torch.tensor([2]), 1: torch.tensor([0])}
    with torch.no_grad():
        for pair in ((ann, bob), (bob, ann)):
            wanted = model.content.restate(mel, pair, bells, noise, mask)
            same = (theirs[int(pair[0])], theirs[int(pair[1])])
            found = again.content.restate(mel, same, bells, noise, mask)
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-5)
        assert (wanted - mel).abs().mean() > 0.1


def test_a_voice_that_is_cut_off_says_so(run: Path, tmp_path: Path, recording: Path) -> None:
    path = export_voice(run, tmp_path / "both.onnx", conversion=True)
    whole = path.read_bytes()
    voice = Voice.load(path)
    path.write_bytes(whole[:-1000])
    with pytest.raises(InputError, match=r"both\.onnx cannot be loaded.*truncated"):
        voice.convert(recording, source="ann", target="bob")
    path.write_bytes(embed(whole, b"", ["no such weight"]))
    with pytest.raises(InputError, match="no such weight"):
        voice.convert(recording, source="ann", target="bob")


@given(st.lists(st.tuples(st.integers(1, 5000), st.binary(max_size=300)), max_size=8))
def test_fields_are_read_as_they_were_written(written: list[tuple[int, bytes]]) -> None:
    message = b"".join(field(number, content) for number, content in written)
    found = [(number, bytes(content)) for number, content, _ in fields(memoryview(message))]
    assert found == written
    assert b"".join(bytes(whole) for _, _, whole in fields(memoryview(message))) == message


def test_a_single_speaker_has_no_conversion_to_export(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    alone = _write(tmp_path / "one", ["ann"])
    with pytest.raises(InputError, match="several speakers"):
        export_voice(alone, tmp_path / "v.onnx", conversion=True)
    assert not list(tmp_path.glob("v.*"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--from": "eve"}, "no speaker 'eve'. Speakers: ann, bob"),
        ({"--to": "eve"}, "no speaker 'eve'. Speakers: ann, bob"),
        ({"--voice": "."}, "not a run folder"),
        ({"--voice": "nowhere.onnx"}, "nowhere.onnx"),
        ({"-o": "out.xyz"}, "out.xyz"),
        ({"recording": "missing.wav"}, "missing.wav"),
    ],
    ids=["source", "target", "run", "voice", "suffix", "recording"],
)
def test_bad_input_is_told_in_one_line(
    run: Path,
    recording: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    said: str,
) -> None:
    options = {"-o": tmp_path / "out.wav", "--voice": run, "--from": "ann", "--to": "bob"}
    file = change.pop("recording", recording)
    words = [word for pair in {**options, **change}.items() for word in pair]
    assert main(["convert", *map(str, [file, *words])]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "out.wav").exists()


def test_a_run_that_cannot_convert_says_why(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one").mkdir()
    words = ["-o", str(tmp_path / "out.wav"), "--from", "ann", "--to", "ann"]
    alone = _write(tmp_path / "one", ["ann"])
    assert main(["convert", str(recording), "--voice", str(alone), *words]) == 2
    assert "one speaker, ann" in capsys.readouterr().err
    short = tmp_path / "short.wav"
    soundfile.write(short, np.zeros(500, np.float32), 22050)
    (tmp_path / "two").mkdir()
    pair = _write(tmp_path / "two", ["ann", "bob"])
    assert main(["convert", str(short), "--voice", str(pair), *words]) == 2
    assert "one analysis window" in capsys.readouterr().err
