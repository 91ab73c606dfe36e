"""Two tiny voices with random weights, so that runtime tests need neither training nor torch.

``FAKE`` has the shape of a glottis voice: two speakers, a seed, frames to make, durations.
``FAKE_PIPER`` has the shape of a Piper voice: one speaker, noise of its own, no durations. Both
babble: each phoneme is a buzz of a few frames. Their files are in ``tests/data``; run this file to
build them anew, which needs the ``onnx`` package.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"
FAKE = DATA / "fake.onnx"
FAKE_PIPER = DATA / "fake-piper.onnx"
SAMPLE_RATE, HOP, WIDTH, SYMBOLS = 22050, 256, 16, 256
SPEAKERS = {"ada": 0, "bert": 1}
PRIME = 2**31 - 1


def copy(source: Path, folder: Path, name: str | None = None, **changes: Any) -> Path:
    """Copy a voice into ``folder``; ``changes`` replace top-level keys of its JSON (None: drop)."""
    target = folder / f"{name or source.stem}.onnx"
    shutil.copy(source, target)
    values = json.loads(source.with_name(source.name + ".json").read_text(encoding="utf-8"))
    values.update(changes)
    values = {key: value for key, value in values.items() if value is not None}
    target.with_name(target.name + ".json").write_text(json.dumps(values), encoding="utf-8")
    return target


class _Graph:
    """Collects nodes and constants; every operation gives the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, name: str | None = None) -> str:
        from onnx import numpy_helper

        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def __call__(
        self, operator: str, *inputs: str, to: str | None = None, **attributes: Any
    ) -> str:
        from onnx import helper

        to = to or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [to], **attributes))
        return to


def _float(values: Any) -> Any:
    return np.asarray(values, dtype=np.float32)


def _int(values: Any) -> Any:
    return np.asarray(values, dtype=np.int64)


def _noise(g: _Graph, like: str, frames: str) -> str:
    """Uniform noise of unit variance ``[1, frames, WIDTH]`` from a hash of seed and position."""
    prime = g.constant(_int(PRIME))
    seed = g("Mod", "seed", prime)
    count = g("Mul", frames, g.constant(_int(WIDTH)))
    position = g(
        "Range", g.constant(_int(1)), g("Add", count, g.constant(_int(1))), g.constant(_int(1))
    )
    x = g(
        "Add", g("Mul", position, g.constant(_int(48271))), g("Mul", seed, g.constant(_int(7919)))
    )
    for constant in (104729, 1299709, 15485863):
        x = g("Mod", x, prime)
        x = g("Add", g("Mul", x, x), g.constant(_int(constant)))
    uniform = g("Div", _cast(g, g("Mod", x, prime), "float"), g.constant(_float(PRIME)))
    centred = g("Mul", g("Sub", uniform, g.constant(_float(0.5))), g.constant(_float(12**0.5)))
    return g("Reshape", centred, g("Shape", like))


def _cast(g: _Graph, value: str, kind: str, to: str | None = None) -> str:
    from onnx import TensorProto, helper

    to = to or f"n{len(g.nodes)}"
    number = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64}[kind]
    g.nodes.append(helper.make_node("Cast", [value], [to], to=number))
    return to


