"""Where a new run starts from: the weights of another run, of any file, or of a voice."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from glottis.blocks.convnext import ConvNeXtBlock
from glottis.errors import InputError
from glottis.export import voice_weights
from glottis.text.symbols import DEFAULT
from glottis.training.fold import Names, fold
from glottis.voices import find

log = logging.getLogger("glottis.training")

TABLES = {
    "speakers": re.compile(r"(speakers|speaker_pitch)\.|.*\.speaker_(shift|gain|bias|weight)$"),
    "languages": re.compile(r"languages\."),
}
"""Weights with a row for each speaker or language, by their names."""
LETTERS = re.compile(r"(encoder\.)?embed\.weight$")
"""Weights with a row for each id of the text; ids behind Piper's are each corpus's own letters."""
HEARD = "speaker_language"
"""Numbers that mean something in their own run alone, and are noted anew in the first steps."""


def load_weights(model: nn.Module, path: Path, names: Names | None = None) -> None:
    """Load a run folder's weights, any safetensors file's, or a voice's into ``model``.

    ``path`` may also be the name of an installed voice.

    Weights whose name and shape fit are taken, and the log says which parts of the network they
    are, and what starts anew. ConvNeXt blocks with fewer hidden channels, as ``glottis prune``
    leaves them, get as many as the network has, which say nothing at first (Chen et al. 2016,
    "Net2Net"). The decoder of an end-to-end model does a vocoder's work and takes a
    vocoder's weights; from a voice it may take these, and other parts those of its acoustic model.

    ``names`` are the model's ``speakers`` and ``languages``, in order: whoever the source knows by
    the same name keeps their rows, whatever the order and number; who is new begins as the mean of
    those known. So do ``letters``, those beyond Piper's map by their ids, but new ones begin anew.
    A model of one speaker or language has no table; what the source's says becomes part of the
    weights (:mod:`glottis.training.fold`).

    Raises:
        InputError: the file is missing or unreadable, or nothing in it fits.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file() and file.name == str(path):
        with suppress(InputError):  # no path, so perhaps the name of a voice
            file = find(path.name.removesuffix(".onnx"))
    if not file.is_file():
        raise InputError(
            f"there are no weights at {file}; initialize takes a run folder, a .safetensors file, "
            "or a voice by its path or name"
        )
    own = model.state_dict()
    parts = voice_weights(file) if file.suffix == ".onnx" else [_read(file)]
    adapted = getattr(model, "adapted", dict)
    theirs, ours = _names(file), names or {}
    folded = [fold(model, adapted(part), theirs, ours) for part in parts]
    known = [_relettered(part, own, theirs, ours) for part in folded]
    renamed = [_widened(model, own, _renumbered(part, own, theirs, ours)) for part in known]
    found = [{k: v for k, v in part.items() if _fits(model, own, k, v)} for part in renamed]
    fitting = max(found, key=len)
    if getattr(model, "end_to_end", False):
        for part in parts:
            named = {f"decoder.{key}": value for key, value in part.items()}
            named = _widened(model, own, named)
            for key, value in named.items():
                if key not in fitting and _fits(model, own, key, value):
                    fitting[key] = value
    if not fitting:
        raise InputError(f"none of the weights in {file} fits this network")
    taken = Counter(key.partition(".")[0] for key in fitting)
    log.info(
        "taken from %s: %s",
        file,
        ", ".join(f"{part} ({count} weights)" for part, count in sorted(taken.items())),
    )
    # A voice holds plain weights where the network that trains may keep them in two factors.
    factored = {name for name in fitting if name not in own}
    for name in factored:
        module, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(module), leaf, fitting[name])
    model.load_state_dict({k: v for k, v in fitting.items() if k not in factored}, strict=False)
    missing = set(own) - set(fitting)
    for name in factored:
        module, _, leaf = name.rpartition(".")
        parametrizations = f"{module}.parametrizations.{leaf}."
        missing = {key for key in missing if not key.startswith(parametrizations)}
    if missing:
        log.warning("not in %s and started anew: %s", file, _parts(missing, taken))


def _parts(missing: Collection[str], taken: Collection[str]) -> str:
    """The parts that weights belong to, and in a part of which some were ``taken``, the parts of
    that."""
    named = (key.split(".") for key in missing)
    parts = Counter(".".join(words[: 2 if words[0] in taken else 1]) for words in named)
    return ", ".join(f"{part} ({count})" for part, count in sorted(parts.items()))


