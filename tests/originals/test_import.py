"""Checkpoints by their authors' names: every weight finds its place, nothing in them runs.

``benchmarks/originals.py`` compares with the authors' code; here names are undone by hand.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import re
from pathlib import Path
from random import Random

import pytest
import torch

from glottis.audio.mel import MelConfig
from glottis.cli import main
from glottis.config import build
from glottis.errors import InputError
from glottis.export import export_voice, load_run
from glottis.models import model_class
from glottis.originals import import_original
from glottis.originals.checkpoint import read_checkpoint

HIFI = {
    "resblock": "1",
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "upsample_initial_channel": 8,
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 3], [1, 3]],
    "fmax_for_loss": None,
    "sampling_rate": 8000,
    "n_fft": 32,
    "win_size": 32,
    "hop_size": 8,
    "num_mels": 8,
    "fmin": 0,
    "fmax": None,
}
GLOW = {
    "data": {
        "sampling_rate": 22050,
        "filter_length": 1024,
        "win_length": 1024,
        "hop_length": 256,
        "n_mel_channels": 8,
        "mel_fmin": 0.0,
        "mel_fmax": 8000.0,
        "n_speakers": 3,
    },
    "model": {
        "hidden_channels": 16,
        "filter_channels": 16,
        "filter_channels_dp": 8,
        "n_layers_enc": 1,
        "window_size": 4,
        "prenet": True,
        "n_blocks_dec": 2,
        "n_block_layers": 2,
        "kernel_size_dec": 3,
        "dilation_rate": 1,
        "n_sqz": 2,
        "gin_channels": 4,
    },
}
GRAD = """
from model.utils import fix_len_compatibility

