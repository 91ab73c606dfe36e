"""Export of the graph that says a recording again as another speaker."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from glottis.export.checks import must_equal, open_graph
from glottis.export.graphs import conversion_graph
from glottis.export.storage import Storage, write_graph
from glottis.files import replacing

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)


def write_conversion(model: nn.Module, out: Path, weights: Storage, facts: dict[str, Any]) -> None:
    """Write ``NAME.onnx.conversion`` beside the voice ``out``, compared with torch.

    Raises:
        InputError: the graph does not say what torch says.
    """
    import torch

    mel = facts["mel"]
    graph = conversion_graph(model)
    metadata = {key: str(mel[key]) for key in ("sample_rate", "fft_size", "hop")}

    told = cast(Any, model).config.pitch

    def example(frames: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(frames)
        values = {
            "spectrogram": rng.exponential(1.0, (1, mel["fft_size"] // 2 + 1, frames)).astype("f4"),
            "source": np.array([0]),
            "target": np.array([1]),
            "scale": np.array([0.5], np.float32),
            "seed": np.array([7]),
        }
        if told:
            pitch = rng.uniform(80.0, 300.0, (1, frames)) * (rng.random((1, frames)) < 0.7)
            values["pitch"] = pitch.astype(np.float32)
        return values

    with replacing(out.with_name(out.name + ".conversion")) as path:
        axes = {"spectrogram": {2: "frames"}, "output": {1: "samples"}}
        if told:
            axes["pitch"] = {1: "frames"}
        write_graph(graph, path, weights, metadata, example(24), axes)
        session = open_graph(path)
        for frames in (9, 90):
            values = example(frames)
            ours = session.run(None, values)
            with torch.no_grad():
                theirs = graph(*(torch.from_numpy(value) for value in values.values()))
            must_equal(path, ours, [theirs])
