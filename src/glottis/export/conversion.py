"""The graph that says a recording again as another speaker, in a voice's file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from glottis.export.checks import must_equal
from glottis.export.graphs import conversion_graph
from glottis.export.storage import Storage, write_graph
from glottis.voice.embedded import embed
from glottis.voice.session import open_session

if TYPE_CHECKING:
    from torch import nn


def embed_conversion(model: nn.Module, path: Path, weights: Storage, facts: dict[str, Any]) -> None:
    """Put the graph of ``Voice.convert`` into the voice at ``path``, compared with torch.

    It takes from the voice's own graph the weights that both have.

    Raises:
        InputError: the graph does not say what torch says.
    """
    import onnx
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

    axes = {"spectrogram": {2: "frames"}, "output": {1: "samples"}}
    if told:
        axes["pitch"] = {1: "frames"}
    with tempfile.TemporaryDirectory(prefix="glottis-") as folder:
        alone = Path(folder) / "conversion.onnx"
        write_graph(graph, alone, weights, metadata, example(24), axes, unspoken=False)
        second = onnx.load(str(alone))
    shared = _leave_out(second.graph, onnx.load(str(path)).graph)
    path.write_bytes(embed(path.read_bytes(), second.SerializeToString(), shared))
    session = open_session(path, threads=1, simplify=False, second=True)
    for frames in (9, 90):
        values = example(frames)
        ours = session.run(None, values)
        with torch.no_grad():
            theirs = graph(*(torch.from_numpy(value) for value in values.values()))
        must_equal(path, ours, [theirs])


def _leave_out(graph: Any, first: Any) -> set[str]:
    """Take from ``graph`` the weights that ``first`` has too, and return their names."""
    from onnx import numpy_helper

    there = {tensor.name: tensor for tensor in first.initializer}

    def same(tensor: Any) -> bool:
        other = there.get(tensor.name)
        if other is None or other.data_type != tensor.data_type or other.dims != tensor.dims:
            return False
        # Scales of whole numbers that were made from whole numbers differ in their last bit.
        ours, theirs = numpy_helper.to_array(tensor), numpy_helper.to_array(other)
        return bool(np.allclose(ours, theirs, rtol=1e-6, atol=0.0))

    shared = {tensor.name for tensor in graph.initializer if same(tensor)}
    own = [tensor for tensor in graph.initializer if tensor.name not in shared]
    del graph.initializer[:]
    graph.initializer.extend(own)
    return shared
