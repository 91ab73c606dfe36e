"""Mish: the choice of a form.

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

    ``kind``: ``"auto"``, ``"numba"`` (float32 on the CPU, in one pass with one exponential,
    gradients too) or ``"torch"``. While torch.compile traces, ``"auto"`` is ``"torch"``.

    Raises:
        InputError: a kind that does not exist or cannot run on this tensor.
    """
    import torch

    kind = choose_elementwise("mish", kind, (x,))
    if kind == "numba":
        from glottis.kernels import mish_torch

        return mish_torch.fused(x)
    return torch.nn.functional.mish(x)
