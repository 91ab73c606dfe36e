"""Rational-quadratic splines on the CPU, compiled by numba: one pass over the parameters.

The torch form writes a dozen arrays of ``elements x bins``; here a tile of elements goes from its
raw parameters to its result inside the nearest cache. What is computed, and the letters, are in
:mod:`glottis.kernels.spline_torch`. float32, parameters contiguous ``[elements, bins]``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glottis.kernels.vector_math import compiled, exponentials, logarithms, single

Array = NDArray[np.float32]

# Elements that go through together; their parameters stay in the nearest cache.
TILE = 64


@compiled
def _sums_of_exponentials(raw, shifted, sums, share, least, bits, powers):  # type: ignore[no-untyped-def]
    """Running sums over bins of ``exp(raw - max)``, and the factor that makes shares of them.

    ``raw`` is ``[elements, bins]``; ``shifted`` and ``sums`` are ``[bins, TILE]``: turned, so that
    every loop below runs over elements that lie side by side.
    """
    elements, bins = raw.shape
    for j in range(bins):
        row = shifted[j, :elements]
        for i in range(elements):
            row[i] = raw[i, j]
    largest, total = share[:elements], sums[0, :elements]
    for i in range(elements):
        largest[i] = shifted[0, i]
    for j in range(1, bins):
        row = shifted[j, :elements]
        for i in range(elements):
            largest[i] = max(largest[i], row[i])
    for j in range(bins):
        row = shifted[j, :elements]
        for i in range(elements):
            row[i] -= largest[i]
        exponentials(row, bits, powers, sums[j, :elements])
    for j in range(1, bins):
        before, total = sums[j - 1, :elements], sums[j, :elements]
        for i in range(elements):
            total[i] += before[i]
    for i in range(elements):
        share[i] = (single(1.0) - single(bins) * least) / total[i]


@compiled
def _locate(values, searched, share, bound, least, at):  # type: ignore[no-untyped-def]
    """The bin that each value falls into: how many inner edges are not above it."""
    at[: values.size] = 0
    for j in range(1, searched.shape[0]):
        row, start = searched[j - 1], least * single(j)
        for i in range(values.size):
            edge = bound * (single(2.0) * (start + share[i] * row[i]) - single(1.0))
            at[i] += np.int32(values[i] >= edge)


@compiled
def _edge(sums, share, i, j, bound, least):  # type: ignore[no-untyped-def]
    """The edge between bins ``j - 1`` and ``j`` of element ``i``, from -bound to bound."""
    if j == 0:
        return -bound
    if j == sums.shape[0]:
        return bound
    return bound * (single(2.0) * (least * single(j) + share[i] * sums[j - 1, i]) - single(1.0))


@compiled
def _gather(  # type: ignore[no-untyped-def]
    x, w_sums, h_sums, shares, raw, bound, least, inverse, values, at, edges
):
    """For each element of a tile: its bin, the bin's four edges, and its two raw derivatives.

    ``edges`` rows: x low, x high, y low, y high, raw derivative low, high.
    """
    bins = w_sums.shape[0]
    for i in range(x.size):
        values[i] = x[i] if -bound < x[i] < bound else single(0.0)
    if inverse:
        _locate(values[: x.size], h_sums, shares[1], bound, least, at)
    else:
        _locate(values[: x.size], w_sums, shares[0], bound, least, at)
    for i in range(x.size):
        k = at[i]
        edges[0, i] = _edge(w_sums, shares[0], i, k, bound, least)
        edges[1, i] = _edge(w_sums, shares[0], i, k + 1, bound, least)
        edges[2, i] = _edge(h_sums, shares[1], i, k, bound, least)
        edges[3, i] = _edge(h_sums, shares[1], i, k + 1, bound, least)
        edges[4, i] = raw[i, k - 1] if k > 0 else single(0.0)
        edges[5, i] = raw[i, k] if k < bins - 1 else single(0.0)


@compiled
def _slopes(raw, scratch, bits, powers, at, outer, minimum, out):  # type: ignore[no-untyped-def]
    """``minimum + softplus(raw)``, and 1 where the knot (``at == outer``) meets the tail."""
    for i in range(raw.size):
        scratch[i] = -abs(raw[i])
    exponentials(scratch, bits, powers, out)
    for i in range(raw.size):
        scratch[i] = single(1.0) + out[i]
    logarithms(scratch, bits, powers, out)
    for i in range(raw.size):
        softplus = out[i] + max(raw[i], single(0.0))
        out[i] = single(1.0) if at[i] == outer else minimum + softplus


@compiled
def _scratch(bins):  # type: ignore[no-untyped-def]
    """For one tile; what :func:`_measure` fills and, the first two and last two, works with."""
    return (
        np.empty(TILE, np.int32),  # bits of exponentials
        np.empty(TILE, np.float32),
        np.empty((bins, TILE), np.float32),  # running sums over widths
        np.empty((bins, TILE), np.float32),  # and over heights
        np.empty(TILE, np.int32),  # bin of each element
        np.empty((6, TILE), np.float32),  # its edges in x and in y, raw slopes at both
        np.empty(TILE, np.float32),  # slopes at both
        np.empty(TILE, np.float32),
        np.empty((bins, TILE), np.float32),
        np.empty((2, TILE), np.float32),
    )


@compiled
def _measure(  # type: ignore[no-untyped-def]
    given, widths, heights, raw, bound, min_bin, min_slope, inverse, scratch
):
    """Find the bin of each element of a tile, its edges and the slopes there."""
    n, bins = widths.shape
    bits, work, w_sums, h_sums, at, edges, low, high, shifted, shares = scratch
    powers = bits.view(np.float32)
    _sums_of_exponentials(widths, shifted, w_sums, shares[0], min_bin, bits, powers)
    _sums_of_exponentials(heights, shifted, h_sums, shares[1], min_bin, bits, powers)
    _gather(given, w_sums, h_sums, shares, raw, bound, min_bin, inverse, work, at, edges)
    _slopes(edges[4, :n], work[:n], bits, powers, at, 0, min_slope, low[:n])
    _slopes(edges[5, :n], work[:n], bits, powers, at, bins - 1, min_slope, high[:n])


@compiled
def _apply_rows(  # type: ignore[no-untyped-def]
    x, widths, heights, raw, bound, min_bin, min_slope, inverse, y, ladj
):
    bins = widths.shape[1]
    scratch = _scratch(bins)
    bits, work, _, _, _, edges, low, high, _, _ = scratch
    powers, place = bits.view(np.float32), np.empty(TILE, np.float32)
    for start in range(0, x.size, TILE):
        stop = min(start + TILE, x.size)
        n = stop - start
        given = x[start:stop]
        _measure(
            given,
            widths[start:stop],
            heights[start:stop],
            raw[start:stop],
            bound,
            min_bin,
            min_slope,
            inverse,
            scratch,
        )
        for i in range(n):
            width, height = edges[1, i] - edges[0, i], edges[3, i] - edges[2, i]
            s, d0, d1 = height / width, low[i], high[i]
            if inverse:
                xi = min(max((given[i] - edges[2, i]) / height, single(0.0)), single(1.0))
                r = d0 * (single(1.0) - xi) - d1 * xi
                root = np.sqrt(r * r + single(4.0) * s * s * xi * (single(1.0) - xi))
                side = single(2.0) * s * (xi if r >= single(0.0) else single(1.0) - xi)
                part = side / (side + abs(r) + root)
                theta = part if r >= single(0.0) else single(1.0) - part
                rest = single(1.0) - part if r >= single(0.0) else part
                place[i] = edges[0, i] + width * theta
            else:
                theta = min(max((given[i] - edges[0, i]) / width, single(0.0)), single(1.0))
                rest = single(1.0) - theta
            both = theta * rest
            below = s * (single(1.0) - single(2.0) * both) + (d0 + d1) * both
            if not inverse:
                above = theta * (s * theta + d0 * rest)
                place[i] = edges[2, i] + height * (above / below)
            speed = d1 * theta * theta + single(2.0) * s * both + d0 * rest * rest
            work[i] = (s / below) * (s / below) * speed
        logarithms(work[:n], bits, powers, low[:n])
        for i in range(n):
            inside = -bound < given[i] < bound
            # The logarithm looks at bits and drops a NaN; this brings it back.
            change = (-low[i] if inverse else low[i]) + (work[i] - work[i])
            y[start + i] = place[i] if inside else given[i]
            ladj[start + i] = change if inside else single(0.0)


@compiled
def _softmax_gradient(  # type: ignore[no-untyped-def]
    sums, i, k, of_low, of_high, bound, minimum, out
):
    """From the gradients of a bin's two edges to those of the raw sizes of all bins."""
    bins = sums.shape[0]
    each = single(1.0) / sums[bins - 1, i]
    scale = single(2.0) * bound * (single(1.0) - single(bins) * minimum)
    of_low = scale * of_low if k > 0 else single(0.0)
    of_high = scale * of_high if k < bins - 1 else single(0.0)
    before = sums[k - 1, i] * each if k > 0 else single(0.0)
    mean = of_low * before + of_high * (sums[k, i] * each)
    previous = single(0.0)
    for j in range(bins):
        share = (sums[j, i] - previous) * each
        previous = sums[j, i]
        here = of_low + of_high if j < k else (of_high if j == k else single(0.0))
        out[j] = share * (here - mean)


