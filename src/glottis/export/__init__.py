"""A trained run to one voice file, compared with torch before it is written.

The graph holds acoustic model and vocoder and has Piper's signature ``input, input_lengths, scales
[, sid] -> output``, so Piper and sherpa-onnx speak it as well. Some things are added that they
ignore: the inputs ``seed`` and, for a model that is told the language, ``language`` (initializers,
so that they may be left out), the output ``durations`` in frames, one for each input id, and the
few weights that only training needs, in the metadata, so that a voice file alone is enough to train
on (:func:`voice_weights`).
"""

from __future__ import annotations

import base64
import copy
import json
import logging
import warnings
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

import glottis
from glottis.config import build, override
from glottis.errors import InputError
from glottis.files import replacing
from glottis.graph import forget_shapes, simplified
from glottis.text.symbols import DEFAULT, NUM_SYMBOLS

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)

Storage = Literal["float32", "float16", "int8"]
OPSET = 17
TOLERANCE = 5e-3
"""Largest difference between the graph's samples and torch's, with the same stored weights.

Rounding alone makes 1e-3 or 2e-3 on random phonemes: a flow undone, then phases of loud bins."""
PARTS = ("acoustic.model.", "vocoder.model.")
"""Where the state dicts of the two models lie in the graph's."""
JUDGES = "discriminators."
"""How the weights of discriminators begin."""
DEFAULTS = {"seed": 0, "language": -1}
"""Inputs of a voice's graph that may be left out, and what they are then."""
UNSPOKEN = "glottis_unspoken"
"""Metadata key of the weights that the graph does not compute with, as safetensors in base64."""
UNSPOKEN_LIMIT = 100_000
"""How many of them a voice carries at most, the smallest first; posteriors are left out."""


