"""Numbers that a caller gives, Python's or numpy's, checked."""

from __future__ import annotations

import math
import os
from numbers import Integral, Real
from typing import Any

from glottis.errors import InputError

SEEDS = 2**63 - 1
"""The largest seed; a larger or negative number stands for one of those from 0 to here."""


def is_number(value: Any) -> bool:
    """Whether a value is a number, not a truth value; it may be infinite or none (NaN)."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, not a truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def checked(name: str, value: Any, low: float, high: float, unit: str = "") -> float:
    """A number from ``low`` to ``high``.

    Raises:
        InputError: it is not; names the range.
    """
    if not is_number(value) or not math.isfinite(value) or not low <= value <= high:
        raise InputError(f"{name} must be from {low:g} to {high:g}{unit}, not {value}")
    return float(value)


def checked_factor(name: str, value: Any) -> float:
    """A factor on noise."""
    return checked(name, value, 0.0, 10.0)


def checked_seconds(name: str, value: Any) -> float:
    """A time."""
    return checked(name, value, 0.0, 60.0, " seconds")


def checked_seed(value: Any) -> int:
    """A seed from 0 to :data:`SEEDS` for any whole number, a new one for None.

    Raises:
        InputError: neither.
    """
    if value is None:
        return int.from_bytes(os.urandom(8), "little") & SEEDS
    if not is_whole(value):
        raise InputError(f"seed must be a whole number, not {value!r}")
    return int(value) & SEEDS
