"""Recipes: the shipped ones by name, anyone's own as YAML files."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from glottis.config import build, override
from glottis.errors import InputError
from glottis.training.config import Recipe

YAML = (".yaml", ".yml")
"""How the name of a recipe's file ends."""


def read_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe (``"glow_tts/small"``) or a YAML file, and apply overrides.

    An override without a prefix (``max_steps=100``) is a training setting; ``network.`` reaches the
    network's.

    Raises:
        InputError: no such recipe (the shipped ones are listed), a YAML error with its line, or an
            unknown key.
    """
    values = read_values(name)
    if "stages" in values or "conversion" in values:
        raise InputError(f"recipe {name} is no single network; train it as a whole")
    words = [
        word if word.startswith(("network.", "training.", "model=")) else f"training.{word}"
        for word in overrides
    ]
    return build(Recipe, override(values, words), f"recipe {name}")


def read_values(name: str) -> dict[str, Any]:
    """A shipped recipe or a YAML file as plain values.

    Raises:
        InputError: no such recipe (the shipped ones are listed), a YAML error with its line, or
            something else than a table.
    """
    path = Path(name)
    if path.suffix in YAML:
        if not path.is_file():
            raise InputError(f"there is no recipe file {path}")
        where = path
    else:
        root = resources.files("glottis.recipes")
        where = Path(str(root.joinpath(f"{name}.yaml")))
        if not where.is_file():
            known = ", ".join([*list_stages(), *list_recipes()])
            raise InputError(
                f"there is no recipe {name!r}. Shipped recipes: {known}; "
                "or give the path of a .yaml file"
            )
    try:
        values = yaml.safe_load(where.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{name}: not valid YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}; save it "
            "as UTF-8"
        ) from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InputError(
            f"{name}: a recipe is a table of settings, such as 'model: glow_tts', not "
            f"{type(values).__name__} {values!r:.60}"
        )
    return values


def list_stages() -> list[str]:
    """Names of the shipped recipes that are no single network, sorted."""
    root = Path(str(resources.files("glottis.recipes")))
    return sorted(path.stem for path in root.glob("*.yaml"))


def list_recipes() -> list[str]:
    """Names of the shipped recipes, sorted."""
    root = Path(str(resources.files("glottis.recipes")))
    return sorted(str(p.relative_to(root).with_suffix("")) for p in root.glob("*/*.yaml"))
