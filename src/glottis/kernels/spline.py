"""Rational-quadratic splines: the choice of a form.

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
    import torch

    from glottis.kernels import spline_torch
    from glottis.kernels.tensors import is_plain

    tensors = (x, widths, heights, derivatives)
    constants = (bound, minimum_bin, minimum_derivative, inverse)
    if kind == "auto" and torch.compiler.is_compiling():
        return spline_torch.spline(*tensors, *constants)
    plain = is_plain(tensors) and _numba_is_here()
    kind = choose("spline", kind, KINDS, KINDS if plain else ("torch",))
    form = spline_torch.fused if kind == "numba" else spline_torch.spline
    return form(*tensors, *constants)
