"""A voice file says what torch says, in fewer bits, and refuses what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from glottis.config import build
from glottis.errors import InputError
from glottis.export import export_voice, voice_graph, voice_weights
from glottis.export.checks import TOLERANCE, sentence_inputs
from glottis.models import glow_tts, hifi_gan, vocos
from glottis.models.glow_tts import GlowTTS
from glottis.models.hifi_gan import HiFiGAN
from glottis.models.vocos import Vocos
from glottis.training.config import Recipe
from glottis.training.run import run
from glottis.voice import Voice
from glottis.voice.description import read_description
from small_recipes import GLOW, TRAINING, VOCOS


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An acoustic model and a vocoder, trained for a few steps."""
    folder = tmp_path_factory.mktemp("runs")
    made = []
    for model, network in (("glow_tts", GLOW), ("vocos", VOCOS)):
        values = {"model": model, "network": network, "training": {**TRAINING, "max_steps": 2}}
        made.append(run(build(Recipe, values, "test"), [data], folder / model))
    return made[0], made[1]


@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_the_graph_speaks_and_repeats_itself(
    runs: tuple[Path, Path], tmp_path: Path, weights: str
) -> None:
    out = export_voice(runs[0], tmp_path / "v.onnx", vocoder=runs[1], weights=weights)  # type: ignore[arg-type]
    voice = Voice.load(out)
    one = voice.speak("Rice is often served in round bowls.", seed=3)
    two = voice.speak("Rice is often served in round bowls.", seed=3)
    other = voice.speak("Rice is often served in round bowls.", seed=4)
    assert np.array_equal(one.samples, two.samples)
    assert not np.array_equal(one.samples, other.samples)
    assert one.sample_rate == 22050
    assert np.isfinite(one.samples).all()


