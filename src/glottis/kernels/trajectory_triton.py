"""Trajectories on a GPU, by Triton: one program for a tile of dimensions of an item.

``R = L D L'`` with ``L`` unit lower triangular of the band's width, frame after frame, as on the
CPU. A lane is a dimension and each has a system of its own, so lanes need nothing of each other.
Arithmetic is in float64 whatever comes in. A program is compiled for the windows' shape and leaves
out what a zero coefficient would multiply. Derivatives need no program of their own: the adjoint is
the same solve (:mod:`.trajectory_torch`).
Triton's interpreter runs the same code on a CPU when ``TRITON_INTERPRET=1`` is set before the first
import. So far the tests have run it in that way, and compiled it, only; its speed is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from glottis.errors import InputError
from glottis.kernels.trajectory_reference import Window, unusable

#: Dimensions of one program: a warp, so that a barrier costs next to nothing.
LANES = 32


@triton.jit
def _entry(  # type: ignore[no-untyped-def]
    place, t, k: tl.constexpr, frames, inside, static, factors, windows: tl.constexpr
):
    """``R[t, t - k]`` of each lane, whose precisions stand at ``place``, a row a frame."""
    total = tl.zeros([inside.shape[0]], tl.float64)
    for w in tl.static_range(len(windows)):
        for o in tl.static_range(len(windows[w][1])):
            # A frame gives its weight times the coefficients at ``t`` and ``t - k``.
            if o >= k and windows[w][1][o] * windows[w][1][o - k] != 0:
                row = t - o + windows[w][0]
                there = inside & (row >= 0) & (row < frames)
                at = (row * len(windows) + w) * static
                weight = tl.load(place + at, mask=there, other=0).to(tl.float64)
                factor = factors + w * len(windows[0][1]) + o
                total += weight * tl.load(factor) * tl.load(factor - k)
    return total


@triton.jit
def _right_side(  # type: ignore[no-untyped-def]
    place, means, t, frames, inside, static, factors, windows: tl.constexpr
):
    """Frame ``t`` of ``sum_w W_w' (p_w mean_w)``."""
    total = tl.zeros([inside.shape[0]], tl.float64)
    for w in tl.static_range(len(windows)):
        for o in tl.static_range(len(windows[w][1])):
            if windows[w][1][o] != 0:
                row = t - o + windows[w][0]
                there = inside & (row >= 0) & (row < frames)
                at = (row * len(windows) + w) * static
                weight = tl.load(place + at, mask=there, other=0).to(tl.float64)
                mean = tl.load(means + at, mask=there, other=0).to(tl.float64)
                total += weight * mean * tl.load(factors + w * len(windows[0][1]) + o)
    return total


