"""Discretised mixtures of logistics on the CPU, compiled by numba: one pass over the parameters.

The mathematics is told in :mod:`glottis.kernels.mixture_torch`. Here the three logarithms of a
component become one quotient::

    p = exp(min(a, 0) - max(b, 0)) (1 - exp(-delta)) / ((1 + exp(-|a|)) (1 + exp(-|b|)))

so that a component costs exponentials and one division, and only the mixture takes a logarithm.
Arrays are float32 ``[outer, component, inner]`` of any strides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from glottis.kernels.threads import in_parts
from glottis.kernels.vector_math import compiled, exponentials, single

Array = NDArray[np.float32]

# Values that go through together; what is known of them stays in the nearest caches.
TILE = 128

# Rows of scratch that are [component, TILE] each.
ROWS = 11
LOGIT, UPPER, LOWER, DELTA, U, V, FALL, WEIGHT, SHARE, RAW, MORE = range(ROWS)


@compiled
def _one_minus(delta, fallen):  # type: ignore[no-untyped-def]
    """``1 - exp(-delta)`` from both, without cancellation for small ``delta``."""
    series = single(1 / 120) - delta * single(1 / 720)
    series = single(1 / 24) - delta * series
    series = single(1 / 6) - delta * series
    series = single(1 / 2) - delta * series
    series = single(1.0) - delta * series
    return delta * series if delta < single(0.25) else single(1.0) - fallen


@compiled
def _components(  # type: ignore[no-untyped-def]
    edge, logits, loc, log_scale, first, last, half, scratch, bits, powers, totals
):
    """Fill ``scratch`` for one tile, and ``totals``: largest exponent, sum of the mixture's
    unnormalised probabilities, largest logit, sum of the logits' exponentials."""
    components, n = loc.shape
    for m in range(components):
        logit, upper, lower = scratch[LOGIT, m, :n], scratch[UPPER, m, :n], scratch[LOWER, m, :n]
        delta, u, v = scratch[DELTA, m, :n], scratch[U, m, :n], scratch[V, m, :n]
        fall, weight = scratch[FALL, m, :n], scratch[WEIGHT, m, :n]
        raw, more = scratch[RAW, 0, :n], scratch[MORE, 0, :n]
        for i in range(n):
            logit[i] = logits[m, i]
            more[i] = loc[m, i] * half
            raw[i] = -log_scale[m, i]
        exponentials(raw, bits, powers, delta)
        for i in range(n):
            delta[i] /= half
        for i in range(n):
            upper[i] = (edge[i] - more[i]) * delta[i]
            lower[i] = (edge[i] - single(1.0) - more[i]) * delta[i]
        for i in range(n):
            raw[i] = -abs(upper[i])
            more[i] = -abs(lower[i])
        exponentials(raw, bits, powers, u)
        exponentials(more, bits, powers, v)
        for i in range(n):
            raw[i] = -delta[i]
        exponentials(raw, bits, powers, fall)
        for i in range(n):
            a = single(0.0) if edge[i] >= last else min(upper[i], single(0.0))
            b = single(0.0) if edge[i] <= first else max(lower[i], single(0.0))
            weight[i] = logit[i] + (a - b)
    top, total = totals[0, :n], totals[1, :n]
    top_logit, total_logit = totals[2, :n], totals[3, :n]
    for i in range(n):
        top[i] = scratch[WEIGHT, 0, i]
        top_logit[i] = scratch[LOGIT, 0, i]
        total[i] = single(0.0)
        total_logit[i] = single(0.0)
    for m in range(1, components):
        logit, weight = scratch[LOGIT, m, :n], scratch[WEIGHT, m, :n]
        for i in range(n):
            top[i] = max(top[i], weight[i])
            top_logit[i] = max(top_logit[i], logit[i])
    for m in range(components):
        delta, u, v = scratch[DELTA, m, :n], scratch[U, m, :n], scratch[V, m, :n]
        fall, weight, share = scratch[FALL, m, :n], scratch[WEIGHT, m, :n], scratch[SHARE, m, :n]
        logit, raw, more = scratch[LOGIT, m, :n], scratch[RAW, 0, :n], scratch[MORE, 0, :n]
        for i in range(n):
            raw[i] = weight[i] - top[i]
            more[i] = logit[i] - top_logit[i]
        exponentials(raw, bits, powers, weight)
        exponentials(more, bits, powers, share)
        for i in range(n):
            no_upper, no_lower = edge[i] >= last, edge[i] <= first
            above = single(1.0) if no_upper else single(1.0) + u[i]
            below = single(1.0) if no_lower else single(1.0) + v[i]
            between = _one_minus(delta[i], fall[i])
            between = single(1.0) if no_upper or no_lower else between
            weight[i] *= between / (above * below)
            total[i] += weight[i]
            total_logit[i] += share[i]
    for i in range(n):
        # Comparisons drop a NaN; adding the difference of a sum with itself brings it back.
        total[i] = max(total[i], single(1.2e-38)) + (total[i] - total[i])


