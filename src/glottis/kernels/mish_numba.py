"""Mish on the CPU, compiled by numba: one exponential instead of three functions.

With ``e = exp(x)`` and ``m = e + e^2 / 2`` it is ``x m / (m + 1)``. float32.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glottis.kernels.vector_math import compiled, exponentials, single

Array = NDArray[np.float32]

# Values that go through together, within the nearest cache.
TILE = 512


@compiled
def _apply(x, y):  # type: ignore[no-untyped-def]
    bits, held, power = (
        np.empty(TILE, np.int32),
        np.empty(TILE, np.float32),
        np.empty(TILE, np.float32),
    )
    powers = bits.view(np.float32)
    for start in range(0, x.size, TILE):
        given, out = x[start : start + TILE], y[start : start + TILE]
        # Above, the factor is 1 in float32.
        for i in range(given.size):
            held[i] = min(given[i], single(20.0))
        exponentials(held[: given.size], bits, powers, power)
        for i in range(given.size):
            m = power[i] * (single(1.0) + single(0.5) * power[i])
            out[i] = given[i] * (m / (m + single(1.0)))


@compiled
def _differentiate(x, of_y, of_x):  # type: ignore[no-untyped-def]
    bits, held, power = (
        np.empty(TILE, np.int32),
        np.empty(TILE, np.float32),
        np.empty(TILE, np.float32),
    )
    powers = bits.view(np.float32)
    for start in range(0, x.size, TILE):
        given, out, of = (
            x[start : start + TILE],
            of_x[start : start + TILE],
            of_y[start : start + TILE],
        )
        for i in range(given.size):
            held[i] = min(given[i], single(20.0))
        exponentials(held[: given.size], bits, powers, power)
        for i in range(given.size):
            m = power[i] * (single(1.0) + single(0.5) * power[i])
            share = single(1.0) / (m + single(1.0))
            rise = power[i] * (single(1.0) + power[i]) * share * share
            out[i] = of[i] * (m * share + given[i] * rise)


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="glottis-mish")


def _in_parts(function: Any, arrays: tuple[Array, ...], threads: int) -> None:
    """Values shared out over plain threads: a second OpenMP pool beside torch's stutters."""
    size = arrays[0].size
    threads = max(1, min(threads, size // 65536, os.cpu_count() or 1))
    step = -(-size // threads)
    flat = [a.reshape(-1) for a in arrays]

    def work(start: int) -> None:
        function(*(a[start : start + step] for a in flat))

    if threads == 1:
        work(0)
    else:
        list(_pool().map(work, range(0, size, step)))


def apply(x: Array, threads: int = 1) -> Array:
    """Of all values of ``x``, contiguous, in its shape."""
    y = np.empty_like(x)
    _in_parts(_apply, (x, y), threads)
    return y


def differentiate(x: Array, of_y: Array, threads: int = 1) -> Array:
    """The gradient to ``x`` from that of the result."""
    of_x = np.empty_like(x)
    _in_parts(_differentiate, (x, of_y, of_x), threads)
    return of_x
