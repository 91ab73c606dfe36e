"""Checkpoints of VITS as others trained them: the authors' and Piper's, for :mod:`vits`.

Kim, Kong & Son's code writes ``G_*.pth`` and ``D_*.pth`` and reads a JSON of settings; Piper's
training writes Lightning checkpoints that hold both networks and their settings. Nothing in a
checkpoint is executed: torch's loader for weights alone reads them.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glottis.errors import InputError

Settings = Mapping[str, Any]

# The authors' names of the parts that occur in several places.
STACK = (
    (r"in_layers\.", "gates."),
    (r"res_skip_layers\.", "outs."),
    (r"cond_layer\.", "condition."),
)
SEPARABLE = (
    (r"convs_sep\.", "depthwise."),
    (r"convs_1x1\.", "pointwise."),
    (r"norms_1\.", "first_norms."),
    (r"norms_2\.", "second_norms."),
)
NAMES = (
    (r"^enc_p\.emb\.", "encoder.embed."),
    (r"^enc_p\.encoder\.attn_layers\.(\d+)\.conv_q\.", r"encoder.transformer.attentions.\1.query."),
    (r"^enc_p\.encoder\.attn_layers\.(\d+)\.conv_k\.", r"encoder.transformer.attentions.\1.key."),
    (r"^enc_p\.encoder\.attn_layers\.(\d+)\.conv_v\.", r"encoder.transformer.attentions.\1.value."),
    (r"^enc_p\.encoder\.attn_layers\.(\d+)\.conv_o\.", r"encoder.transformer.attentions.\1.out."),
    (
        r"^enc_p\.encoder\.attn_layers\.(\d+)\.emb_rel_k$",
        r"encoder.transformer.attentions.\1.relative_key",
    ),
    (
        r"^enc_p\.encoder\.attn_layers\.(\d+)\.emb_rel_v$",
        r"encoder.transformer.attentions.\1.relative_value",
    ),
    (r"^enc_p\.encoder\.norm_layers_1\.", "encoder.transformer.attention_norms."),
    (r"^enc_p\.encoder\.norm_layers_2\.", "encoder.transformer.forward_norms."),
    (r"^enc_p\.encoder\.ffn_layers\.(\d+)\.conv_1\.", r"encoder.transformer.forwards.\1.expand."),
    (r"^enc_p\.encoder\.ffn_layers\.(\d+)\.conv_2\.", r"encoder.transformer.forwards.\1.contract."),
    (r"^enc_p\.proj\.", "encoder.project."),
    (r"^enc_q\.pre\.", "posterior.start."),
    (r"^enc_q\.enc\.", "posterior.stack."),
    (r"^enc_q\.proj\.", "posterior.end."),
    (r"^flow\.flows\.(\d+)\.pre\.", r"flow.layers.\1.network.start."),
    (r"^flow\.flows\.(\d+)\.enc\.", r"flow.layers.\1.network.stack."),
    (r"^flow\.flows\.(\d+)\.post\.", r"flow.layers.\1.network.end."),
    # Of the deterministic duration predictor.
    (r"^dp\.conv_1\.", "durations.first."),
    (r"^dp\.norm_1\.", "durations.first_norm."),
    (r"^dp\.conv_2\.", "durations.second."),
    (r"^dp\.norm_2\.", "durations.second_norm."),
    # Of the stochastic one.
    (r"^dp\.pre\.", "durations.text.start."),
    (r"^dp\.convs\.", "durations.text.stack."),
    (r"^dp\.proj\.", "durations.text.end."),
    (r"^dp\.cond\.", "durations.condition."),
    (r"^dp\.post_pre\.", "durations.durations.start."),
    (r"^dp\.post_convs\.", "durations.durations.stack."),
    (r"^dp\.post_proj\.", "durations.durations.end."),
    (r"^dp\.post_flows\.", "durations.posterior.layers."),
    (r"^dp\.flows\.", "durations.flow.layers."),
    (r"^(durations\.(?:flow|posterior)\.layers\.\d+)\.pre\.", r"\1.network.start."),
    (r"^(durations\.(?:flow|posterior)\.layers\.\d+)\.convs\.", r"\1.network.stack."),
    (r"^(durations\.(?:flow|posterior)\.layers\.\d+)\.proj\.", r"\1.network.end."),
    (r"^(durations\.(?:flow|posterior)\.layers\.\d+)\.m$", r"\1.offset"),
    (r"^(durations\.(?:flow|posterior)\.layers\.\d+)\.logs$", r"\1.log_scale"),
    (r"^dec\.conv_pre\.", "decoder.embed."),
    (r"^dec\.cond\.", "decoder.condition."),
    (r"^dec\.ups\.", "decoder.upsamples."),
    (r"^dec\.resblocks\.(\d+)\.convs1?\.", r"decoder.blocks.\1.dilated."),
    (r"^dec\.resblocks\.(\d+)\.convs2\.", r"decoder.blocks.\1.plain."),
    (r"^dec\.conv_post\.", "decoder.project."),
    (r"^emb_g\.", "speakers."),
    (r"^discriminators\.(\d+)\.convs\.", r"discriminators.members.\1.layers."),
    (r"^discriminators\.(\d+)\.conv_post\.", r"discriminators.members.\1.score."),
    *STACK,
    *SEPARABLE,
    (r"weight_g$", "parametrizations.weight.original0"),
    (r"weight_v$", "parametrizations.weight.original1"),
)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a ``.pth`` or ``.ckpt`` holds, without executing any of it.

    Raises:
        InputError: the file is missing or damaged, or holds objects other than weights and plain
            values, which are named.
    """
    # Piper's settings name the files it was trained on; their text is enough.
    paths = [
        (_joined, f"pathlib{place}.{name}")
        for place in ("", "._local")
        for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
    ]
    try:
        with torch.serialization.safe_globals(paths):  # type: ignore[arg-type]
            values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it holds {found[1]}, which would have to be executed" if found else "it is damaged"
        raise InputError(f"{path} cannot be read as weights: {what}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no network, but {type(values).__name__}")
    return values


