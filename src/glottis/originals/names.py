"""The authors' names of weights that stand in more than one model, and ours for them.

A rule is a regular expression and what replaces it. Glow-TTS, Grad-TTS and VITS have one text
encoder, Glow-TTS and VITS one stack of gated convolutions, HiFi-GAN and VITS one generator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Rule = tuple[str, str]


def renamed(state: Mapping[str, Tensor], rules: Iterable[Rule]) -> dict[str, Tensor]:
    """``state`` with every name through every rule, in order."""
    rules, found = list(rules), {}
    for name, value in state.items():
        for pattern, ours in rules:
            name = re.sub(pattern, ours, name)
        found[name] = value
    return found


def transformer(theirs: str) -> list[Rule]:
    """The text encoder's transformer: from ``theirs`` to ``encoder.transformer``."""
    ours = "encoder.transformer."
    parts = {
        r"attn_layers\.(\d+)\.conv_q\.": r"attentions.\1.query.",
        r"attn_layers\.(\d+)\.conv_k\.": r"attentions.\1.key.",
        r"attn_layers\.(\d+)\.conv_v\.": r"attentions.\1.value.",
        r"attn_layers\.(\d+)\.conv_o\.": r"attentions.\1.out.",
        r"attn_layers\.(\d+)\.emb_rel_k$": r"attentions.\1.relative_key",
        r"attn_layers\.(\d+)\.emb_rel_v$": r"attentions.\1.relative_value",
        r"norm_layers_1\.": "attention_norms.",
        r"norm_layers_2\.": "forward_norms.",
        r"ffn_layers\.(\d+)\.conv_1\.": r"forwards.\1.expand.",
        r"ffn_layers\.(\d+)\.conv_2\.": r"forwards.\1.contract.",
    }
    return [(rf"^{re.escape(theirs)}\.{part}", ours + own) for part, own in parts.items()]


def without_head_axis(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The heads share their relative positions: ``[1, positions, size]`` loses its first axis."""
    return {
        name: value.squeeze(0) if name.endswith((".relative_key", ".relative_value")) else value
        for name, value in state.items()
    }


def duration_predictor(theirs: str, ours: str) -> list[Rule]:
    """The deterministic one, two convolutions and a projection."""
    parts = {
        "conv_1": "first",
        "norm_1": "first_norm",
        "conv_2": "second",
        "norm_2": "second_norm",
        "proj": "project",
    }
    return [(rf"^{re.escape(theirs)}\.{part}\.", f"{ours}.{own}.") for part, own in parts.items()]


GATED_STACK: tuple[Rule, ...] = (
    (r"\bin_layers\.", "gates."),
    (r"\bres_skip_layers\.", "outs."),
    (r"\bcond_layer\.", "condition."),
)
"""WaveNet's gated convolutions, wherever they stand."""


def generator(theirs: str, ours: str, kernels: int) -> list[Rule]:
    """HiFi-GAN's generator, which counts its residual blocks through: ``kernels`` a stage."""
    theirs = re.escape(theirs)
    blocks = [
        (
            rf"^{theirs}\.resblocks\.{block}\.",
            f"{ours}.stages.{block // kernels}.{block % kernels}.",
        )
        for block in range(16 * kernels)
    ]
    stage = rf"^({re.escape(ours)}\.stages\.\d+\.\d+)"
    return [
        *blocks,
        (rf"{stage}\.convs1?\.", r"\1.dilated."),
        (rf"{stage}\.convs2\.", r"\1.plain."),
        (rf"^{theirs}\.conv_pre\.", f"{ours}.embed."),
        (rf"^{theirs}\.conv_post\.", f"{ours}.project."),
        (rf"^{theirs}\.cond\.", f"{ours}.condition."),
        (rf"^{theirs}\.ups\.", f"{ours}.upsamples."),
    ]


def discriminators(theirs: str) -> list[Rule]:
    """Members of :class:`~glottis.blocks.discriminators.Discriminators` by their place."""
    return [
        (rf"^{re.escape(theirs)}\.", "discriminators.members."),
        (r"^(discriminators\.members\.\d+)\.convs\.", r"\1.layers."),
        (r"^(discriminators\.members\.\d+)\.conv_post\.", r"\1.score."),
    ]


def fitted(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Normalised weights in torch's present form, folded where ours (``own``) have no norm.

    Where only ours have one, it changes nothing: the length is kept beside the direction.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        stem, _, kind = name.rpartition(".")
        norm = f"{stem}.parametrizations.weight."
        if kind == "weight_orig":
            found[norm + "original"] = value
        elif kind in ("weight_u", "weight_v") and f"{stem}.weight_orig" in state:
            found[norm + "0._" + kind[-1]] = value
        elif kind in ("weight_g", "weight_v") and {f"{stem}.weight_g", f"{stem}.weight_v"} <= {
            *state
        }:
            length, direction = state[f"{stem}.weight_g"], state[f"{stem}.weight_v"]
            if norm + "original0" in own:
                found[norm + "original0"], found[norm + "original1"] = length, direction
            else:
                found[f"{stem}.weight"] = torch._weight_norm(direction, length, 0)
        elif kind == "weight" and norm + "original0" in own:
            found[norm + "original0"] = torch.linalg.vector_norm(
                value, dim=tuple(range(1, value.dim())), keepdim=True
            )
            found[norm + "original1"] = value
        else:
            found[name] = value
    return found
