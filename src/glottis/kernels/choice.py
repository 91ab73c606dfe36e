"""How a kernel chooses among its forms: a fixed order, said once, never a silent fall-back."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from glottis.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

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


@lru_cache(maxsize=1)
def has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


@lru_cache(maxsize=1)
def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def with_triton(forms: tuple[str, ...], tensor: Tensor) -> tuple[str, ...]:
    """``forms`` and Triton's: first for a tensor on a GPU, and on request in its interpreter."""
    if not has_triton():
        return forms
    if tensor.is_cuda:
        return ("triton", *forms)
    return (*forms, "triton") if os.environ.get("TRITON_INTERPRET") == "1" else forms


#: Of kernels with a compiled form for plain float32 tensors and a torch form for all others.
ELEMENTWISE = ("numba", "torch")


def choose_elementwise(kernel: str, kind: str, tensors: tuple[Tensor, ...]) -> str:
    """``"numba"`` or ``"torch"``; while torch.compile traces, ``"auto"`` is ``"torch"``.

    Raises:
        InputError: a kind that does not exist or cannot run on these tensors.
    """
    import torch

    from glottis.kernels.tensors import is_plain

    if kind == "auto" and torch.compiler.is_compiling():
        return "torch"
    plain = has_numba() and is_plain(tensors)
    return choose(kernel, kind, ELEMENTWISE, ELEMENTWISE if plain else ("torch",))