def from_original(
    checkpoint: Mapping[str, Any],
    settings: Settings | None = None,
    discriminators: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The settings of :class:`glottis.models.vits.Config` and the weights of a public checkpoint.

    Args:
        checkpoint: of :func:`read_checkpoint`: the authors' ``G_*.pth`` or a checkpoint of Piper.
        settings: the authors' JSON; Piper's checkpoints hold their own.
        discriminators: the authors' ``D_*.pth``; without it the discriminators start anew.

    Returns:
        Settings as plain values, and weights by the names of our network. Without discriminators
        theirs are missing.

    Raises:
        InputError: the checkpoint is neither, its settings are missing, or it has parts that our
            network has not.
    """
    judges: Mapping[str, Tensor] = {}
    if "state_dict" in checkpoint:
        whole = checkpoint["state_dict"]
        weights = {k[8:]: v for k, v in whole.items() if k.startswith("model_g.")}
        judges = {k[8:]: v for k, v in whole.items() if k.startswith("model_d.")}
        settings = {**PIPER, **dict(checkpoint.get("hyper_parameters", {}))}
    elif "model" in checkpoint:
        weights = dict(checkpoint["model"])
        if settings is None or "model" not in settings or "data" not in settings:
            raise InputError("the authors' checkpoints need the JSON of settings beside them")
        settings = {**settings["train"], **settings["data"], **settings["model"]}
        settings["sample_rate"] = settings["sampling_rate"]
        settings["mel_channels"] = settings["n_mel_channels"]
        judges = {} if discriminators is None else dict(discriminators["model"])
    else:
        raise InputError(
            f"not a checkpoint of VITS: it holds {', '.join(map(str, checkpoint)) or 'nothing'}; "
            "expected model (the authors') or state_dict (Piper)"
        )
    if "enc_p.emb.weight" not in weights:
        raise InputError("not a checkpoint of VITS's generator: enc_p.emb.weight is missing")
    network = _network(weights, settings)
    kernels = len(network["resblock_kernels"])
    found = {}
    for key, value in {**weights, **judges}.items():
        name = _name(key, kernels, network["durations"] == "deterministic")
        if name is None:
            raise InputError(f"the checkpoint's {key} has no place in our network")
        squeezed = "relative_" in name or name.endswith((".offset", ".log_scale"))
        axis = 0 if "relative_" in name else -1
        found[name] = value.squeeze(axis) if squeezed else value
    # Ours are weight-normalised, which changes nothing: the length is kept beside the direction.
    for name in ("decoder.embed", "decoder.project"):
        weight = found.pop(f"{name}.weight")
        length = torch.linalg.vector_norm(weight, dim=(1, 2), keepdim=True)
        found[f"{name}.parametrizations.weight.original0"] = length
        found[f"{name}.parametrizations.weight.original1"] = weight
    found.setdefault("decoder.project.bias", torch.zeros(1))
    if network["durations"] == "stochastic":
        for flow in ("flow", "posterior"):
            found[f"durations.{flow}.layers.0.initialized"] = torch.tensor(True)
    return network, found


# What Piper's checkpoints leave out because it is their default.
PIPER: dict[str, Any] = {
    "filter_length": 1024,
    "hop_length": 256,
    "win_length": 1024,
    "mel_channels": 80,
    "sample_rate": 22050,
    "mel_fmin": 0.0,
    "mel_fmax": None,
    "n_heads": 2,
    "p_dropout": 0.1,
    "segment_size": 8192,
    "resblock": "2",
    "resblock_kernel_sizes": (3, 5, 7),
    "resblock_dilation_sizes": ((1, 2), (2, 6), (3, 12)),
    "upsample_rates": (8, 8, 4),
    "upsample_initial_channel": 256,
    "upsample_kernel_sizes": (16, 16, 8),
}


def _network(weights: Mapping[str, Tensor], settings: Settings) -> dict[str, Any]:
    """Settings of our network: sizes from the weights' shapes, the rest as they were given."""
    try:
        fft, hop = settings["filter_length"], settings["hop_length"]
        if settings["win_length"] != fft:
            raise InputError(f"win_length {settings['win_length']} must be filter_length {fft}")
        symbols, channels = weights["enc_p.emb.weight"].shape
        filters = weights["enc_p.encoder.ffn_layers.0.conv_1.weight"]
        speakers = weights.get("emb_g.weight")
        network: dict[str, Any] = {
            "blanks": True,
            "symbols": symbols,
            "speakers": 1 if speakers is None else len(speakers),
            "latent": len(weights["enc_p.proj.weight"]) // 2,
            "channels": channels,
            "filter_channels": len(filters),
            "heads": settings["n_heads"],
            "encoder_layers": _count(weights, r"enc_p\.encoder\.ffn_layers\.(\d+)\."),
            "encoder_kernel": filters.shape[2],
            "encoder_dropout": settings["p_dropout"],
            "window": weights["enc_p.encoder.attn_layers.0.emb_rel_k"].shape[1] // 2,
            "posterior_layers": _count(weights, r"enc_q\.enc\.in_layers\.(\d+)\."),
            "couplings": (_count(weights, r"flow\.flows\.(\d+)\.") + 1) // 2,
            "coupling_layers": _count(weights, r"flow\.flows\.0\.enc\.in_layers\.(\d+)\."),
            "durations": "stochastic" if "dp.flows.0.m" in weights else "deterministic",
            "duration_loss": "log",
            "spline_minimum_bin": 1e-3,
            "spline_minimum_derivative": 1e-3,
            "window_frames": settings["segment_size"] // hop,
            "decoder": "hifi_gan",
            "upsample_rates": list(settings["upsample_rates"]),
            "upsample_kernels": list(settings["upsample_kernel_sizes"]),
            "upsample_channels": settings["upsample_initial_channel"],
            "resblock": str(settings["resblock"]),
            "resblock_kernels": list(settings["resblock_kernel_sizes"]),
            "resblock_dilations": [list(row) for row in settings["resblock_dilation_sizes"]],
            "power_floor": 1e-6,
            "mel": {
                "sample_rate": settings["sample_rate"],
                "fft_size": fft,
                "hop": hop,
                "mels": settings["mel_channels"],
                "mel_low": settings["mel_fmin"],
                "mel_high": settings["mel_fmax"] or settings["sample_rate"] / 2,
            },
        }
    except KeyError as error:
        raise InputError(f"the checkpoint or its settings lack {error}") from error
    if speakers is not None:
        network["speaker_channels"] = speakers.shape[1]
    if network["durations"] == "deterministic":
        network["duration_channels"] = len(weights["dp.conv_1.weight"])
    return network


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number that ``pattern`` finds among the names."""
    return 1 + max(int(found[1]) for key in weights if (found := re.match(pattern, key)))


def _name(key: str, kernels: int, deterministic: bool) -> str | None:
    """Our name for one of the authors' weights; None for one we do not know."""
    # Two predictors have a part of one name.
    name = re.sub(r"^dp\.proj\.", "durations.project.", key) if deterministic else key
    for pattern, ours in NAMES:
        name = re.sub(pattern, ours, name)
    name = re.sub(
        r"^decoder\.blocks\.(\d+)\.",
        lambda m: f"decoder.stages.{int(m[1]) // kernels}.{int(m[1]) % kernels}.",
        name,
    )
    return None if name == key and not key.startswith("discriminators.") else name


def _joined(*parts: str) -> str:
    return "/".join(parts)
