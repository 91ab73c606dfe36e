"""Trajectories on the CPU: a banded factor and its solves, vectorised over feature dimensions.

``R = L D L'`` with ``L`` unit lower triangular of the band's width, frame by frame; each step works
on a row of all dimensions at once. Arithmetic is in float64 whatever comes in. Narrow features
(F0 alone, say) are laid side by side over the batch, so that the rows stay wide.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from glottis.kernels.trajectory_reference import Window
from glottis.kernels.vector_math import compiled

# Dimensions that make a row wide enough to be worth a loop.
LANES = 64


# In what follows the indices of inner loops are unsigned, because numba looks for negative ones
# otherwise, and rows are not sliced out, because making a slice takes as long as working on it.


@compiled
def _matrix_row(t, precision, lefts, rights, coefficients, lower, inverse):  # type: ignore[no-untyped-def]
    """Row ``t`` of ``R``: the diagonal to ``inverse[t]``, what is below it to ``lower[t]``."""
    frames, band, static = lower.shape
    now, lanes = np.uintp(t), np.uintp(static)
    for i in range(lanes):
        inverse[now, i] = 0.0
    for k in range(np.uintp(band)):
        for i in range(lanes):
            lower[now, k, i] = 0.0
    for w in range(lefts.size):
        left, right, shift = lefts[w], rights[w], np.uintp(w * static)
        for s in range(max(0, t - right), min(frames, t + left + 1)):
            here, row = coefficients[w, t - s + left], np.uintp(s)
            for k in range(min(band, t, t - s + left) + 1):
                scale = here * coefficients[w, t - k - s + left]
                if scale != 0.0 and k == 0:
                    for i in range(lanes):
                        inverse[now, i] += scale * precision[row, shift + i]
                elif scale != 0.0:
                    entry = np.uintp(k - 1)
                    for i in range(lanes):
                        lower[now, entry, i] += scale * precision[row, shift + i]


@compiled
def _near_row(t, mean, precision, weighted, coefficients, lower, inverse, out):  # type: ignore[no-untyped-def]
    """Row ``t`` of the factor and of ``L x = r``, between the ends, for the usual windows.

    These are the static one and one or two that reach one frame to both sides, and what the general
    form does in a pass for each product of two coefficients is one pass here.
    ``coefficients [windows, 3]`` are those of the frames before, at and after a window's own.
    Gives how many precisions there cannot be used.
    """
    static = lower.shape[2]
    now, lanes = np.uintp(t), np.uintp(static)
    before, after, earlier = now - np.uintp(1), now + np.uintp(1), now - np.uintp(2)
    near, far = np.uintp(0), np.uintp(1)
    last = coefficients.shape[0] - 1
    one, two = lanes, np.uintp(last * static)
    l1, m1, r1 = coefficients[1, 0], coefficients[1, 1], coefficients[1, 2]
    l2, m2, r2 = coefficients[last, 0], coefficients[last, 1], coefficients[last, 2]
    if last == 1:
        l2 = m2 = r2 = 0.0
    if weighted:
        for i in range(lanes):
            first = r1 * precision[before, one + i] * mean[before, one + i]
            first += m1 * precision[now, one + i] * mean[now, one + i]
            first += l1 * precision[after, one + i] * mean[after, one + i]
            second = r2 * precision[before, two + i] * mean[before, two + i]
            second += m2 * precision[now, two + i] * mean[now, two + i]
            second += l2 * precision[after, two + i] * mean[after, two + i]
            out[now, i] = np.float64(precision[now, i]) * mean[now, i] + first + second
    else:
        for i in range(lanes):
            out[now, i] = mean[now, i]
    wrong = np.int64(0)
    for i in range(lanes):
        p0, p1, p2 = precision[now, i], precision[now, one + i], precision[now, two + i]
        a1, a2 = r1 * precision[before, one + i], r2 * precision[before, two + i]
        b1, b2 = m1 * p1, m2 * p2
        c1, c2 = l1 * precision[after, one + i], l2 * precision[after, two + i]
        diagonal = p0 + r1 * a1 + m1 * b1 + l1 * c1 + r2 * a2 + m2 * b2 + l2 * c2
        product = l1 * a1 + l2 * a2
        entry = product * inverse[earlier, i]
        between = m1 * a1 + l1 * b1 + m2 * a2 + l2 * b2 - product * lower[before, near, i]
        beside = between * inverse[before, i]
        value = diagonal - product * entry - between * beside
        lower[now, far, i] = entry
        lower[now, near, i] = beside
        out[now, i] -= entry * out[earlier, i] + beside * out[before, i]
        wrong += np.int64(not (value > 0.0)) + np.int64(not (value < np.inf))
        # A negative or undefined one may hide in a sum that is positive.
        wrong += np.int64(not (np.float64(p0) >= 0.0))
        wrong += np.int64(not (np.float64(p1) >= 0.0)) + np.int64(not (np.float64(p2) >= 0.0))
        inverse[now, i] = 1.0 / value
    return wrong


@compiled
def _factor_row(t, precision, lower, inverse):  # type: ignore[no-untyped-def]
    """Row ``t`` of ``R`` to that of its factor. Gives how many precisions cannot be used."""
    _, band, static = lower.shape
    now, lanes = np.uintp(t), np.uintp(static)
    reach = min(band, t)
    # First L[t, t - k] D[t - k], from the far end of the band on, then both factors of it.
    for k in range(reach - 1, 0, -1):
        entry, pivot = np.uintp(k - 1), np.uintp(t - k)
        for m in range(k + 1, reach + 1):
            one, other = np.uintp(m - 1), np.uintp(m - k - 1)
            for i in range(lanes):
                lower[now, entry, i] -= lower[now, one, i] * lower[pivot, other, i]
    for k in range(1, reach + 1):
        entry, pivot = np.uintp(k - 1), np.uintp(t - k)
        for i in range(lanes):
            product = lower[now, entry, i]
            lower[now, entry, i] = product * inverse[pivot, i]
            inverse[now, i] -= product * lower[now, entry, i]
    wrong = np.int32(0)
    for i in range(lanes):
        value = inverse[now, i]
        wrong += np.int32(not (value > 0.0)) + np.int32(not (value < np.inf))
        inverse[now, i] = 1.0 / value
    for i in range(np.uintp(precision.shape[1])):
        wrong += np.int32(not (precision[now, i] >= 0.0))
    return wrong


@compiled
def _right_side_frame(t, mean, precision, lefts, rights, coefficients, out):  # type: ignore[no-untyped-def]
    """Frame ``t`` of ``sum_w W_w' (p_w mean_w)``."""
    frames, static = out.shape
    now, lanes = np.uintp(t), np.uintp(static)
    for i in range(lanes):
        out[now, i] = 0.0
    for w in range(lefts.size):
        left, right, shift = lefts[w], rights[w], np.uintp(w * static)
        for s in range(max(0, t - right), min(frames, t + left + 1)):
            scale, row = coefficients[w, t - s + left], np.uintp(s)
            if scale != 0.0:
                for i in range(lanes):
                    weight = scale * np.float64(precision[row, shift + i])
                    out[now, i] += weight * np.float64(mean[row, shift + i])


