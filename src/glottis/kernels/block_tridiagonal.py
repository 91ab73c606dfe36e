"""Block tridiagonal systems by cyclic reduction, in numpy: many at once, no compiler.

Every second block is eliminated, which leaves a system of the same kind half as long (Heller 1976,
"Some aspects of the cyclic reduction algorithm for block tridiagonal linear systems"). All blocks
of a round are eliminated together, so that the number of steps is the logarithm of the length.
Stable for positive definite systems.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Index = NDArray[np.int64]


class Indefinite(ValueError):
    """``block`` is the number of a block that is not positive definite."""

    def __init__(self, block: int) -> None:
        super().__init__(f"block {block} is not positive definite")
        self.block = block


def banded(rows: Float) -> tuple[Float, Float]:
    """A symmetric band as blocks.

    ``rows`` ``[size, band + 1, systems]``, ``rows[i, k]`` what couples ``i`` with ``i - k`` ->
    diagonal ``[blocks, band, band, systems]`` and, above it, ``[blocks - 1, band, band, systems]``;
    the last block is filled up with ones on the diagonal.
    """
    size, band, systems = len(rows), rows.shape[1] - 1, rows.shape[2]
    width = max(band, 1)
    blocks = -(-size // width)
    filled = np.zeros((blocks * width, *rows.shape[1:]))
    filled[:size] = rows
    filled[size:, 0] = 1.0
    # A row may reach beyond the first one, to where nothing is.
    for k in range(1, band + 1):
        filled[:k, k] = 0.0
    split = filled.reshape(blocks, width, band + 1, systems)
    diagonal = np.zeros((blocks, width, width, systems))
    above = np.zeros((blocks - 1, width, width, systems))
    for i in range(width):
        for j in range(width):
            if abs(i - j) <= band:
                diagonal[:, i, j] = split[:, max(i, j), abs(i - j)]
            if width + j - i <= band:
                above[:, i, j] = split[1:, j, width + j - i]
    return diagonal, above


def solve(diagonal: Float, above: Float, right: Float) -> Float:
    """``[blocks, n, n, systems]``, ``[blocks - 1, n, n, systems]`` and ``[blocks, n, systems]`` ->
    ``[blocks, n, systems]``.

    Raises:
        Indefinite: the systems are not positive definite.
    """
    return _solve(diagonal, above, right[:, :, None], np.arange(len(diagonal)))[:, :, 0]


def _solve(diagonal: Float, above: Float, right: Float, number: Index) -> Float:
    if len(diagonal) == 1:
        return _product(_inverse(diagonal, number), right)
    inverse = _inverse(diagonal[1::2], number[1::2])
    before, after = above[0::2], above[1::2]  # what couples an odd block to both sides
    odd, shared = len(before), len(after)
    to_before = _product(before, inverse)
    to_after = _product(_turned(after), inverse[:shared])
    kept, known = diagonal[0::2].copy(), right[0::2].copy()
    kept[:odd] -= _product(to_before, _turned(before))
    kept[1 : shared + 1] -= _product(to_after, after)
    known[:odd] -= _product(to_before, right[1::2])
    known[1 : shared + 1] -= _product(to_after, right[1::2][:shared])
    solved = np.empty_like(right)
    solved[0::2] = _solve(kept, -_product(to_before[:shared], after), known, number[0::2])
    rest = right[1::2] - _product(_turned(before), solved[0::2][:odd])
    rest[:shared] -= _product(after, solved[2::2])
    solved[1::2] = _product(inverse, rest)
    return solved


def _turned(blocks: Float) -> Float:
    return blocks.swapaxes(1, 2)


def _product(a: Float, b: Float) -> Float:
    """Of blocks ``[blocks, n, m, systems]`` and ``[blocks, m, k, systems]``."""
    terms = (a[:, :, j, None] * b[:, None, j] for j in range(a.shape[2]))
    return cast(Float, sum(terms))


def _inverse(blocks: Float, number: Index) -> Float:
    """By bordering: each row and column in turn, whose pivots show what is indefinite."""
    made = blocks.copy()
    size = made.shape[1]
    for i in range(size):
        pivot = made[:, i, i].copy()
        bad = ~(pivot > 0).all(1)
        if bad.any():
            raise Indefinite(int(number[np.flatnonzero(bad)[0]]))
        # Gauss and Jordan, in place; a positive definite block needs no exchange of rows.
        made[:, i, i] = 1.0
        made[:, i] /= pivot[:, None]
        for j in range(size):
            if j != i:
                factor = made[:, j, i].copy()
                made[:, j, i] = 0.0
                made[:, j] -= factor[:, None] * made[:, i]
    return made
