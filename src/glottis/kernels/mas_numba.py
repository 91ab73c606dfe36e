"""Monotonic alignment search on the CPU, compiled by numba.

One row of scores is kept and one bit of direction a cell, never the score matrix. Scores are
float64 and added in the reference's order, so the two agree to the last bit, ties included.

Where frames lie next to each other in memory strips of tokens go through all frames
(:mod:`.mas_strips`). Where tokens do, a frame is done after the other, with a loop over scores and
a loop over directions apart, because only then does the compiler vectorise both.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from glottis.kernels import mas_strips
from glottis.kernels.band import allowed


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``numba.njit`` that keeps its machine code on disk where a folder can be written."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package nor the user's cache folder can be written
        return numba.njit(**options)(function)


@compiled
def _advance(cells, tokens, frames, scores, moved):  # type: ignore[no-untyped-def]
    """All frames of ``cells[frame, token]``. Gives how many are NaN or +inf.

    The loop over frames stands in here because a call for each would take as long as the frame.
    """
    unusable = 0
    # Unsigned indices, because numba looks for negative ones otherwise, at every access.
    one = np.uintp(1)
    for frame in range(frames):
        now = np.uintp(frame)
        old, new = np.uintp(frame % 2), np.uintp((frame + 1) % 2)
        bad = np.int32(0)
        for k in range(np.uintp(tokens)):
            bad += np.int32(not (cells[now, k] < np.inf))
        unusable += int(bad)
        # Only cells from which both ends can be reached.
        low, high = np.uintp(max(0, tokens - frames + frame)), np.uintp(min(frame + 1, tokens))
        for k in range(low, high):
            score = max(scores[old, k + one], scores[old, k])
            scores[new, k + one] = cells[now, k] + score
        for k in range(low, high):
            moved[now, k] = scores[old, k] > scores[old, k + one]
        scores[old, 0] = -np.inf
    return unusable


@compiled
def _way_back(moved, tokens, frames, durations):  # type: ignore[no-untyped-def]
    token = tokens - 1
    for frame in range(frames - 1, 0, -1):
        durations[token] += 1
        token -= moved[frame, token]
    durations[token] += 1


@compiled
def _text_fastest(log_prob, tokens, frames, durations, scores, moved):  # type: ignore[no-untyped-def]
    """``log_prob[frame, token]``, tokens next to each other in memory. Gives the best score."""
    # scores[frame % 2, token + 1]; column 0 stands before the first token.
    scores[:] = -np.inf
    scores[0, 0] = 0.0
    unusable = _advance(log_prob, tokens, frames, scores, moved)
    if unusable > 0:
        return np.nan
    best = scores[frames % 2, tokens]
    if best > -np.inf:
        _way_back(moved, tokens, frames, durations)
    return best


@compiled
def _skipping(log_prob, optional, tokens, frames, durations, scores, came):  # type: ignore[no-untyped-def]
    """Any layout, ``log_prob[token, frame]``; tokens marked ``optional`` may be left out."""
    old, new = scores[0], scores[1]
    old[:] = -np.inf
    new[:] = -np.inf
    unusable = 0
    for frame in range(frames):
        # The best way in from an earlier token; at first from before the first token.
        enter = 0.0 if frame == 0 else -np.inf
        source = 0
        for token in range(tokens):
            here = log_prob[token, frame]
            if not (here < np.inf):
                unusable += 1
            stay = old[token]
            if enter > stay:
                new[token] = here + enter
                came[frame, token] = source
            else:
                new[token] = here + stay
                came[frame, token] = token
            if not optional[token] or stay >= enter:
                enter = stay
                source = token
        old, new = new, old
    if unusable > 0:
        return np.nan
    token = last = tokens - 1
    while optional[last] and last > 0:
        last -= 1
        if old[last] > old[token]:
            token = last
    best = old[token]
    if best > -np.inf:
        for frame in range(frames - 1, -1, -1):
            durations[token] += 1
            token = came[frame, token]
    return best


@compiled
def _add(a, b):  # type: ignore[no-untyped-def]
    """``log(exp(a) + exp(b))``; the smaller one is lost below the last digit of the larger."""
    low, high = min(a, b), max(a, b)
    if low - high > -40.0:
        return high + np.log1p(np.exp(low - high))
    return high


@compiled
def _forwards(log_prob, optional, low, high, forward):  # type: ignore[no-untyped-def]
    """``forward[frame, token]``, the log-sum over ways that end there; gives the total.

    Any layout, ``log_prob[token, frame]``; frames belong to tokens from ``low`` to ``high``.
    """
    tokens, frames = log_prob.shape
    for frame in range(frames):
        # The ways in from earlier tokens; at first from before the first token.
        enter = 0.0 if frame == 0 else -np.inf
        for token in range(tokens):
            here = log_prob[token, frame]
            if not (here < np.inf):
                return np.nan
            stay = forward[frame - 1, token] if frame > 0 else -np.inf
            into = _add(stay, enter)
            inside = low[frame] <= token < high[frame]
            forward[frame, token] = here + into if inside else -np.inf
            enter = into if optional[token] else stay
    total = -np.inf
    for token in range(tokens - 1, -1, -1):
        total = _add(total, forward[frames - 1, token])
        if not optional[token]:
            break
    return total


@compiled
def _after(log_prob, optional, low, high, frame, later, now):  # type: ignore[no-untyped-def]
    """``now[token]``, the log-sum over ways from ``frame`` on, after ``later`` one frame on.

    ``later`` gains the scores of the frame that it is for.
    """
    tokens, frames = log_prob.shape
    leave = -np.inf
    if frame == frames - 1:
        leave = 0.0
        for token in range(tokens - 1, -1, -1):
            now[token] = leave
            leave = leave if optional[token] else -np.inf
        return
    for token in range(tokens - 1, -1, -1):
        inside = low[frame + 1] <= token < high[frame + 1]
        onward = later[token] + log_prob[token, frame + 1] if inside else -np.inf
        later[token] = onward
        now[token] = _add(onward, leave)
        leave = now[token] if optional[token] else onward


@compiled
def _soft(log_prob, optional, low, high, forward, backward, posterior):  # type: ignore[no-untyped-def]
    """One item: gives the total and fills ``posterior[token, frame]``."""
    tokens, frames = log_prob.shape
    total = _forwards(log_prob, optional, low, high, forward)
    if not total > -np.inf:
        return total
    later, now = backward[0], backward[1]
    for frame in range(frames - 1, -1, -1):
        _after(log_prob, optional, low, high, frame, later, now)
        for token in range(tokens):
            through = forward[frame, token] + now[token] - total
            if through > -700.0:
                posterior[token, frame] = np.exp(through)
        later, now = now, later
    return total


@compiled
def _mean(a, mean_a, b, mean_b, both):  # type: ignore[no-untyped-def]
    """The mean of two groups of ways with log-sums ``a`` and ``b``, together ``both``."""
    if not both > -np.inf:
        return 0.0
    share = np.exp(b - both)
    return mean_a + share * (mean_b - mean_a)


@compiled
def _covariance(  # type: ignore[no-untyped-def]
    log_prob, along, optional, low, high, forward, backward, before, after, found
):
    """One item: ``found[token, frame]`` is the covariance of a visit with the sum of ``along``.

    ``before[frame, token]`` is the mean of that sum over ways that end in the cell, ``after`` over
    ways that leave it.
    """
    tokens, frames = log_prob.shape
    total = _forwards(log_prob, optional, low, high, forward)
    for frame in range(frames):
        enter, entering = (0.0 if frame == 0 else -np.inf), 0.0
        for token in range(tokens):
            stay = forward[frame - 1, token] if frame > 0 else -np.inf
            staying = before[frame - 1, token] if frame > 0 else 0.0
            into = _add(stay, enter)
            mean = _mean(stay, staying, enter, entering, into)
            before[frame, token] = mean + along[token, frame]
            enter, entering = (into, mean) if optional[token] else (stay, staying)
    mean, ending = 0.0, -np.inf
    for token in range(tokens - 1, -1, -1):
        both = _add(ending, forward[frames - 1, token])
        here = before[frames - 1, token]
        mean = _mean(ending, mean, forward[frames - 1, token], here, both)
        ending = both
        if not optional[token]:
            break
    later, now = backward[0], backward[1]
    on, means = after[0], after[1]
    for frame in range(frames - 1, -1, -1):
        _after(log_prob, optional, low, high, frame, later, now)
        leave, leaving = -np.inf, 0.0
        for token in range(tokens - 1, -1, -1):
            means[token] = 0.0
            if frame < frames - 1:
                staying = on[token] + along[token, frame + 1]
                means[token] = _mean(later[token], staying, leave, leaving, now[token])
                if optional[token]:
                    leave, leaving = now[token], means[token]
                else:
                    leave, leaving = later[token], staying
            through = forward[frame, token] + now[token] - total
            if through > -700.0:
                whole = before[frame, token] + means[token]
                found[token, frame] = np.exp(through) * (whole - mean)
        later, now = now, later
        on, means = means, on


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="glottis-mas")


if hasattr(os, "register_at_fork"):  # a forked data loader inherits the pool but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def share(work: Callable[[range], None], batch: int, cells: int, threads: int) -> None:
    """Batch items over plain threads, not numba's: a second OpenMP pool makes torch's stutter."""
    threads = max(1, min(threads, batch, cells // 65536, os.cpu_count() or 1))
    if threads == 1:
        work(range(batch))
    else:
        list(_pool(threads).map(work, [range(k, batch, threads) for k in range(threads)]))


def _single_or_double(array: NDArray[np.floating]) -> NDArray[np.floating]:
    if array.dtype in (np.float32, np.float64):
        return array
    return array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)


def search(
    log_prob: NDArray[np.floating],
    text_lengths: NDArray[np.int64],
    frame_lengths: NDArray[np.int64],
    optional: NDArray[np.bool_] | None = None,
    threads: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As :func:`glottis.kernels.mas_reference.search`; float16, 32 and 64 and any strides.

    Memory beside the result, for every frame and token of one batch item a thread: one bit; one
    byte where the text axis lies next to itself in memory (a transposed view of ``[batch, frames,
    text]``), which is read as it is, too; four bytes with ``optional``. An array of any other
    layout is copied first.
    """
    log_prob = _single_or_double(log_prob)
    turned = log_prob.transpose(0, 2, 1)
    by_text = turned.flags.c_contiguous and not log_prob.flags.c_contiguous
    cells = turned if by_text else np.ascontiguousarray(log_prob)
    batch, text, _ = log_prob.shape
    durations = np.zeros((batch, text), dtype=np.int64)
    score = np.empty(batch, dtype=np.float64)

    def work(items: range) -> None:
        if not items:
            return
        most_tokens = max(int(text_lengths[item]) for item in items)
        most_frames = max(int(frame_lengths[item]) for item in items)
        if optional is None and not by_text:
            scratch = mas_strips.scratch(most_tokens, most_frames, cells.dtype)
            lengths = text_lengths, frame_lengths, items.start, items.step
            mas_strips.search(cells, *lengths, durations, score, *scratch)
            return
        scores = np.empty((2, most_tokens + 1), dtype=np.float64)
        kind = np.uint8 if optional is None else np.int32
        moved = np.empty((most_frames, most_tokens), dtype=kind)
        for item in items:
            tokens, frames = int(text_lengths[item]), int(frame_lengths[item])
            rest = (tokens, frames, durations[item], scores, moved)
            if optional is not None:
                score[item] = _skipping(log_prob[item], optional[item], *rest)
            else:
                score[item] = _text_fastest(cells[item], *rest)

    share(work, batch, log_prob.size, threads)
    return durations, score


