"""Names of languages, which people and standards write in more ways than one."""

from __future__ import annotations

from collections.abc import Iterable


def find_language(wanted: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``wanted`` names; None if there is none, or no single one.

    Case and ``_`` for ``-`` do not matter; a language without a region names the one with, and the
    other way round: ``de-DE`` finds ``de``, ``en`` finds ``en-us``, ``en-gb`` does not.
    """
    key = _key(wanted)
    names = {_key(name): name for name in known}
    if key in names:
        return names[key]
    near = [
        name
        for other, name in names.items()
        if other.startswith(f"{key}-") or key.startswith(f"{other}-")
    ]
    return near[0] if key and len(near) == 1 else None


def _key(name: str) -> str:
    return name.strip().replace("_", "-").casefold()
