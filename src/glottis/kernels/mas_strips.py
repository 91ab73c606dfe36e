"""The search's inner loops where frames lie next to each other in memory: strips of tokens.

A strip goes through all frames with its scores in registers; what its last token scored is left for
the next strip. With ``g`` registers of four float64 scores, register ``r`` holds the strip's tokens
``r``, ``g + r``, ``2 g + r`` and ``3 g + r`` (Farrar 2007 lays sequences out so). What a token may
come from is then the same lane of the register before, and one register a frame is shifted instead
of all. Cells are brought to that order in the first-level cache, eight frames at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from glottis.kernels.vector_math import compiled

#: Scores in a register, registers of a wide strip, and tokens in it.
LANES = 4
GROUPS = 8
WIDEST = LANES * GROUPS

#: Tokens in a byte of directions: strips start at multiples of it.
BITS = 8

#: Frames that are turned at once, and at most between two looks at the scores in memory.
TURNED = 8
FRAMES = 16

# How far ahead of the work memory is asked for, in numbers: more rows are read at once than the
# processor follows by itself.
AHEAD = 32

_number, _byte, _index = ir.IntType(32), ir.IntType(8), ir.IntType(64)


def pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any, target: Any) -> Any:
    """To ``array[index]``, an array of numba's ``kind``, as LLVM's type ``target``."""
    struct = cgutils.create_struct_proxy(kind)
    place = builder.gep(struct(context, builder, array).data, [index])
    return builder.bitcast(place, target.as_pointer())


def plus(builder: Any, index: Any, number: int, step: Any = None) -> Any:
    """``index + number``, or ``index + number * step``."""
    constant = ir.Constant(index.type, number)
    return builder.add(index, constant if step is None else builder.mul(constant, step))


def prefetch(builder: Any, place: Any) -> None:
    """Asks for the memory at ``place``, a pointer to bytes, to be read soon."""
    kinds = [_byte.as_pointer(), _number, _number, _number]
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), kinds), "llvm.prefetch.p0"
    )
    # To be read, as near as can be, as data.
    builder.call(function, [place, _number(0), _number(3), _number(1)])


def _shuffled(builder: Any, low: Any, high: Any, where: list[int]) -> Any:
    kind = ir.VectorType(_number, len(where))
    return builder.shuffle_vector(low, high, ir.Constant(kind, where))


def _turn(groups: int) -> Any:
    """An intrinsic: ``TURNED`` frames of ``groups * LANES`` tokens into the order of registers.

    A token's frames start at ``cells[at + token * step]``. Register ``r`` of frame ``f`` comes to
    ``columns`` from :func:`_place` on.
    """

    @intrinsic
    def turn(typing, cells, at, step, columns, column_at):  # type: ignore[no-untyped-def]
        signature = types.void(cells, at, step, columns, column_at)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            cells, at, step, columns, column_at = values
            element = context.get_data_type(signature.args[0].dtype)
            size = context.get_abi_sizeof(element)
            row = ir.VectorType(element, TURNED)
            # The halves of two rows beside each other: those of frames k and k + 4.
            low = [0, 8, 1, 9, 4, 12, 5, 13]
            high = [place + 2 for place in low]
            first, second = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
            for register in range(groups):
                rows = []
                for lane in range(LANES):
                    start = plus(builder, at, lane * groups + register, step)
                    place = pointer(context, builder, signature.args[0], cells, start, row)
                    rows.append(builder.load(place, align=size))
                    soon = plus(builder, start, AHEAD)
                    soon = pointer(context, builder, signature.args[0], cells, soon, _byte)
                    prefetch(builder, soon)
                pairs = [
                    [_shuffled(builder, rows[k], rows[k + 1], where) for k in (0, 2)]
                    for where in (low, high)
                ]
                for k in range(TURNED // 2):
                    low_half, high_half = pairs[k // 2]
                    made = _shuffled(builder, low_half, high_half, second if k % 2 else first)
                    index = plus(builder, column_at, (register * TURNED // 2 + k) * TURNED)
                    place = pointer(context, builder, signature.args[3], columns, index, row)
                    builder.store(made, place, align=size)
            return context.get_dummy_value()

        return signature, generate

    return turn


@compiled
def _place(frame, token, groups):  # type: ignore[no-untyped-def]
    """Where a strip's cell stands among the columns."""
    register, lane = token % groups, token // groups
    block = frame // TURNED * groups * LANES + register * TURNED // 2 + frame % (TURNED // 2)
    return block * TURNED + frame % TURNED // (TURNED // 2) * LANES + lane


