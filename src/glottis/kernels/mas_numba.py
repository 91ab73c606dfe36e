"""Monotonic alignment search on the CPU, compiled by numba.

Two rows of scores and one byte of direction a cell are kept, never the whole score matrix. Scores
are float64 and added in the reference's order, so the two agree to the last bit, ties included;
the processor is waiting for memory anyway, so that costs little. The loop over scores and the loop
over directions are apart because only then does the compiler vectorise both.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

# Frames that are brought into text-fastest order at once (a tile stays in the nearest cache), and
# the side of the square that is transposed in registers.
TILE = 64
BLOCK = 8


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``numba.njit`` that keeps its machine code on disk where a folder can be written."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package nor the user's cache folder can be written
        return numba.njit(**options)(function)


@_compiled
def _frame(log_prob, old, new, moved, low, high):  # type: ignore[no-untyped-def]
    # Slices from zero, so that the compiler need not think of negative indices. Scores stand one
    # place to the right: old[0] is "before the first token".
    cells = high - low
    here = log_prob[low:high]
    stay = old[low + 1 : high + 1]
    move = old[low:high]
    best = new[low + 1 : high + 1]
    direction = moved[low:high]
    for i in range(cells):
        best[i] = here[i] + max(stay[i], move[i])
    for i in range(cells):
        direction[i] = move[i] > stay[i]


@_compiled
def _way_back(moved, tokens, frames, durations):  # type: ignore[no-untyped-def]
    token = tokens - 1
    for frame in range(frames - 1, 0, -1):
        durations[token] += 1
        token -= moved[frame, token]
    durations[token] += 1


@_compiled
def _unusable(row):  # type: ignore[no-untyped-def]
    """How many cells of a frame are NaN or +inf."""
    count = np.int32(0)
    for i in range(row.size):
        count += np.int32(not (row[i] < np.inf))
    return count


@_compiled
def _text_fastest(log_prob, tokens, frames, durations, scores, moved):  # type: ignore[no-untyped-def]
    """``log_prob[frame, token]``, tokens next to each other in memory. Gives the best score."""
    old, new = scores[0], scores[1]
    old[:] = -np.inf
    new[:] = -np.inf
    old[0] = 0.0
    unusable = 0
    for frame in range(frames):
        row = log_prob[frame, :tokens]
        unusable += _unusable(row)
        # Only cells from which both ends can be reached.
        _frame(row, old, new, moved[frame], max(0, tokens - frames + frame), min(frame + 1, tokens))
        old[0] = -np.inf
        old, new = new, old
    if unusable > 0:
        return np.nan
    if old[tokens] > -np.inf:
        _way_back(moved, tokens, frames, durations)
    return old[tokens]


@intrinsic
def _turn_block(typing, source, source_at, source_step, target, target_at, target_step):  # type: ignore[no-untyped-def]
    """Transpose ``BLOCK x BLOCK`` numbers of one flat array into another, in registers.

    Row ``r`` is read at ``source_at + r * source_step`` and column ``c`` written at ``target_at +
    c * target_step``. Three rounds of exchanges between registers; as a loop over single numbers it
    takes four times as long, more than the search itself.
    """
    signature = types.void(source, source_at, source_step, target, target_at, target_step)

    def exchange(builder: Any, low: Any, high: Any, places: list[int]) -> Any:
        kind = ir.VectorType(ir.IntType(32), BLOCK)
        return builder.shuffle_vector(low, high, ir.Constant(kind, places))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_data_type(signature.args[0].dtype)
        alignment = context.get_abi_sizeof(element)
        vector = ir.VectorType(element, BLOCK).as_pointer()

        def pointer(array: int, row: int) -> Any:
            struct = cgutils.create_struct_proxy(signature.args[array])
            data = struct(context, builder, arguments[array]).data
            step = builder.mul(arguments[array + 2], ir.Constant(arguments[array + 2].type, row))
            place = builder.gep(data, [builder.add(arguments[array + 1], step)])
            return builder.bitcast(place, vector)

        rows = [builder.load(pointer(0, row), align=alignment) for row in range(BLOCK)]
        half = 1
        while half < BLOCK:
            upper = [i if not i & half else i - half + BLOCK for i in range(BLOCK)]
            lower = [i + half if not i & half else i + BLOCK for i in range(BLOCK)]
            for row in range(BLOCK):
                if not row & half:
                    pair = rows[row], rows[row | half]
                    rows[row] = exchange(builder, *pair, upper)
                    rows[row | half] = exchange(builder, *pair, lower)
            half *= 2
        for row in range(BLOCK):
            builder.store(rows[row], pointer(3, row), align=alignment)
        return context.get_dummy_value()

    return signature, generate


@_compiled
def _turn(log_prob, tokens, start, width, tile):  # type: ignore[no-untyped-def]
    """``tile[i, token] = log_prob[token, start + i]`` for ``width`` frames."""
    source, target = log_prob.reshape(-1), tile.reshape(-1)
    row, step = log_prob.shape[1], tile.shape[1]
    whole_tokens, whole_width = tokens // BLOCK * BLOCK, width // BLOCK * BLOCK
    for token in range(0, whole_tokens, BLOCK):
        for i in range(0, whole_width, BLOCK):
            _turn_block(source, token * row + start + i, row, target, i * step + token, step)  # type: ignore[call-arg]
    for token in range(tokens):
        first = whole_width if token < whole_tokens else 0
        for i in range(first, width):
            tile[i, token] = log_prob[token, start + i]


@_compiled
def _frames_fastest(log_prob, tokens, frames, durations, scores, moved, tile):  # type: ignore[no-untyped-def]
    """``log_prob[token, frame]``, frames next to each other in memory: turned tile by tile."""
    old, new = scores[0], scores[1]
    old[:] = -np.inf
    new[:] = -np.inf
    old[0] = 0.0
    unusable = 0
    for start in range(0, frames, TILE):
        width = min(TILE, frames - start)
        _turn(log_prob, tokens, start, width, tile)
        for i in range(width):
            frame = start + i
            row = tile[i, :tokens]
            unusable += _unusable(row)
            low, high = max(0, tokens - frames + frame), min(frame + 1, tokens)
            _frame(row, old, new, moved[frame], low, high)
            old[0] = -np.inf
            old, new = new, old
    if unusable > 0:
        return np.nan
    if old[tokens] > -np.inf:
        _way_back(moved, tokens, frames, durations)
    return old[tokens]


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="glottis-mas")


if hasattr(os, "register_at_fork"):  # a forked data loader inherits the pool but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def search(
    log_prob: NDArray[np.floating],
    text_lengths: NDArray[np.int64],
    frame_lengths: NDArray[np.int64],
    threads: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As :func:`glottis.kernels.mas_reference.search`; float16, 32 and 64 and any strides.

    Memory beside the result: one byte for every frame and token of one batch item a thread. An
    array whose text axis lies next to itself in memory (a transposed view of ``[batch, frames,
    text]``) is read as it is, one whose frames do is turned in tiles; any other is copied first.
    """
    if log_prob.dtype not in (np.float32, np.float64):
        log_prob = log_prob.astype(np.float32 if log_prob.dtype.itemsize < 4 else np.float64)
    turned = log_prob.transpose(0, 2, 1)
    by_text = turned.flags.c_contiguous
    cells = turned if by_text else np.ascontiguousarray(log_prob)
    batch, text, _ = log_prob.shape
    durations = np.zeros((batch, text), dtype=np.int64)
    score = np.empty(batch, dtype=np.float64)

    def work(items: range) -> None:
        if not items:
            return
        most_tokens = max(int(text_lengths[item]) for item in items)
        most_frames = max(int(frame_lengths[item]) for item in items)
        scores = np.empty((2, most_tokens + 1), dtype=np.float64)
        moved = np.empty((most_frames, most_tokens), dtype=np.uint8)
        tile = np.empty((TILE, most_tokens), dtype=cells.dtype)
        for item in items:
            tokens, frames = int(text_lengths[item]), int(frame_lengths[item])
            rest = (tokens, frames, durations[item], scores, moved)
            if by_text:
                score[item] = _text_fastest(cells[item], *rest)
            else:
                score[item] = _frames_fastest(cells[item], *rest, tile)

    # Plain threads and not numba's own: a second OpenMP pool beside torch's makes both stutter.
    threads = max(1, min(threads, batch, log_prob.size // 65536, os.cpu_count() or 1))
    if threads == 1:
        work(range(batch))
    else:
        list(_pool(threads).map(work, [range(k, batch, threads) for k in range(threads)]))
    return durations, score
