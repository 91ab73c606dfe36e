"""Filters with the fewest multiplications: the three matrices of a form, exact.

``m`` outputs of a filter of ``r`` taps need ``n = m + r - 1`` multiplications instead of ``m * r``
(Winograd 1980, "Arithmetic Complexity of Computations"; Lavin & Gray 2016, "Fast Algorithms for
Convolutional Neural Networks"): a filter is a product of polynomials, which is known from its
values at ``n`` points. With ``x`` the ``n`` inputs that the outputs see and ``w`` the taps::

    y = outputs^T [(taps w) * (inputs^T x)]
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# At which the polynomials are known, beside infinity: fractions of small numbers and their like
# of the other sign, chosen by the error of random filters in float32 (2e-7 to 3e-6 of the output).
_POINTS = {
    6: "0 3/2 -3/2 2/3 -2/3",
    8: "0 1 -1 2 -2 1/2 -1/2",
    10: "0 1/2 -1/2 3 -3 3/2 -3/2 2/3 -2/3",
    11: "0 1 -1 1/2 -1/2 3 -3 3/2 -3/2 2/3",
}


class Filter(NamedTuple):
    """The matrices of a form: ``outputs [n, m]``, ``taps [n, r]``, ``inputs [n, n]``."""

    outputs: Array
    taps: Array
    inputs: Array


@lru_cache(maxsize=16)
def minimal_filter(m: int, r: int) -> Filter:
    """The form for ``m`` outputs of ``r`` taps (Toom-Cook; Lavin & Gray, section 4).

    Rows are scaled by powers of two, which costs no precision, so that none of the three matrices
    is much larger than the others.

    Raises:
        KeyError: no points are kept for ``m + r - 1``.
    """
    n = m + r - 1
    points = [Fraction(point) for point in _POINTS[n].split()]
    outputs, taps, inputs = np.zeros((n, m)), np.zeros((n, r)), np.zeros((n, n))
    for i, here in enumerate(points):
        others = points[:i] + points[i + 1 :]
        # Lagrange's polynomial of this point: what it must be divided by, and its coefficients.
        size = Fraction(1)
        for other in others:
            size *= here - other
        outputs[i] = [float(here**k) for k in range(m)]
        taps[i] = [float(here**k / size) for k in range(r)]
        inputs[i, : n - 1] = _coefficients(others)
    outputs[n - 1, m - 1] = taps[n - 1, r - 1] = 1.0
    inputs[n - 1] = _coefficients(points)
    for i in range(n):
        for matrix, wanted in ((inputs, 2.0), (taps, 1.0)):
            scale = 2.0 ** np.round(np.log2(np.abs(matrix[i]).sum() / wanted))
            matrix[i] /= scale
            outputs[i] *= scale
    return Filter(outputs, taps, inputs)


def _coefficients(roots: list[Fraction]) -> list[float]:
    """Of the polynomial with these roots, the constant first."""
    found = [Fraction(1)]
    for root in roots:
        raised = [Fraction(0), *found]
        found = [up - root * here for up, here in zip(raised, [*found, Fraction(0)], strict=True)]
    return [float(value) for value in found]
