"""Reading what others have saved, tensors and settings, without executing any of it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glottis.errors import InputError

Weights = dict[str, Tensor]
Values = Mapping[str, Any]

# Under which key the weights lie, and what their names begin with then.
STATES = {"model": "", "state_dict": "", "generator": "generator.", "mpd": "mpd.", "msd": "msd."}


@dataclass(frozen=True)
class Checkpoint:
    """A file's ``weights``, float32 by their names in it, and the ``plain`` values beside them.

    Names lose ``module.`` and, in HiFi-GAN's files, get the key that they lie under.
    """

    path: Path
    weights: Weights
    plain: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what ``torch.save`` has written.

    Raises:
        InputError: the file is missing, damaged or something else, it holds objects other than
            tensors and plain values (the first is named), or no tensors.
    """
    values = _load(path)
    states = {prefix: values[key] for key, prefix in STATES.items() if _is_table(values.get(key))}
    if not states:
        states = {"": values}
    weights: Weights = {}
    for prefix, state in states.items():
        for name, value in state.items():
            if not isinstance(value, Tensor):
                raise InputError(
                    f"{path} is no checkpoint that is known here: {name!r} is no tensor, but "
                    f"{type(value).__name__}"
                )
            weights[prefix + str(name).removeprefix("module.")] = value.detach().float()
    if not weights:
        raise InputError(f"{path} holds no weights")
    plain = {str(k): v for k, v in values.items() if k not in STATES and not isinstance(v, Tensor)}
    return Checkpoint(path, weights, plain)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 0


def _load(path: Path) -> dict[str, Any]:
    # Piper's settings name the files it was trained on; their text is enough.
    paths = [
        (_joined, f"pathlib{place}.{name}")
        for place in ("", "._local")
        for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
    ]
    try:
        with torch.serialization.safe_globals(paths):  # type: ignore[arg-type]
            values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}") from None
    except Exception as error:  # Damage may show itself anywhere in torch's reader.
        if isinstance(error, MemoryError):
            raise
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found is not None:
            what = f"it holds {found[1]}, which would have to be executed"
        else:
            said = str(error).partition("\n")[0][:100] or type(error).__name__
            what = f"it is damaged, or something else ({said})"
        raise InputError(f"{path} is no checkpoint of tensors: {what}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is no checkpoint of tensors, but {type(values).__name__}")
    return values


def _joined(*parts: str) -> str:
    return "/".join(parts)


def read_values(path: Path) -> dict[str, Any]:
    """Settings as plain values: a JSON file, or the literal assignments of a Python file.

    Raises:
        InputError: the file cannot be read as either.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".py":
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("not a table")
            return values
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise InputError(f"{path} cannot be read as settings: {error}") from error
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue  # a computed value, such as the length of a segment
    return found


def mel_settings(
    rate: int, fft: int, window: int, hop: int, mels: int, low: float, high: float | None
) -> dict[str, Any]:
    """Of :class:`~glottis.audio.mel.MelConfig`; frequencies in Hz, half the rate for ``high`` None.

    Raises:
        InputError: the window is shorter than the transform.
    """
    if window != fft:
        raise InputError(f"a window of {window} samples in a transform of {fft} is not known here")
    return {
        "sample_rate": rate,
        "fft_size": fft,
        "hop": hop,
        "mels": mels,
        "mel_low": low,
        "mel_high": rate / 2 if high is None else high,
    }
