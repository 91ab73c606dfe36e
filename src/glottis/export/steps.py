"""Export of a model that predicts one frame after another, with the WaveNet that follows it."""

from __future__ import annotations

import copy
import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glottis.errors import InputError
from glottis.export.checks import must_equal, open_graph, sentence_inputs
from glottis.export.description import (
    description_of,
    languages_spoken,
    metadata_of,
    write_description,
)
from glottis.export.runs import load_run, must_fit
from glottis.export.storage import Storage, write_graph
from glottis.files import replacing
from glottis.voice.stepwise import SUFFIX, numbers, pack

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)


def _step_vocoder(
    run: Path, facts: dict[str, Any], vocoder: Path | None
) -> tuple[nn.Module, dict[str, Any]]:
    """The WaveNet that speaks what a model with steps predicts."""
    if vocoder is None:
        raise InputError(f"{run} makes log-mels: name the run folder of a WaveNet with --vocoder")
    decoder, decoder_facts = load_run(vocoder)
    if not hasattr(decoder, "sampler"):
        raise InputError(
            f"{vocoder} holds {decoder_facts['model']}; {run} speaks frame after frame, which a "
            "WaveNet follows: name its run folder with --vocoder"
        )
    must_fit(run, facts, vocoder, decoder_facts)
    several = len(decoder_facts["speakers"]) > 1
    if several and decoder_facts["speakers"] != facts["speakers"]:
        raise InputError(
            f"the vocoder does not fit the acoustic model: {vocoder} knows the speakers "
            f"{', '.join(decoder_facts['speakers'])}, {run} {', '.join(facts['speakers'])}"
        )
    return decoder, decoder_facts


def export_steps(
    run: Path,
    acoustic: nn.Module,
    facts: dict[str, Any],
    vocoder_run: Path | None,
    out: Path,
    weights: Storage,
    name: str | None,
    license: str | None,
) -> Path:
    """Write a voice that speaks frame after frame: three graphs and a sampler's weights.

    Such a voice is glottis's alone; see :mod:`glottis.voice.stepwise`. Arguments and errors as
    :func:`glottis.export.export_voice`.
    """
    import torch

    vocoder, vocoder_facts = _step_vocoder(run, facts, vocoder_run)
    trained: Any = copy.deepcopy(acoustic).eval().requires_grad_(False)
    config, parts = trained.config, trained.export_steps()
    spoken = languages_spoken(facts, acoustic)
    several = len(facts["speakers"]) > 1
    symbols, made = 24, []
    example = sentence_inputs(2 * symbols, several=several, seeded=False)
    # Of text that varies; a step is also tried with random states.
    rng = np.random.default_rng(0)
    with torch.no_grad():
        read = parts["text"](*(torch.from_numpy(value) for value in example.values()))
    memory, keys, first, _ = (value.numpy() for value in read)
    states = {
        "hidden": (1, config.attention_state),
        "cell": (1, config.attention_state),
        "context": (1, memory.shape[2]),
        "weights": first.shape,
        "total": first.shape,
        "state": (1, 1, config.decoder_state),
        "carry": (1, 1, config.decoder_state),
    }
    step = {
        "frame": rng.standard_normal((1, config.said)).astype("f4"),
        "uniforms": rng.random((2, 1, config.prenet_channels), np.float32),
        "memory": memory,
        "keys": keys,
        **{key: rng.random(shape, np.float32) for key, shape in states.items()},
    }
    refined = config.said + (config.regression_channels if config.regression_layers else 0)
    refine = {"mel": rng.standard_normal((1, refined, 40)).astype("f4")}
    text = {1: "text"}
    read_axes = {"input": text, "memory": {1: "kept"}, "keys": {1: "kept"}, "weights": {1: "kept"}}
    texts = {key: {1: "kept"} for key in ("memory", "keys", "weights", "total")}
    news = {f"new_{key}": {1: "kept"} if key in texts else {} for key in states}
    graphs = (
        ("text", example, {**read_axes, "kept": {0: "kept"}}),
        ("step", step, {**texts, "frames": {}, "stop": {}, **news}),
        ("refine", refine, {"mel": {2: "frames"}, "after": {2: "frames"}}),
    )
    beside = out.with_name(out.name + SUFFIX)
    with replacing(out) as path, replacing(beside) as steps_path:
        for key, values, axes in graphs:
            file = path if key == "text" else path.with_name(f"{path.stem}-{key}.onnx")
            try:
                metadata = metadata_of(facts, spoken) if key == "text" else {}
                write_graph(parts[key], file, weights, metadata, values, axes, unspoken=False)
                ours = open_graph(file).run(None, values)
                with torch.no_grad():
                    theirs = parts[key](*(torch.from_numpy(value) for value in values.values()))
                must_equal(file, ours, theirs if isinstance(theirs, tuple) else [theirs])
                made.append(file.read_bytes())
            finally:
                if file != path:
                    file.unlink(missing_ok=True)
        decoder: Any = vocoder
        sampler_weights = decoder.weights()
        speakers = None
        if len(vocoder_facts["speakers"]) > 1:
            with torch.no_grad():
                speakers = decoder.speaker_bias(torch.arange(len(vocoder_facts["speakers"])))
        data = pack(made[1], made[2], sampler_weights, speakers)
        steps_path.write_bytes(data)
        description = description_of(facts, spoken, name or out.stem, license, (0.0, 0.0), out)
        description["glottis"]["steps"] = {
            "reduction": config.reduction,
            "bound": [50.0, config.frames_per_symbol],
            "stop_threshold": config.stop_threshold,
            "prenet": config.prenet_channels,
            "pitch": config.pitch,
            "reach": trained.reach,
            "digest": hashlib.sha256(data).hexdigest(),
            "wavenet": numbers(sampler_weights),
        }
        write_description(description, out)
    log.info("%s: %.1f MB, %s: %.1f MB", out, out.stat().st_size / 1e6, beside, len(data) / 1e6)
    return out