@compiled
def _factor(precision, lefts, rights, coefficients, lower, inverse):  # type: ignore[no-untyped-def]
    """``precision [frames, windows * static] -> lower [frames, band, static], inverse``.

    ``lower[t, k - 1]`` is ``L[t, t - k]`` and ``inverse[t]`` is ``1 / D[t]``. Gives the
    first frame whose precision cannot be, or -1.
    """
    for t in range(lower.shape[0]):
        _matrix_row(t, precision, lefts, rights, coefficients, lower, inverse)
        if _factor_row(t, precision, lower, inverse) > 0:
            return t
    return -1


@compiled
def _solve(  # type: ignore[no-untyped-def]
    mean, precision, weighted, lefts, rights, coefficients, lower, inverse, out
):
    """Factor, right side and ``L x = r`` in one pass over the frames, then ``D L' y = x``."""
    frames, band, static = lower.shape
    usual = band == 2 and 2 <= lefts.size <= 3 and lefts.max() == 1 and rights.max() == 1
    centred = np.zeros((lefts.size, 3))
    if usual:
        for w in range(lefts.size):
            for k in range(lefts[w] + rights[w] + 1):
                centred[w, 1 - lefts[w] + k] = coefficients[w, k]
    for t in range(frames):
        now, lanes = np.uintp(t), np.uintp(static)
        if usual and 1 < t < frames - 1:
            if _near_row(t, mean, precision, weighted, centred, lower, inverse, out) > 0:
                return t
            continue
        _matrix_row(t, precision, lefts, rights, coefficients, lower, inverse)
        if _factor_row(t, precision, lower, inverse) > 0:
            return t
        if weighted:
            _right_side_frame(t, mean, precision, lefts, rights, coefficients, out)
        else:
            for i in range(lanes):
                out[now, i] = mean[now, i]
        for k in range(1, min(band, t) + 1):
            entry, before = np.uintp(k - 1), np.uintp(t - k)
            for i in range(lanes):
                out[now, i] -= lower[now, entry, i] * out[before, i]
    for t in range(frames):
        now = np.uintp(t)
        for i in range(np.uintp(static)):
            out[now, i] *= inverse[now, i]
    _backwards(lower, out)
    return -1


