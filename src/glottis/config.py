"""Strict, typed settings.

Settings are frozen dataclasses. ``build`` fills one from a mapping (a recipe, a JSON file) and
``override`` from ``key=value`` words of the command line; both refuse an unknown key, list the
known ones and name the place where the key stands.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from glottis.errors import InputError

T = TypeVar("T")


def build(cls: type[T], values: Mapping[str, Any], where: str = "settings") -> T:
    """Make the dataclass ``cls`` from ``values``, converting and checking every field.

    Nested dataclasses are filled from nested mappings. ``where`` names the source in errors.

    Raises:
        InputError: an unknown key (the known ones are listed), a missing one, or a wrong type.
    """
    if not isinstance(values, Mapping):
        raise InputError(
            f"{where}: expected a table of settings, found {type(values).__name__} {values!r}"
        )
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise InputError(_unknown(where, str(key), list(fields)))
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _convert(hints[name], values[name], f"{where}: {name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: the setting {name!r} is missing")
    try:
        return cls(**arguments)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def override(values: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return a copy of the nested mapping ``values`` with ``key.sub=value`` words applied.

    Values are read as YAML would: numbers, ``true``/``false``, ``null``, lists in brackets, text in
    quotes, otherwise text as it stands.
    Whether a key is known is decided later, by :func:`build`.

    Raises:
        InputError: a word without ``=``, or a path through something that is not a table.
    """
    result = _copy(values)
    for word in words:
        path, sign, text = word.partition("=")
        if not sign or not path:
            raise InputError(
                f"{word!r} is not a setting: write key=value, for example max_steps=1000"
            )
        *parents, last = path.split(".")
        if not all((*parents, last)):
            raise InputError(f"{word!r} is not a setting: {path!r} has an empty part between dots")
        table = result
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise InputError(f"{word!r}: {parent!r} is a single value, not a table of settings")
        table[last] = _scalar(text)
    return result


def as_dict(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain nested dicts and lists, ready for YAML or JSON."""
    return typing.cast(dict[str, Any], _plain(dataclasses.asdict(settings)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in values.items()}


def _unknown(where: str, key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{where}: unknown setting {key!r}.{hint} Known settings: {', '.join(sorted(known))}"


def _scalar(text: str) -> Any:
    lowered = text.lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    if lowered in ("null", "none", ""):
        return None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if text.startswith("[") and text.endswith("]"):
        return [_scalar(part.strip()) for part in _parts(text[1:-1])]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _parts(text: str) -> list[str]:
    """Split at the commas that stand neither in brackets nor in quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character == "[") - (character == "]")
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts if text.strip() else []


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        if len(options) == 1:
            return _convert(options[0], value, where)
        for option in options:
            try:
                return _convert(option, value, where)
            except InputError:
                continue
        raise InputError(f"{where} does not take {value!r}")
    if origin is typing.Literal:
        if value is None and "none" in arguments:
            value = "none"  # as a word on the command line reads
        for choice in arguments:
            # True equals 1, but is not what was meant by it.
            if type(value) is type(choice) and value == choice:
                return value
        choices = ", ".join(map(str, arguments))
        raise InputError(f"{where} does not take {value!r}. Choices: {choices}")
    if dataclasses.is_dataclass(hint):
        if isinstance(value, typing.cast(type, hint)):
            return value
        return build(typing.cast(type, hint), value, where)
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where} takes a list, not {value!r}")
        item = arguments[0] if arguments else Any
        if origin is tuple and len(arguments) > 1 and arguments[-1] is not Ellipsis:
            if len(value) != len(arguments):
                raise InputError(f"{where} takes {len(arguments)} values, not {len(value)}")
            return tuple(
                _convert(a, v, f"{where}[{i}]")
                for i, (a, v) in enumerate(zip(arguments, value, strict=True))
            )
        return origin(_convert(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"{where} takes a table, not {value!r}")
        return {k: _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads 1e-4 (without a point) as text.
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(hint, type) and isinstance(value, hint):
        if hint is int and isinstance(value, bool):
            raise InputError(f"{where} takes a whole number, not {value!r}")
        return value
    name = getattr(hint, "__name__", str(hint))
    raise InputError(f"{where} takes {name}, not {value!r} ({type(value).__name__})")
