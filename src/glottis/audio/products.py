"""Products of matrices on the caller's thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Multiplications from which on OpenBLAS shares a product out between threads. Here that is a few
# microseconds of work; where the other processors are busy, waiting for them takes milliseconds.
_SHARED = 262_144


def product(rows: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
    """``rows @ matrix``, ``[n, k]`` and ``[k, m]`` -> ``[n, m]``, so many rows at a time that one
    thread does it."""
    step = max(1, _SHARED // max(1, matrix.size))
    made = np.empty((len(rows), matrix.shape[1]), np.result_type(rows, matrix))
    for start in range(0, len(rows), step):
        np.matmul(rows[start : start + step], matrix, out=made[start : start + step])
    return made
