"""Cyclic reduction against dense algebra."""

from __future__ import annotations

import numpy as np
import pytest

from glottis.kernels.block_tridiagonal import Indefinite, banded, solve


def systems(size: int, band: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Positive definite: a band ``[size, band + 1, count]`` and dense ``[count, size, size]``."""
    rng = np.random.default_rng(size + 100 * band)
    factor = np.zeros((count, size, size))
    for k in range(min(band, size - 1) + 1):
        for i in range(k, size):
            factor[:, i, i - k] = rng.normal(0, 1, count) + (3.0 if k == 0 else 0.0)
    dense = factor @ factor.swapaxes(1, 2)
    rows = rng.normal(0, 1, (size, band + 1, count))  # beyond the ends nothing is looked at
    for k in range(band + 1):
        for i in range(k, size):
            rows[i, k] = dense[:, i, i - k]
    return rows, dense


@pytest.mark.parametrize("band", [0, 1, 2, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 33])
def test_it_solves_what_dense_algebra_solves(size: int, band: int) -> None:
    rows, dense = systems(size, band)
    diagonal, above = banded(rows)
    right = np.random.default_rng(1).normal(0, 1, (size, dense.shape[0]))
    filled = np.zeros((len(diagonal) * diagonal.shape[1], dense.shape[0]))
    filled[:size] = right
    found = solve(diagonal, above, filled.reshape(len(diagonal), -1, dense.shape[0]))
    wanted = np.linalg.solve(dense, right.T[..., None])[..., 0].T
    np.testing.assert_allclose(found.reshape(filled.shape)[:size], wanted, rtol=1e-8, atol=1e-10)
    assert not found.reshape(filled.shape)[size:].any()


@pytest.mark.parametrize("place", [0, 9, 18])
def test_what_is_indefinite_is_found_where_it_is(place: int) -> None:
    rows = np.zeros((19, 3, 2))
    rows[:, 0] = 1.0
    rows[place, 0, 1] = -1.0
    with pytest.raises(Indefinite) as found:
        solve(*banded(rows), np.zeros((10, 2, 2)))
    assert found.value.block == place // 2
