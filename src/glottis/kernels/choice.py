"""How a kernel chooses among its forms: a fixed order, said once, never a silent fall-back."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from glottis.errors import InputError

logger = logging.getLogger("glottis.kernels")
_said: set[tuple[str, str]] = set()


def choose(kernel: str, kind: str, kinds: Sequence[str], available: Sequence[str]) -> str:
    """The first of ``available`` for ``"auto"``, else ``kind`` itself.

    The first choice of each kernel is logged at level INFO.

    Raises:
        InputError: ``kind`` is not one of ``kinds``, or cannot run here.
    """
    if kind == "auto":
        kind = available[0]
        if (kernel, kind) not in _said:
            _said.add((kernel, kind))
            logger.info("%s runs as %r (available here: %s)", kernel, kind, ", ".join(available))
        return kind
    if kind not in kinds:
        raise InputError(f"{kernel} has no kind {kind!r}; it has auto, {', '.join(kinds)}")
    if kind not in available:
        raise InputError(
            f"{kernel} cannot run as {kind!r} on this input here; use one of "
            f"{', '.join(available)}, or auto"
        )
    return kind