@partial(compiled, signature="void(f4[:,::1], f4[:,:,:], f4[:,:,:], f4[:,:,:], i8, f4[:,::1])")
def _log_probability_rows(edge, logits, loc, log_scale, classes, out):  # type: ignore[no-untyped-def]
    outer, components, inner = loc.shape
    half = single((classes - 1) / 2)
    first, last = single(1 - classes // 2), single(classes - classes // 2)
    scratch = np.empty((ROWS, components, TILE), np.float32)
    totals = np.empty((4, TILE), np.float32)
    bits = np.empty(TILE, np.int32)
    powers = bits.view(np.float32)
    for row in range(outer):
        for start in range(0, inner, TILE):
            stop = min(start + TILE, inner)
            n = stop - start
            _components(
                edge[row, start:stop],
                logits[row, :, start:stop],
                loc[row, :, start:stop],
                log_scale[row, :, start:stop],
                first,
                last,
                half,
                scratch,
                bits,
                powers,
                totals,
            )
            for i in range(n):
                # In double: at 16 bits half a unit in the last place of every log-probability,
                # rounded the same way, would already show in the sum of the probabilities.
                quotient = np.float64(totals[1, i]) / np.float64(totals[3, i])
                out[row, start + i] = np.float64(totals[0, i] - totals[2, i]) + np.log(quotient)


@partial(
    compiled,
    signature="void(f4[:,::1], f4[:,:,:], f4[:,:,:], f4[:,:,:], f4[:,::1], i8,"
    " f4[:,:,:], f4[:,:,:], f4[:,:,:])",
)
def _differentiate_rows(  # type: ignore[no-untyped-def]
    edge, logits, loc, log_scale, upstream, classes, of_logits, of_loc, of_log_scale
):
    outer, components, inner = loc.shape
    half = single((classes - 1) / 2)
    first, last = single(1 - classes // 2), single(classes - classes // 2)
    one, zero = single(1.0), single(0.0)
    scratch = np.empty((ROWS, components, TILE), np.float32)
    totals = np.empty((4, TILE), np.float32)
    bits = np.empty(TILE, np.int32)
    powers = bits.view(np.float32)
    for row in range(outer):
        for start in range(0, inner, TILE):
            stop = min(start + TILE, inner)
            n = stop - start
            here = edge[row, start:stop]
            _components(
                here,
                logits[row, :, start:stop],
                loc[row, :, start:stop],
                log_scale[row, :, start:stop],
                first,
                last,
                half,
                scratch,
                bits,
                powers,
                totals,
            )
            for i in range(n):
                totals[1, i] = upstream[row, start + i] / totals[1, i]
                totals[3, i] = upstream[row, start + i] / totals[3, i]
            for m in range(components):
                upper, lower = scratch[UPPER, m, :n], scratch[LOWER, m, :n]
                delta, u, v = scratch[DELTA, m, :n], scratch[U, m, :n], scratch[V, m, :n]
                fall, weight, share = (
                    scratch[FALL, m, :n],
                    scratch[WEIGHT, m, :n],
                    scratch[SHARE, m, :n],
                )
                for i in range(n):
                    no_upper, no_lower = here[i] >= last, here[i] <= first
                    responsibility = weight[i] * totals[1, i]
                    weight[i] = responsibility - share[i] * totals[3, i]
                    # sigmoid(-a) and sigmoid(b): what is left beyond either edge.
                    beyond = (u[i] if upper[i] >= zero else one) / (one + u[i])
                    before = (one if lower[i] >= zero else v[i]) / (one + v[i])
                    beyond = zero if no_upper else beyond
                    before = zero if no_lower else before
                    spread = delta[i] * fall[i] / _one_minus(delta[i], fall[i])
                    spread = zero if no_upper or no_lower else spread
                    u[i] = responsibility * (before - beyond) * (delta[i] * half)
                    v[i] = responsibility * (lower[i] * before - upper[i] * beyond - spread)
                for i in range(n):
                    of_logits[row, m, start + i] = weight[i]
                    of_loc[row, m, start + i] = u[i]
                    of_log_scale[row, m, start + i] = v[i]


def _in_parts(work: Callable[[slice], None], shape: tuple[int, ...], threads: int) -> None:
    """Outer rows shared out, where there is enough to share."""
    outer, components, inner = shape
    in_parts(work, outer, min(threads, outer * components * inner // 65536))


def log_probability(edge: Array, parameters: list[Array], classes: int, threads: int = 1) -> Array:
    """Nats ``[outer, inner]`` for ``edge`` of that shape; see :mod:`glottis.kernels.mixture`."""
    out = np.empty(edge.shape, np.float32)

    def work(part: slice) -> None:
        _log_probability_rows(edge[part], *(p[part] for p in parameters), classes, out[part])

    _in_parts(work, parameters[0].shape, threads)
    return out


def differentiate(
    edge: Array,
    parameters: list[Array],
    upstream: Array,
    outs: list[Array],
    classes: int,
    threads: int = 1,
) -> None:
    """Write the gradients of logits, loc and log scale into ``outs``."""

    def work(part: slice) -> None:
        _differentiate_rows(
            edge[part],
            *(p[part] for p in parameters),
            upstream[part],
            classes,
            *(out[part] for out in outs),
        )

    _in_parts(work, parameters[0].shape, threads)