def export_voice(
    run: Path,
    out: Path,
    *,
    vocoder: Path | None = None,
    weights: Storage = "float16",
    name: str | None = None,
    license: str | None = None,
    noise_scale: float = 0.667,
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
        noise_scale: default temperature.
        settings: ``key=value`` words over the run's network settings, for what can still be chosen
            after training: ``n_timesteps=4 solver=dpm2`` of Grad-TTS.
        conversion: also write ``NAME.onnx.conversion``, the graph of ``Voice.convert``, which
            Piper's format has no place for.

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
    if not 0 <= noise_scale < np.inf:
        raise InputError(f"the temperature must be at least 0, not {noise_scale}")
    acoustic, facts = load_run(run, settings)
    if facts.get("foreign_symbols"):
        raise InputError(
            f"{run} was imported and reads the symbols of its authors' text front end, which a "
            "voice file does not have; train a model of your own, or start it from these weights "
            "with initialize="
        )
    if hasattr(acoustic, "natural_variance"):
        if vocoder is not None:
            raise InputError(f"{run} speaks by itself: leave --vocoder out")
        return _export_parameters(acoustic, facts, out, weights, name, license)
    decoder = None
    if hasattr(acoustic, "export_steps"):
        from glottis.export.steps import export_steps

        return export_steps(run, acoustic, facts, vocoder, out, weights, name, license)
    _must_have_graph(run, acoustic, facts)
    if getattr(acoustic, "end_to_end", False):
        if vocoder is not None:
            raise InputError(f"{run} makes audio by itself: leave --vocoder {vocoder} out")
    elif vocoder is None:
        raise InputError(f"{run} makes log-mels: name the run folder of a vocoder with --vocoder")
    else:
        decoder, decoder_facts = load_run(vocoder)
        _must_have_graph(vocoder, decoder, decoder_facts)
        _must_fit(run, facts, vocoder, decoder_facts)
        if _told_pitch(decoder) and not getattr(acoustic.config, "pitch", False):
            raise InputError(
                f"the vocoder does not fit the acoustic model: {vocoder} is told the pitch "
                f"(network.pitch=true), which {run} does not predict; train the one with "
                "network.pitch=true or the other without"
            )
    speakers = facts["speakers"]
    several = len(speakers) > 1
    if conversion and not (several and hasattr(acoustic, "export_conversion")):
        raise InputError(f"{run} cannot convert: that takes a VITS of several speakers")
    graph = voice_graph(acoustic, decoder)
    spoken = _spoken(facts, acoustic)
    inputs: dict[str, Any] = {"several": several, "languages": _languages(acoustic)}
    with replacing(out) as path:
        _write_graph(
            graph, path, weights, _metadata(facts, spoken), _example(24, **inputs), AUDIO_AXES
        )
        _check(graph, path, **inputs)
        if conversion:
            _write_conversion(acoustic, out, weights, facts)
        description = _description(facts, spoken, name or out.stem, license, noise_scale, out)
        with replacing(out.with_name(out.name + ".json")) as beside:
            beside.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", "utf-8")
    log.info("%s: %.1f MB", out, out.stat().st_size / 1e6)
    return out


def _told_pitch(vocoder: nn.Module) -> bool:
    return cast(Any, vocoder).batches == "windows_with_pitch"


def _must_fit(
    run: Path, facts: dict[str, Any], vocoder: Path, decoder_facts: dict[str, Any]
) -> None:
    ours, theirs = facts["mel"], decoder_facts["mel"]
    if ours != theirs:
        differing = [key for key in ours if ours[key] != theirs.get(key)]
        raise InputError(
            f"the vocoder does not fit the acoustic model: {vocoder} was trained with mel settings "
            f"{ {key: theirs.get(key) for key in differing} }, {run} with "
            f"{ {key: ours[key] for key in differing} }"
        )


def _must_have_graph(run: Path, model: nn.Module, facts: dict[str, Any]) -> None:
    if not hasattr(model, "export_graph"):
        raise InputError(
            f"{run} holds {facts['model']}, whose steps wait for one another: it has no graph that "
            "a voice file could hold"
        )


def _export_parameters(
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
            _to_plain_weights(self)

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            text, lengths, scales, *rest = inputs
            made: tuple[torch.Tensor, ...] = self.acoustic(
                text, lengths, scales, rest[0] if rest else None
            )
            return made

    several = len(facts["speakers"]) > 1
    graph, trained = Graph(), cast(Any, model)
    config = trained.config
    spoken = _spoken(facts, model)
    description = _description(facts, spoken, name or out.stem, license, 0.0, out)
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
        example = _example(24, several=several, seeded=False)
        _write_graph(graph, path, weights, _metadata(facts, spoken), example, PARAMETER_AXES)
        _check(graph, path, several=several, seeded=False)
        with replacing(out.with_name(out.name + ".json")) as beside:
            beside.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", "utf-8")
    log.info("%s: %.1f MB", out, out.stat().st_size / 1e6)
    return out


def load_run(run: Path, settings: Sequence[str] = ()) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a run folder with its averaged weights, in evaluation mode, and ``run.json``.

    ``settings`` are ``key=value`` words over the network's.

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
    values = override(facts["network"], settings)
    model = network(build(config_class, values, f"{run}/run.json: network"))
    try:
        weights = load_file(path)
        if not any(name.startswith(JUDGES) for name in weights):
            # An imported generator may have come without its judges, which nobody hears.
            weights |= {k: v for k, v in model.state_dict().items() if k.startswith(JUDGES)}
        model.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{path} does not hold this network: {error}") from error
    return model.eval(), facts


def voice_graph(acoustic: nn.Module, vocoder: nn.Module | None) -> nn.Module:
    """Ids to audio for one sentence, in operations that ONNX has; without a vocoder for a model
    that makes audio.

    The module takes ``input`` int64 ``[1, text]``, ``input_lengths`` int64 ``[1]``, ``scales``
    float32 ``[3]``, ``sid`` int64 ``[1]`` when several speakers are known, ``language`` int64
    ``[1]`` when the model is told it (below zero: the speaker's own), ``seed`` int64 ``[1]``, and
    gives samples ``[1, 1, 1, samples]`` in [-1, 1] and durations int64 ``[1, text]``. The
    modules given are copied, not changed.
    """
    import torch
    from torch import nn

    told = vocoder is not None and _told_pitch(vocoder)
    tells = _languages(acoustic) > 1

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.acoustic = copy.deepcopy(acoustic).export_graph()  # type: ignore[operator]
            self.vocoder = None
            if vocoder is not None:
                self.vocoder = copy.deepcopy(vocoder).export_graph()  # type: ignore[operator]
            _to_plain_weights(self)

        def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
            text, lengths, scales, *rest, seed = inputs
            language = [rest.pop()] if tells else []
            speaker = rest.pop() if rest else None
            samples, durations, *pitch = self.acoustic(
                text, lengths, scales, speaker, seed, *language
            )
            if self.vocoder is not None:
                samples = self.vocoder(samples, *(pitch if told else ()))
            return torch.clamp(samples, -1.0, 1.0)[:, None, None, :], durations

    return Graph()


def _languages(model: nn.Module) -> int:
    """How many languages a model can be told beside the phonemes; 1 for one that is not told."""
    table: Any = getattr(model, "languages", None)
    return 1 if table is None else int(table.num_embeddings)


AUDIO_AXES = {"input": {1: "text"}, "output": {3: "samples"}, "durations": {1: "text"}}
"""What varies in a graph that speaks."""
PARAMETER_AXES = {
    "input": {1: "text"},
    "mean": {1: "frames"},
    "variance": {1: "frames"},
    "voicing": {1: "frames"},
    "durations": {1: "text"},
}
"""What varies in a graph that gives the distribution of vocoder parameters."""


def conversion_graph(model: nn.Module) -> nn.Module:
    """Magnitudes of one speaker to audio of another, in operations that ONNX has.

    See :class:`glottis.models.vits.graphs.ConversionGraph`. The model given is copied, not changed.
    """
    graph: nn.Module = copy.deepcopy(model).export_conversion()  # type: ignore[operator]
    _to_plain_weights(graph)
    return graph


def _to_plain_weights(module: nn.Module) -> None:
    """Weights as they are computed with, and nothing to train."""
    from torch.nn.utils import parametrize

    for part in list(module.modules()):
        if parametrize.is_parametrized(part):
            # A copy shares its class with the original, which would lose the weight to torch's
            # deletion of the property: it gets a class of its own.
            shared = type(part)
            own = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
            part.__class__ = type(shared.__name__, shared.__bases__, own)
            for name in list(part.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(part, name)
    module.eval().requires_grad_(False)


def _write_conversion(model: nn.Module, out: Path, weights: Storage, facts: dict[str, Any]) -> None:
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
        _write_graph(graph, path, weights, metadata, example(24), axes)
        session = _open(path)
        for frames in (9, 90):
            values = example(frames)
            ours = session.run(None, values)[0]
            with torch.no_grad():
                theirs = graph(*(torch.from_numpy(value) for value in values.values())).numpy()
            difference = float(np.abs(ours - theirs).max())
            if not difference <= TOLERANCE:
                raise InputError(
                    f"{out.name}: the conversion's audio differs from torch's by "
                    f"{difference:.2g}; not written"
                )


def _write_graph(
    graph: nn.Module,
    path: Path,
    weights: Storage,
    metadata: dict[str, str],
    example: dict[str, np.ndarray],
    axes: dict[str, dict[int, str]],
    unspoken: bool = True,
) -> None:
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
    stored = _store(model, weights)
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
    forget_shapes(model)
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = "glottis", glottis.__version__
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _unspoken(graph: nn.Module, spoken: Collection[str]) -> str:
    """What training needs and the graph does not compute with, as far as it is small."""
    from safetensors.torch import save

    rest = {key: value for key, value in graph.state_dict().items() if key not in spoken}
    kept: dict[str, Tensor] = {}
    for key in sorted(rest, key=lambda key: rest[key].numel()):
        if sum(value.numel() for value in kept.values()) + rest[key].numel() > UNSPOKEN_LIMIT:
            break
        kept[key] = rest[key].contiguous()
    return base64.b64encode(save(kept)).decode("ascii")


def voice_weights(path: Path) -> list[dict[str, Tensor]]:
    """The weights of each model in a voice file, named as in its state dict.

    Matrices come back as they are computed with, so from int8 with an error of at most half a step
    of 1/127 of their channel's largest value. Discriminators are not in a voice file.

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
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
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


def _check(
    graph: nn.Module,
    path: Path,
    **inputs: Any,
) -> None:
    """Speak a few random sentences with torch and with the file; raise when they differ."""
    import torch

    session = _open(path)
    rng = np.random.default_rng(0)
    for length in (9, 40, 151):
        example = _example(length, rng, **inputs)
        *ours, durations = session.run(None, example)
        with torch.no_grad():
            *theirs, wanted = graph(*(torch.from_numpy(value) for value in example.values()))
        if not np.array_equal(durations, wanted.numpy()):
            raise InputError(f"{path.name}: the graph's durations differ from torch's; not written")
        pairs = zip(ours, theirs, strict=True)
        difference = max(float(np.abs(one - other.numpy()).max()) for one, other in pairs)
        if not difference <= TOLERANCE:
            raise InputError(
                f"{path.name}: the graph's output differs from torch's by {difference:.2g}; "
                "not written"
            )
        log.info("%d ids: differing from torch by %.1g", length, difference)


def _open(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of the seed's default, which is meant
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _example(
    length: int,
    rng: np.random.Generator | None = None,
    *,
    several: bool,
    languages: int = 1,
    seeded: bool = True,
) -> dict[str, np.ndarray]:
    """Inputs for a random sentence; of several languages one by chance, or the speaker's own."""
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
    if languages > 1:
        values["language"] = rng.integers(-1, languages, 1, dtype=np.int64)
    if seeded:
        values["seed"] = np.array([7])
    return values


def _spoken(facts: dict[str, Any], model: nn.Module) -> dict[str, str]:
    """The language of each speaker, in the speakers' order."""
    known = facts["languages"]
    if "speaker_languages" in facts:
        return {name: facts["speaker_languages"][name] for name in facts["speakers"]}
    if _languages(model) > 1:  # A run from before training noted it: the model has heard it.
        heard = cast(Any, model).speaker_language.tolist()
        return {name: known[heard[i]] for i, name in enumerate(facts["speakers"])}
    return dict.fromkeys(facts["speakers"], known[0])


def _metadata(facts: dict[str, Any], spoken: dict[str, str]) -> dict[str, str]:
    """What sherpa-onnx reads from the graph itself."""
    language = next(iter(spoken.values()))
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
    facts: dict[str, Any],
    spoken: dict[str, str],
    name: str,
    license: str | None,
    noise_scale: float,
    out: Path,
) -> dict[str, Any]:
    """The JSON beside the graph. What Piper reads tells of the first speaker's language alone."""
    speakers: Sequence[str] = facts["speakers"]
    language = next(iter(spoken.values()))
    languages: dict[str, Any] = {}
    if len(facts["languages"]) > 1:
        languages["languages"] = {name: i for i, name in enumerate(facts["languages"])}
        if len(speakers) > 1:
            languages["speaker_languages"] = spoken
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
            **languages,
        },
    }
