"""Activations that cost more than the products around them: the choice of a form.

The forms live in files of their own and are imported when they are first used, so this module
needs neither torch nor numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from glottis.kernels.choice import choose_elementwise

if TYPE_CHECKING:
    from torch import Tensor


def mish(x: Tensor, *, kind: str = "auto") -> Tensor:
    """``x tanh(softplus(x))`` (Misra 2019), of any shape.

    ``kind``: ``"auto"``, ``"numba"`` (float32 and bfloat16 on the CPU, in one pass, gradients too)
    or ``"torch"``. While torch.compile traces, ``"auto"`` is ``"torch"``.

    Raises:
        InputError: a kind that does not exist or cannot run on this tensor.
    """
    return _computed("mish", x, kind)


def gated(x: Tensor, *, kind: str = "auto") -> Tensor:
    """``tanh(a) sigmoid(b)`` of the two halves of channels (van den Oord et al. 2016, eq. 2).

    ``[batch, 2 * channels, time]`` -> ``[batch, channels, time]``; ``kind`` as in :func:`mish`.

    Raises:
        InputError: a kind that does not exist or cannot run on this tensor.
    """
    return _computed("gated", x, kind)


def _computed(name: str, x: Tensor, kind: str) -> Tensor:
    from glottis.kernels import activation_torch

    wide = activation_torch.widened(x)
    if choose_elementwise(name, kind, (wide,)) == "numba":
        return activation_torch.fused(wide, name).to(x.dtype)
    return activation_torch.FORMS[name](x)