@compiled
def _backwards(lower, values):  # type: ignore[no-untyped-def]
    """``L' x = values``, in place."""
    frames, band, static = lower.shape
    for t in range(frames - 1, -1, -1):
        now = np.uintp(t)
        for k in range(1, min(band, frames - 1 - t) + 1):
            entry, after = np.uintp(k - 1), np.uintp(t + k)
            for i in range(np.uintp(static)):
                values[now, i] -= lower[after, entry, i] * values[after, i]


@compiled
def _inverse_band(lower, pivots, band_of):  # type: ignore[no-untyped-def]
    """``band_of[t, k] = (R^-1)[t, t - k]`` within the band (Takahashi's recursion).

    From ``R^-1 = D^-1 L^-1 + (I - L') R^-1``, last frame first: an entry needs only entries of
    later frames that lie in the band themselves.
    """
    frames, band, static = lower.shape
    band_of[:] = 0.0
    for t in range(frames - 1, -1, -1):
        reach = min(band, frames - 1 - t)
        # (R^-1)[t, t + k] for k > 0, kept at band_of[t + k, k].
        for k in range(reach, 0, -1):
            target = band_of[t + k, k]
            for m in range(1, reach + 1):
                entry = lower[t + m, m - 1]
                high, low = max(m, k), min(m, k)
                between = band_of[t + high, high - low]
                for i in range(static):
                    target[i] -= entry[i] * between[i]
        now = band_of[t, 0]
        for i in range(static):
            now[i] = pivots[t, i]
        for m in range(1, reach + 1):
            entry, other = lower[t + m, m - 1], band_of[t + m, m]
            for i in range(static):
                now[i] -= entry[i] * other[i]


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="glottis-mlpg")


if hasattr(os, "register_at_fork"):  # a forked data loader inherits the pool but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


class Unusable(ArithmeticError):
    """Precisions that leave the matrix indefinite or undefined, at ``frame``."""

    def __init__(self, frame: int) -> None:
        super().__init__(frame)
        self.frame = frame


