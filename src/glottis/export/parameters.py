"""Export of a model that says how vocoder parameters are distributed."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from glottis.export.checks import check, sentence_inputs
from glottis.export.description import (
    description_of,
    languages_spoken,
    metadata_of,
    write_description,
)
from glottis.export.graphs import to_plain_weights
from glottis.export.storage import Storage, write_graph
from glottis.files import replacing

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

PARAMETER_AXES = {
    "input": {1: "text"},
    "mean": {1: "frames"},
    "variance": {1: "frames"},
    "voicing": {1: "frames"},
    "durations": {1: "text"},
}
"""What varies in a graph that gives the distribution of vocoder parameters."""


def export_parameters(
    model: nn.Module,
    facts: dict[str, Any],
    out: Path,
    weights: Storage,
    name: str | None,
    license: str | None,
) -> Path:
    """Write a voice whose graph gives the distribution of vocoder parameters.

    Such a voice is glottis's alone: the runtime finds the trajectory and synthesises it.
    """
    import torch

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.acoustic = copy.deepcopy(model).export_graph()  # type: ignore[operator]
            to_plain_weights(self)

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            text, lengths, scales, *rest = inputs
            made: tuple[torch.Tensor, ...] = self.acoustic(
                text, lengths, scales, rest[0] if rest else None
            )
            return made

    several = len(facts["speakers"]) > 1
    graph, trained = Graph(), cast(Any, model)
    config = trained.config
    spoken = languages_spoken(facts, model)
    description = description_of(facts, spoken, name or out.stem, license, (0.0, 0.0), out)
    description["hop_length"] = config.vocoder.hop
    description["glottis"]["parameters"] = {
        "order": config.order,
        "low": config.low,
        "high": config.high,
        "spread": config.spread,
        "postfilter": config.postfilter,
        "global_variance": trained.natural_variance().tolist(),
    }
    with replacing(out) as path:
        example = sentence_inputs(24, several=several, seeded=False)
        write_graph(graph, path, weights, metadata_of(facts, spoken), example, PARAMETER_AXES)
        check(graph, path, several=several, seeded=False)
        write_description(description, out)
    log.info("%s: %.1f MB", out, out.stat().st_size / 1e6)
    return out