def strip(groups: int, turned: bool) -> Any:
    """An intrinsic: ``count`` frames, one or more, of a strip of ``groups * LANES`` tokens.

    Where its cells stand among the columns is what :func:`_place` says if they were ``turned``;
    if not, frames follow one another, each with its registers in order.
    ``held`` has the strip's scores, register after register. ``entering[entering_at + frame]``
    holds what the token before the strip scored one frame earlier and is overwritten by what its
    last token did. One bit a token goes to ``moved``, a row of ``moved_step`` bytes a frame.
    """

    @intrinsic
    def advance(  # type: ignore[no-untyped-def]
        typing, columns, held, entering, entering_at, moved, moved_at, moved_step, count
    ):
        arguments = columns, held, entering, entering_at, moved, moved_at, moved_step, count
        signature = types.void(*arguments)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            columns, held, entering, entering_at, moved, moved_at, moved_step, count = values
            kinds = signature.args
            element = context.get_data_type(kinds[0].dtype)
            size = context.get_abi_sizeof(element)
            row, wide = ir.VectorType(element, LANES), ir.VectorType(ir.DoubleType(), LANES)
            bits = ir.VectorType(_index, LANES)
            word = ir.IntType(groups * LANES)
            either = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(_index, [bits]), "llvm.vector.reduce.or.v4i64"
            )
            zero = ir.Constant(_index, 0)

            def at(array: Any, kind: Any, index: Any, target: Any) -> Any:
                return pointer(context, builder, kind, array, index, target)

            places = [
                at(held, kinds[1], ir.Constant(_index, r * LANES), wide) for r in range(groups)
            ]
            start = [builder.load(place, align=8) for place in places]
            before = builder.block
            loop, after = (builder.append_basic_block(name) for name in ("frames", "after"))
            builder.branch(loop)
            builder.position_at_end(loop)
            frame = builder.phi(_index)
            frame.add_incoming(zero, before)
            score = [builder.phi(wide) for _ in range(groups)]
            for phi, value in zip(score, start, strict=True):
                phi.add_incoming(value, before)
            place = at(entering, kinds[2], builder.add(entering_at, frame), ir.DoubleType())
            first = builder.insert_element(
                ir.Constant(wide, ir.Undefined), builder.load(place), ir.Constant(_number, 0)
            )
            last = builder.extract_element(score[-1], ir.Constant(_number, LANES - 1))
            builder.store(last, place)
            shifted = _shuffled(builder, score[-1], first, [LANES, *range(LANES - 1)])
            # As _place has it: blocks of frames, then registers, then pairs of frames.
            apart = TURNED // 2 * TURNED if turned else LANES
            if turned:
                block = builder.lshr(frame, _index(3))
                column = builder.mul(block, _index(TURNED * groups * LANES))
                column = builder.add(column, builder.mul(builder.and_(frame, _index(3)), _index(8)))
                column = builder.add(column, builder.and_(frame, _index(4)))
            else:
                column = builder.mul(frame, _index(groups * LANES))
            directions = ir.Constant(bits, [0] * LANES)
            new = []
            for register in range(groups):
                place = plus(builder, column, register * apart)
                cell = builder.load(at(columns, kinds[0], place, row), align=size)
                enter = shifted if register == 0 else score[register - 1]
                comes = builder.fcmp_ordered(">", enter, score[register])
                best = builder.select(comes, enter, score[register])
                widened = cell if element == ir.DoubleType() else builder.fpext(cell, wide)
                new.append(builder.fadd(widened, best))
                own = ir.Constant(bits, [1 << (lane * groups + register) for lane in range(LANES)])
                none = ir.Constant(bits, [0] * LANES)
                directions = builder.or_(directions, builder.select(comes, own, none))
            target = builder.add(moved_at, builder.mul(frame, moved_step))
            found = builder.trunc(builder.call(either, [directions]), word)
            builder.store(found, at(moved, kinds[4], target, word), align=1)
            following = plus(builder, frame, 1)
            builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
            frame.add_incoming(following, builder.block)
            for phi, value in zip(score, new, strict=True):
                phi.add_incoming(value, builder.block)
            builder.position_at_end(after)
            for place, value in zip(places, new, strict=True):
                builder.store(value, place, align=8)
            return context.get_dummy_value()

        return signature, generate

    return advance


_turn_8, _turn_4, _turn_2 = (_turn(groups) for groups in (8, 4, 2))
_strip_8, _strip_4, _strip_2 = (strip(groups, turned=True) for groups in (8, 4, 2))


@compiled
def _columns(flat, at, row, size, groups, count, columns):  # type: ignore[no-untyped-def]
    """``count`` frames of ``size`` tokens from ``flat[at]`` on in the order of registers."""
    whole = 0
    if size == groups * LANES:
        whole = count // TURNED * TURNED
        for frame in range(0, whole, TURNED):
            to = frame * groups * LANES
            if groups == 8:
                _turn_8(flat, at + frame, row, columns, to)
            elif groups == 4:
                _turn_4(flat, at + frame, row, columns, to)
            else:
                _turn_2(flat, at + frame, row, columns, to)
    # What is left over, of frames or of tokens.
    for token in range(size if whole < count else 0):
        for frame in range(whole, count):
            columns[_place(frame, token, groups)] = flat[at + token * row + frame]


