"""Elementary functions over short float32 arrays, in a form that numba's compiler vectorises.

``np.exp`` inside a compiled loop is a call of the C library for each element. Written out as range
reduction and polynomial (Moshier's Cephes coefficients, relative error below 2e-7) the same loop
runs over whole registers and costs a tenth of it. Callers hand in their own scratch, so nothing is
allocated inside a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

single = np.float32


def compiled(function: Callable[..., Any], signature: str | None = None) -> Callable[..., Any]:
    """``numba.njit`` without the GIL, keeping its machine code on disk where a folder allows it.

    A ``signature`` fixes the types, for functions whose arrays come in many layouts: otherwise each
    combination of layouts would be compiled when it is first met.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return numba.njit(signature, cache=True, **options)(function)
    except RuntimeError:  # neither the package nor the user's cache folder can be written
        return numba.njit(signature, **options)(function)


@compiled
def exponentials(x, bits, powers, out):  # type: ignore[no-untyped-def]
    """``out = exp(x)`` for ``x`` float32 up to 88; below -87 it stays at exp(-87), about 1.6e-38.

    ``bits`` is int32 scratch of the same size and ``powers`` its float32 view. ``out`` must not be
    ``x``: on memory that overlaps, the compiler falls back to one element at a time.
    """
    for i in range(x.size):
        value = min(max(x[i], single(-87.0)), single(88.0))
        power = np.rint(value * single(1.44269504))
        rest = (value - power * single(0.693359375)) + power * single(2.12194440e-4)
        series = single(1.9875691500e-4)
        series = series * rest + single(1.3981999507e-3)
        series = series * rest + single(8.3334519073e-3)
        series = series * rest + single(4.1665795894e-2)
        series = series * rest + single(1.6666665459e-1)
        series = series * rest + single(5.0000001201e-1)
        out[i] = (series * rest * rest + rest) + single(1.0)
        bits[i] = (np.int32(power) + np.int32(127)) << np.int32(23)
    for i in range(x.size):
        out[i] *= powers[i]


@compiled
def logarithms(x, bits, mantissas, out):  # type: ignore[no-untyped-def]
    """``out = log(x)`` for positive, normal, finite float32; scratch as for the exponentials."""
    for i in range(x.size):
        mantissas[i] = x[i]
    for i in range(x.size):
        # Move the exponent so that the mantissa lies around 1: between sqrt(1/2) and sqrt(2).
        whole = (bits[i] - np.int32(0x3F3504F3)) >> np.int32(23)
        bits[i] -= whole << np.int32(23)
        out[i] = single(whole)
    for i in range(x.size):
        rest = mantissas[i] - single(1.0)
        square = rest * rest
        series = single(7.0376836292e-2)
        series = series * rest - single(1.1514610310e-1)
        series = series * rest + single(1.1676998740e-1)
        series = series * rest - single(1.2420140846e-1)
        series = series * rest + single(1.4249322787e-1)
        series = series * rest - single(1.6668057665e-1)
        series = series * rest + single(2.0000714765e-1)
        series = series * rest - single(2.4999993993e-1)
        series = series * rest + single(3.3333331174e-1)
        power = out[i]
        low = series * rest * square - power * single(2.12194440e-4) - single(0.5) * square
        out[i] = (rest + low) + power * single(0.693359375)
