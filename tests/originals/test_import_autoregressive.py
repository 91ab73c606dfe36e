"""WaveNet of wavenet_vocoder and NVIDIA's Tacotron 2: every weight finds its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from glottis.config import build
from glottis.errors import InputError
from glottis.export import load_run
from glottis.models.tacotron2 import Config as TacotronConfig
from glottis.models.tacotron2 import Tacotron2
from glottis.models.wavenet import Config as WaveNetConfig
from glottis.models.wavenet import WaveNet
from glottis.originals import import_original

TACOTRON = {
    "blanks": True,
    "symbols": 30,
    "channels": 16,
    "encoder_layers": 2,
    "attention_channels": 8,
    "location_filters": 4,
    "location_kernel": 5,
    "attention_state": 16,
    "decoder_state": 12,
    "prenet_channels": 8,
    "postnet_channels": 8,
    "postnet_layers": 3,
    "mel": {"mels": 6},
}
WAVENET = {
    "layers": 4,
    "stacks": 2,
    "residual_channels": 8,
    "gate_channels": 16,
    "skip_channels": 8,
    "components": 3,
    "upsampling": [2, 4],
    "context": 1,
    "mel": {"fft_size": 64, "hop": 8, "mels": 4, "mel_low": 125.0, "mel_high": 7600.0},
}
PRESET = {
    "input_type": "raw",
    "quantize_channels": 65536,
    "output_distribution": "Logistic",
    "out_channels": 9,
    "layers": 4,
    "stacks": 2,
    "kernel_size": 3,
    "residual_channels": 8,
    "gate_channels": 16,
    "skip_out_channels": 8,
    "dropout": 0.0,
    "cin_channels": 4,
    "cin_pad": 1,
    "gin_channels": -1,
    "n_speakers": 7,
    "log_scale_min": -16.0,
    "upsample_conditional_features": True,
    "upsample_params": {"upsample_scales": [2, 4]},
    "sample_rate": 22050,
    "fft_size": 64,
    "hop_size": 8,
    "fmin": 125,
    "fmax": 7600,
}


def _tacotron(model: Tacotron2) -> dict[str, torch.Tensor]:
    """The model's weights by NVIDIA's names."""
    renamed: dict[str, torch.Tensor] = {}
    location = "decoder.attention_layer.location_layer"
    swaps = [
        ("decoder.attention.location_out.", f"{location}.location_dense.linear_layer."),
        ("decoder.attention.location.", f"{location}.location_conv.conv."),
        ("decoder.attention.query.", "decoder.attention_layer.query_layer.linear_layer."),
        ("decoder.attention.memory.", "decoder.attention_layer.memory_layer.linear_layer."),
        ("decoder.attention.score.", "decoder.attention_layer.v.linear_layer."),
        ("decoder.cell.", "decoder.attention_rnn."),
        ("decoder.lstm.", "decoder.decoder_rnn."),
        ("decoder.frames.", "decoder.linear_projection.linear_layer."),
        ("decoder.stop.", "decoder.gate_layer.linear_layer."),
        ("encoder.embed.", "embedding."),
        ("postnet.", "postnet.convolutions."),
    ]  # fmt: skip
    for name, value in model.state_dict().items():
        theirs = name
        for ours, original in swaps:
            if name.startswith(ours):
                theirs = original + name.removeprefix(ours)
                break
        if "decoder_rnn" in theirs:
            theirs = theirs.removesuffix("_l0")
        if "prenet" in theirs:
            theirs = theirs.replace(".weight", ".linear_layer.weight")
        theirs = theirs.replace(".conv.", ".0.conv.") if "convolutions" in theirs else theirs
        theirs = theirs.replace(".norm.", ".1.")
        renamed[theirs] = value
    return renamed


def _wavenet(model: WaveNet) -> dict[str, torch.Tensor]:
    """The model's weights as wavenet_vocoder stores them, with weight normalisation."""
    names = {"first": "first_conv", "hidden": "last_conv_layers.1", "last": "last_conv_layers.3"}
    names |= {"upsampling.context": "upsample_net.conv_in"}
    for i in range(4):
        for ours, theirs in (
            ("gate", "conv"),
            ("residual", "conv1x1_out"),
            ("skip", "conv1x1_skip"),
            ("condition", "conv1x1c"),
        ):
            names[f"layers.{i}.{ours}"] = f"conv_layers.{i}.{theirs}"
    state = {}
    for ours, theirs in names.items():
        module = model.get_submodule(ours)
        weight = module.weight.detach()
        size = weight.flatten(1).norm(dim=1)[:, None, None]
        state[f"{theirs}.weight_g"], state[f"{theirs}.weight_v"] = size, weight * 3 / size
        if module.bias is not None:
            state[f"{theirs}.bias"] = module.bias.detach()
    for i, taps in enumerate(model.upsampling.stages):
        name = f"upsample_net.upsample.up_layers.{2 * i + 1}"
        state[f"{name}.weight_v"] = taps.detach()[None, None, None] * 5
        state[f"{name}.weight_g"] = taps.detach().norm()[None, None, None, None]
    return state


def test_wavenet_computes_what_it_computed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = WaveNet(build(WaveNetConfig, WAVENET)).eval()
    torch.save({"state_dict": _wavenet(model), "global_step": 3}, tmp_path / "a.pth")
    (tmp_path / "hparams.json").write_text(json.dumps(PRESET))
    imported = import_original(tmp_path / "a.pth", tmp_path / "run")
    assert "wavenet_vocoder" in imported.found
    read, _ = load_run(imported.folder)
    assert read.config.minimum_log_scale == -16.0
    audio = model.targets((torch.rand(1, 96) - 0.5).mul(32768).round() / 32768)
    mel = torch.randn(1, 4, 12) - 5
    with torch.no_grad():
        torch.testing.assert_close(read.predict(audio, mel), model.predict(audio, mel))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"upsample_params": {"upsample_scales": [2, 4], "mode": "linear"}}, "nearest"),
        ({"residual_channels": 12}, "have another size"),
        ({"input_type": "mulaw"}, "input_type 'mulaw'"),
        ({"layers": 5}, "weights|lack|stacks"),
        ({"quantize_channels": 0}, "do not fit"),
    ],
    ids=["mode", "size", "input", "layers", "classes"],
)
def test_settings_of_wavenet_that_do_not_fit_are_named(
    change: dict, said: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    torch.save(_wavenet(WaveNet(build(WaveNetConfig, WAVENET))), tmp_path / "a.pth")
    (tmp_path / "hparams.json").write_text(json.dumps({**PRESET, **change}))
    with pytest.raises(InputError, match=said):
        import_original(tmp_path / "a.pth", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tacotron_takes_every_weight_and_needs_no_settings(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Tacotron2(build(TacotronConfig, TACOTRON))
    torch.save({"state_dict": _tacotron(model), "iteration": 3}, tmp_path / "a.pt")
    imported = import_original(tmp_path / "a.pt", tmp_path / "run")
    assert "Tacotron 2 of NVIDIA" in imported.found
    read, facts = load_run(imported.folder)
    assert facts["foreign_symbols"]
    assert read.config == model.config
    ours, theirs = model.state_dict(), read.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_two_frames_a_step_have_no_counterpart(tmp_path: Path) -> None:
    state = _tacotron(Tacotron2(build(TacotronConfig, TACOTRON)))
    frames = "decoder.linear_projection.linear_layer.weight"
    state[frames] = torch.cat([state[frames]] * 2)
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="more than one frame a step"):
        import_original(tmp_path / "a.pt", tmp_path / "run")
