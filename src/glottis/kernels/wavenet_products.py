"""Weights times a few columns of float32, in registers: what WaveNet's sampler spends its time in.

Written out in LLVM's terms, because a compiler that sees loops over arrays neither keeps the sums
in registers nor unpacks small weights there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from glottis.kernels.vector_math import compiled
from glottis.kernels.wavenet_layout import LANES, TILE

# Columns that share one reading of the weights, and registers of outputs that they take at once:
# eight sums of AVX2, or sixteen of AVX-512, stay in registers and hide each other's latency.
COLUMNS = 4
SHARED = LANES // 4


def _lanes(kind: ir.Type) -> ir.VectorType:
    return ir.VectorType(kind, LANES)


def _address(builder: Any, array: Any, at: Any, kind: ir.Type) -> Any:
    return builder.bitcast(builder.gep(array, [at]), kind.as_pointer())


def _weights_of_tile(builder: Any, weights: Any, at: Any, element: Any, vectors: int) -> list[Any]:
    """The weights of one input as so many float vectors."""
    real, word, found = _lanes(ir.FloatType()), _lanes(ir.IntType(32)), []
    if element == types.float32:
        for i in range(vectors):
            place = builder.add(at, ir.Constant(at.type, i * LANES))
            found.append(builder.load(_address(builder, weights, place, real), align=4))
    elif element == types.uint32:
        sixteen = ir.Constant(word, [16] * LANES)
        for i in range(vectors // 2):
            place = builder.add(at, ir.Constant(at.type, i * LANES))
            pair = builder.load(_address(builder, weights, place, word), align=4)
            found.append(builder.bitcast(pair, real))
            found.append(builder.bitcast(builder.shl(pair, sixteen), real))
    else:
        for i in range(vectors):
            place = builder.add(at, ir.Constant(at.type, i * LANES))
            small = _address(builder, weights, place, _lanes(ir.IntType(8)))
            wide = builder.sext(builder.load(small, align=1), word)
            found.append(builder.sitofp(wide, real))
    return found


def _tile_product(columns: int, parts: int) -> Callable[..., Any]:
    """An intrinsic that adds ``weights @ x`` to ``out`` for some columns and the outputs of so many
    registers, a tile or the part of one that begins at ``at``."""

    @intrinsic
    def product(typing, weights, at, scales, scale_at, inputs, x, x_at, x_step, out, out_at, step):  # type: ignore[no-untyped-def]
        signature = types.void(
            weights, at, scales, scale_at, inputs, x, x_at, x_step, out, out_at, step
        )
        element = weights.dtype
        width = TILE // 2 if element == types.uint32 else TILE

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def data(i: int) -> Any:
                struct = cgutils.create_struct_proxy(signature.args[i])
                return struct(context, builder, arguments[i]).data

            matrix, scaling, vectors, results = data(0), data(2), data(5), data(8)
            start, scale_start, count, x_start, x_row, out_start, out_row = (
                arguments[i] for i in (1, 3, 4, 6, 7, 9, 10)
            )
            real, whole = _lanes(ir.FloatType()), start.type
            zero = ir.Constant(real, [0.0] * LANES)
            sums = [
                [cgutils.alloca_once(builder, real) for _ in range(parts)] for _ in range(columns)
            ]

            def place(column: int, part: int) -> Any:
                row = builder.mul(out_row, ir.Constant(whole, column))
                at = builder.add(out_start, row)
                at = builder.add(at, ir.Constant(whole, part * LANES))
                return _address(builder, results, at, real)

            for column in range(columns):
                for part in range(parts):
                    begin = zero
                    if element != types.int8:
                        begin = builder.load(place(column, part), align=4)
                    builder.store(begin, sums[column][part])
            with cgutils.for_range(builder, count, intp=whole) as loop:
                at = builder.add(start, builder.mul(loop.index, ir.Constant(whole, width)))
                tile = _weights_of_tile(builder, matrix, at, element, parts)
                for column in range(columns):
                    row = builder.mul(x_row, ir.Constant(whole, column))
                    where = builder.add(builder.add(x_start, row), loop.index)
                    value = builder.load(builder.gep(vectors, [where]), align=4)
                    unknown = ir.Constant(real, ir.Undefined)
                    spread = builder.insert_element(unknown, value, ir.Constant(ir.IntType(32), 0))
                    first = ir.Constant(_lanes(ir.IntType(32)), [0] * LANES)
                    spread = builder.shuffle_vector(spread, unknown, first)
                    for part in range(parts):
                        total = sums[column][part]
                        term = builder.fmul(tile[part], spread, flags=("contract",))
                        term = builder.fadd(builder.load(total), term, flags=("contract",))
                        builder.store(term, total)
            for column in range(columns):
                for part in range(parts):
                    result = builder.load(sums[column][part])
                    if element == types.int8:
                        at = builder.add(scale_start, ir.Constant(whole, part * LANES))
                        scale = builder.load(_address(builder, scaling, at, real), align=4)
                        before = builder.load(place(column, part), align=4)
                        result = builder.fadd(before, builder.fmul(result, scale))
                    builder.store(result, place(column, part), align=4)
            return context.get_dummy_value()

        return signature, generate

    return product


_whole_tile = _tile_product(1, TILE // LANES)
_one_column = _tile_product(1, SHARED)
_two_columns = _tile_product(2, SHARED)
_some_columns = _tile_product(COLUMNS, SHARED)


@compiled
def multiply(  # type: ignore[no-untyped-def]
    matrices,
    at,
    width,
    scales,
    scale_at,
    tiles,
    inputs,
    x,
    x_at,
    x_step,
    columns,
    out,
    out_at,
    step,
):
    """``out[column, output] += sum over inputs of weights * x[column, input]``, all flat arrays.

    The weights lie as ``[tile, input, width]`` from ``at`` on; columns are ``x_step`` and ``step``
    apart.
    """
    for tile in range(tiles):
        place, scale, result = (
            at + tile * inputs * width,
            scale_at + tile * TILE,
            out_at + tile * TILE,
        )
        if columns == 1:
            _whole_tile(
                matrices, place, scales, scale, inputs, x, x_at, x_step, out, result, step
            )  # fmt: skip
            continue
        # A part of the tile stays in the nearest cache while all columns pass over it.
        for part in range(TILE // LANES // SHARED):
            shift = part * SHARED * LANES
            near, own, to = place + shift * width // TILE, scale + shift, result + shift
            column = 0
            while column + COLUMNS <= columns:
                _some_columns(
                    matrices, near, scales, own, inputs,
                    x, x_at + column * x_step, x_step, out, to + column * step, step,
                )  # fmt: skip
                column += COLUMNS
            if column + 2 <= columns:
                _two_columns(
                    matrices, near, scales, own, inputs,
                    x, x_at + column * x_step, x_step, out, to + column * step, step,
                )  # fmt: skip
                column += 2
            if column < columns:
                _one_column(
                    matrices, near, scales, own, inputs,
                    x, x_at + column * x_step, x_step, out, to + column * step, step,
                )  # fmt: skip
