"""Signals cut into overlapping tiles, and tiles added up to signals: compiled by numba.

Between the two everything about a minimal filter (:mod:`glottis.kernels.winograd_filters`) is a
matrix product. Both functions are each other's adjoint. float32, all arrays contiguous.

Tiles begin ``step`` samples apart and are ``columns`` long. Samples that stand at the same place in
their tiles lie side by side, so that the products run along them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glottis.kernels.threads import in_parts
from glottis.kernels.vector_math import compiled, single

Array = NDArray[np.float32]


@compiled
def _take(line, step, row):  # type: ignore[no-untyped-def]
    """``row[j] = line[j * step]``; a step that is known beforehand is twice as quick."""
    if step == 6:
        for j in range(row.size):
            row[j] = line[j * 6]
    elif step == 4:
        for j in range(row.size):
            row[j] = line[j * 4]
    else:
        for j in range(row.size):
            row[j] = line[j * step]


@compiled
def _put(row, step, line):  # type: ignore[no-untyped-def]
    """``line[j * step] += row[j]``."""
    if step == 6:
        for j in range(row.size):
            line[j * 6] += row[j]
    elif step == 4:
        for j in range(row.size):
            line[j * 4] += row[j]
    else:
        for j in range(row.size):
            line[j * step] += row[j]


@compiled
def _cut_lines(x, step, padding, dilation, tiles, rows, begin, end):  # type: ignore[no-untyped-def]
    items, _, time = x.shape
    columns = rows.shape[0]
    held = np.zeros(step * tiles + columns, np.float32)
    for channel in range(begin, end):
        for item in range(items):
            for phase in range(dilation):
                # The signal of every such sample, between zeros.
                low = max(0, -((phase - padding) // dilation))
                first = phase - padding + low * dilation
                high = max(low, min(held.size, low + (time - first + dilation - 1) // dilation))
                held[:low] = single(0.0)
                if dilation == 1:
                    held[low:high] = x[item, channel, first : first + high - low]
                elif low < high:
                    _take(x[item, channel, first:], dilation, held[low:high])
                held[high:] = single(0.0)
                start = (item * dilation + phase) * tiles
                for i in range(columns):
                    _take(held[i:], step, rows[i, channel, start : start + tiles])


@compiled
def _add_lines(rows, step, padding, dilation, tiles, bias, y, begin, end):  # type: ignore[no-untyped-def]
    items, _, time = y.shape
    columns = rows.shape[0]
    held = np.empty(step * tiles + columns, np.float32)
    for channel in range(begin, end):
        for item in range(items):
            y[item, channel, :] = bias[channel]
            for phase in range(dilation):
                held[:] = bias[channel]
                start = (item * dilation + phase) * tiles
                for i in range(columns):
                    _put(rows[i, channel, start : start + tiles], step, held[i:])
                low = max(0, -((phase - padding) // dilation))
                first = phase - padding + low * dilation
                # Beyond the tiles, where no output looks, there is nothing to add.
                high = min(
                    step * (tiles - 1) + columns, low + (time - first + dilation - 1) // dilation
                )
                if dilation == 1:
                    if low < high:
                        y[item, channel, first : first + high - low] = held[low:high]
                else:
                    for j in range(low, high):
                        y[item, channel, first + (j - low) * dilation] = held[j]


@compiled
def _cut_pictures(x, step, padding, high, wide, rows, begin, end):  # type: ignore[no-untyped-def]
    items, _, height, width = x.shape
    columns = int(np.sqrt(rows.shape[0]))
    held = np.zeros(step * wide + columns, np.float32)
    held = np.zeros(max(held.size, padding + width), np.float32)
    for channel in range(begin, end):
        for item in range(items):
            for tile in range(high):
                start = (item * high + tile) * wide
                for i in range(columns):
                    line = tile * step + i - padding
                    inside = 0 <= line < height
                    if inside:
                        held[padding : padding + width] = x[item, channel, line]
                    for j in range(columns):
                        row = rows[i * columns + j, channel, start : start + wide]
                        if inside:
                            _take(held[j:], step, row)
                        else:
                            row[:] = single(0.0)


@compiled
def _add_pictures(rows, step, padding, high, wide, bias, y, begin, end):  # type: ignore[no-untyped-def]
    items, _, height, width = y.shape
    columns = int(np.sqrt(rows.shape[0]))
    lines = max(step * high + columns, padding + height)
    held = np.empty((lines, max(step * wide + columns, padding + width)), np.float32)
    for channel in range(begin, end):
        for item in range(items):
            held[:] = bias[channel]
            for tile in range(high):
                start = (item * high + tile) * wide
                for i in range(columns):
                    for j in range(columns):
                        row = rows[i * columns + j, channel, start : start + wide]
                        _put(row, step, held[tile * step + i, j:])
            y[item, channel] = held[padding : padding + height, padding : padding + width]


def cut(
    x: Array,
    rows: Array,
    *,
    step: int,
    padding: int,
    tiles: tuple[int, ...],
    dilation: int = 1,
    threads: int = 1,
) -> None:
    """Tiles of signals ``x`` ``[items, channels, time]`` or pictures ``[..., height, width]``.

    ``rows [columns, channels, tiles of all items]`` is written: row ``i`` at tile ``j`` is the
    sample at ``j * step + i - padding``, 0 beyond the ends. Of pictures there is a row for each
    place in a square tile. ``tiles`` of one signal, or in the height and width of one picture. A
    signal of ``dilation`` 2 or more is taken as so many signals of every such sample.
    """
    if x.ndim == 4:
        work = _cut_pictures, (x, step, padding, *tiles, rows)
    else:
        work = _cut_lines, (x, step, padding, dilation, *tiles, rows)
    _share(*work, x.shape[1], threads)


def add(
    rows: Array,
    y: Array,
    *,
    step: int,
    padding: int,
    tiles: tuple[int, ...],
    bias: Array | None = None,
    dilation: int = 1,
    threads: int = 1,
) -> None:
    """The adjoint of :func:`cut`, with the same arguments, plus ``bias [channels]``.

    ``y`` is written.
    """
    if bias is None:
        bias = np.zeros(y.shape[1], np.float32)
    if y.ndim == 4:
        work = _add_pictures, (rows, step, padding, *tiles, bias, y)
    else:
        work = _add_lines, (rows, step, padding, dilation, *tiles, bias, y)
    _share(*work, y.shape[1], threads)


def _share(work: Callable[..., None], arguments: tuple[Any, ...], size: int, threads: int) -> None:
    """Channels shared out."""
    in_parts(lambda part: work(*arguments, part.start, part.stop), size, threads)