@triton.jit
def _solve(  # type: ignore[no-untyped-def]
    mean,
    precision,
    lower,
    pivot,
    out,
    wrong,
    factors,
    frames,
    static,
    tiles,
    weighted: tl.constexpr,
    band: tl.constexpr,
    windows: tl.constexpr,
    lanes: tl.constexpr,
):
    """``lower[t, k - 1]`` is ``L[t, t - k]``, ``pivot[t]`` is ``D[t]``; ``wrong`` a frame or -1."""
    program = tl.program_id(0).to(tl.int64)
    item = program // tiles
    lane = (program % tiles) * lanes + tl.arange(0, lanes)
    inside = lane < static
    width = static * len(windows)
    precision += item * frames * width + lane
    mean += item * frames * (width if weighted else static) + lane
    lower += item * frames * band * static + lane
    pivot += item * frames * static + lane
    out += item * frames * static + lane
    first = tl.full([lanes], -1, tl.int32)
    for frame in range(0, frames):
        t = tl.full([lanes], frame, tl.int64)
        now = _entry(precision, t, 0, frames, inside, static, factors, windows)
        if weighted:
            value = _right_side(precision, mean, t, frames, inside, static, factors, windows)
        else:
            value = tl.load(mean + t * static, mask=inside, other=0).to(tl.float64)
        # L[t, t - k] D[t - k], from the far end of the band on, then L alone.
        for k in tl.static_range(band, 0, -1):
            there = inside & (t >= k)
            product = _entry(precision, t, k, frames, inside, static, factors, windows)
            for m in tl.static_range(k + 1, band + 1):
                both = inside & (t >= m)
                far = tl.load(lower + (t * band + m - 1) * static, mask=both, other=0)
                near = ((t - k) * band + m - k - 1) * static
                near = tl.load(lower + near, mask=both, other=0)
                product -= far * near * tl.load(pivot + (t - m) * static, mask=both, other=0)
            entry = product / tl.load(pivot + (t - k) * static, mask=there, other=1)
            # What reaches before the first frame is no entry.
            entry = tl.where(there, entry, 0)
            tl.store(lower + (t * band + k - 1) * static, entry, mask=inside)
            now -= tl.where(there, product, 0) * entry
            value -= entry * tl.load(out + (t - k) * static, mask=there, other=0)
        good = (now > 0) & (now < float("inf"))
        for w in tl.static_range(len(windows)):
            weight = tl.load(precision + t * width + w * static, mask=inside, other=0)
            # A negative or undefined one may hide in a sum that is positive.
            good = good & (weight >= 0) & (weight < float("inf"))
        first = tl.where((first < 0) & inside & (good == 0), frame, first)
        tl.store(pivot + t * static, now, mask=inside)
        tl.store(out + t * static, value, mask=inside)
        tl.debug_barrier()
    for done in range(0, frames):
        t = tl.full([lanes], frames - 1 - done, tl.int64)
        value = tl.load(out + t * static, mask=inside, other=0)
        value = value / tl.load(pivot + t * static, mask=inside, other=1)
        for k in tl.static_range(1, band + 1):
            there = inside & (t + k < frames)
            entry = tl.load(lower + ((t + k) * band + k - 1) * static, mask=there, other=0)
            value -= entry * tl.load(out + (t + k) * static, mask=there, other=0)
        tl.store(out + t * static, value, mask=inside)
        tl.debug_barrier()
    tl.store(wrong + program, tl.max(first, 0))


def laid_out(windows: Sequence[Window]) -> tuple[list[list[float]], tuple[Any, ...]]:
    """The coefficients in rows of one length, and what the program knows of them when compiled.

    That is the left width of each and which coefficients are not zero. The coefficients themselves
    are read from memory, because a constant that is a number would be rounded to float32.
    """
    longest = max(len(values) for _, _, values in windows)
    rows = [[*values, *[0.0] * (longest - len(values))] for _, _, values in windows]
    used = [tuple(int(value != 0) for value in row) for row in rows]
    return rows, tuple((window[0], row) for window, row in zip(windows, used, strict=True))


def solve(mean: Tensor, precision: Tensor, windows: Sequence[Window], weighted: bool) -> Tensor:
    """As :func:`glottis.kernels.trajectory_reference.solve`, all tensors on one device.

    float32 and float64, returned in the type of ``precision``. Memory beside the result: the band's
    width and two numbers of eight bytes for every item, frame and dimension.

    Raises:
        InputError: a precision that is not a number from zero up, or all too small around a frame.
    """
    items, frames, width = precision.shape
    static = width // len(windows)
    band = max(left + right for left, right, _ in windows)
    double = torch.float64
    out = precision.new_empty(items, frames, static, dtype=double)
    if not out.numel():
        return out.to(precision.dtype)
    lower = precision.new_empty(items, frames, max(1, band), static, dtype=double)
    tiles = triton.cdiv(static, LANES)
    wrong = torch.empty(items * tiles, dtype=torch.int32, device=precision.device)
    rows, known = laid_out(windows)
    factors = torch.tensor(rows, dtype=double, device=precision.device)
    _solve[(items * tiles,)](
        mean.contiguous(), precision.contiguous(), lower, torch.empty_like(out), out, wrong,
        factors, frames, static, tiles, weighted, band, known, LANES, num_warps=1,
    )  # fmt: skip
    worst = wrong[wrong >= 0]
    if worst.numel():
        raise InputError(unusable(int(worst.min())))
    return out.to(precision.dtype)
