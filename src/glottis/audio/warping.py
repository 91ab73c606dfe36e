"""Dynamic time warping: which frames of two utterances of the same words belong together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError

Float = NDArray[np.float64]
Index = NDArray[np.int64]


def warp(first: Float, second: Float) -> tuple[Index, Index]:
    """Dynamic time warping: the cheapest monotone pairing of all frames of two sequences.

    Args:
        first: ``[features, frames]``.
        second: ``[features, other frames]``.

    Returns:
        Two index arrays ``[pairs]``: from (0, 0) to the last frames, each step moves one or both by
        one. The sum of Euclidean distances over the pairs is least; ties prefer moving both.

    Source: Sakoe & Chiba 1978, symmetric form without slope constraint or weights.
    """
    rows, columns = first.shape[1], second.shape[1]
    if not rows or not columns:
        raise InputError("there are no frames to align")
    squares = (first**2).sum(0)[:, None] + (second**2).sum(0)[None, :] - 2.0 * first.T @ second
    distance = np.sqrt(np.maximum(squares, 0.0))
    # Anti-diagonals: everything on one depends only on the two before, so each is one vector step.
    # ``before`` and ``last`` hold diagonals k - 2 and k - 1, indexed by row + 1.
    step = np.zeros((rows, columns), dtype=np.int8)  # 0 both, 1 down (first moves), 2 right
    before = np.full(rows + 1, np.inf)
    last = np.full(rows + 1, np.inf)
    before[0] = 0.0  # so that (0, 0) comes from "both"
    for diagonal in range(rows + columns - 1):
        low, high = max(0, diagonal - columns + 1), min(rows, diagonal + 1)
        row = np.arange(low, high)
        column = diagonal - row
        both, down, right = before[row], last[row], last[row + 1]
        choice = np.where(
            (both <= down) & (both <= right), 0, np.where(down <= right, 1, 2)
        ).astype(np.int8)
        cheapest = np.minimum(both, np.minimum(down, right))
        current = np.full(rows + 1, np.inf)
        current[row + 1] = cheapest + distance[row, column]
        step[row, column] = choice
        before, last = last, current
    pairs = []
    i, j = rows - 1, columns - 1
    while True:
        pairs.append((i, j))
        if i == 0 and j == 0:
            break
        move = step[i, j]
        i, j = i - (move != 2), j - (move != 1)
    path = np.array(pairs[::-1], dtype=np.int64)
    return path[:, 0], path[:, 1]