@compiled
def _differentiate_rows(  # type: ignore[no-untyped-def]
    x,
    widths,
    heights,
    raw,
    given_y,
    given_ladj,
    bound,
    min_bin,
    min_slope,
    inverse,
    of_x,
    of_widths,
    of_heights,
    of_raw,
):
    bins = widths.shape[1]
    scratch = _scratch(bins)
    _, _, w_sums, h_sums, at, edges, low, high, _, _ = scratch
    one, two, zero = single(1.0), single(2.0), single(0.0)
    for start in range(0, x.size, TILE):
        stop = min(start + TILE, x.size)
        n = stop - start
        given = x[start:stop]
        _measure(
            given,
            widths[start:stop],
            heights[start:stop],
            raw[start:stop],
            bound,
            min_bin,
            min_slope,
            inverse,
            scratch,
        )
        for i in range(n):
            row, k = start + i, at[i]
            of_raw[row, :] = zero
            if not -bound < given[i] < bound:
                of_x[row] = given_y[row]
                of_widths[row, :] = zero
                of_heights[row, :] = zero
                continue
            width, height = edges[1, i] - edges[0, i], edges[3, i] - edges[2, i]
            s, d0, d1 = height / width, low[i], high[i]
            if inverse:
                xi = min(max((given[i] - edges[2, i]) / height, zero), one)
                r = d0 * (one - xi) - d1 * xi
                root = np.sqrt(r * r + single(4.0) * s * s * xi * (one - xi))
                side = two * s * (xi if r >= zero else one - xi)
                part = side / (side + abs(r) + root)
                theta = part if r >= zero else one - part
            else:
                theta = min(max((given[i] - edges[0, i]) / width, zero), one)
            rest = one - theta
            both = theta * rest
            above = theta * (s * theta + d0 * rest)
            below = s * (one - two * both) + (d0 + d1) * both
            speed = d1 * theta * theta + two * s * both + d0 * rest * rest
            turn = (d0 + d1 - two * s) * (one - two * theta)
            bend = two * (d1 * theta + s * (one - two * theta) - d0 * rest)
            if inverse:
                # x = f^-1(y; p), so dx/dp = -(df/dp) / f', and likewise for the log-derivative.
                slope = (s / below) * (s / below) * speed
                of_ladj = -given_ladj[row]
                change = (bend / speed - two * turn / below) / width
                of_y = (given_ladj[row] * change - given_y[row]) / slope
                of_x[row] = -of_y
            else:
                of_y, of_ladj = given_y[row], given_ladj[row]
            of_above = of_y * height / below
            of_below = -(of_above * above + two * of_ladj) / below
            of_speed = of_ladj / speed
            of_theta = (
                of_above * (two * s * theta + d0 * (one - two * theta))
                + of_below * turn
                + of_speed * bend
            )
            of_s = (
                two * of_ladj / s
                + of_above * theta * theta
                + of_below * (one - two * both)
                + of_speed * two * both
            )
            of_d0 = of_above * both + of_below * both + of_speed * rest * rest
            of_d1 = of_below * both + of_speed * theta * theta
            if not inverse:
                of_x[row] = of_theta / width
            of_height = of_y * above / below + of_s / width
            of_width = -(of_theta * theta + of_s * s) / width
            _softmax_gradient(
                w_sums,
                i,
                k,
                -of_theta / width - of_width,
                of_width,
                bound,
                min_bin,
                of_widths[row],
            )
            _softmax_gradient(
                h_sums,
                i,
                k,
                of_y - of_height,
                of_height,
                bound,
                min_bin,
                of_heights[row],
            )
            if k > 0:
                of_raw[row, k - 1] = of_d0 / (one + np.exp(-edges[4, i]))
            if k < bins - 1:
                of_raw[row, k] = of_d1 / (one + np.exp(-edges[5, i]))


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="glottis-spline")