def test_a_voice_speaks_with_the_temperatures_that_it_was_given(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    chance = {"noise_scale": 0.25, "noise_w": 0.5}
    out = export_voice(runs[0], tmp_path / "v.onnx", vocoder=runs[1], **chance)
    description = read_description(out)
    assert {name: getattr(description, name) for name in chance} == chance


def test_a_voice_that_predicts_pitch_says_what_torch_says(
    runs: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    network = {**GLOW, "pitch": True, "regression_layers": 2}
    values = {"model": "glow_tts", "network": network, "training": TRAINING}
    folder = run(build(Recipe, values, "test"), [data], tmp_path / "pitched")
    out = export_voice(folder, tmp_path / "v.onnx", vocoder=runs[1])  # compares the two itself
    assert np.isfinite(Voice.load(out).speak("Rice.", seed=1).samples).all()

    # A vocoder that is told the pitch goes with a model that predicts it, and with no other.
    values = {"model": "vocos", "network": {**VOCOS, "pitch": True}, "training": TRAINING}
    told = run(build(Recipe, values, "test"), [data], tmp_path / "told")
    out = export_voice(folder, tmp_path / "t.onnx", vocoder=told)
    assert np.isfinite(Voice.load(out).speak("Rice.", seed=1).samples).all()
    with pytest.raises(InputError, match=r"told the pitch \(network\.pitch=true\)"):
        export_voice(runs[0], tmp_path / "u.onnx", vocoder=told)


PITCHED = {"pitch": True, "regression_layers": 2}


@pytest.mark.parametrize("vocoder", ["vocos", "told", "hifi_gan"])
def test_a_beginning_is_made_as_it_is_in_the_whole(
    vocoder: str,
) -> None:
    """However many frames are asked for: nothing that is heard knows where the making ended."""
    torch.manual_seed(0)
    acoustic = GlowTTS(build(glow_tts.Config, {**GLOW, **PITCHED, "speakers": 2}, "test"))
    if vocoder == "hifi_gan":
        decoder: torch.nn.Module = HiFiGAN(hifi_gan.Config(channels=16))
    else:
        decoder = Vocos(vocos.Config(**VOCOS, pitch=vocoder == "told"))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in [*acoustic.parameters(), *decoder.parameters()]:
            parameter.add_(torch.randn_like(parameter) * 0.03)
    graph = voice_graph(acoustic, decoder).eval()
    assert graph.partial
    # Phases of harmonics count hundreds of cycles of a pitch that is rounded.
    tolerance = TOLERANCE if vocoder == "told" else 1e-4
    example = sentence_inputs(90, several=True, partial=True)
    example["scales"][1] = 16.0
    inputs = [torch.from_numpy(value) for value in example.values()]
    with torch.no_grad():
        whole, durations = graph(*inputs)
        total = whole.shape[-1] // acoustic.config.mel.hop
        assert total > 300, "longer than anything here can see"
        for frames in (1, 2, 33, 150, total - 3, total, 2**40):
            begun, same = graph(*inputs[:-1], torch.tensor([frames]))
            assert torch.equal(same, durations)
            assert begun.shape[-1] == min(frames, total) * acoustic.config.mel.hop
            beginning = whole[..., : begun.shape[-1]]
            torch.testing.assert_close(begun, beginning, atol=tolerance, rtol=1e-3)


def test_fewer_bits_make_smaller_files_of_the_same_graph(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    stored = {}
    for weights in ("float32", "float16", "int8"):
        path = export_voice(runs[0], tmp_path / f"{weights}.onnx", vocoder=runs[1], weights=weights)  # type: ignore[arg-type]
        tensors = onnx.load(str(path)).graph.initializer
        stored[weights] = sum(len(tensor.raw_data) for tensor in tensors)
    assert stored["float32"] > stored["float16"] > stored["int8"]


@pytest.mark.parametrize(("weights", "step"), [("float16", 2.0**-11), ("int8", 0.51 / 127)])
def test_weights_come_back_from_a_voice_as_exactly_as_they_were_stored(
    runs: tuple[Path, Path], tmp_path: Path, weights: str, step: float
) -> None:
    whole = export_voice(runs[0], tmp_path / "w.onnx", vocoder=runs[1], weights="float32")
    small = export_voice(runs[0], tmp_path / "s.onnx", vocoder=runs[1], weights=weights)  # type: ignore[arg-type]
    for exact, rounded in zip(voice_weights(whole), voice_weights(small), strict=True):
        assert exact.keys() == rounded.keys()
        for name, value in exact.items():
            value, other = value.double(), rounded[name].double()
            assert (value - other).abs().max() <= step * value.abs().max(), name


def test_the_file_is_a_piper_voice(runs: tuple[Path, Path], tmp_path: Path) -> None:
    out = export_voice(runs[0], tmp_path / "v.onnx", vocoder=runs[1], license="CC0-1.0")
    graph = onnx.load(str(out)).graph
    defaults = {tensor.name for tensor in graph.initializer}
    required = [value.name for value in graph.input if value.name not in defaults]
    assert required == ["input", "input_lengths", "scales"]
    assert [value.name for value in graph.output] == ["output", "durations"]
    values = json.loads((tmp_path / "v.onnx.json").read_text(encoding="utf-8"))
    assert values["audio"]["sample_rate"] == 22050
    assert values["phoneme_id_map"]["^"] == [1]
    assert values["num_speakers"] == 1
    assert values["glottis"]["license"] == "CC0-1.0"


def test_what_does_not_fit_is_refused_and_nothing_is_written(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    acoustic, vocoder = runs
    with pytest.raises(InputError, match=r"\.onnx"):
        export_voice(acoustic, tmp_path / "v.pt", vocoder=vocoder)
    with pytest.raises(InputError, match="--vocoder"):
        export_voice(acoustic, tmp_path / "v.onnx")
    with pytest.raises(InputError, match="not a run folder"):
        export_voice(tmp_path, tmp_path / "v.onnx", vocoder=vocoder)
    with pytest.raises(InputError, match="temperature"):
        export_voice(acoustic, tmp_path / "v.onnx", vocoder=vocoder, noise_scale=-1.0)
    with pytest.raises(InputError, match="temperature of durations"):
        export_voice(acoustic, tmp_path / "v.onnx", vocoder=vocoder, noise_w=-0.1)
    with pytest.raises(InputError, match="int8"):
        export_voice(acoustic, tmp_path / "v.onnx", vocoder=vocoder, weights="int4")  # type: ignore[arg-type]

    other = tmp_path / "other"
    other.mkdir()
    facts = json.loads((vocoder / "run.json").read_text())
    facts["mel"]["mel_high"] = 7000.0
    facts["network"]["mel"]["mel_high"] = 7000.0
    (other / "run.json").write_text(json.dumps(facts))
    (other / "model.safetensors").write_bytes((vocoder / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"8000\.0.*7000\.0|7000\.0.*8000\.0"):
        export_voice(acoustic, tmp_path / "v.onnx", vocoder=other)

    (other / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match="does not hold this network"):
        export_voice(acoustic, tmp_path / "v.onnx", vocoder=other)
    assert not list(tmp_path.glob("*.onnx*"))


def test_runs_of_the_wrong_kind_are_told_what_they_are(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    acoustic, vocoder = runs
    out = tmp_path / "v.onnx"
    with pytest.raises(InputError, match="glow_tts holds glow_tts, which is no vocoder"):
        export_voice(acoustic, out, vocoder=acoustic)
    for second in (vocoder, acoustic, None):
        with pytest.raises(InputError, match="holds vocos, a vocoder.*acoustic model first"):
            export_voice(vocoder, out, vocoder=second)


def test_settings_that_make_no_network_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json: no such network with channels=99"):
        export_voice(runs[0], tmp_path / "v.onnx", vocoder=runs[1], settings=["channels=99"])
    wide = ["channels=32", "filter_channels=32"]
    with pytest.raises(InputError, match=f"this network with {' '.join(wide)}: size") as e:
        export_voice(runs[0], tmp_path / "v.onnx", vocoder=runs[1], settings=wide)
    assert len(str(e.value).splitlines()) == 1
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    facts = json.loads((runs[0] / "run.json").read_text())
    for content, lacking in (({**facts, "network": None}, "network"), ([], "model, network")):
        (damaged / "run.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=f"run.json does not say {lacking}"):
            export_voice(damaged, tmp_path / "v.onnx", vocoder=runs[1])


def test_a_graph_that_differs_from_torch_is_not_written(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glottis.export import checks

    monkeypatch.setattr(checks, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match="differs from torch's"):
        export_voice(runs[0], tmp_path / "v.onnx", vocoder=runs[1])
    assert not list(tmp_path.iterdir())


def test_a_vocoder_is_judged_by_its_copies(runs: tuple[Path, Path], data: Path) -> None:
    from glottis.evaluation.run import evaluate

    report = evaluate(runs[1], data=data, limit=1)
    assert report.rows[0].problem is None
    assert report.summary()["mcd"].mean > 0
    with pytest.raises(InputError, match="no vocoder"):
        evaluate(runs[0], data=data, limit=1)
    with pytest.raises(InputError, match="data"):
        evaluate(runs[1], texts=Path("texts.txt"))
