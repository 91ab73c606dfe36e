"""Where voices are: the shipped ones beside this file, and the user's own.

A voice is ``NAME.onnx`` with ``NAME.onnx.json`` beside it, and ``NAME.md``, its model card, if
there is one. Folders are searched in this order, so that a user's voice hides a shipped one of the
same name: ``$GLOTTIS_VOICES`` (several, separated as in ``$PATH``), the user's data folder
(``~/.local/share/glottis/voices``; ``$XDG_DATA_HOME`` is obeyed), the package.
"""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glottis.errors import InputError


@dataclass(frozen=True)
class VoiceInfo:
    """What a listing shows of a voice, read from its JSON without loading the graph.

    ``languages`` are espeak-ng's codes, the default one first, when the voice speaks several;
    ``size`` is the graph's in bytes; ``speakers`` is empty when the voice names none; ``problem``
    says why the voice will not load, as far as its files tell.
    """

    name: str
    path: Path
    language: str
    speakers: tuple[str, ...]
    size: int
    license: str | None
    card: Path | None
    problem: str | None = None
    languages: tuple[str, ...] = ()


def folders() -> list[Path]:
    """Every folder that may hold voices, existing or not, the first to be searched first."""
    named = [Path(p) for p in os.environ.get("GLOTTIS_VOICES", "").split(os.pathsep) if p]
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return [*named, Path(data) / "glottis" / "voices", Path(__file__).parent]


def installed() -> list[VoiceInfo]:
    """The voices that can be named, each once, sorted by folder and then by name."""
    found: dict[str, VoiceInfo] = {}
    for folder in folders():
        for path in _graphs(folder):
            found.setdefault(path.stem, describe(path))
    return list(found.values())


def describe(path: Path) -> VoiceInfo:
    """What the files of the voice at ``path`` (``NAME.onnx``) say of it; never raises for them."""
    values: dict[str, Any] = {}
    problem = None
    try:
        values = json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("not a table")
    except FileNotFoundError:
        problem = f"{path.name}.json is missing"
    except (OSError, ValueError) as error:
        problem, values = f"{path.name}.json cannot be read: {error}", {}
    size = 0
    try:
        size = path.stat().st_size
    except OSError as error:
        problem = f"{path.name}: {error.strerror or error}"
    ours = _table(values, "glottis")
    card = path.with_suffix(".md")
    default = str(_table(values, "espeak").get("voice"))
    return VoiceInfo(
        name=path.stem,
        path=path,
        language=str(
            _table(values, "language").get("code") or _table(values, "espeak").get("voice") or "?"
        ),
        speakers=tuple(map(str, _table(values, "speaker_id_map"))),
        size=size,
        license=str(ours["license"]) if ours.get("license") else None,
        card=card if card.is_file() else None,
        problem=problem,
        languages=tuple(sorted(_table(ours, "languages"), key=lambda name: name != default)),
    )


def find(name: str | os.PathLike[str] | None = None) -> Path:
    """The graph's path of a voice given by name or path; without either, the default voice.

    The default is the shipped voice (the first by name, should there be several), else the first
    that is installed. Anything with a folder in it, or ending in ``.onnx``, is a path.

    Raises:
        InputError: there is no such voice; the installed ones are listed.
    """
    if name is None:
        return _default()
    text = os.fspath(name)
    if text.endswith(".onnx") or os.path.dirname(text):
        path = Path(text).expanduser()
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the .onnx file in it")
        if not path.is_file():
            raise InputError(f"there is no voice file {path}")
        return path
    paths = [folder / f"{text}.onnx" for folder in folders()]
    for path in paths:
        if path.is_file():
            return path
    for path in paths:
        if path.is_symlink():
            raise InputError(f"{path} is a link to {os.readlink(path)}, which is no file")
    names = [voice.name for voice in installed()]
    near = difflib.get_close_matches(text, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(
        f"there is no voice {text!r}.{hint} Installed: {', '.join(names) or 'none'}; "
        "or give the path of a .onnx file"
    )


def _graphs(folder: Path) -> list[Path]:
    """The files, by name: with suffixes, ``english-light.onnx`` would be before ``english.onnx``.

    Folders and links that lead nowhere are left out: they cannot be named.
    """
    found = [path for path in folder.glob("*.onnx") if path.is_file()] if folder.is_dir() else []
    return sorted(found, key=lambda path: path.stem)


def _default() -> Path:
    shipped = _graphs(Path(__file__).parent)
    if shipped:
        return shipped[0]
    others = installed()
    if others:
        return others[0].path
    raise InputError(
        "no voice is installed. Put NAME.onnx and NAME.onnx.json into one of: "
        f"{', '.join(map(str, folders()))}; or give the path of a .onnx file"
    )


def _table(values: dict[str, Any], key: str) -> dict[str, Any]:
    value = values.get(key)
    return value if isinstance(value, dict) else {}
