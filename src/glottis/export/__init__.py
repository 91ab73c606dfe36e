"""A trained run to one voice file, compared with torch before it is written.

The graph holds acoustic model and vocoder and has Piper's signature ``input, input_lengths, scales
[, sid] -> output``, so Piper and sherpa-onnx speak it as well. Some things are added that they
ignore: the inputs ``seed``, ``frames`` (how many of the first to make) and, for a model that is
told the language, ``language`` (initializers, so that they may be left out), the output
``durations`` in frames, one for each input id, and the few weights that only training needs, in the
metadata, so that a voice file alone is enough to train on (:func:`voice_weights`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glottis.errors import InputError
from glottis.export.checks import check, sentence_inputs
from glottis.export.conversion import embed_conversion
from glottis.export.description import (
    description_of,
    languages_spoken,
    metadata_of,
    write_description,
)
from glottis.export.graphs import conversion_graph, languages_of, voice_graph
from glottis.export.parameters import export_parameters
from glottis.export.runs import is_vocoder, load_run, must_fit, must_have_graph
from glottis.export.steps import export_steps
from glottis.export.storage import Storage, voice_weights, write_graph
from glottis.files import replacing

__all__ = [
    "Storage",
    "conversion_graph",
    "export_voice",
    "load_run",
    "voice_graph",
    "voice_weights",
]

log = logging.getLogger(__name__)

AUDIO_AXES = {"input": {1: "text"}, "output": {3: "samples"}, "durations": {1: "text"}}
"""What varies in a graph that speaks."""
TEMPERATURE, DURATION_TEMPERATURE = 0.667, 0.8
"""How much chance a voice speaks with when nobody says."""


def export_voice(
    run: Path,
    out: Path,
    *,
    vocoder: Path | None = None,
    weights: Storage = "float16",
    name: str | None = None,
    license: str | None = None,
    noise_scale: float | None = None,
    noise_w: float | None = None,
    settings: Sequence[str] = (),
    conversion: bool = False,
) -> Path:
    """Write ``out`` (``NAME.onnx``) and ``NAME.onnx.json`` from run folders.

    Args:
        run: the run folder of a model that turns text into log-mels, or into audio.
        out: where the voice goes; must end in ``.onnx``.
        vocoder: the run folder of a vocoder trained with the same mel settings; None for a model
            that makes audio.
        weights: how matrices are stored. ``float16`` halves the file, ``int8`` (symmetric, one
            scale for each output channel) quarters it; both are computed with as float32.
        name: the voice's name; the file's when left out.
        license: what the voice may be used for, shown by ``glottis voices``.
        noise_scale: default temperature, for a model that draws; 0.667 when left out.
        noise_w: default temperature of durations, for a model that draws them; 0.8 when left out.
        settings: ``key=value`` words over the run's network settings, for what can still be chosen
            after training: ``n_timesteps=4 solver=dpm2`` of Grad-TTS.
        conversion: put the graph of ``Voice.convert`` into the file, where other programs pass it
            over.

    Returns:
        ``out``.

    Raises:
        InputError: a folder is not a finished run or the run of another kind of model, the two do
            not fit (both settings are named), or the graph does not say what torch says.
    """
    if out.suffix != ".onnx":
        raise InputError(f"a voice file ends in .onnx, not {out.name!r}; try -o {out.stem}.onnx")
    if weights not in ("float32", "float16", "int8"):
        raise InputError(f"weights takes float32, float16 or int8, not {weights!r}")
    for what, asked in (("temperature", noise_scale), ("temperature of durations", noise_w)):
        if asked is not None and not 0 <= asked < np.inf:
            raise InputError(f"the {what} must be at least 0, not {asked}")
    acoustic, facts = load_run(run, settings)
    if is_vocoder(acoustic):
        raise InputError(
            f"{run} holds {facts['model']}, a vocoder, which does not read text: name the run "
            f"folder of an acoustic model first, and this one as --vocoder {run}"
        )
    if facts.get("foreign_symbols"):
        raise InputError(
            f"{run} was imported and reads the symbols of its authors' text front end, which a "
            "voice file does not have; train a model of your own, or start it from these weights "
            "with initialize="
        )
    several = len(facts["speakers"]) > 1
    if conversion and not (several and hasattr(acoustic, "export_conversion")):
        raise InputError(f"{run} cannot convert: that takes a VITS of several speakers")
    by_parameters, by_steps = (hasattr(acoustic, n) for n in ("natural_variance", "export_steps"))
    if (by_parameters or by_steps) and (noise_scale, noise_w) != (None, None):
        raise InputError(
            f"{run} holds {facts['model']}, which draws nothing that a temperature would scale: "
            "leave --temperature and --duration-temperature out"
        )
    if by_parameters:
        if vocoder is not None:
            raise InputError(f"{run} speaks by itself: leave --vocoder out")
        return export_parameters(acoustic, facts, out, weights, name, license)
    decoder = None
    if by_steps:
        return export_steps(run, acoustic, facts, vocoder, out, weights, name, license)
    must_have_graph(run, acoustic, facts)
    if getattr(acoustic, "end_to_end", False):
        if vocoder is not None:
            raise InputError(f"{run} makes audio by itself: leave --vocoder {vocoder} out")
    elif vocoder is None:
        raise InputError(f"{run} makes log-mels: name the run folder of a vocoder with --vocoder")
    else:
        decoder, decoder_facts = load_run(vocoder)
        if not is_vocoder(decoder):
            raise InputError(
                f"{vocoder} holds {decoder_facts['model']}, which is no vocoder: name the run "
                "folder of one with --vocoder"
            )
        must_have_graph(vocoder, decoder, decoder_facts)
        must_fit(run, facts, vocoder, decoder_facts)
    graph = voice_graph(acoustic, decoder)
    spoken = languages_spoken(facts, acoustic)
    inputs: dict[str, Any] = {
        "several": several,
        "languages": languages_of(acoustic),
        "partial": graph.partial,
    }
    with replacing(out) as path:
        first = sentence_inputs(24, **inputs)
        write_graph(graph, path, weights, metadata_of(facts, spoken), first, AUDIO_AXES)
        check(graph, path, **inputs)
        if conversion:
            embed_conversion(acoustic, path, weights, facts)
        chance = (
            TEMPERATURE if noise_scale is None else noise_scale,
            DURATION_TEMPERATURE if noise_w is None else noise_w,
        )
        description = description_of(facts, spoken, name or out.stem, license, chance, out)
        write_description(description, out)
    log.info("%s: %.1f MB", out, out.stat().st_size / 1e6)
    return out