n_feats = 8
n_spks = 2
spk_emb_dim = 4
n_fft = 1024
sample_rate = 22050
hop_length = 256
win_length = 1024
f_min = 0
f_max = 8000
n_enc_channels = 16
filter_channels = 16
filter_channels_dp = 8
n_enc_layers = 1
enc_kernel = 3
enc_dropout = 0.1
n_heads = 2
window_size = 4
dec_dim = 16
beta_min = 0.05
beta_max = 20.0
pe_scale = 1000
out_size = fix_len_compatibility(2 * 22050 // 256)
"""

TEXT = [
    ("encoder.embed.", "encoder.emb."),
    ("transformer.attentions.", "encoder.attn_layers."),
    ("transformer.attention_norms.", "encoder.norm_layers_1."),
    ("transformer.forward_norms.", "encoder.norm_layers_2."),
    ("transformer.forwards.", "encoder.ffn_layers."),
    (".expand.", ".conv_1."),
    (".contract.", ".conv_2."),
    (".query.", ".conv_q."),
    (".key.", ".conv_k."),
    (".value.", ".conv_v."),
    (".relative_key", ".emb_rel_k"),
    (".relative_value", ".emb_rel_v"),
    ("encoder.mean.", "encoder.proj_m."),
    ("encoder.log_scale.", "encoder.proj_s."),
    ("encoder.durations.first.", "encoder.proj_w.conv_1."),
    ("encoder.durations.first_norm.", "encoder.proj_w.norm_1."),
    ("encoder.durations.second.", "encoder.proj_w.conv_2."),
    ("encoder.durations.second_norm.", "encoder.proj_w.norm_2."),
    ("encoder.durations.project.", "encoder.proj_w.proj."),
]


def _random(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return {
        name: torch.randn_like(value) if value.is_floating_point() else value
        for name, value in state.items()
    }


def _text(name: str, value: torch.Tensor) -> tuple[str, torch.Tensor]:
    if name.startswith("encoder.transformer.attentions"):
        name = name.replace(".out.", ".conv_o.")
        if ".relative_" in name:
            value = value[None]
    for ours, theirs in TEXT:
        name = name.replace(ours, theirs)
    return name, value


def _glow(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    network, config_class = model_class("glow_tts")
    values = {
        "blanks": True,
        "symbols": 12,
        "speakers": 3,
        "speaker_channels": 4,
        "channels": 16,
        "filter_channels": 16,
        "encoder_layers": 1,
        "duration_channels": 8,
        "unit_variance": False,
        "align_on": "latent",
        "blocks": 2,
        "block_channels": 16,
        "block_layers": 2,
        "block_kernel": 3,
        "mel": {"mels": 8},
    }
    state = _random(network(build(config_class, values)).state_dict())
    theirs = {}
    for name, value in state.items():
        if name.endswith(".initialized"):
            value.fill_(True)
            continue
        name, value = _text(name, value)
        name = name.replace("encoder.prenet.convolutions.", "encoder.pre.conv_layers.")
        name = name.replace("encoder.prenet.norms.", "encoder.pre.norm_layers.")
        name = name.replace("encoder.prenet.project.", "encoder.pre.proj.")
        name = name.replace("speakers.", "emb_g.")
        match = re.match(r"decoder\.(norms|mixers|couplings)\.(\d+)\.(.+)", name)
        if match:
            kind, place, rest = match.groups()
            index = 3 * int(place) + ["norms", "mixers", "couplings"].index(kind)
            if kind == "norms":
                value, rest = value[None, :, None], {"offset": "bias", "log_scale": "logs"}[rest]
            rest = rest.replace("network.", "").replace("stack.gates.", "wn.in_layers.")
            rest = rest.replace("stack.outs.", "wn.res_skip_layers.")
            rest = rest.replace("stack.condition.", "wn.cond_layer.")
            rest = rest.replace("parametrizations.weight.original0", "weight_g")
            rest = rest.replace("parametrizations.weight.original1", "weight_v")
            name = f"decoder.flows.{index}.{rest}"
            if rest == "start.weight":
                # Theirs has a norm where ours has none.
                length = value.flatten(1).norm(dim=1)[:, None, None]
                theirs[name.replace("weight", "weight_g")] = length
                name, value = name.replace("weight", "weight_v"), value * 2.5
        theirs[name] = value
    torch.save({"model": theirs, "iteration": 3, "learning_rate": 1.0}, folder / "G_3.pth")
    (folder / "config.json").write_text(json.dumps(GLOW))
    return folder / "G_3.pth", state


def _grad(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    network, config_class = model_class("grad_tts")
    values = {
        "symbols": 12,
        "speakers": 2,
        "speaker_channels": 4,
        "speaker_in_text": False,
        "channels": 16,
        "filter_channels": 16,
        "encoder_layers": 1,
        "duration_channels": 8,
        "score_channels": 16,
        "mel": {"mels": 8},
    }
    state = _random(network(build(config_class, values)).state_dict())
    theirs = {}
    for name, value in state.items():
        name, value = _text(name, value)
        name = name.replace("encoder.prenet.convolutions.", "encoder.prenet.conv_layers.")
        name = name.replace("encoder.prenet.norms.", "encoder.prenet.norm_layers.")
        name = name.replace("encoder.prenet.project.", "encoder.prenet.proj.")
        name = re.sub(r"^speakers\.", "spk_emb.", name)
        if name.startswith("score."):
            name = re.sub(r"^score\.time\.", "score.mlp.", name)
            name = name.replace("score.speaker.", "score.spk_mlp.")
            name = name.replace("middle_first", "mid_block1").replace("middle_second", "mid_block2")
            name = name.replace("middle_attention", "mid_attn.fn")
            name = re.sub(r"\.(up|down)\.(\d+)\.first\.", r".\1s.\2.0.", name)
            name = re.sub(r"\.(up|down)\.(\d+)\.second\.", r".\1s.\2.1.", name)
            name = re.sub(r"\.(up|down)\.(\d+)\.attention\.", r".\1s.\2.2.fn.", name)
            name = re.sub(r"\.(up|down)\.(\d+)\.resize\.", r".\1s.\2.3.conv.", name)
            name = name.replace(".fn.query_key_value.", ".fn.fn.to_qkv.")
            name = name.replace(".fn.out.", ".fn.fn.to_out.").replace(".fn.gain", ".fn.g")
            for ours, block in (("first", 1), ("second", 2)):
                name = name.replace(f".{ours}.convolve.", f".block{block}.block.0.")
                name = name.replace(f".{ours}.norm.", f".block{block}.block.1.")
            name = name.replace(".time.", ".mlp.1.").replace(".shortcut.", ".res_conv.")
            name = name.replace("score.final.convolve.", "score.final_block.block.0.")
            name = name.replace("score.final.norm.", "score.final_block.block.1.")
            name = name.replace("score.project.", "score.final_conv.")
            name = name.replace("score.", "decoder.estimator.", 1)
        theirs[name] = value
    torch.save(theirs, folder / "grad.pt")
    (folder / "params.py").write_text(GRAD)
    return folder / "grad.pt", state


def _hifi(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    network, config_class = model_class("hifi_gan")
    values = {
        "channels": 8,
        "upsample_rates": [4, 2],
        "upsample_kernels": [8, 4],
        "resblock_kernels": [3, 5],
        "resblock_dilations": [[1, 3], [1, 3]],
        "mel": {
            "sample_rate": 8000,
            "fft_size": 32,
            "hop": 8,
            "mels": 8,
            "mel_high": 4000.0,
        },
    }
    state = _random(network(build(config_class, values)).generator.state_dict())
    theirs = {}
    for name, value in state.items():
        name = name.replace("embed.", "conv_pre.").replace("project.", "conv_post.")
        name = name.replace("upsamples.", "ups.")
        match = re.match(r"stages\.(\d+)\.(\d+)\.(dilated|plain)\.(.+)", name)
        if match:
            stage, block, kind, rest = match.groups()
            convs = {"dilated": "convs1", "plain": "convs2"}[kind]
            name = f"resblocks.{2 * int(stage) + int(block)}.{convs}.{rest}"
        name = name.replace("parametrizations.weight.original0", "weight_g")
        name = name.replace("parametrizations.weight.original1", "weight_v")
        theirs["module." + name] = value
    torch.save({"generator": theirs}, folder / "g_00000005")
    (folder / "config.json").write_text(json.dumps(HIFI))
    return folder / "g_00000005", {f"generator.{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    ("model", "write"), [("glow_tts", _glow), ("grad_tts", _grad), ("hifi_gan", _hifi)]
)
def test_every_weight_finds_its_place(model: str, write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source, state = write(tmp_path)
    found, facts = load_run(import_original(source, tmp_path / "run").folder)
    own = found.state_dict()
    assert facts["model"] == model
    assert facts["original"].endswith(source.name)
    for name, value in state.items():
        torch.testing.assert_close(own[name], value, msg=name)
    assert {
        name for name in set(own) - set(state) if not name.startswith("discriminators.")
    } == set()


def test_settings_come_along(tmp_path: Path) -> None:
    for write, model in ((_glow, "glow_tts"), (_grad, "grad_tts"), (_hifi, "hifi_gan")):
        folder = tmp_path / model
        folder.mkdir()
        found, facts = load_run(import_original(write(folder)[0], folder / "run").folder)
        config = found.config
        if model == "hifi_gan":
            assert config.mel == MelConfig(8000, 32, 8, 8, 0.0, 4000.0)
        else:
            assert config.blanks
            assert config.duration_rounding == "up"
            assert facts["speakers"] == [str(i) for i in range(config.speakers)]
        if model == "grad_tts":
            assert config.padding_counts
            assert not config.speaker_in_text


def test_the_command_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, _ = _hifi(tmp_path)
    run = tmp_path / "run"
    assert main(["import", str(source), "-o", str(run)]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(run)
    assert "HiFi-GAN of its authors" in said.err
    assert "8000 Hz" in said.err
    assert main(["import", str(source), "-o", str(run)]) == 2
    assert "already holds a run" in capsys.readouterr().err


class Trap:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, ("trap", "w"))


def test_nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source, _ = _hifi(tmp_path)
    for whole in ({"generator": Trap()}, {"generator": {}, "optimizer": Trap()}, Trap()):
        torch.save(whole, source)
        with pytest.raises(InputError, match=r"g_00000005.*open.*executed"):
            import_original(source, tmp_path / "run")
    source.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match=r"no checkpoint of tensors"):
        import_original(source, tmp_path / "run")
    source, _ = _grad(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "params.py").write_text(GRAD + "\nopen('trap', 'w')\n")
    import_original(source, tmp_path / "run")
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("write", [_glow, _grad, _hifi])
def test_damaged_files_are_refused(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Cut anywhere, or with a byte turned over: an error of one line, or the same weights."""
    source, _ = write(tmp_path)
    whole = source.read_bytes()
    for share in (0.0, 0.01, 0.3, 0.7, 0.99):
        source.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=source.name):
            import_original(source, tmp_path / "run")
    random = Random(0)
    for _ in range(20):
        torn = bytearray(whole)
        torn[random.randrange(len(whole))] ^= 0xFF
        source.write_bytes(bytes(torn))
        with contextlib.suppress(InputError):
            read_checkpoint(source)
    assert not (tmp_path / "run").exists()