def _in_parts(
    function: Callable[..., Any],
    arrays: list[Array],
    rest: tuple[Any, ...],
    outs: list[Array],
    threads: int,
) -> None:
    """Rows shared out over plain threads: a second OpenMP pool beside torch's stutters."""
    elements = len(arrays[0])
    threads = max(1, min(threads, elements // 4096, os.cpu_count() or 1))
    step = -(-elements // threads)

    def work(start: int) -> None:
        part = slice(start, start + step)
        function(*(a[part] for a in arrays), *rest, *(a[part] for a in outs))

    if threads == 1:
        work(0)
    else:
        list(_pool().map(work, range(0, elements, step)))


def apply(
    x: Array,
    parameters: list[Array],
    constants: tuple[float, float, float, bool],
    threads: int = 1,
) -> tuple[Array, Array]:
    """The image of ``x`` ``[elements]`` and the logarithm of its derivative.

    ``parameters`` are raw widths and heights ``[elements, bins]`` and raw inner derivatives
    ``[elements, bins - 1]``; ``constants`` are the bound, the smallest share of a bin, the smallest
    derivative, and whether the inverse is meant.
    """
    outs = [np.empty_like(x), np.empty_like(x)]
    _in_parts(_apply_rows, [x, *parameters], _typed(constants), outs, threads)
    return outs[0], outs[1]


def differentiate(
    x: Array,
    parameters: list[Array],
    of_y: Array,
    of_ladj: Array,
    constants: tuple[float, float, float, bool],
    threads: int = 1,
) -> list[Array]:
    """Gradients to ``x`` and the parameters from those of the two results of :func:`apply`."""
    outs = [np.empty_like(x), *(np.empty_like(a) for a in parameters)]
    arrays = [x, *parameters, of_y, of_ladj]
    _in_parts(_differentiate_rows, arrays, _typed(constants), outs, threads)
    return outs


def _typed(constants: tuple[float, float, float, bool]) -> tuple[Any, ...]:
    bound, minimum_bin, minimum_slope, inverse = constants
    return single(bound), single(minimum_bin), single(minimum_slope), bool(inverse)
