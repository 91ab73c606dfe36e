"""Making an ONNX graph quick to load, without changing what it computes.

For the side that writes voices: needs the ``onnx`` package, which speaking does not.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def simplified(model: Any) -> Any:
    """An ``onnx.ModelProto`` -> another that computes the same with fewer nodes.

    onnxruntime folds what is constant and drops what does nothing; only standard operators come
    out. Weights keep their names and values: while it works they are declared as inputs, which it
    must not touch.
    """
    import onnx
    import onnxruntime

    work = onnx.ModelProto()
    work.CopyFrom(model)
    free = {value.name for value in work.graph.input}
    weights = [
        tensor
        for tensor in work.graph.initializer
        if tensor.name not in free and int(np.prod(tensor.dims)) >= 1024
    ]
    hidden = {tensor.name for tensor in weights}
    for tensor in weights:
        work.graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    with tempfile.TemporaryDirectory(prefix="glottis-") as folder:
        path = Path(folder) / "simplified.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(path)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        onnxruntime.InferenceSession(
            work.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        result = onnx.load(str(path))
    inputs = [value for value in result.graph.input if value.name not in hidden]
    del result.graph.input[:]
    result.graph.input.extend(inputs)
    del result.graph.value_info[:]
    # Written by the optimiser for its own use.
    del result.opset_import[:]
    result.opset_import.extend(model.opset_import)
    return result


def forget_shapes(model: Any) -> None:
    """Keep onnxruntime from following the shapes of the inputs through the graph, in place.

    It gives every dimension that it cannot know a name, and its plan of memory compares the names
    in pairs: a chain of 500 convolutions loads in 70 ms, one of 1,500 in 600 ms. Reshaping each
    input to its own shape, in a way that inference cannot see through, leaves nothing to name, and
    they load in 7 and 22 ms.
    """
    from onnx import helper, numpy_helper

    constant = {tensor.name for tensor in model.graph.initializer}
    nodes = []
    for value in model.graph.input:
        if value.name in constant:
            continue
        name = value.name
        rank = len(value.type.tensor_type.shape.dim)
        model.graph.initializer.append(
            numpy_helper.from_array(np.ones(rank, dtype=bool), f"{name}/all")
        )
        for node in model.graph.node:
            for position, source in enumerate(node.input):
                if source == name:
                    node.input[position] = f"{name}/free"
        # Compress keeps all of the shape; how much it keeps is known only when it runs.
        nodes += [
            helper.make_node("Shape", [name], [f"{name}/shape"]),
            helper.make_node("Compress", [f"{name}/shape", f"{name}/all"], [f"{name}/same"]),
            helper.make_node("Reshape", [name, f"{name}/same"], [f"{name}/free"]),
        ]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes + rest)


def shorten(model: Any) -> None:
    """Give what passes between nodes short names, and nodes none, in place.

    Names made from modules are a fortieth of a voice. Inputs, outputs and weights keep theirs. A
    graph with branches, which may name what lies around them, is left alone.
    """
    graph = model.graph
    if any(a.HasField("g") or a.graphs for node in graph.node for a in node.attribute):
        return
    kept = {value.name for part in (graph.input, graph.output, graph.initializer) for value in part}
    names: dict[str, str] = {"": ""}
    for node in graph.node:
        for output in node.output:
            if output and output not in kept:
                names[output] = f"~{len(names)}"
    for node in graph.node:
        node.name = ""
        for part in (node.input, node.output):
            part[:] = [names.get(name, name) for name in part]
