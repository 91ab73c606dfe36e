"""WaveNet of r9y9/wavenet_vocoder, with the JSON of settings that belongs to it.

Its log-mels are its own (base-10 decibels, scaled by the corpus's statistics), so it speaks from
features made its way.
"""

from __future__ import annotations

import math

from torch import Tensor

from glottis.errors import InputError
from glottis.originals.checkpoint import Values, Weights


def convert(state: Weights, values: Values) -> tuple[Values, Weights]:
    """Settings of :class:`glottis.models.wavenet.Config` and weights under our names.

    Raises:
        InputError: settings that have no counterpart here.
    """
    settings = _settings(values)
    return settings, _weights(state, settings)


def _settings(values: Values) -> Values:
    """wavenet_vocoder's settings as ours."""
    upsampling = values.get("upsample_params", {})
    if (
        not values.get("upsample_conditional_features")
        or values.get("upsample_net", "ConvInUpsampleNetwork") != "ConvInUpsampleNetwork"
        or upsampling.get("freq_axis_kernel_size", 1) != 1
        or upsampling.get("upsample_activation", "none") != "none"
        or upsampling.get("mode", "nearest") != "nearest"
    ):
        raise InputError(
            "only checkpoints with upsample_net ConvInUpsampleNetwork, a freq_axis_kernel_size of "
            "1, no activation and mode nearest have a counterpart here"
        )
    kind, outputs = values["input_type"], values["out_channels"]
    if kind == "mulaw-quantize":
        output = "mulaw"
    elif kind != "raw":
        raise InputError(f"input_type {kind!r} has no counterpart here; raw and mulaw-quantize do")
    elif values.get("output_distribution", "Logistic") == "Logistic":
        output = "logistic_mixture"
    else:
        output = "gaussian" if outputs == 2 else "gaussian_mixture"
    several = (values.get("gin_channels") or -1) > 0
    return {
        "output": output,
        "bits": int(math.log2(values["quantize_channels"])),
        "components": max(1, outputs // 3),
        "layers": values["layers"],
        "stacks": values["stacks"],
        "kernel_size": values["kernel_size"],
        "residual_channels": values["residual_channels"],
        "gate_channels": values["gate_channels"],
        "skip_channels": values["skip_out_channels"],
        "dropout": values["dropout"],
        "speakers": values["n_speakers"] if several else 1,
        "speaker_channels": values["gin_channels"] if several else 64,
        "upsampling": list(upsampling["upsample_scales"]),
        "context": values["cin_pad"],
        "minimum_log_scale": None if output == "mulaw" else values["log_scale_min"],
        "mel": {
            "sample_rate": values["sample_rate"],
            "fft_size": values["fft_size"],
            "hop": values["hop_size"],
            "mels": values["cin_channels"],
            "mel_low": values["fmin"],
            "mel_high": values["fmax"],
        },
    }


def _weights(state: Weights, settings: Values) -> Weights:
    """wavenet_vocoder's state under our names, with weight normalisation folded in."""

    def weight(name: str) -> Tensor:
        if f"{name}.weight" in state:
            return state[f"{name}.weight"]
        direction, size = state[f"{name}.weight_v"], state[f"{name}.weight_g"]
        norm = direction.flatten(1).norm(dim=1).view(-1, *(1 for _ in direction.shape[1:]))
        return direction * (size / norm)

    names = {"first": "first_conv", "hidden": "last_conv_layers.1", "last": "last_conv_layers.3"}
    for i in range(settings["layers"]):
        for ours, theirs in (
            ("gate", "conv"),
            ("residual", "conv1x1_out"),
            ("skip", "conv1x1_skip"),
        ):
            names[f"layers.{i}.{ours}"] = f"conv_layers.{i}.{theirs}"
    found: Weights = {}
    for ours, theirs in names.items():
        found[f"{ours}.weight"] = weight(theirs)
        found[f"{ours}.bias"] = state[f"{theirs}.bias"]
    for i in range(settings["layers"]):
        found[f"layers.{i}.condition.weight"] = weight(f"conv_layers.{i}.conv1x1c")
        if settings["speakers"] > 1:
            found[f"layers.{i}.speaker.weight"] = weight(f"conv_layers.{i}.conv1x1g")[..., 0]
    if settings["speakers"] > 1:
        found["speakers.weight"] = state["embed_speakers.weight"]
    found["upsampling.context.weight"] = weight("upsample_net.conv_in")
    for i in range(len(settings["upsampling"])):
        # Their stages alternate between repeating (no weights) and filtering.
        found[f"upsampling.stages.{i}"] = weight(
            f"upsample_net.upsample.up_layers.{2 * i + 1}"
        ).flatten()
    return found
