"""Trajectories on the CPU: a banded factor and its solves, vectorised over feature dimensions.

``R = L D L'`` with ``L`` unit lower triangular of the band's width, frame by frame; each step works
on a row of all dimensions at once. Arithmetic is in float64 whatever comes in. Narrow features
(F0 alone, say) are laid side by side over the batch, so that the rows stay wide.
"""

from __future__ import annotations

import os
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
def _factor_frame(t, precision, lefts, rights, coefficients, lower, inverse):  # type: ignore[no-untyped-def]
    """Row ``t`` of the factor. Gives how many precisions there cannot be used."""
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
        if _factor_frame(t, precision, lefts, rights, coefficients, lower, inverse) > 0:
            return t
    return -1


@compiled
def _solve(  # type: ignore[no-untyped-def]
    mean, precision, weighted, lefts, rights, coefficients, lower, inverse, out
):
    """Factor, right side and ``L x = r`` in one pass over the frames, then ``D L' y = x``."""
    frames, band, static = lower.shape
    for t in range(frames):
        if _factor_frame(t, precision, lefts, rights, coefficients, lower, inverse) > 0:
            return t
        now, lanes = np.uintp(t), np.uintp(static)
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
        are scratch, and each thread keeps its own, because fresh memory costs more than the work.
        ``one`` returns the frame of an unusable precision, or -1.
        """
        items, frames = arrays[-1][0].shape[:2]
        group = max(1, min(items, LANES // max(1, self.static)))
        starts = range(0, items, group)

        def task(starts: range) -> None:
            scratch = _Scratch()
            for first in starts:
                at = slice(first, min(first + group, items))
                lanes = (at.stop - first) * self.static
                inputs = [_beside(array[at], blocks) for array, blocks in arrays]
                lower = scratch.get("lower", (frames, self.band, lanes))
                inverse = scratch.get("inverse", (frames, lanes))
                results = [
                    scratch.get(str(k), (array.shape[1], blocks * lanes))
                    for k, (array, blocks) in enumerate(outputs)
                ]
                wrong = one(*inputs, lower, inverse, *results)
                if wrong >= 0:
                    raise Unusable(wrong)
                for (array, blocks), result in zip(outputs, results, strict=True):
                    apart = result.reshape(len(result), blocks, at.stop - first, self.static)
                    array[at] = apart.transpose(2, 0, 1, 3).reshape(array[at].shape)

        threads = max(1, min(self.threads, len(starts), arrays[-1][0].size // 65536))
        if threads == 1:
            task(starts)
        else:
            list(_pool(threads).map(task, [starts[k::threads] for k in range(threads)]))


class _Scratch:
    """float64 memory by name, kept from one group of items to the next."""

    def __init__(self) -> None:
        self.memory: dict[str, NDArray[np.float64]] = {}

    def get(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        size = int(np.prod(shape))
        if name not in self.memory or self.memory[name].size < size:
            self.memory[name] = np.empty(size)
        return self.memory[name][:size].reshape(shape)


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
