"""Convolutions by minimal filters: the choice of a form.

The forms live in files of their own and are imported when they are first used, so this module
needs neither torch nor numba.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from glottis.errors import InputError
from glottis.kernels.choice import choose_elementwise

if TYPE_CHECKING:
    from torch import Tensor


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    padding: int = 0,
    dilation: int = 1,
    kind: str = "auto",
) -> Tensor:
    """``torch.nn.functional.conv1d`` or ``conv2d`` of stride 1, with fewer multiplications.

    ``x`` ``[batch, in, time]`` and ``weight`` ``[out, in, taps]``, or
    ``[batch, in, height, width]`` and ``[out, in, taps, taps]``; the result is
    ``[batch, out, ...]``. ``bias`` ``[out]``.

    ``kind``: ``"numba"`` (Winograd 1980; Lavin & Gray 2016: float32 on the CPU, of 3, 5, 7 or 11
    taps, or 3 x 3, gradients too; within 1e-5 of the largest output), ``"torch"``, or
    ``"auto"``, which is the first where it saves time, else the second.

    A value that is not finite spoils all outputs of its tile (6 or fewer, each way) by ``"numba"``.

    Raises:
        InputError: a kind that does not exist or cannot run on these tensors.
    """
    import torch

    from glottis.kernels import winograd_torch

    tensors = (x, weight) if bias is None else (x, weight, bias)
    fits = winograd_torch.fits(weight, dilation)
    if kind == "auto" and (
        torch.is_autocast_enabled("cpu")
        or not fits
        or not winograd_torch.pays(x, weight, padding, dilation)
    ):
        kind = "torch"
    kind = choose_elementwise("winograd", kind, tensors)
    if kind == "numba" and not fits:
        taps = " x ".join(str(size) for size in weight.shape[2:])
        raise InputError(
            f"there is no minimal filter of {taps} taps and dilation {dilation}; there are "
            f"{', '.join(map(str, winograd_torch.SIGNAL_FORMS))} taps, and 3 x 3 undilated"
        )
    form = winograd_torch.minimal if kind == "numba" else winograd_torch.plain
    return form(x, weight, bias, padding, dilation)


def same_weights() -> AbstractContextManager[None]:
    """A scope in which no parameter changes, so that each filter is transformed once.

    For networks that are run many times over, as solvers of diffusions do. Transformed filters take
    up to four times the memory of the parameters until the scope is left.
    """
    from glottis.kernels import winograd_torch

    return winograd_torch.same_weights()