def search_blocks(
    blocks: Iterable[tuple[int, NDArray[np.floating]]], tokens: int, frames: int
) -> tuple[NDArray[np.int64], float]:
    """As :func:`glottis.kernels.mas_reference.search_blocks`, one block at a time.

    Not copied are blocks whose frames lie next to each other and that start at a multiple of eight
    tokens.
    """
    durations = np.zeros(tokens, dtype=np.int64)

    def ready() -> Iterable[tuple[int, NDArray[np.floating]]]:
        for low, cells in blocks:
            turned = _single_or_double(cells).T
            if low % mas_strips.BITS:
                # Tokens before those that are within reach: their scores are nobody's concern.
                turned = np.pad(turned, ((low % mas_strips.BITS, 0), (0, 0)))
            yield low - low % mas_strips.BITS, np.ascontiguousarray(turned)

    each = iter(ready())
    first = next(each)
    scratch = mas_strips.scratch(tokens, frames, first[1].dtype)
    scores, _, moved, *_ = scratch
    done, unusable = 0, False
    for low, cells in itertools.chain([first], each):
        width, count = min(len(cells), tokens - low), min(cells.shape[1], frames - done)
        unusable |= mas_strips.advance(cells, low, width, done, count, tokens, frames, *scratch)
        done += count
    best = np.nan if unusable else float(scores[tokens - 1])
    if best > -np.inf:
        mas_strips.way_back(moved, tokens, frames, durations)
    return durations, best


