"""Rational-quadratic splines: the choice of a form.

The forms live in files of their own and are imported when they are first used, so this module
needs neither torch nor numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from glottis.kernels.choice import choose_elementwise

if TYPE_CHECKING:
    from torch import Tensor


def rational_quadratic(
    x: Tensor,
    widths: Tensor,
    heights: Tensor,
    derivatives: Tensor,
    *,
    bound: float,
    minimum_bin: float,
    minimum_derivative: float,
    inverse: bool = False,
    kind: str = "auto",
) -> tuple[Tensor, Tensor]:
    """The spline's image of ``x`` (its pre-image when ``inverse``) and the log of the derivative.

    ``x`` ``[...]`` broadcasts against raw ``widths`` and ``heights`` ``[..., bins]`` and
    ``derivatives`` ``[..., bins - 1]``; what they mean is told in
    :class:`glottis.likelihood.splines.RationalQuadraticSpline`.

    ``kind``: ``"auto"``, ``"numba"`` (float32 on the CPU, in one pass, gradients too) or
    ``"torch"``. While torch.compile traces, ``"auto"`` is ``"torch"``.

    Raises:
        InputError: a kind that does not exist or cannot run on these tensors.
    """
    from glottis.kernels import spline_torch

    tensors = (x, widths, heights, derivatives)
    constants = (bound, minimum_bin, minimum_derivative, inverse)
    kind = choose_elementwise("spline", kind, tensors)
    form = spline_torch.fused if kind == "numba" else spline_torch.spline
    return form(*tensors, *constants)
