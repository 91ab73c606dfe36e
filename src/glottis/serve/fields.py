"""The fields of a request, checked one by one so that an error can name the one that is wrong."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from glottis.serve.errors import RequestError


class Fields:
    """What a client sent: the fields of a JSON object, or of a form, whose values are texts.

    Each method takes one field and gives ``default`` when it is missing or null.

    Raises:
        RequestError: a field that is not ``known``; from the methods, a value of a wrong kind.
    """

    def __init__(self, values: Mapping[str, Any], known: Iterable[str], form: bool = False) -> None:
        known = list(known)
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise RequestError(
                    f"unknown field {name!r}.{hint} Known: {', '.join(known)}", str(name)
                )
        self._values, self._form = values, form

    @classmethod
    def read(cls, body: bytes, known: Iterable[str]) -> Fields:
        """The fields of a body of JSON.

        Raises:
            RequestError: it is no JSON object; and as above.
        """
        try:
            values = json.loads(body)
        except UnicodeDecodeError as error:
            raise RequestError(f"the body is not UTF-8: byte {error.start}") from None
        except json.JSONDecodeError as error:
            raise RequestError(f"the body is not JSON: {error}") from None
        except RecursionError:
            raise RequestError("the body is not JSON that can be read: it nests too deep") from None
        except ValueError:  # Python reads no number of more than some thousand digits
            raise RequestError("the body holds a number that is too long") from None
        if not isinstance(values, dict):
            raise RequestError(f"the body must be a JSON object, not {_shown(values)}")
        return cls(values, known)

    def text(self, name: str, default: str | None = None) -> str | None:
        """A text."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise RequestError(f"{name} must be a text, not {_shown(value)}", name)
        return value

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        """One of some words."""
        value = self.text(name, default)
        if value not in choices:
            raise RequestError(
                f"{name} does not take {_shown(value)}. Choices: {', '.join(choices)}", name
            )
        assert value is not None
        return value

    def number(self, name: str, default: float | None = None) -> float | None:
        """A finite number."""
        value = self._values.get(name)
        if value is None:
            return default
        if self._form and isinstance(value, str):
            with suppress(ValueError):
                value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise RequestError(f"{name} must be a number, not {_shown(value)}", name)
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise RequestError(f"{name} must be a finite number", name)
        return value

    def whole(self, name: str, default: int | None = None) -> int | None:
        """A whole number; 3.0 is one."""
        value = self._values.get(name)
        if value is None:
            return default
        if self._form and isinstance(value, str):
            with suppress(ValueError):
                value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise RequestError(f"{name} must be a whole number, not {_shown(value)}", name)
        return value

    def flag(self, name: str, default: bool | None = None) -> bool | None:
        """True or false."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise RequestError(f"{name} must be true or false, not {_shown(value)}", name)
        return value

    def voice(self) -> str | None:
        """``voice``, a text or, as OpenAI also has it, an object with an ``id``."""
        value = self._values.get("voice")
        if isinstance(value, dict) and set(value) == {"id"} and isinstance(value["id"], str):
            return value["id"]
        return self.text("voice")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
