"""The fake voice with a second graph, so that it also converts: a hum as loud as the recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import fake_voice
from glottis.voice.embedded import embed

FFT_SIZE = 1024


def make(folder: Path, name: str = "pair") -> Path:
    """Write the voice into ``folder``; it has the speakers of :mod:`fake_voice`."""
    path = fake_voice.copy(fake_voice.FAKE, folder, name)
    path.write_bytes(embed(path.read_bytes(), _graph().SerializeToString(), []))
    return path


def _graph() -> Any:
    from onnx import TensorProto, helper

    g = fake_voice._Graph()
    frames = g("ReduceMean", "spectrogram", axes=[1], keepdims=1)
    frames = g("Transpose", g("Tanh", frames), perm=[0, 2, 1])
    phase = 2 * np.pi * np.arange(fake_voice.HOP, dtype=np.float32) / fake_voice.HOP
    hum = g("Mul", frames, g.constant(np.sin(2 * phase)[None, None]))
    who = g("Sub", "target", g("Mul", "source", g.constant(np.array([3], np.int64))))
    drawn = g("Mod", "seed", g.constant(np.array([5], np.int64)))
    level = g("Mul", fake_voice._cast(g, drawn, "float"), "scale")
    level = g("Add", level, fake_voice._cast(g, who, "float"))
    level = g("Add", g("Mul", level, g.constant(np.float32(0.02))), g.constant(np.float32(0.3)))
    g("Reshape", g("Mul", hum, level), g.constant(np.array([1, 1, -1], np.int64)), to="output")

    def value(name: str, kind: int, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [
        value("spectrogram", TensorProto.FLOAT, [1, FFT_SIZE // 2 + 1, "frames"]),
        value("scale", TensorProto.FLOAT, [1]),
        *(value(name, TensorProto.INT64, [1]) for name in ("source", "target", "seed")),
    ]
    outputs = [value("output", TensorProto.FLOAT, [1, 1, "samples"])]
    model = helper.make_model(
        helper.make_graph(g.nodes, "converting", inputs, outputs, g.constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(model, {"fft_size": str(FFT_SIZE), "hop": str(fake_voice.HOP)})
    return model