@compiled
def advance(  # type: ignore[no-untyped-def]
    cells, low, width, first, count, tokens, frames, scores, entering, moved, held, columns
):
    """The ``count`` frames from ``first`` on, ``cells[token - low, frame - first]``.

    ``low`` is a multiple of ``BITS``; all but ``width`` rows of cells are somebody else's. What
    follows ``frames`` is scratch: ``scores`` of all tokens, -inf at first; ``entering [frames]``;
    ``moved [frames, bytes]``; ``held [WIDEST]``; ``columns [WIDEST * FRAMES]`` of the type of
    cells. Gives whether a cell is NaN or +inf.
    """
    flat, row = cells.reshape(-1), cells.shape[1]
    bits, bits_row = moved.reshape(-1), moved.shape[1]
    bad = np.int32(0)
    for i in range(count):
        entering[i] = -np.inf
    # A path enters from before the first token, and over the edge of the block before this one.
    if low > 0:
        entering[0] = scores[low - 1]
    elif first == 0:
        entering[0] = 0.0
    done = 0
    while done < width:
        token, left = low + done, width - done
        groups = 8 if left > 3 * BITS else 4 if left > BITS else 2
        size = min(groups * LANES, left)
        # Only frames in which both ends can be reached, and one more, which the next strip enters
        # from; in whole blocks where there is room.
        begin = min(count, max(0, token - first) // TURNED * TURNED)
        end = max(begin, token + size + 1 + frames - tokens - first)
        end = min(count, (end + TURNED - 1) // TURNED * TURNED)
        place = done * row
        for k in range(groups * LANES):
            held[k % groups * LANES + k // groups] = scores[token + k]
        for i in range(begin, end, FRAMES):
            some = min(FRAMES, end - i)
            _columns(flat, place + i, row, size, groups, some, columns)
            bit = (first + i) * bits_row + token // BITS
            if groups == 8:
                _strip_8(columns, held, entering, i, bits, bit, bits_row, some)
            elif groups == 4:
                _strip_4(columns, held, entering, i, bits, bit, bits_row, some)
            else:
                _strip_2(columns, held, entering, i, bits, bit, bits_row, some)
        for k in range(size):
            score = held[k % groups * LANES + k // groups]
            scores[token + k] = score
            # Neither NaN nor +inf ever leaves the score of a token again.
            bad += np.int32(not (score < np.inf))
        # Nobody needs the score of the other cells, but they are inside the lengths.
        for k in range(size):
            start = place + k * row
            for i in range(np.uintp(start), np.uintp(start + begin)):
                bad += np.int32(not (flat[i] < np.inf))
            for i in range(np.uintp(start + end), np.uintp(start + count)):
                bad += np.int32(not (flat[i] < np.inf))
        done += size
    return bad > 0


@compiled
def way_back(moved, tokens, frames, durations):  # type: ignore[no-untyped-def]
    """Adds each frame to the duration of its token, from the last frame on."""
    token = tokens - 1
    for frame in range(frames - 1, 0, -1):
        durations[token] += 1
        token -= (moved[frame, token // BITS] >> (token % BITS)) & 1
    durations[token] += 1


@compiled
def search(  # type: ignore[no-untyped-def]
    cells, text_lengths, frame_lengths, first, step, durations, best,
    scores, entering, moved, held, columns,
):  # fmt: skip
    """Every ``step``-th item of ``cells [batch, text, frames]`` from ``first`` on."""
    for item in range(first, cells.shape[0], step):
        tokens, frames = text_lengths[item], frame_lengths[item]
        scores[:] = -np.inf
        unusable = advance(
            cells[item], 0, tokens, 0, frames, tokens, frames,
            scores, entering, moved, held, columns,
        )  # fmt: skip
        best[item] = np.nan if unusable else scores[tokens - 1]
        if best[item] > -np.inf:
            way_back(moved, tokens, frames, durations[item])


def scratch(tokens: int, frames: int, kind: Any) -> tuple[NDArray[Any], ...]:
    """The last arguments of :func:`advance`, for items of up to so many tokens and frames."""
    padded = -(-tokens // WIDEST) * WIDEST + WIDEST
    scores, entering = np.full(padded, -np.inf), np.empty(frames)
    moved = np.empty((frames, padded // BITS), dtype=np.uint8)
    return scores, entering, moved, np.empty(WIDEST), np.zeros(WIDEST * FRAMES, dtype=kind)
