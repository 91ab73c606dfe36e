"""A trained run to one voice file, compared with torch before it is written.

The graph holds acoustic model and vocoder and has Piper's signature ``input, input_lengths, scales
[, sid] -> output``, so Piper and sherpa-onnx speak it as well. Two things are added that they
ignore: the input ``seed`` (an initializer, so that it may be left out) and the output
``durations`` in frames, one for each input id.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import glottis
from glottis.config import build
from glottis.errors import InputError
from glottis.files import replacing
from glottis.graph import forget_shapes, simplified
from glottis.text.symbols import DEFAULT, NUM_SYMBOLS

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

Storage = Literal["float32", "float16", "int8"]
OPSET = 17
TOLERANCE = 2e-3
"""Largest difference between the graph's samples and torch's, with the same stored weights."""


def export_voice(
    run: Path,
    out: Path,
    *,
    vocoder: Path | None = None,
    weights: Storage = "float16",
    name: str | None = None,
    license: str | None = None,
    noise_scale: float = 0.667,
) -> Path:
    """Write ``out`` (``NAME.onnx``) and ``NAME.onnx.json`` from run folders.

    Args:
        run: the run folder of a model that turns text into log-mels.
        out: where the voice goes; must end in ``.onnx``.
        vocoder: the run folder of a vocoder trained with the same mel settings.
        weights: how matrices are stored. ``float16`` halves the file, ``int8`` (symmetric, one
            scale for each output channel) quarters it; both are computed with as float32.
        name: the voice's name; the file's when left out.
        license: what the voice may be used for, shown by ``glottis voices``.
        noise_scale: default temperature.

    Returns:
        ``out``.

    Raises:
        InputError: a folder is not a finished run, the two do not fit (both settings are named),
            or the graph does not say what torch says.
    """
    if out.suffix != ".onnx":
        raise InputError(f"a voice file ends in .onnx, not {out.name!r}; try -o {out.stem}.onnx")
    if weights not in ("float32", "float16", "int8"):
        raise InputError(f"weights takes float32, float16 or int8, not {weights!r}")
    acoustic, facts = load_run(run)
    if vocoder is None:
        raise InputError(f"{run} makes log-mels: name the run folder of a vocoder with --vocoder")
    decoder, decoder_facts = load_run(vocoder)
    if facts["mel"] != decoder_facts["mel"]:
        raise InputError(
            f"the vocoder does not fit the acoustic model: {vocoder} was trained with mel settings "
            f"{decoder_facts['mel']}, {run} with {facts['mel']}"
        )
    speakers = facts["speakers"]
    several = len(speakers) > 1
    graph = voice_graph(acoustic, decoder)
    with replacing(out) as path:
        _write_graph(graph, path, weights, _metadata(facts), several)
        _check(graph, path, several)
        description = _description(facts, name or out.stem, license, noise_scale, out)
        with replacing(out.with_name(out.name + ".json")) as beside:
            beside.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", "utf-8")
    log.info("%s: %.1f MB", out, out.stat().st_size / 1e6)
    return out


def load_run(run: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a run folder with its averaged weights, in evaluation mode, and ``run.json``.

    Raises:
        InputError: the folder is not a run, has no weights yet, or they do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from glottis.models import model_class

    try:
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(
            f"{run} is not a run folder (no readable run.json); 'glottis train' makes one"
        ) from None
    path = run / "model.safetensors"
    if not path.is_file():
        raise InputError(f"{run} has no weights yet: train until its first checkpoint")
    network, config_class = model_class(facts["model"])
    model = network(build(config_class, facts["network"], f"{run}/run.json: network"))
    try:
        weights = load_file(path)
        model.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{path} does not hold this network: {error}") from error
    return model.eval(), facts


def voice_graph(acoustic: nn.Module, vocoder: nn.Module) -> nn.Module:
    """Ids to audio for one sentence, in operations that ONNX has.

    The module takes ``input`` int64 ``[1, text]``, ``input_lengths`` int64 ``[1]``, ``scales``
    float32 ``[3]``, ``sid`` int64 ``[1]`` when several speakers are known, ``seed`` int64 ``[1]``,
    and gives samples ``[1, 1, 1, samples]`` in [-1, 1] and durations int64 ``[1, text]``. The
    modules given are copied, not changed.
    """
    import torch
    from torch import Tensor, nn
    from torch.nn.utils import parametrize

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.acoustic = copy.deepcopy(acoustic).export_graph()  # type: ignore[operator]
            self.vocoder = copy.deepcopy(vocoder).export_graph()  # type: ignore[operator]
            for module in list(self.modules()):
                if parametrize.is_parametrized(module):
                    for name in list(module.parametrizations):  # type: ignore[arg-type]
                        parametrize.remove_parametrizations(module, name)
            self.eval().requires_grad_(False)

        def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
            text, lengths, scales, *rest = inputs
            speaker = rest[0] if len(rest) > 1 else None
            mel, durations = self.acoustic(text, lengths, scales, speaker, rest[-1])
            samples = self.vocoder(mel)
            return torch.clamp(samples, -1.0, 1.0)[:, None, None, :], durations

    return Graph()


def _write_graph(
    graph: nn.Module, path: Path, weights: Storage, metadata: dict[str, str], several: bool
) -> None:
    import onnx
    import torch

    names = ["input", "input_lengths", "scales", *(["sid"] if several else []), "seed"]
    example = _example(several, length=24)
    with warnings.catch_warnings():
        # Tracing warns about every Python number made from a tensor; the check is what counts.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            tuple(torch.from_numpy(example[name]) for name in names),
            str(path),
            input_names=names,
            output_names=["output", "durations"],
            dynamic_axes={
                "input": {1: "text"},
                "output": {3: "samples"},
                "durations": {1: "text"},
            },
            opset_version=OPSET,
            do_constant_folding=False,
            dynamo=False,
        )
    model = simplified(onnx.load(str(path)))
    stored = _store(model, weights)
    graph.load_state_dict(
        {key: torch.from_numpy(value.copy()) for key, value in stored.items()}, strict=False
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.int64), "seed"))
    forget_shapes(model)
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = "glottis", glottis.__version__
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _store(model: Any, weights: Storage) -> dict[str, np.ndarray]:
    """Replace large float32 initializers by smaller ones and the nodes that widen them again.

    Returns the values that the graph now computes with, by name.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, kept, values = [], [], {}
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        values[tensor.name] = array
        if weights == "float32" or array.dtype != np.float32 or array.size < 1024:
            kept.append(tensor)
            continue
        small = f"{tensor.name}/stored"
        if weights == "float16" or array.ndim < 2:
            half = array.astype(np.float16)
            if not np.isfinite(half).all():
                raise InputError(f"{tensor.name} does not fit into float16; use --weights float32")
            kept.append(numpy_helper.from_array(half, small))
            nodes.append(helper.make_node("Cast", [small], [tensor.name], to=TensorProto.FLOAT))
            values[tensor.name] = half.astype(np.float32)
            continue
        axes = tuple(range(1, array.ndim))
        scale = (np.maximum(np.abs(array).max(axes), 1e-12) / 127.0).astype(np.float32)
        spread = scale.reshape(-1, *(1 for _ in axes))
        whole = np.rint(array / spread).astype(np.int8)
        kept.append(numpy_helper.from_array(whole, small))
        kept.append(numpy_helper.from_array(scale, f"{tensor.name}/scale"))
        nodes.append(
            helper.make_node(
                "DequantizeLinear", [small, f"{tensor.name}/scale"], [tensor.name], axis=0
            )
        )
        values[tensor.name] = whole.astype(np.float32) * spread
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    before = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes + before)
    return values