class Work:
    """The windows as arrays, and how a batch is laid out and shared among threads."""

    def __init__(self, windows: Sequence[Window], static: int, threads: int) -> None:
        self.windows = len(windows)
        self.static = static
        self.lefts = np.array([left for left, _, _ in windows])
        self.rights = np.array([right for _, right, _ in windows])
        self.band = int((self.lefts + self.rights).max())
        self.coefficients = np.zeros((len(windows), self.band + 1))
        for row, (_, _, values) in zip(self.coefficients, windows, strict=True):
            row[: len(values)] = values
        self.threads = threads

    @property
    def shape(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        return self.lefts, self.rights, self.coefficients

    def run(
        self,
        arrays: Sequence[tuple[NDArray[np.floating], int]],
        outputs: Sequence[tuple[NDArray[np.floating], int]],
        one: Callable[..., int],
    ) -> None:
        """Call ``one(*arrays, lower, inverse, *outputs)`` for groups of items side by side.

        Arrays and outputs are given as ``(array [items, frames, blocks * static], blocks)`` and
        handed on as ``[frames, blocks * lanes]``, outputs in float64; ``lower`` and ``inverse``
        are scratch.
        ``one`` returns the frame of an unusable precision, or -1.
        """
        items, frames = arrays[-1][0].shape[:2]
        group = max(1, min(items, LANES // max(1, self.static)))
        starts = range(0, items, group)

        def task(starts: range) -> None:
            for first in starts:
                at = slice(first, min(first + group, items))
                lanes = (at.stop - first) * self.static
                inputs = [_beside(array[at], blocks) for array, blocks in arrays]
                lower = _scratch.get("lower", (frames, self.band, lanes))
                inverse = _scratch.get("inverse", (frames, lanes))
                results = [
                    _scratch.get(str(k), (array.shape[1], blocks * lanes))
                    for k, (array, blocks) in enumerate(outputs)
                ]
                wrong = one(*inputs, lower, inverse, *results)
                if wrong >= 0:
                    raise Unusable(wrong)
                for (array, blocks), result in zip(outputs, results, strict=True):
                    apart = result.reshape(len(result), blocks, at.stop - first, self.static)
                    array[at] = apart.transpose(2, 0, 1, 3).reshape(array[at].shape)
            _scratch.trim()

        threads = max(1, min(self.threads, len(starts), arrays[-1][0].size // 65536))
        if threads == 1:
            task(starts)
        else:
            list(_pool(threads).map(task, [starts[k::threads] for k in range(threads)]))


class _Scratch(threading.local):
    """float64 memory by name, a thread's own, kept from one group of items to the next.

    Up to ``KEPT`` numbers of each name outlast a call: fresh pages cost three times the work on a
    thousand frames.
    """

    KEPT = 1_000_000

    def __init__(self) -> None:
        self.memory: dict[str, NDArray[np.float64]] = {}

    def trim(self) -> None:
        self.memory = {k: v for k, v in self.memory.items() if v.size <= self.KEPT}

    def get(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        size = int(np.prod(shape))
        if name not in self.memory or self.memory[name].size < size:
            self.memory[name] = np.empty(size)
        return self.memory[name][:size].reshape(shape)


_scratch = _Scratch()


def _beside(array: NDArray[np.floating], blocks: int) -> NDArray[np.floating]:
    """``[items, frames, blocks * static] -> [frames, blocks * items * static]``, contiguous."""
    items, frames, width = array.shape
    if items == 1:
        return np.ascontiguousarray(array[0])
    apart = array.reshape(items, frames, blocks, width // blocks).transpose(1, 2, 0, 3)
    return np.ascontiguousarray(apart).reshape(frames, -1)


def solve(
    mean: NDArray[np.floating],
    precision: NDArray[np.floating],
    windows: Sequence[Window],
    weighted: bool,
    threads: int = 1,
) -> NDArray[np.floating]:
    """As :func:`glottis.kernels.trajectory_reference.solve`, in the type of ``precision``.

    Linear in frames; beside the result, float64 scratch of ``band + 2`` numbers for every frame and
    dimension of one group of items a thread.
    """
    items, frames, width = precision.shape
    work = Work(windows, width // len(windows), threads)
    result = np.empty((items, frames, work.static), dtype=precision.dtype)

    def one(mean, precision, lower, inverse, out):  # type: ignore[no-untyped-def]
        return _solve(mean, precision, weighted, *work.shape, lower, inverse, out)

    blocks = work.windows if weighted else 1
    work.run([(mean, blocks), (precision, work.windows)], [(result, 1)], one)
    return result


def colour(
    noise: NDArray[np.floating],
    precision: NDArray[np.floating],
    windows: Sequence[Window],
    threads: int = 1,
) -> NDArray[np.floating]:
    """White ``noise [items, frames, static]`` to covariance ``R^-1``: ``L'^-1 D^-1/2 noise``."""
    work = Work(windows, noise.shape[2], threads)
    result = np.empty(noise.shape, dtype=precision.dtype)

    def one(noise, precision, lower, inverse, out):  # type: ignore[no-untyped-def]
        wrong = _factor(precision, *work.shape, lower, inverse)
        if wrong < 0:
            np.multiply(noise, np.sqrt(inverse), out=out)
            _backwards(lower, out)
        return wrong

    work.run([(noise, 1), (precision, work.windows)], [(result, 1)], one)
    return result


def log_determinant(
    precision: NDArray[np.floating], windows: Sequence[Window], threads: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``-> (log det R [items, static], the band of R^-1 [items, frames, (band + 1) * static])``."""
    items, frames, width = precision.shape
    work = Work(windows, width // len(windows), threads)
    total = np.empty((items, 1, work.static))
    inverse = np.empty((items, frames, (work.band + 1) * work.static))

    def one(precision, lower, inverse, total, band):  # type: ignore[no-untyped-def]
        wrong = _factor(precision, *work.shape, lower, inverse)
        if wrong < 0:
            total[0] = -np.log(inverse).sum(0)
            _inverse_band(lower, inverse, band.reshape(len(band), work.band + 1, -1))
        return wrong

    work.run([(precision, work.windows)], [(total, 1), (inverse, work.band + 1)], one)
    return total[:, 0], inverse
