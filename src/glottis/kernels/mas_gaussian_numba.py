"""The Gaussian lattice and the search through it in one compiled pass, which never stores it.

Strips of tokens go through a block of frames as in :mod:`.mas_strips`, but their cells are made
on the way: a tile of a matrix product, some tokens by six frames, stays in registers until its
sum is complete, and is written in the order in which the search reads it, to a few kilobytes that
stay in the first-level cache. Both factors are packed first so that the product reads them
from one end to the other (Goto and van de Geijn 2008). Tiles from which no path leads to both ends
are not made at all, a fifth of the lattice where frames are five times the tokens.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from glottis.kernels.mas_numba import share
from glottis.kernels.mas_strips import (
    BITS,
    LANES,
    WIDEST,
    plus,
    pointer,
    prefetch,
    scratch,
    strip,
    way_back,
)
from glottis.kernels.vector_math import compiled, exponentials

#: Frames of a tile: with two registers of tokens, twelve of AVX2's sixteen hold its sums.
TILE = 6

#: Frames that a strip makes before it searches them; whole tiles.
AHEAD = 4 * TILE

#: Bytes of tokens in a tile, and in one of a strip so narrow that it has no more.
WIDE, NARROW = 64, 32

# How far ahead of the work memory of the latents is asked for, in numbers.
SOON = 64

_number, _byte, _index = ir.IntType(32), ir.IntType(8), ir.IntType(64)


def _repeated(builder: Any, number: Any, row: Any) -> Any:
    """A vector of type ``row`` that holds ``number`` everywhere."""
    none = ir.Constant(row, ir.Undefined)
    first = builder.insert_element(none, number, _number(0))
    same = ir.Constant(ir.VectorType(_number, row.count), [0] * row.count)
    return builder.shuffle_vector(first, none, same)


def _tile(width: int) -> Any:
    """An intrinsic: ``width`` bytes of tokens by ``TILE`` frames of the product, and the terms.

    ``cells[cells_at + f * step + t] = sum_k left[left_at + k * tokens + t] * right[right_at + k *
    TILE + f] + of_token[token_at + t] + of_frame[frame_at + f]`` with ``k < depth``, which must not
    be zero.
    """

    @intrinsic
    def tile(  # type: ignore[no-untyped-def]
        typing, left, left_at, right, right_at, depth, of_token, token_at, of_frame, frame_at,
        cells, cells_at, step,
    ):  # fmt: skip
        signature = types.void(
            left, left_at, right, right_at, depth, of_token, token_at, of_frame, frame_at,
            cells, cells_at, step,
        )  # fmt: skip

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            left, left_at, right, right_at, depth, of_token, token_at, *rest = values
            of_frame, frame_at, cells, cells_at, step = rest
            kinds = signature.args
            element = context.get_data_type(kinds[0].dtype)
            size = context.get_abi_sizeof(element)
            tokens = width // size
            row = ir.VectorType(element, tokens)
            # Fused where the processor can, in two steps where it cannot.
            multiply_add = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(row, [row, row, row]),
                f"llvm.fmuladd.v{tokens}f{8 * size}",
            )

            def load(array: Any, kind: Any, index: Any, target: Any) -> Any:
                place = pointer(context, builder, kind, array, index, target)
                return builder.load(place, align=size)

            before = builder.block
            loop, after = (builder.append_basic_block(name) for name in ("depth", "after"))
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(_index)
            k.add_incoming(_index(0), before)
            sums = [builder.phi(row) for _ in range(TILE)]
            for phi in sums:
                phi.add_incoming(ir.Constant(row, [0.0] * tokens), before)
            of_left = load(left, kinds[0], plus(builder, left_at, tokens, k), row)
            start = plus(builder, right_at, TILE, k)
            new = []
            for f in range(TILE):
                of_right = load(right, kinds[2], plus(builder, start, f), element)
                of_right = _repeated(builder, of_right, row)
                new.append(builder.call(multiply_add, [of_left, of_right, sums[f]]))
            following = plus(builder, k, 1)
            builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
            k.add_incoming(following, builder.block)
            for phi, value in zip(sums, new, strict=True):
                phi.add_incoming(value, builder.block)
            builder.position_at_end(after)
            own = load(of_token, kinds[5], token_at, row)
            for f, product in enumerate(new):
                term = load(of_frame, kinds[7], plus(builder, frame_at, f), element)
                cell = builder.fadd(builder.fadd(product, own), _repeated(builder, term, row))
                place = plus(builder, cells_at, f, step)
                place = pointer(context, builder, kinds[9], cells, place, row)
                builder.store(cell, place, align=size)
            return context.get_dummy_value()

        return signature, generate

    return tile


_wide_tile, _narrow_tile = _tile(WIDE), _tile(NARROW)
_strip_8, _strip_4, _strip_2 = (strip(groups, turned=False) for groups in (8, 4, 2))


@compiled
def _groups(tokens):  # type: ignore[no-untyped-def]
    """Registers of the next strip, when so many tokens are left."""
    return 8 if tokens > 3 * BITS else 4 if tokens > BITS else 2


def _order(groups: int) -> Any:
    """An intrinsic: ``groups * LANES`` tokens from ``row[at]`` on in the order of registers.

    They go to ``left[to]`` and on, or, if they fill more than a tile, the next ones to
    ``left[to + step]`` and on.
    """

    @intrinsic
    def order(typing, row, at, left, to, step):  # type: ignore[no-untyped-def]
        signature = types.void(row, at, left, to, step)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            row, at, left, to, step = values
            kinds = signature.args
            element = context.get_data_type(kinds[0].dtype)
            size = context.get_abi_sizeof(element)
            tokens = groups * LANES
            width = min(WIDE // size, tokens)
            whole, tile = (ir.VectorType(element, count) for count in (tokens, width))
            place = pointer(context, builder, kinds[0], row, at, whole)
            found = builder.load(place, align=size)
            where = [k % LANES * groups + k // LANES for k in range(tokens)]
            for k in range(tokens // width):
                mask = ir.Constant(
                    ir.VectorType(_number, width), where[k * width : (k + 1) * width]
                )
                made = builder.shuffle_vector(found, ir.Constant(whole, ir.Undefined), mask)
                place = pointer(context, builder, kinds[2], left, plus(builder, to, k, step), tile)
                builder.store(made, place, align=size)
            return context.get_dummy_value()

        return signature, generate

    return order


_order_8, _order_4, _order_2 = (_order(groups) for groups in (8, 4, 2))


@compiled
def _ordered(row, tokens, left, to, step):  # type: ignore[no-untyped-def]
    """All tokens of ``row``, strip after strip; see :func:`_order`. ``step`` is that of a token."""
    done, wide = 0, WIDE // left.itemsize
    while done < tokens:
        groups = _groups(tokens - done)
        place = done * step + to * min(wide, groups * LANES)
        if groups == 8:
            _order_8(row, done, left, place, wide * step)
        elif groups == 4:
            _order_4(row, done, left, place, wide * step)
        else:
            _order_2(row, done, left, place, wide * step)
        done += groups * LANES


@compiled
def _pack_tokens(  # type: ignore[no-untyped-def]
    mean, log_scale, centre, tokens, depth, bits, powers, rows, own, left, of_token
):
    """The left factor, tile after tile in the order of registers, and the tokens' own terms.

    ``mean``, ``log_scale`` ``[channels, text]``, the latter empty for unit variance. ``left`` and
    ``of_token`` need room for ``WIDEST`` tokens more, ``rows [4, tokens + WIDEST]``, too; what
    these hold after the last token does not matter. ``rows``, ``bits`` and ``powers`` (one memory)
    and ``own`` are scratch.
    """
    channels, scaled = mean.shape[0], log_scale.shape[0] > 0
    kind = left.dtype.type
    doubled, precision, halved, weighted = rows[0, :tokens], rows[1, :tokens], rows[2], rows[3]
    own[:] = channels * math.log(2 * math.pi)
    for c in range(channels):
        middle = centre[c]
        if scaled:
            for i in range(np.uintp(tokens)):
                doubled[i] = kind(-2) * log_scale[c, i]
            if left.itemsize == 4:
                exponentials(doubled, bits, powers, precision)
            else:
                for i in range(np.uintp(tokens)):
                    precision[i] = np.exp(doubled[i])
            for i in range(np.uintp(tokens)):
                centred = mean[c, i] - middle
                weighted[i] = centred * precision[i]
                halved[i] = kind(-0.5) * precision[i]
                own[i] += centred * weighted[i] - doubled[i]
            _ordered(halved, tokens, left, c, depth)
        else:
            for i in range(np.uintp(tokens)):
                weighted[i] = mean[c, i] - middle
                own[i] += weighted[i] * weighted[i]
        _ordered(weighted, tokens, left, depth - channels + c, depth)
    for i in range(tokens):
        halved[i] = -0.5 * own[i]
    _ordered(halved, tokens, of_token, 0, 1)


@intrinsic
def _centred(  # type: ignore[no-untyped-def]
    typing, latent, at, middle, right, plain, squares
):
    """``TILE`` numbers from ``latent[at]`` on, less ``middle``, go to ``right[plain]`` and on.

    Their squares go to ``right[squares]`` and on, unless that is the same place.
    """
    signature = types.void(latent, at, middle, right, plain, squares)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        latent, at, middle, right, plain, squares = values
        kinds = signature.args
        element = context.get_data_type(kinds[0].dtype)
        size = context.get_abi_sizeof(element)
        row = ir.VectorType(element, TILE)
        soon = pointer(context, builder, kinds[0], latent, plus(builder, at, SOON), _byte)
        prefetch(builder, soon)
        place = pointer(context, builder, kinds[0], latent, at, row)
        found = builder.fsub(builder.load(place, align=size), _repeated(builder, middle, row))
        # Squares first: where both go to the same place the plain ones stay.
        for number, where in ((builder.fmul(found, found), squares), (found, plain)):
            place = pointer(context, builder, kinds[3], right, where, row)
            builder.store(number, place, align=size)
        return context.get_dummy_value()

    return signature, generate


@compiled
def _pack_frames(latent, centre, first, count, scaled, right, of_frame):  # type: ignore[no-untyped-def]
    """The right factor of ``count`` frames from ``first`` on, tile after tile, and their terms.

    What is left of the last tile is zero.
    """
    channels = latent.shape[0]
    depth = 2 * channels if scaled else channels
    flat, row = latent.reshape(-1), latent.shape[1]
    half = right.dtype.type(0.5)
    for tile in range((count + TILE - 1) // TILE):
        width = min(TILE, count - tile * TILE)
        squares = tile * depth * TILE
        plain = squares + (depth - channels) * TILE
        at = first + tile * TILE
        for c in range(channels):
            if width == TILE:
                _centred(flat, at, centre[c], right, plain, squares)  # type: ignore[call-arg]
            else:
                for f in range(TILE):
                    found = flat[at + f] - centre[c] if f < width else half - half
                    right[squares + f] = found * found
                    right[plain + f] = found
            at, squares, plain = at + row, squares + TILE, plain + TILE
        terms = of_frame[tile * TILE : (tile + 1) * TILE]
        terms[:] = 0
        if not scaled:
            for k in range(tile * depth * TILE, (tile + 1) * depth * TILE, TILE):
                for f in range(TILE):
                    terms[f] -= half * right[k + f] * right[k + f]


@compiled
def _advance(  # type: ignore[no-untyped-def]
    left, of_token, right, of_frame, depth, first, count, tokens, frames,
    scores, entering, moved, held, columns,
):  # fmt: skip
    """The ``count`` frames from ``first`` on, whole tiles but for the last block.

    What follows ``frames`` is the scratch of :func:`glottis.kernels.mas_strips.advance`. Gives
    whether a cell is NaN or +inf.
    """
    bits, bits_row = moved.reshape(-1), moved.shape[1]
    wide = WIDE // left.itemsize
    bad = np.int32(0)
    for i in range(count):
        entering[i] = -np.inf
    if first == 0:
        entering[0] = 0.0
    token = 0
    while token < tokens:
        groups = _groups(tokens - token)
        across = groups * LANES
        size = min(across, tokens - token)
        # Tiles in which both ends can be reached, and one frame more: the next strip enters there.
        begin = min(count, max(0, token - first) // TILE * TILE)
        end = max(begin, token + size + 1 + frames - tokens - first)
        end = min(count, (end + TILE - 1) // TILE * TILE)
        if begin < end:
            for k in range(across):
                held[k % groups * LANES + k // groups] = scores[token + k]
            for i in range(begin, end, AHEAD):
                some = min(AHEAD, end - i)
                for panel in range(0, across, wide):
                    of_left = (token + panel) * depth
                    for f in range(0, some, TILE):
                        if across < wide:
                            _narrow_tile(
                                left, of_left, right, (i + f) * depth, depth,
                                of_token, token, of_frame, i + f,
                                columns, f * across, across,
                            )  # fmt: skip
                        else:
                            _wide_tile(
                                left, of_left, right, (i + f) * depth, depth,
                                of_token, token + panel, of_frame, i + f,
                                columns, f * across + panel, across,
                            )  # fmt: skip
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
        token += size
    return bad > 0


@compiled
def _search(  # type: ignore[no-untyped-def]
    mean, log_scale, centre, latent, tokens, frames, block, durations,
    bits, powers, rows, own, left, of_token, right, of_frame,
    scores, entering, moved, held, columns,
):  # fmt: skip
    """One item; gives the best score."""
    scaled = log_scale.shape[0] > 0
    depth = 2 * mean.shape[0] if scaled else mean.shape[0]
    _pack_tokens(
        mean, log_scale, centre, tokens, depth,
        bits[:tokens], powers[:tokens], rows, own[:tokens], left, of_token,
    )  # fmt: skip
    scores[:] = -np.inf
    unusable = False
    for first in range(0, frames, block):
        count = min(block, frames - first)
        _pack_frames(latent, centre, first, count, scaled, right, of_frame)
        unusable |= _advance(
            left, of_token, right, of_frame, depth, first, count, tokens, frames,
            scores, entering, moved, held, columns,
        )  # fmt: skip
    best = np.nan if unusable else scores[tokens - 1]
    if best > -np.inf:
        way_back(moved, tokens, frames, durations)
    return best


def search(
    mean: NDArray[np.floating],
    log_scale: NDArray[np.floating] | None,
    latent: NDArray[np.floating],
    text_lengths: NDArray[np.int64],
    frame_lengths: NDArray[np.int64],
    block: int = 256,
    threads: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As :func:`glottis.kernels.mas_reference.search_gaussian`, in the type of the arguments.

    That is float32 or float64, one for all. Memory beside the result, for each thread: the packed
    factors, of all tokens of an item and of ``block`` frames (rounded up to whole tiles), and one
    bit for every frame and token of an item. An item whose axes are strided is copied first.
    """
    batch, channels, text = mean.shape
    kind = mean.dtype
    durations = np.zeros((batch, text), dtype=np.int64)
    score = np.empty(batch, dtype=np.float64)
    depth = channels if log_scale is None else 2 * channels

    def work(items: range) -> None:
        if not items:
            return
        most_tokens = max(int(text_lengths[item]) for item in items)
        most_frames = max(int(frame_lengths[item]) for item in items)
        at_once = -(-min(block, most_frames) // TILE) * TILE
        *state, _ = scratch(most_tokens, most_frames, kind)
        columns = np.empty(WIDEST * AHEAD, dtype=kind)
        bits = np.empty(most_tokens, dtype=np.int32)
        rows, sums = np.zeros((4, most_tokens + WIDEST), dtype=kind), np.empty(most_tokens)
        left = np.empty((most_tokens + WIDEST) * depth, dtype=kind)
        right = np.empty(at_once * depth, dtype=kind)
        of_token, of_frame = np.empty(most_tokens + WIDEST, kind), np.empty(at_once, kind)
        unit = np.empty((0, 0), dtype=kind)
        for item in items:
            tokens, frames = int(text_lengths[item]), int(frame_lengths[item])
            own = np.ascontiguousarray(mean[item])
            scales = unit if log_scale is None else np.ascontiguousarray(log_scale[item])
            score[item] = _search(
                own, scales, own[:, :tokens].mean(1), np.ascontiguousarray(latent[item]),
                tokens, frames, at_once, durations[item],
                bits, bits.view(np.float32), rows, sums, left, of_token, right, of_frame,
                *state, columns,
            )  # fmt: skip

    # A cell costs as many additions as there are channels.
    share(work, batch, batch * text * latent.shape[2] * channels, threads)
    return durations, score