def _build(piper: bool) -> Any:
    from onnx import TensorProto, helper

    random = np.random.default_rng(7)
    g = _Graph()
    table = g.constant(_float(random.normal(size=(SYMBOLS, WIDTH))))
    text = g("Gather", table, "input")
    if not piper:
        speakers = g.constant(_float(random.normal(size=(len(SPEAKERS), 1, WIDTH))))
        text = g("Add", text, g("Gather", speakers, "sid"))
    # Two to five frames a symbol at length_scale 1.
    project = g.constant(_float(random.normal(size=(WIDTH, 1)) / WIDTH**0.5))
    length_scale = g("Gather", "scales", g.constant(_int(1)))
    logits = g("Squeeze", g("MatMul", text, project), g.constant(_int([2])))
    raw = g("Add", g("Mul", g("Sigmoid", logits), g.constant(_float(3))), g.constant(_float(2)))
    durations = _cast(g, g("Ceil", g("Mul", raw, length_scale)), "int64", "durations")
    # Frame f belongs to the symbol whose index is the number of symbols that have ended by f.
    ends = g("CumSum", durations, g.constant(_int(1)))
    frames = g("Squeeze", g("ReduceSum", durations, g.constant(_int([1])), keepdims=0))
    time = g("Range", g.constant(_int(0)), frames, g.constant(_int(1)))
    column = g("Unsqueeze", time, g.constant(_int([1])))
    ended = _cast(g, g("GreaterOrEqual", column, ends), "int64")
    owner = g("ReduceSum", ended, g.constant(_int([1])), keepdims=0)
    mean = g("Gather", text, owner, axis=1)
    noise = g("RandomNormalLike", mean) if piper else _noise(g, mean, frames)
    scale = g("Gather", "scales", g.constant(_int(0)))
    latent = g("Transpose", g("Add", mean, g("Mul", noise, scale)), perm=[0, 2, 1])
    mix = g.constant(_float(random.normal(size=(WIDTH, WIDTH, 3)) / (3 * WIDTH) ** 0.5))
    if not piper:
        # A frame sees its neighbours, so one more than is wanted is made.
        seen = g("Add", "frames", g.constant(_int([1])))
        latent = g("Slice", latent, g.constant(_int([0])), seen, g.constant(_int([2])))
    latent = g("Tanh", g("Conv", latent, mix, pads=[1, 1]))
    if not piper:
        latent = g("Slice", latent, g.constant(_int([0])), "frames", g.constant(_int([2])))
    # Each channel is a harmonic of the frame rate: a buzz without steps between the frames.
    phase = 2 * np.pi * np.arange(HOP) / HOP
    harmonics = np.stack([np.sin((1 + k) * phase) / (1 + k) for k in range(WIDTH)])
    spread = g.constant(_float(harmonics[:, None, :]))
    wave = g("ConvTranspose", latent, spread, strides=[HOP])
    loud = g("Mul", g("Tanh", wave), g.constant(_float(0.5)))
    g("Unsqueeze", loud, g.constant(_int([1])), to="output")

    def value(name: str, kind: int, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [
        value("input", TensorProto.INT64, ["batch", "text"]),
        value("input_lengths", TensorProto.INT64, ["batch"]),
        value("scales", TensorProto.FLOAT, [3]),
    ]
    outputs = [value("output", TensorProto.FLOAT, ["batch", 1, 1, "samples"])]
    if not piper:
        g.constant(_int([0]), "seed")
        g.constant(_int([2**31]), "frames")
        inputs += [
            value("sid", TensorProto.INT64, ["batch"]),
            # An initializer that is also an input may be left out or overridden.
            value("seed", TensorProto.INT64, [1]),
            value("frames", TensorProto.INT64, [1]),
        ]
        outputs.append(value("durations", TensorProto.INT64, ["batch", "text"]))
    graph = helper.make_graph(g.nodes, "fake", inputs, outputs, g.constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="fake_voice"
    )
    if not piper:
        helper.set_model_props(
            model,
            {
                "sample_rate": str(SAMPLE_RATE),
                "n_speakers": str(len(SPEAKERS)),
                "language": "English",
                "voice": "en-us",
                "comment": "piper",
            },
        )
    return model


def _description(piper: bool) -> dict[str, Any]:
    from glottis.text.symbols import DEFAULT

    values: dict[str, Any] = {
        "audio": {"sample_rate": SAMPLE_RATE},
        "espeak": {"voice": "en-us"},
        "language": {"code": "en_US"},
        "phoneme_type": "espeak",
        "num_symbols": SYMBOLS,
        "num_speakers": 1 if piper else len(SPEAKERS),
        "speaker_id_map": {} if piper else SPEAKERS,
        "inference": {"noise_scale": 0.667, "length_scale": 1.0, "noise_w": 0.8},
        "phoneme_id_map": DEFAULT.phoneme_id_map,
    }
    if not piper:
        values["hop_length"] = HOP
        values["glottis"] = {"version": "0.1.0", "name": "fake", "license": "CC0-1.0"}
    return values


def main() -> None:
    """Write both voices."""
    import onnx

    DATA.mkdir(exist_ok=True)
    for path, piper in ((FAKE, False), (FAKE_PIPER, True)):
        model = _build(piper)
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString())
        description = path.with_name(path.name + ".json")
        description.write_text(
            json.dumps(_description(piper), ensure_ascii=False, indent=1), encoding="utf-8"
        )
        print(path, path.stat().st_size, description.stat().st_size)


if __name__ == "__main__":
    main()
