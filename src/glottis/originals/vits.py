"""VITS: the authors' ``G_*.pth`` and ``D_*.pth`` with their JSON, and Piper's training checkpoints.

The authors' models of ``english_cleaners2`` and Piper's read phonemes of espeak-ng, so their
embeddings are put in the order of our symbols: such a model speaks as a voice of ours, and can be
trained on with corpora prepared here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from glottis.errors import InputError
from glottis.originals.checkpoint import Values, Weights, mel_settings
from glottis.originals.names import (
    GATED_STACK,
    Rule,
    discriminators,
    duration_predictor,
    generator,
    renamed,
    transformer,
    without_head_axis,
)
from glottis.text.symbols import BEGIN, DEFAULT, END, NUM_SYMBOLS, PAD

# The authors' table of symbols, in their order (text/symbols.py of jaywalnut310/vits).
SYMBOLS = (
    "_"
    ';:,.!?¡¿—…"«»“” '
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃ"
    "ˈˌːˑʼʴʰʱʲʷˠˤ˞↓↑→↗↘'\u0329'ᵻ"
)

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

SPLINE_FLOWS = r"^(durations\.(?:flow|posterior)\.layers\.\d+)"
STOCHASTIC: tuple[Rule, ...] = (
    (r"^dp\.pre\.", "durations.text.start."),
    (r"^dp\.convs\.", "durations.text.stack."),
    (r"^dp\.proj\.", "durations.text.end."),
    (r"^dp\.post_pre\.", "durations.durations.start."),
    (r"^dp\.post_convs\.", "durations.durations.stack."),
    (r"^dp\.post_proj\.", "durations.durations.end."),
    (r"^dp\.post_flows\.", "durations.posterior.layers."),
    (r"^dp\.flows\.", "durations.flow.layers."),
    (rf"{SPLINE_FLOWS}\.pre\.", r"\1.network.start."),
    (rf"{SPLINE_FLOWS}\.convs\.", r"\1.network.stack."),
    (rf"{SPLINE_FLOWS}\.proj\.", r"\1.network.end."),
    (rf"{SPLINE_FLOWS}\.m$", r"\1.offset"),
    (rf"{SPLINE_FLOWS}\.logs$", r"\1.log_scale"),
    (r"\bconvs_sep\.", "depthwise."),
    (r"\bconvs_1x1\.", "pointwise."),
    (r"\bnorms_1\.", "first_norms."),
    (r"\bnorms_2\.", "second_norms."),
)
"""Of the stochastic duration predictor."""


def from_authors(state: Weights, values: Values) -> tuple[Values, Weights]:
    """Settings of :class:`glottis.models.vits.Config` and weights under our names.

    ``state`` may hold the discriminators beside the generator; ``values`` is the authors' JSON.

    Raises:
        InputError: weights that a VITS does not have, or settings that do not fit ours.
    """
    given = {**values["train"], **values["data"], **values["model"]}
    given["sample_rate"] = given["sampling_rate"]
    given["mel_channels"] = given["n_mel_channels"]
    return _converted(state, given)


def from_piper(state: Weights, values: Values) -> tuple[Values, Weights]:
    """As :func:`from_authors`; ``values`` are the checkpoint's own hyper-parameters."""
    parts = ("model_g.", "model_d.")
    ours = {name[8:]: value for name, value in state.items() if name.startswith(parts)}
    return _converted(ours, {**PIPER, **values})


def _converted(state: Weights, values: Values) -> tuple[Values, Weights]:
    network = _network(state, values)
    stochastic = network["durations"] == "stochastic"
    rules = _rules(stochastic, len(network["resblock_kernels"]))
    found: Weights = {}
    for name, value in without_head_axis(renamed(state, rules)).items():
        if name in state:
            raise InputError(f"the checkpoint's {name} has no place in our network")
        found[name] = value.squeeze(-1) if name.endswith((".offset", ".log_scale")) else value
    found.setdefault("decoder.project.bias", torch.zeros(1))
    if stochastic:
        for flow in ("flow", "posterior"):
            found[f"durations.{flow}.layers.0.initialized"] = torch.tensor(True)
    return network, found


