"""Monotonic alignment search on the CPU, compiled by numba.

One row of scores is kept and one bit of direction a cell, never the score matrix. Scores are
float64 and added in the reference's order, so the two agree to the last bit, ties included.

Where frames lie next to each other in memory a strip of tokens goes through all frames with its
scores in registers; what its last token scored is left for the next strip. Where tokens do, a frame
is done after the other, with a loop over scores and a loop over directions apart, because only then
does the compiler vectorise both.
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
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from glottis.kernels.band import allowed

# Numbers in a register, and registers of tokens in a wide strip.
LANES = 8
GROUPS = 4

# How far ahead of the work memory is asked for, in numbers: many rows are read at once, more than
# the processor follows by itself.
AHEAD = 64


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


def _strip(groups: int, frames: int, turned: bool) -> Any:
    """An intrinsic: ``frames`` frames of a strip of ``groups * LANES`` tokens, in registers.

    ``cells`` is flat; a token's row of frames is ``step`` numbers long when ``turned``, else one
    frame is read, its tokens side by side. ``entering[frame]`` holds what the token before the
    strip scored one frame earlier and is overwritten by what its last token did. One bit a token
    goes to ``moved``, a row of ``moved_step`` bytes a frame. Gives not zero where a cell is NaN or
    +inf.
    """
    places = list(range(LANES))

    @intrinsic
    def work(  # type: ignore[no-untyped-def]
        typing,
        cells,
        at,
        step,
        scores,
        score_at,
        entering,
        entering_at,
        moved,
        moved_at,
        moved_step,
    ):
        arguments = cells, at, step, scores, score_at, entering, entering_at, moved, moved_at
        signature = types.int64(*arguments, moved_step)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            number, bit = ir.IntType(32), ir.IntType(1)
            element = context.get_data_type(signature.args[0].dtype)
            size = context.get_abi_sizeof(element)
            row, wide = ir.VectorType(element, LANES), ir.VectorType(ir.DoubleType(), LANES)

            def pointer(array: int, index: Any, kind: Any) -> Any:
                struct = cgutils.create_struct_proxy(signature.args[array])
                data = struct(context, builder, values[array]).data
                return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())

            def plus(index: Any, times: int, step: Any = None) -> Any:
                factor = ir.Constant(index.type, times)
                return builder.add(index, factor if step is None else builder.mul(factor, step))

            def shuffle(low: Any, high: Any, where: list[int]) -> Any:
                kind = ir.VectorType(number, len(where))
                return builder.shuffle_vector(low, high, ir.Constant(kind, where))

            def transposed(rows: list[Any]) -> list[Any]:
                """Three rounds of exchanges between registers."""
                half = 1
                while half < LANES:
                    upper = [i if not i & half else i - half + LANES for i in places]
                    lower = [i + half if not i & half else i + LANES for i in places]
                    for k in places:
                        if not k & half:
                            pair = rows[k], rows[k | half]
                            rows[k], rows[k | half] = shuffle(*pair, upper), shuffle(*pair, lower)
                    half *= 2
                return rows

            _, at, step, _, score_at, _, entering_at, _, moved_at, moved_step = values
            columns = []
            for group in range(groups):
                if turned:
                    starts = [plus(at, group * LANES + k, step) for k in places]
                    rows = [builder.load(pointer(0, start, row), align=size) for start in starts]
                    columns.append(transposed(rows))
                    prefetch = cgutils.get_or_insert_function(
                        builder.module,
                        ir.FunctionType(
                            ir.VoidType(), [ir.IntType(8).as_pointer(), number, number, number]
                        ),
                        "llvm.prefetch.p0",
                    )
                    for start in starts:
                        soon = pointer(0, plus(start, AHEAD), ir.IntType(8))
                        to_read = [ir.Constant(number, value) for value in (0, 3, 1)]
                        builder.call(prefetch, [soon, *to_read])
                else:
                    start = pointer(0, plus(at, group * LANES), row)
                    columns.append([builder.load(start, align=size)])
            limit = ir.Constant(row, [float("inf")] * LANES)
            unusable = ir.Constant(ir.VectorType(bit, LANES), [0] * LANES)
            score_places = [
                pointer(3, plus(score_at, group * LANES), wide) for group in range(groups)
            ]
            score = [builder.load(place, align=8) for place in score_places]
            for frame in range(frames):
                place = pointer(5, plus(entering_at, frame), ir.DoubleType())
                first = builder.insert_element(
                    ir.Constant(wide, ir.Undefined), builder.load(place), ir.Constant(number, 0)
                )
                last = builder.extract_element(score[-1], ir.Constant(number, LANES - 1))
                builder.store(last, place)
                before = [shuffle(score[0], first, [LANES, *places[:-1]])]
                for group in range(1, groups):
                    neighbours = [LANES - 1, *range(LANES, 2 * LANES - 1)]
                    before.append(shuffle(score[group - 1], score[group], neighbours))
                bits = []
                for group in range(groups):
                    cell = columns[group][frame]
                    wrong = builder.fcmp_unordered(">=", cell, limit)
                    unusable = builder.or_(unusable, wrong)
                    bits.append(builder.fcmp_ordered(">", before[group], score[group]))
                    best = builder.select(bits[-1], before[group], score[group])
                    widened = cell if element == ir.DoubleType() else builder.fpext(cell, wide)
                    score[group] = builder.fadd(widened, best)
                while len(bits) > 1:
                    both = list(range(2 * bits[0].type.count))
                    bits = [shuffle(bits[k], bits[k + 1], both) for k in range(0, len(bits), 2)]
                word = ir.IntType(groups * LANES)
                target = pointer(7, plus(moved_at, frame, moved_step), word)
                builder.store(builder.bitcast(bits[0], word), target, align=1)
            for place, value in zip(score_places, score, strict=True):
                builder.store(value, place, align=8)
            return builder.zext(builder.bitcast(unusable, ir.IntType(LANES)), ir.IntType(64))

        return signature, generate

    return work


_wide, _narrow = _strip(GROUPS, LANES, True), _strip(1, LANES, True)
_wide_frame, _narrow_frame = _strip(GROUPS, 1, False), _strip(1, 1, False)


@compiled
def _advance_strips(  # type: ignore[no-untyped-def]
    cells, low, width, first, count, tokens, frames, scores, entering, moved, spare
):
    """The ``count`` frames from ``first`` on, ``cells[token - low, frame - first]``.

    ``low`` is a multiple of ``LANES``; all but ``width`` rows of cells are somebody else's. Gives
    not zero when a cell is NaN or +inf.
    """
    flat, row = cells.reshape(-1), cells.shape[1]
    bits, bits_row = moved.reshape(-1), moved.shape[1]
    unusable = 0
    for i in range(count):
        entering[i] = -np.inf
    # A path enters from before the first token, and over the edge of the block before this one.
    if low > 0:
        entering[0] = scores[low - 1]
    elif first == 0:
        entering[0] = 0.0
    done = 0
    while done < width:
        token = low + done
        size = GROUPS * LANES if width - done >= GROUPS * LANES else min(LANES, width - done)
        # Only frames in which both ends can be reached, and one more, which the next strip enters
        # from; in whole blocks where there is room.
        begin = min(count, max(0, token - first) // LANES * LANES)
        end = max(begin, token + size + 1 + frames - tokens - first)
        end = min(count, begin + (end - begin + LANES - 1) // LANES * LANES)
        whole = begin + (end - begin) // LANES * LANES
        place = done * row
        for i in range(begin, whole, LANES):
            at, bit = place + i, (first + i) * bits_row + token // LANES
            if size > LANES:
                unusable |= _wide(
                    flat, at, row, scores, token, entering, i, bits, bit, bits_row
                )  # fmt: skip
            elif size < LANES:
                for k in range(size):
                    for n in range(LANES):
                        spare[k * LANES + n] = flat[at + k * row + n]
                for k in range(size * LANES, LANES * LANES):
                    spare[k] = 0.0
                unusable |= _narrow(
                    spare, 0, LANES, scores, token, entering, i, bits, bit, bits_row
                )  # fmt: skip
            else:
                unusable |= _narrow(
                    flat, at, row, scores, token, entering, i, bits, bit, bits_row
                )  # fmt: skip
        # What is left over, of frames or of tokens, goes through a copy.
        for i in range(whole, end):
            bit = (first + i) * bits_row + token // LANES
            for k in range(size):
                spare[k] = flat[place + k * row + i]
            for k in range(size, LANES):
                spare[k] = 0.0
            if size > LANES:
                unusable |= _wide_frame(
                    spare, 0, row, scores, token, entering, i, bits, bit, bits_row
                )  # fmt: skip
            else:
                unusable |= _narrow_frame(
                    spare, 0, row, scores, token, entering, i, bits, bit, bits_row
                )  # fmt: skip
        # Nobody needs the score of the other cells, but they are inside the lengths.
        bad = np.int32(0)
        for k in range(size):
            start = place + k * row
            for i in range(np.uintp(start), np.uintp(start + begin)):
                bad += np.int32(not (flat[i] < np.inf))
            for i in range(np.uintp(start + end), np.uintp(start + count)):
                bad += np.int32(not (flat[i] < np.inf))
        unusable |= int(bad)
        done += size
    return unusable


@compiled
def _way_back_in_bits(moved, tokens, frames, durations):  # type: ignore[no-untyped-def]
    token = tokens - 1
    for frame in range(frames - 1, 0, -1):
        durations[token] += 1
        token -= (moved[frame, token // LANES] >> (token % LANES)) & 1
    durations[token] += 1


class _Strips:
    """Scratch for items of up to so many tokens and frames, a bit a cell."""

    def __init__(self, tokens: int, frames: int, kind: Any) -> None:
        padded = -(-tokens // (GROUPS * LANES)) * GROUPS * LANES
        self.scores = np.empty(padded)
        self.entering = np.empty(frames)
        self.moved = np.empty((frames, padded // LANES), dtype=np.uint8)
        self.spare = np.empty(max(GROUPS, LANES) * LANES, dtype=kind)

    def search(
        self,
        blocks: Iterable[tuple[int, NDArray[np.floating]]],
        tokens: int,
        frames: int,
        durations: NDArray[np.int64],
    ) -> float:
        """The best score, after writing the durations if there is a path.

        A block is ``(low, cells[token - low, frame])``, contiguous; what it holds beyond ``tokens``
        and ``frames`` is not looked at.
        """
        self.scores[:] = -np.inf
        done = 0
        unusable = False
        for low, cells in blocks:
            width, count = min(len(cells), tokens - low), min(cells.shape[1], frames - done)
            sizes = low, width, done, count, tokens, frames
            scratch = self.scores, self.entering, self.moved, self.spare
            unusable |= bool(_advance_strips(cells, *sizes, *scratch))
            done += count
        best = np.nan if unusable else float(self.scores[tokens - 1])
        if best > -np.inf:
            _way_back_in_bits(self.moved, tokens, frames, durations)
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


def _share(work: Callable[[range], None], batch: int, cells: int, threads: int) -> None:
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
            strips = _Strips(most_tokens, most_frames, cells.dtype)
            for item in items:
                sizes = int(text_lengths[item]), int(frame_lengths[item])
                score[item] = strips.search([(0, cells[item])], *sizes, durations[item])
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

    _share(work, batch, log_prob.size, threads)
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
            if low % LANES:
                # Tokens before those that are within reach: their scores are nobody's concern.
                turned = np.pad(turned, ((low % LANES, 0), (0, 0)))
            yield low - low % LANES, np.ascontiguousarray(turned)

    each = iter(ready())
    first = next(each)
    strips = _Strips(tokens, frames, first[1].dtype)
    return durations, strips.search(itertools.chain([first], each), tokens, frames, durations)


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

    _share(work, log_prob.shape[0], log_prob.size, threads)


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
