"""Packages that only evaluation needs, and what to say when one is missing."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from glottis.errors import InputError

REMEDY = "pip install 'glottis[evaluate]'"


def require(name: str, *, extra: str = "evaluate") -> ModuleType:
    """Import the package ``name``, which comes with ``glottis[extra]``.

    Raises:
        InputError: it is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = f"pip install 'glottis[{extra}]'"
        raise InputError(f"this evaluation needs the package {name!r}: {remedy}") from error


def folder_of(name: str) -> Path:
    """The folder of an installed package, without importing it.

    Raises:
        InputError: it is not installed; the message names the extra that brings it.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"this evaluation needs the package {name!r}: {REMEDY}")
    return Path(next(iter(spec.submodule_search_locations)))