def _check(graph: nn.Module, path: Path, several: bool) -> None:
    """Speak a few random sentences with torch and with the file; raise when they differ."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of the seed's default, which is meant
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for length in (9, 40, 151):
        example = _example(several, length, rng)
        ours, durations = session.run(None, example)
        with torch.no_grad():
            theirs, wanted = graph(*(torch.from_numpy(value) for value in example.values()))
        if not np.array_equal(durations, wanted.numpy()):
            raise InputError(f"{path.name}: the graph's durations differ from torch's; not written")
        difference = float(np.abs(ours - theirs.numpy()).max())
        if not difference <= TOLERANCE:
            raise InputError(
                f"{path.name}: the graph's audio differs from torch's by {difference:.2g}; "
                "not written"
            )
        log.info("%d ids: %d samples, differing from torch by %.1g", length, ours.size, difference)


def _example(
    several: bool, length: int, rng: np.random.Generator | None = None
) -> dict[str, np.ndarray]:
    rng = rng or np.random.default_rng(1)
    known = sorted(i for ids in DEFAULT.phoneme_id_map.values() for i in ids if i > 2)
    ids = np.zeros(length, np.int64)
    ids[::2] = rng.choice(known, len(ids[::2]))
    ids[0], ids[-1] = 1, 2
    values = {
        "input": ids[None],
        "input_lengths": np.array([length]),
        "scales": np.array([0.667, 1.0, 0.8], np.float32),
    }
    if several:
        values["sid"] = np.array([1])
    values["seed"] = np.array([7])
    return values


def _metadata(facts: dict[str, Any]) -> dict[str, str]:
    """What sherpa-onnx reads from the graph itself."""
    language = facts["languages"][0]
    return {
        "model_type": "vits",
        "comment": "piper",
        "language": language,
        "voice": language,
        "has_espeak": "1",
        "n_speakers": str(len(facts["speakers"])),
        "sample_rate": str(facts["mel"]["sample_rate"]),
    }


def _description(
    facts: dict[str, Any], name: str, license: str | None, noise_scale: float, out: Path
) -> dict[str, Any]:
    speakers: Sequence[str] = facts["speakers"]
    language = facts["languages"][0]
    return {
        "audio": {"sample_rate": facts["mel"]["sample_rate"], "quality": "medium"},
        "espeak": {"voice": language},
        "language": {"code": language},
        "inference": {"noise_scale": noise_scale, "length_scale": 1.0, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "phoneme_map": {},
        "phoneme_id_map": DEFAULT.phoneme_id_map,
        "num_symbols": NUM_SYMBOLS,
        "num_speakers": len(speakers),
        "speaker_id_map": {s: i for i, s in enumerate(speakers)} if len(speakers) > 1 else {},
        "hop_length": facts["mel"]["hop"],
        "dataset": ", ".join(Path(path).name for path in facts["data"]),
        "piper_version": "1.0.0",
        "glottis": {
            "version": glottis.__version__,
            "name": name,
            "model": facts["model"],
            "license": license,
            "card": f"{out.stem}.md",
            "date": date.today().isoformat(),
        },
    }
