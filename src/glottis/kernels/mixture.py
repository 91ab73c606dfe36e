"""Discretised mixtures of logistics: the choice of a form.

The forms live in files of their own and are imported when they are first used, so this module
needs neither torch nor numba.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import TYPE_CHECKING

from glottis.kernels.choice import choose

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("numba", "torch")


@lru_cache(maxsize=1)
def _numba_is_here() -> bool:
    return importlib.util.find_spec("numba") is not None


def logistic_log_probability(
    edge: Tensor,
    logits: Tensor,
    loc: Tensor,
    log_scale: Tensor,
    classes: int,
    *,
    kind: str = "auto",
) -> Tensor:
    """Log-probability of one of ``classes`` equal bins over [-1, 1] under a mixture of logistics.

    ``edge`` ``[...]`` is the class's upper edge in bins from the middle of the range: an integer
    (as a float) between ``1 - classes // 2`` and ``classes - classes // 2``; ``logits``, ``loc``
    and ``log_scale`` are ``[..., components]``, the last two in units of the range and as a natural
    logarithm. Returns ``[...]`` in nats. Differentiable in the parameters.

    ``kind``: ``"auto"``, ``"numba"`` (float32 on the CPU, one pass, gradients too) or ``"torch"``.
    While torch.compile traces, ``"auto"`` is ``"torch"``.

    Raises:
        InputError: a kind that does not exist or cannot run on these tensors.
    """
    import torch

    from glottis.kernels import mixture_torch
    from glottis.kernels.tensors import is_plain

    if kind == "auto" and torch.compiler.is_compiling():
        return mixture_torch.log_probability(edge, logits, loc, log_scale, classes)
    plain = is_plain((edge, logits, loc, log_scale)) and _numba_is_here()
    kind = choose("mixture", kind, KINDS, KINDS if plain else ("torch",))
    form = mixture_torch.fused if kind == "numba" else mixture_torch.log_probability
    return form(edge, logits, loc, log_scale, classes)
