"""``glottis import``: a checkpoint of somebody else's training as a run folder of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glottis.config import as_dict, build
from glottis.errors import InputError
from glottis.files import replacing
from glottis.models import model_class
from glottis.originals import glow_tts, grad_tts, hifi_gan, tacotron2, vits, wavenet
from glottis.originals.checkpoint import (
    Checkpoint,
    Values,
    Weights,
    read_checkpoint,
    read_values,
)
from glottis.originals.names import fitted


@dataclass(frozen=True)
class Layout:
    """One way in which networks are saved.

    Attributes:
        name: what is told of it.
        model: ours.
        knows: whether the names of weights are this layout's.
        convert: weights and settings of theirs to settings and weights of ours.
        settings: files beside the checkpoint that may hold its settings; none when it needs none.
        judges: the beginnings of the generator's and the discriminators' file names.
    """

    name: str
    model: str
    knows: Callable[[Collection[str]], bool]
    convert: Callable[[Weights, Values], tuple[Values, Weights]]
    settings: tuple[str, ...] = ("config.json",)
    judges: tuple[str, str] | None = None


def _has(*beginnings: str) -> Callable[[Collection[str]], bool]:
    return lambda names: all(any(n.startswith(begin) for n in names) for begin in beginnings)


LAYOUTS = (
    Layout(
        "VITS of its authors",
        "vits",
        _has("enc_p.emb.weight"),
        vits.from_authors,
        judges=("G_", "D_"),
    ),
    Layout("VITS of Piper's training", "vits", _has("model_g.enc_p.emb.weight"), vits.from_piper),
    Layout(
        "Glow-TTS of its authors",
        "glow_tts",
        _has("encoder.emb.weight", "decoder.flows."),
        glow_tts.convert,
    ),
    Layout(
        "Grad-TTS of its authors",
        "grad_tts",
        _has("encoder.emb.weight", "decoder.estimator."),
        grad_tts.convert,
        ("params.py",),
    ),
    Layout(
        "HiFi-GAN of its authors",
        "hifi_gan",
        _has("generator.conv_pre."),
        hifi_gan.convert,
        judges=("g_", "do_"),
    ),
    Layout(
        "WaveNet of wavenet_vocoder",
        "wavenet",
        _has("first_conv.", "conv_layers.0."),
        wavenet.convert,
        ("hparams.json", "preset.json", "config.json"),
    ),
    Layout(
        "Tacotron 2 of NVIDIA",
        "tacotron2",
        _has("decoder.attention_rnn.weight_ih"),
        tacotron2.convert,
        (),
    ),
)
JUDGES = ("discriminators.", "mpd.", "msd.", "model_d.")
PIPER = LAYOUTS[1]


@dataclass(frozen=True)
class Imported:
    """``folder`` is the run that was made; ``found`` says in a line what it was made from."""

    folder: Path
    found: str


def import_original(
    source: Path, run: Path, *, config: Path | None = None, language: str | None = None
) -> Imported:
    """Write the run folder ``run`` (``run.json``, ``model.safetensors``) from a checkpoint.

    What the checkpoint holds is told by the names of its weights. Nothing in it is executed.

    Args:
        source: the checkpoint; discriminators are taken from the file of the same number.
        run: a new folder.
        config: the settings that belong to it; looked for beside ``source`` when None.
        language: espeak-ng's code of what the model was trained to read; needed for checkpoints of
            Piper whose ``config.json`` is not there.

    Raises:
        InputError: a file that is missing, damaged or holds none of the known networks, a setting
            that is not known here, or weights that do not fit (some are named).
    """
    from safetensors.torch import save_file

    if (run / "run.json").exists():
        raise InputError(f"{run} already holds a run; choose another folder")
    checkpoint = read_checkpoint(source)
    layout = _recognised(checkpoint)
    checkpoint, judges = _with_judges(checkpoint, layout)
    where = config or _beside(source, layout)
    values = {} if where is None else read_values(where)
    told = values
    if layout is PIPER:
        told = _table(checkpoint.plain, "hyper_parameters")
    try:
        settings, weights = layout.convert(checkpoint.weights, told)
        facts = _reading(layout, settings, weights, values, language)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        files = source if where is None else f"{where} or {source}"
        what = f"lack {error}" if isinstance(error, KeyError) else f"do not fit: {error}"
        raise InputError(f"{layout.name}: {files} {what}") from error
    network, config_class = model_class(layout.model)
    sizes = build(config_class, {**settings, **facts.pop("network", {})}, str(where or source))
    try:
        own = network(sizes).state_dict()
    except (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise InputError(f"{layout.name}: {where or source}: no such network: {error}") from error
    weights = fitted(weights, own)
    partial = layout.model == "vits" and not any(n.startswith("discriminators.") for n in weights)
    _must_fit(weights, own, f"{source}, {layout.name}", ("discriminators.",) if partial else ())
    with replacing(run / "model.safetensors") as path:
        save_file({name: value.contiguous().clone() for name, value in weights.items()}, path)
    facts = {
        "model": layout.model,
        "network": as_dict(sizes),
        "data": [],
        "speakers": [str(i) for i in range(max(1, int(getattr(sizes, "speakers", 1))))],
        "languages": [],
        "mel": as_dict(sizes.mel),
        "original": f"{layout.name}: {source.name}",
        **facts,
    }
    with replacing(run / "run.json") as path:
        path.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    count = sum(v.numel() for n, v in weights.items() if not n.startswith("discriminators."))
    parts = [
        f"{layout.name}, {count / 1e6:.1f} M parameters",
        f"{facts['mel']['sample_rate']} Hz",
        *([f"{len(facts['speakers'])} speakers"] if len(facts["speakers"]) > 1 else []),
        *facts["languages"],
        *([f"discriminators of {judges}"] if judges else []),
        *(["symbols of its own: it cannot be exported"] if facts.get("foreign_symbols") else []),
    ]
    return Imported(run, f"{source.name}: {', '.join(parts)}")


def _recognised(checkpoint: Checkpoint) -> Layout:
    names = checkpoint.weights
    for layout in LAYOUTS:
        if layout.knows(names):
            return layout
    if all(name.startswith(JUDGES) for name in names):
        raise InputError(
            f"{checkpoint.path} holds discriminators alone; give the generator of the same number "
            "(G_*.pth or g_*), and they are read with it"
        )
    some = ", ".join(sorted(names)[:4])
    raise InputError(
        f"{checkpoint.path} holds no network that is known here (its weights begin {some}). "
        f"Known: {'; '.join(layout.name for layout in LAYOUTS)}"
    )


def _with_judges(checkpoint: Checkpoint, layout: Layout) -> tuple[Checkpoint, str | None]:
    """The checkpoint with the discriminators of the same number, and the name of their file."""
    if layout.judges is None or not checkpoint.path.name.startswith(layout.judges[0]):
        return checkpoint, None
    name = layout.judges[1] + checkpoint.path.name.removeprefix(layout.judges[0])
    path = checkpoint.path.with_name(name)
    if not path.is_file():
        return checkpoint, None
    weights = read_checkpoint(path).weights
    if not all(name.startswith(JUDGES) for name in weights):
        raise InputError(f"{path} holds no discriminators; move it away to import without them")
    return replace(checkpoint, weights={**checkpoint.weights, **weights}), name


def _beside(source: Path, layout: Layout) -> Path | None:
    for name in layout.settings:
        if (source.parent / name).is_file():
            return source.parent / name
    if not layout.settings or layout is PIPER:
        return None
    raise InputError(
        f"{source} holds {layout.name}, whose settings are in a file of their own: beside it there "
        f"is no {' or '.join(layout.settings)}; name the file with --config"
    )


def _reading(
    layout: Layout, settings: Values, weights: Weights, values: Values, language: str | None
) -> dict[str, Any]:
    """What of ``run.json`` follows from the symbols that the model reads; ``weights`` may change.

    A network that reads espeak-ng's phonemes gets its embedding in the order of our symbols; one
    that does not says ``foreign_symbols``.
    """
    if layout.model in ("hifi_gan", "wavenet"):
        return {}
    if layout.model != "vits":
        return {"foreign_symbols": True}
    facts: dict[str, Any] = {}
    if layout is PIPER:
        language = language or _table(values, "espeak").get("voice")
        if language is None:
            raise InputError(
                "a checkpoint of Piper does not say which language it reads: give its config.json "
                "with --config, or name the language, for example --language en-us"
            )
        kind = str(values.get("phoneme_type", "espeak"))
        ids = values.get("phoneme_id_map")
        rows = vits.pipers_rows(settings["symbols"], kind, ids)
        facts["languages"] = [str(language)]
        named = _speakers(_table(values, "speaker_id_map"), settings["speakers"])
        if named:
            facts["speakers"] = named
    else:
        rows = vits.authors_rows(settings["symbols"], values)
        facts["languages"] = [language or "en-us"] if rows else []
    if rows is None:
        return {**facts, "foreign_symbols": True}
    weights["encoder.embed.weight"] = vits.in_our_order(weights["encoder.embed.weight"], rows)
    return {**facts, "network": {"symbols": len(weights["encoder.embed.weight"])}}


def _speakers(named: Values, count: int) -> list[str]:
    """Names by their number, if there is one for each."""
    names = sorted(named, key=lambda name: int(named[name]))
    return names if [int(named[name]) for name in names] == list(range(count)) else []


def _table(values: Values, key: str) -> dict[str, Any]:
    found = values.get(key)
    return dict(found) if isinstance(found, dict) else {}


def _must_fit(found: Weights, own: Weights, what: str, optional: Sequence[str]) -> None:
    fresh = [name for name in set(own) - set(found) if not name.startswith(tuple(optional))]
    strange = sorted(set(found) - set(own))
    wrong = sorted(n for n, w in found.items() if n in own and own[n].shape != w.shape)
    for said, names in (
        ("are not known", strange),
        ("are missing", sorted(fresh)),
        ("have another size", wrong),
    ):
        if names:
            some = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
            raise InputError(f"{what}: {len(names)} weights {said}: {some}")
