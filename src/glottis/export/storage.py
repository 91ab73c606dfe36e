"""Graphs to ONNX files with small weights, and the weights of a voice file back."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import glottis
from glottis.errors import InputError
from glottis.export.runs import JUDGES
from glottis.graph import forget_shapes, shorten, simplified
from glottis.voice.embedded import embedded

if TYPE_CHECKING:
    from torch import Tensor, nn

Storage = Literal["float32", "float16", "int8"]
OPSET = 20
"""The first with GELU as one node, which is 3% of a voice's time."""
PARTS = ("acoustic.model.", "vocoder.model.")
"""Where the state dicts of the two models lie in the graph's."""
DEFAULTS = {"seed": 0, "language": -1, "frames": 2**31}
"""Inputs of a voice's graph that may be left out, and what they are then."""
UNSPOKEN = "glottis_unspoken"
"""Metadata key of the weights that the graph does not compute with, as safetensors in base64."""
UNSPOKEN_LIMIT = 100_000
"""How many of them a voice carries at most: whole parts, the smallest first; posteriors are left
out, and so are flows that nothing speaks with."""


def write_graph(
    graph: nn.Module,
    path: Path,
    weights: Storage,
    metadata: dict[str, str],
    example: dict[str, np.ndarray],
    axes: dict[str, dict[int, str]],
    unspoken: bool = True,
) -> None:
    """Trace ``graph`` with ``example``, whose ``axes`` may vary, and write it to ``path``.

    The module's weights become what the file holds; ``unspoken`` ones go into the metadata.

    Raises:
        InputError: a weight does not fit into the storage.
    """
    import onnx
    import torch

    with warnings.catch_warnings():
        # Tracing warns about every Python number made from a tensor; the check is what counts.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            tuple(torch.from_numpy(value) for value in example.values()),
            str(path),
            input_names=list(example),
            output_names=[name for name in axes if name not in example],
            dynamic_axes=axes,
            opset_version=OPSET,
            do_constant_folding=False,
            dynamo=False,
        )
    model = simplified(onnx.load(str(path)))
    stored = _store(model, weights, graph.state_dict().keys())
    if unspoken:
        metadata = {**metadata, UNSPOKEN: _unspoken(graph, stored)}
    graph.load_state_dict(
        {key: torch.from_numpy(value.copy()) for key, value in stored.items()}, strict=False
    )
    used = {node.name for node in model.graph.input}
    for name, given in example.items():
        if name not in used:  # part of the signature all the same
            kind = onnx.helper.np_dtype_to_tensor_dtype(given.dtype)
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, given.shape))
    for key, default in DEFAULTS.items():
        if key in example:
            tensor = onnx.numpy_helper.from_array(np.array([default], np.int64), key)
            model.graph.initializer.append(tensor)
    shorten(model)
    forget_shapes(model)
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = "glottis", glottis.__version__
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _store(model: Any, weights: Storage, learnt: Collection[str]) -> dict[str, np.ndarray]:
    """Replace large ``learnt`` float32 initializers by smaller ones, which nodes widen again.

    What is no weight (filters of mels, for one) stays as it is: the network was not asked about it.

    Returns the values that the graph now computes with, by name.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, kept, values = [], [], {}
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        values[tensor.name] = array
        small = array.dtype != np.float32 or array.size < 1024 or tensor.name not in learnt
        if weights == "float32" or small:
            kept.append(tensor)
            continue
        place = f"{tensor.name}/stored"
        if weights == "float16" or array.ndim < 2:
            half = array.astype(np.float16)
            if not np.isfinite(half).all():
                raise InputError(f"{tensor.name} does not fit into float16; use --weights float32")
            kept.append(numpy_helper.from_array(half, place))
            nodes.append(helper.make_node("Cast", [place], [tensor.name], to=TensorProto.FLOAT))
            values[tensor.name] = half.astype(np.float32)
            continue
        axes = tuple(range(1, array.ndim))
        scale = (np.maximum(np.abs(array).max(axes), 1e-12) / 127.0).astype(np.float32)
        spread = scale.reshape(-1, *(1 for _ in axes))
        whole = np.rint(array / spread).astype(np.int8)
        kept.append(numpy_helper.from_array(whole, place))
        kept.append(numpy_helper.from_array(scale, f"{tensor.name}/scale"))
        nodes.append(
            helper.make_node(
                "DequantizeLinear", [place, f"{tensor.name}/scale"], [tensor.name], axis=0
            )
        )
        values[tensor.name] = whole.astype(np.float32) * spread
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    before = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes + before)
    return values


def _unspoken(graph: nn.Module, spoken: Collection[str]) -> str:
    """What training needs and the graph does not compute with, as far as it is small."""
    from safetensors.torch import save

    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in graph.state_dict().items():
        model = next((part for part in PARTS if key.startswith(part)), "")
        name = key.removeprefix(model)
        if key not in spoken and not name.startswith(JUDGES):
            parts.setdefault(model + name.partition(".")[0], {})[key] = value.contiguous()
    kept: dict[str, Tensor] = {}
    room = UNSPOKEN_LIMIT
    # Half of a part would be of no use.
    for values in sorted(parts.values(), key=_count):
        room -= _count(values)
        if room < 0:
            break
        kept |= values
    return base64.b64encode(save(kept)).decode("ascii")


def _count(values: dict[str, Tensor]) -> int:
    return sum(value.numel() for value in values.values())


def voice_weights(path: Path) -> list[dict[str, Tensor]]:
    """The weights of each model in a voice file, named as in its state dict.

    Matrices come back as they are computed with, so from int8 with an error of at most half a step
    of 1/127 of their channel's largest value. What converts comes from the second graph, where
    there is one. Discriminators are not in a voice file.

    Raises:
        InputError: the file is missing, is no ONNX graph, or was not written by ``export_voice``.
    """
    import onnx
    import torch
    from google.protobuf.message import DecodeError
    from safetensors.torch import load

    try:
        model = onnx.load(str(path))
    except (OSError, DecodeError) as error:
        raise InputError(f"{path} cannot be read as a voice: {error}") from None
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if UNSPOKEN not in metadata:
        raise InputError(f"{path} cannot be trained on: it was not written by this glottis export")
    tensors = list(model.graph.initializer)
    second = embedded(path.read_bytes())
    if second is not None:
        tensors += onnx.load_from_string(second).graph.initializer
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors}
    weights = load(base64.b64decode(metadata[UNSPOKEN]))
    for name, array in values.items():
        whole, _, suffix = name.partition("/stored")
        if not whole.startswith(PARTS) or (suffix == "" and name.endswith("/scale")):
            continue
        wide = array.astype(np.float32) if name.endswith("/stored") else array
        scale = values.get(f"{whole}/scale")
        if scale is not None:
            wide = wide * scale.reshape(-1, *(1 for _ in array.shape[1:]))
        weights[whole] = torch.from_numpy(np.array(wide))
    return [
        {key.removeprefix(part): value for key, value in weights.items() if key.startswith(part)}
        for part in PARTS
    ]
