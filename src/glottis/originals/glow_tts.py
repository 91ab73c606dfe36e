"""Glow-TTS as jaywalnut310/glow-tts trains it: ``G_*.pth`` with ``config.json``."""

from __future__ import annotations

import re

import torch

from glottis.errors import InputError
from glottis.originals.checkpoint import Values, Weights, mel_settings
from glottis.originals.names import (
    GATED_STACK,
    duration_predictor,
    renamed,
    transformer,
    without_head_axis,
)

TEXT_ENCODER = [
    (r"^encoder\.emb\.", "encoder.embed."),
    (r"^encoder\.pre(net)?\.conv_layers\.", "encoder.prenet.convolutions."),
    (r"^encoder\.pre(net)?\.norm_layers\.", "encoder.prenet.norms."),
    (r"^encoder\.pre(net)?\.proj\.", "encoder.prenet.project."),
    *transformer("encoder.encoder"),
    (r"^encoder\.proj_m\.", "encoder.mean."),
    (r"^encoder\.proj_s\.", "encoder.log_scale."),
    *duration_predictor("encoder.proj_w", "encoder.durations"),
]
"""The text encoder, which Grad-TTS' authors have taken over."""


def convert(state: Weights, values: Values) -> tuple[Values, Weights]:
    """Settings of :class:`glottis.models.glow_tts.Config` and weights under our names."""
    return _settings(values, state), _weights(state)


def _settings(values: Values, state: Weights) -> Values:
    model, data = values["model"], values["data"]
    if model.get("block_length") is not None or not model.get("window_size"):
        raise InputError("attention in blocks, or without relative positions, is not known here")
    speakers = int(model.get("n_speakers") or data.get("n_speakers") or 0)
    hidden = model["hidden_channels"]
    return {
        "blanks": True,
        "symbols": len(state["encoder.emb.weight"]),
        "speakers": speakers if speakers > 1 else 1,
        "speaker_channels": model.get("gin_channels") or 64,
        "channels": model.get("hidden_channels_enc") or hidden,
        "filter_channels": model["filter_channels"],
        "heads": model.get("n_heads", 2),
        "encoder_layers": model.get("n_layers_enc", 6),
        "encoder_kernel": model.get("kernel_size", 3),
        "encoder_dropout": float(model.get("p_dropout", 0)),
        "prenet": model.get("prenet", False),
        "window": model["window_size"],
        "duration_channels": model["filter_channels_dp"],
        "duration_dropout": float(model.get("p_dropout", 0)),
        "duration_loss": "log",
        "duration_rounding": "up",
        "unit_variance": model.get("mean_only", False),
        "align_on": "latent",
        "blocks": model.get("n_blocks_dec", 12),
        "block_channels": model.get("hidden_channels_dec") or hidden,
        "block_layers": model.get("n_block_layers", 4),
        "block_kernel": model.get("kernel_size_dec", 5),
        "block_dilation": model.get("dilation_rate", 5),
        "block_dropout": float(model.get("p_dropout_dec", 0)),
        "bounded_scale": model.get("sigmoid_scale", False),
        "squeeze": model.get("n_sqz", 1),
        "group": model.get("n_split", 4),
        "mel": mel_settings(
            data["sampling_rate"],
            data["filter_length"],
            data["win_length"],
            data["hop_length"],
            data["n_mel_channels"],
            data["mel_fmin"],
            data["mel_fmax"],
        ),
    }


def text_encoder(state: Weights) -> Weights:
    """``state`` with the names of the text encoder turned to ours."""
    return without_head_axis(renamed(state, TEXT_ENCODER))


def _weights(state: Weights) -> Weights:
    found: Weights = {}
    for name, value in text_encoder(state).items():
        match = re.match(r"decoder\.flows\.(\d+)\.(.+)", name)
        if match is None:
            found[name.replace("emb_g.", "speakers.")] = value
            continue
        block, kind = divmod(int(match[1]), 3)
        rest = match[2]
        if kind == 0:
            ours = {"logs": "log_scale", "bias": "offset"}[rest]
            found[f"decoder.norms.{block}.{ours}"] = value.flatten()
            found[f"decoder.norms.{block}.initialized"] = torch.tensor(True)
        elif kind == 1:
            if rest == "weight":  # the inverse, where it was kept, follows from it
                found[f"decoder.mixers.{block}.weight"] = value
        else:
            for theirs, mine in (("wn.", "stack."), *GATED_STACK):
                rest = re.sub(theirs, mine, rest)
            found[f"decoder.couplings.{block}.network.{rest}"] = value
    return found
