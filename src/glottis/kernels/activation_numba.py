"""Activations on the CPU, compiled by numba: one pass, and exponentials that run in registers.

float32, contiguous. With ``e = exp(x)`` and ``m = e + e^2 / 2``, Mish is ``x m / (m + 1)``; with
``u = exp(-2 a)`` and ``v = exp(-b)`` a gate is ``(1 - u) / ((1 + u) (1 + v))``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from glottis.kernels.threads import in_parts
from glottis.kernels.vector_math import compiled, exponentials, single

Array = NDArray[np.float32]

# Values that go through together, within the nearest cache.
TILE = 512


@compiled
def _mish(x, y):  # type: ignore[no-untyped-def]
    bits, held, e = np.empty(TILE, np.int32), np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    powers = bits.view(np.float32)
    for start in range(0, x.size, TILE):
        given, out = x[start : start + TILE], y[start : start + TILE]
        # Above, the factor is 1 in float32.
        for i in range(given.size):
            held[i] = min(given[i], single(20.0))
        exponentials(held[: given.size], bits, powers, e)
        for i in range(given.size):
            m = e[i] * (single(1.0) + single(0.5) * e[i])
            out[i] = given[i] * (m / (m + single(1.0)))


@compiled
def _differentiate_mish(x, of_y, of_x):  # type: ignore[no-untyped-def]
    bits, held, e = np.empty(TILE, np.int32), np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    powers = bits.view(np.float32)
    for start in range(0, x.size, TILE):
        stop = min(start + TILE, x.size)
        given, out, of = x[start:stop], of_x[start:stop], of_y[start:stop]
        for i in range(given.size):
            held[i] = min(given[i], single(20.0))
        exponentials(held[: given.size], bits, powers, e)
        for i in range(given.size):
            m = e[i] * (single(1.0) + single(0.5) * e[i])
            share = single(1.0) / (m + single(1.0))
            rise = e[i] * (single(1.0) + e[i]) * share * share
            out[i] = of[i] * (m * share + given[i] * rise)


@compiled
def _exponentials_of_gate(a, b, held, bits, powers, u, v):  # type: ignore[no-untyped-def]
    """``exp(-2 a)`` and ``exp(-b)``, of what is left of both where they matter."""
    for i in range(a.size):
        held[i] = single(-2.0) * min(max(a[i], single(-12.0)), single(12.0))
    exponentials(held[: a.size], bits, powers, u)
    for i in range(a.size):
        held[i] = -max(b[i], single(-80.0))
    exponentials(held[: a.size], bits, powers, v)


@compiled
def _gated(x, y):  # type: ignore[no-untyped-def]
    bits, held = np.empty(TILE, np.int32), np.empty(TILE, np.float32)
    u, v = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    powers, half = bits.view(np.float32), x.shape[1] // 2
    for item in range(x.shape[0]):
        for start in range(0, half, TILE):
            stop = min(start + TILE, half)
            a, b = x[item, start:stop], x[item, half + start : half + stop]
            out = y[item, start:stop]
            _exponentials_of_gate(a, b, held, bits, powers, u, v)
            for i in range(a.size):
                gate = (single(1.0) - u[i]) / ((single(1.0) + u[i]) * (single(1.0) + v[i]))
                # Clamping drops a NaN; this brings it back.
                out[i] = gate + single(0.0) * (a[i] + b[i])


@compiled
def _differentiate_gated(x, of_y, of_x):  # type: ignore[no-untyped-def]
    bits, held = np.empty(TILE, np.int32), np.empty(TILE, np.float32)
    u, v = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    powers, half = bits.view(np.float32), x.shape[1] // 2
    for item in range(x.shape[0]):
        for start in range(0, half, TILE):
            stop = min(start + TILE, half)
            a, b = x[item, start:stop], x[item, half + start : half + stop]
            of = of_y[item, start:stop]
            of_a, of_b = of_x[item, start:stop], of_x[item, half + start : half + stop]
            _exponentials_of_gate(a, b, held, bits, powers, u, v)
            for i in range(a.size):
                share = single(1.0) / (single(1.0) + u[i])
                opened = single(1.0) / (single(1.0) + v[i])
                scale = of[i] * opened + single(0.0) * (a[i] + b[i])
                # 1 - tanh^2 = 4 u / (1 + u)^2 loses nothing where tanh is nearly 1.
                of_a[i] = scale * single(4.0) * u[i] * share * share
                of_b[i] = scale * (single(1.0) - u[i]) * share * v[i] * opened


def _in_parts(function: Callable[..., None], arrays: tuple[Array, ...], threads: int) -> None:
    """First axes shared out, where there is enough to share."""

    def work(part: slice) -> None:
        function(*(a[part] for a in arrays))

    in_parts(work, len(arrays[0]), min(threads, arrays[0].size // 65536))


def mish(x: Array, threads: int = 1) -> Array:
    """Of all values, in the shape of ``x``."""
    y = np.empty_like(x)
    _in_parts(_mish, (x.reshape(-1), y.reshape(-1)), threads)
    return y


def differentiate_mish(x: Array, of_y: Array, threads: int = 1) -> Array:
    """The gradient to ``x`` from that of the result."""
    of_x = np.empty_like(x)
    _in_parts(_differentiate_mish, (x.reshape(-1), of_y.reshape(-1), of_x.reshape(-1)), threads)
    return of_x


def gated(x: Array, threads: int = 1) -> Array:
    """``[batch, 2 * channels, time]`` -> ``[batch, channels, time]``."""
    y = np.empty((x.shape[0], x.shape[1] // 2, *x.shape[2:]), np.float32)
    _in_parts(_gated, (x.reshape(len(x), -1), y.reshape(len(y), -1)), threads)
    return y


def differentiate_gated(x: Array, of_y: Array, threads: int = 1) -> Array:
    """The gradient to ``x`` from that of the result."""
    of_x = np.empty_like(x)
    flat = x.reshape(len(x), -1), of_y.reshape(len(x), -1), of_x.reshape(len(x), -1)
    _in_parts(_differentiate_gated, flat, threads)
    return of_x