def _each(
    log_prob: NDArray[np.floating],
    text_lengths: NDArray[np.int64],
    frame_lengths: NDArray[np.int64],
    optional: NDArray[np.bool_] | None,
    band: float | None,
    threads: int,
    one: Callable[..., None],
) -> None:
    """``one(item, cells, optional, low, high)`` for every batch item, cut to its lengths."""

    def work(items: range) -> None:
        for item in items:
            tokens, frames = int(text_lengths[item]), int(frame_lengths[item])
            skips = np.zeros(tokens, bool) if optional is None else optional[item, :tokens]
            limits = allowed(tokens, frames, band, optional is not None)
            one(item, log_prob[item, :tokens, :frames], np.ascontiguousarray(skips), *limits)

    share(work, log_prob.shape[0], log_prob.size, threads)


def soft(
    log_prob: NDArray[np.floating],
    text_lengths: NDArray[np.int64],
    frame_lengths: NDArray[np.int64],
    optional: NDArray[np.bool_] | None = None,
    band: float | None = None,
    threads: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As :func:`glottis.kernels.mas_reference.soft`.

    Memory beside the result: eight bytes for every frame and token of one batch item a thread.
    """
    log_prob = _single_or_double(log_prob)
    total = np.empty(log_prob.shape[0], dtype=np.float64)
    posterior = np.zeros(log_prob.shape, dtype=np.float64)

    def one(item: int, cells: Any, *rest: Any) -> None:
        tokens, frames = cells.shape
        scratch = np.empty((frames, tokens)), np.empty((2, tokens))
        total[item] = _soft(cells, *rest, *scratch, posterior[item])

    _each(log_prob, text_lengths, frame_lengths, optional, band, threads, one)
    return total, posterior


def covariance(
    log_prob: NDArray[np.floating],
    direction: NDArray[np.floating],
    text_lengths: NDArray[np.int64],
    frame_lengths: NDArray[np.int64],
    optional: NDArray[np.bool_] | None = None,
    band: float | None = None,
    threads: int = 1,
) -> NDArray[np.float64]:
    """As :func:`glottis.kernels.mas_reference.covariance`.

    Memory beside the result: 16 bytes for every frame and token of one batch item a thread.
    """
    log_prob, direction = _single_or_double(log_prob), _single_or_double(direction)
    found = np.zeros(log_prob.shape, dtype=np.float64)

    def one(item: int, cells: Any, *rest: Any) -> None:
        tokens, frames = cells.shape
        along = direction[item, :tokens, :frames]
        scratch = [np.empty(shape) for shape in ((frames, tokens), (2, tokens)) * 2]
        _covariance(cells, along, *rest, *scratch, found[item])

    _each(log_prob, text_lengths, frame_lengths, optional, band, threads, one)
    return found