def _rules(stochastic: bool, kernels: int) -> list[Rule]:
    """The authors' names to ours. Their two duration predictors both have a ``dp.proj``."""
    return [
        (r"^enc_p\.emb\.", "encoder.embed."),
        *transformer("enc_p.encoder"),
        (r"^enc_p\.proj\.", "encoder.project."),
        (r"^enc_q\.pre\.", "posterior.start."),
        (r"^enc_q\.enc\.", "posterior.stack."),
        (r"^enc_q\.proj\.", "posterior.end."),
        (r"^flow\.flows\.(\d+)\.pre\.", r"flow.layers.\1.network.start."),
        (r"^flow\.flows\.(\d+)\.enc\.", r"flow.layers.\1.network.stack."),
        (r"^flow\.flows\.(\d+)\.post\.", r"flow.layers.\1.network.end."),
        *GATED_STACK,
        *(STOCHASTIC if stochastic else duration_predictor("dp", "durations")),
        (r"^dp\.cond\.", "durations.condition."),
        *generator("dec", "decoder", kernels),
        (r"^emb_g\.", "speakers."),
        *discriminators("discriminators"),
    ]


def _network(weights: Weights, settings: Values) -> dict[str, Any]:
    """Settings of our network: sizes from the weights' shapes, the rest as they were given."""
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
        "window_frames": settings["segment_size"] // settings["hop_length"],
        "decoder": "hifi_gan",
        "upsample_rates": list(settings["upsample_rates"]),
        "upsample_kernels": list(settings["upsample_kernel_sizes"]),
        "upsample_channels": settings["upsample_initial_channel"],
        "resblock": str(settings["resblock"]),
        "resblock_kernels": list(settings["resblock_kernel_sizes"]),
        "resblock_dilations": [list(row) for row in settings["resblock_dilation_sizes"]],
        "power_floor": 1e-6,
        "mel": mel_settings(
            settings["sample_rate"],
            settings["filter_length"],
            settings["win_length"],
            settings["hop_length"],
            settings["mel_channels"],
            settings["mel_fmin"],
            settings["mel_fmax"],
        ),
    }
    if speakers is not None:
        network["speaker_channels"] = speakers.shape[1]
    if network["durations"] == "deterministic":
        network["duration_channels"] = len(weights["dp.conv_1.weight"])
    return network


def _count(weights: Weights, pattern: str) -> int:
    """One more than the largest number that ``pattern`` finds among the names."""
    return 1 + max((int(m[1]) for key in weights if (m := re.match(pattern, key))), default=-1)


def authors_rows(symbols: int, values: Values) -> dict[str, int] | None:
    """Where the embedding of the authors' network has each phoneme; None for other symbols."""
    if symbols != len(SYMBOLS) or values["data"].get("text_cleaners") != ["english_cleaners2"]:
        return None
    # A symbol that stands there twice is found at its last place.
    rows = {symbol: row for row, symbol in enumerate(SYMBOLS)}
    return {**rows, BEGIN: rows[PAD], END: rows[PAD]}


def pipers_rows(
    symbols: int, phoneme_type: str, ids: Mapping[str, Sequence[int]] | None
) -> dict[str, int] | None:
    """As :func:`authors_rows` of Piper, by its ``phoneme_id_map``; without one, the usual map."""
    if phoneme_type != "espeak":
        return None
    given = ids or DEFAULT.phoneme_id_map
    rows = {phoneme: found[0] for phoneme, found in given.items() if len(found) == 1}
    if max(rows.values(), default=0) >= symbols or PAD not in rows:
        return None
    return rows


def in_our_order(embedding: Tensor, rows: Mapping[str, int]) -> Tensor:
    """``[symbols, channels]`` in their order -> ``[NUM_SYMBOLS, channels]`` in ours.

    Symbols that they have not sound like their blank.
    """
    order = torch.full((NUM_SYMBOLS,), rows[PAD])
    for symbol, ids in DEFAULT.phoneme_id_map.items():
        order[ids[0]] = rows.get(symbol, rows[PAD])
    return embedding[order].clone()