def test_old_files_of_torch_are_read_and_refused_as_well(tmp_path: Path) -> None:
    """Before torch 1.6 checkpoints were bare pickles; public ones still are."""
    source, state = _hifi(tmp_path)
    values = torch.load(source, weights_only=True)
    torch.save(values, source, _use_new_zipfile_serialization=False)
    found, _ = load_run(import_original(source, tmp_path / "run").folder)
    assert all(torch.equal(found.state_dict()[name], value) for name, value in state.items())
    whole = source.read_bytes()
    for share in (0.05, 0.6, 0.99):
        source.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match="no checkpoint of tensors"):
            import_original(source, tmp_path / "again")


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    source, _ = _hifi(tmp_path)
    run = tmp_path / "run"
    with pytest.raises(InputError, match="no checkpoint of tensors"):
        import_original(tmp_path / "config.json", run)
    with pytest.raises(InputError, match="there is no checkpoint"):
        import_original(tmp_path / "missing", run)
    for values, said in (
        ({"weight": torch.zeros(1), "bias": torch.zeros(1)}, "no network that is known.*bias"),
        ({"weight": torch.zeros(1), "step": 3}, "'step' is no tensor, but int"),
        ({}, "holds no weights"),
        (torch.zeros(3), "but Tensor"),
        ({"mpd": {"discriminators.0.convs.0.bias": torch.zeros(1)}}, "discriminators alone"),
    ):
        torch.save(values, tmp_path / "foreign.pt")
        with pytest.raises(InputError, match=said):
            import_original(tmp_path / "foreign.pt", run)
    for change, said in (
        ({"upsample_initial_channel": 16}, "have another size"),
        ({"resblock": "2"}, "are not known"),
        ({"win_size": 16}, "window of 16"),
        ({"hop_size": 16}, "hop"),
        ({"num_mels": None}, "mels"),
        ({"upsample_kernel_sizes": [8]}, "no such network"),
        ({"upsample_initial_channel": -8}, "no such network"),
        ({"upsample_rates": 3}, "upsample_rates"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**HIFI, **change}))
        with pytest.raises(InputError, match=said):
            import_original(source, run)
    (tmp_path / "config.json").write_text(json.dumps({k: HIFI[k] for k in HIFI if k != "n_fft"}))
    with pytest.raises(InputError, match=r"HiFi-GAN.*lack 'n_fft'"):
        import_original(source, run)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match="not a table"):
        import_original(source, run)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match="--config"):
        import_original(source, run)
    assert not run.exists()


def test_options_of_the_authors_that_are_not_known_are_named(tmp_path: Path) -> None:
    source, _ = _glow(tmp_path)
    blocks = {**GLOW, "model": {**GLOW["model"], "block_length": 20}}
    (tmp_path / "config.json").write_text(json.dumps(blocks))
    with pytest.raises(InputError, match="attention in blocks"):
        import_original(source, tmp_path / "run")


def test_a_model_with_symbols_of_its_own_is_not_exported(tmp_path: Path) -> None:
    source, _ = _grad(tmp_path)
    run = import_original(source, tmp_path / "run")
    assert "cannot be exported" in run.found
    with pytest.raises(InputError, match="authors' text front end"):
        export_voice(run.folder, tmp_path / "v.onnx", vocoder=tmp_path)