def _read(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise InputError(f"{file} is not a whole safetensors file: {error}") from error


def _names(file: Path) -> dict[str, list[str]]:
    """The source's speakers, languages and letters, in order; of a bare file nothing is known."""
    if file.suffix == ".onnx":
        description = file.with_name(file.name + ".json")
        if not description.is_file():
            return {}
        facts = json.loads(description.read_text(encoding="utf-8"))
        numbers = {
            "speakers": facts.get("speaker_id_map", {}),
            "languages": facts.get("glottis", {}).get("languages", {}),
        }
        names = {kind: sorted(ids, key=ids.__getitem__) for kind, ids in numbers.items()}
        return names | {"letters": letters(facts.get("phoneme_id_map", {}))}
    facts = file.with_name("run.json")
    if not facts.is_file():
        return {}
    known = json.loads(facts.read_text(encoding="utf-8"))
    names = {kind: known.get(kind, []) for kind in TABLES}
    return names | {"letters": letters(known.get("phoneme_id_map", {}))}


def letters(phoneme_id_map: Mapping[str, Sequence[int]]) -> list[str]:
    """Those that stand behind Piper's map, by their ids."""
    beyond = {letter: ids[0] for letter, ids in phoneme_id_map.items() if ids[0] >= len(DEFAULT)}
    return sorted(beyond, key=beyond.__getitem__)


def _relettered(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], theirs: Names, ours: Names
) -> dict[str, Tensor]:
    """Tables of ids with the rows of letters in the order of ``ours``."""
    result = dict(weights)
    before, after = theirs.get("letters", []), ours.get("letters", [])
    beyond = slice(len(DEFAULT), len(DEFAULT) + len(after))
    for key in [key for key in result if LETTERS.match(key) and key in own]:
        value = result[key]
        if value.shape == own[key].shape:
            rows = value.clone()
            rows[beyond] = _matched(own[key][beyond], value[len(DEFAULT) :], before, after)
            result[key] = rows
    return result


def _renumbered(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], theirs: Names, ours: Names
) -> dict[str, Tensor]:
    """Tables with their rows in the order of ``ours``."""
    result = {key: value for key, value in weights.items() if key != HEARD}
    for kind, rows_of in TABLES.items():
        before, after = theirs.get(kind, []), ours.get(kind, [])
        for key in [key for key in result if rows_of.match(key) and key in own]:
            value, wanted = result[key], own[key]
            each = len(value) // max(1, len(before))  # rows, one below the other
            sizes = len(before) * each, len(after) * each
            if (len(value), len(wanted)) != sizes or value.shape[1:] != wanted.shape[1:]:
                continue  # Or nothing is known of who they are.
            known = value.unflatten(0, (len(before), each))
            new = wanted.unflatten(0, (len(after), each))
            if value.ndim > 1:  # What is counted or measured of a voice says nothing of another.
                new = known.mean(0).expand_as(new)
            result[key] = _matched(new, known, before, after).flatten(0, 1)
    return result


def _matched(new: Tensor, known: Tensor, before: Sequence[str], after: Sequence[str]) -> Tensor:
    """A row for each name of ``after``: that of ``known``, named by ``before``, or ``new``'s."""
    rows = new.clone()
    for i, name in enumerate(after):
        if name in before:
            rows[i] = known[before.index(name)]
    return rows


def _widened(
    model: nn.Module, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """``weights`` with hidden channels added to ConvNeXt blocks that have fewer than the model's.

    What a new channel hears is as a new network's; it says nothing, so the block's output is kept.
    """
    result = dict(weights)
    for name, block in model.named_modules():
        if not isinstance(block, ConvNeXtBlock):
            continue
        expand, bias, contract = (
            f"{name}.{leaf}" for leaf in ("expand.weight", "expand.bias", "contract.weight")
        )
        if not {expand, bias, contract} <= result.keys() & own.keys():
            continue
        hidden = len(result[expand])
        if hidden < len(own[expand]) and result[expand].shape[1] == own[expand].shape[1]:
            silent = torch.zeros_like(own[contract][:, hidden:])
            result[expand] = torch.cat([result[expand], own[expand][hidden:]])
            result[bias] = torch.cat([result[bias], own[bias][hidden:]])
            result[contract] = torch.cat([result[contract], silent], dim=1)
    return result


def _fits(model: nn.Module, own: Mapping[str, Tensor], name: str, value: Tensor) -> bool:
    if name in own:
        return own[name].shape == value.shape
    module, _, leaf = name.rpartition(".")
    try:
        owner = model.get_submodule(module)
    except AttributeError:
        return False
    return parametrize.is_parametrized(owner, leaf) and getattr(owner, leaf).shape == value.shape
