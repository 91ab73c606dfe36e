"""Products on one thread equal the usual ones."""

from __future__ import annotations

import numpy as np
import pytest

from glottis.audio.products import product


@pytest.mark.parametrize("shape", [(0, 3, 2), (1, 1, 1), (700, 40, 513), (5, 600, 900)])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_product_in_parts_is_the_product(shape: tuple[int, int, int], kind: type) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal(shape[:2]).astype(kind)
    matrix = rng.standard_normal(shape[1:]).astype(kind)
    made = product(rows, matrix)
    assert made.dtype == kind
    tolerance = 1e-4 if kind is np.float32 else 1e-12
    np.testing.assert_allclose(made, rows @ matrix, rtol=tolerance, atol=tolerance)
    across = product(np.asfortranarray(rows), matrix)
    np.testing.assert_allclose(across, made, rtol=tolerance, atol=tolerance)
