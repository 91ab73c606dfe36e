"""Tacotron 2 of NVIDIA/tacotron2: its sizes are read off its weights.

Its log-mels are those of our default settings, so it needs no file of settings beside it.
"""

from __future__ import annotations

from glottis.errors import InputError
from glottis.originals.checkpoint import Values, Weights


def convert(state: Weights, values: Values) -> tuple[Values, Weights]:
    """Settings of :class:`glottis.models.tacotron2.Config` and weights under our names."""
    return _settings(state), _weights(state)


def _settings(state: Weights) -> Values:
    symbols, channels = state["embedding.weight"].shape
    location = state["decoder.attention_layer.location_layer.location_conv.conv.weight"]
    mels = state["decoder.prenet.layers.0.linear_layer.weight"].shape[1]
    frames = state["decoder.linear_projection.linear_layer.weight"].shape[0]
    if mels != frames:
        raise InputError("checkpoints with more than one frame a step have no counterpart here")
    return {
        "blanks": True,
        "symbols": symbols,
        "channels": channels,
        "encoder_layers": sum(k.endswith("conv.bias") and k.startswith("encoder") for k in state),
        "encoder_kernel": state["encoder.convolutions.0.0.conv.weight"].shape[2],
        "attention_channels": state[
            "decoder.attention_layer.query_layer.linear_layer.weight"
        ].shape[0],
        "location_filters": location.shape[0],
        "location_kernel": location.shape[2],
        "attention_state": state["decoder.attention_rnn.weight_hh"].shape[1],
        "decoder_state": state["decoder.decoder_rnn.weight_hh"].shape[1],
        "prenet_channels": state["decoder.prenet.layers.0.linear_layer.weight"].shape[0],
        "postnet_channels": state["postnet.convolutions.0.0.conv.weight"].shape[0],
        "postnet_layers": sum(k.endswith("conv.bias") and k.startswith("postnet") for k in state),
        "postnet_kernel": state["postnet.convolutions.0.0.conv.weight"].shape[2],
        "mel": {"mels": mels},
    }


def _weights(state: Weights) -> Weights:
    """NVIDIA's state under our names."""
    parts = {
        "embedding.weight": "encoder.embed.weight",
        "decoder.attention_rnn.": "decoder.cell.",
        "decoder.attention_layer.query_layer.linear_layer.": "decoder.attention.query.",
        "decoder.attention_layer.memory_layer.linear_layer.": "decoder.attention.memory.",
        "decoder.attention_layer.v.linear_layer.": "decoder.attention.score.",
        "decoder.attention_layer.location_layer.location_conv.conv.": "decoder.attention.location.",
        "decoder.attention_layer.location_layer.location_dense.linear_layer.": (
            "decoder.attention.location_out."
        ),
        "decoder.linear_projection.linear_layer.": "decoder.frames.",
        "decoder.gate_layer.linear_layer.": "decoder.stop.",
    }
    found: Weights = {}
    for name, value in state.items():
        ours = name
        for theirs, own in parts.items():
            ours = own + ours.removeprefix(theirs) if ours.startswith(theirs) else ours
        if name.startswith("decoder.decoder_rnn."):
            ours = f"decoder.lstm.{name.rsplit('.', 1)[1]}_l0"
        if name.startswith("decoder.prenet."):
            ours = name.replace(".linear_layer", "")
        if name.startswith(("encoder.convolutions.", "postnet.convolutions.")):
            # A pair of a convolution (0) and its normalisation (1).
            place, rest = name.split(".", 3)[2:]
            kind = rest.removeprefix("0.") if rest.startswith("0.") else f"norm.{rest[2:]}"
            stem = "encoder.convolutions" if name.startswith("encoder") else "postnet"
            ours = f"{stem}.{place}.{kind}"
        found[ours] = value
    return found
