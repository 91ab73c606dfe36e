"""Discretised mixtures of logistics: the choice of a form.

The forms live in files of their own and are imported when they are first used, so this module
needs neither torch nor numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from glottis.kernels.choice import choose_elementwise

if TYPE_CHECKING:
    from torch import Tensor


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
    from glottis.kernels import mixture_torch

    kind = choose_elementwise("mixture", kind, (edge, logits, loc, log_scale))
    form = mixture_torch.fused if kind == "numba" else mixture_torch.log_probability
    return form(edge, logits, loc, log_scale, classes)
