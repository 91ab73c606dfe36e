"""Statistics that grow, and the scalings made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glottis.corpus.scaling import Scaling, Statistics
from glottis.errors import InputError


@given(st.lists(st.integers(0, 7), min_size=1, max_size=8), st.integers(0, 99))
def test_pieces_say_what_the_whole_says(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    pieces = [rng.normal(1e6, 1.0, (size, 3)) for size in sizes]
    whole = np.concatenate(pieces)
    one, halves = Statistics(3), [Statistics(3), Statistics(3)]
    for number, piece in enumerate(pieces):
        one.add(piece)
        halves[number % 2].add(piece)
    halves[0].merge(halves[1])
    for found in (one, halves[0]):
        assert found.count == len(whole)
        if len(whole):
            np.testing.assert_allclose(found.mean, whole.mean(0), rtol=1e-12)
            np.testing.assert_allclose(found.variance, whole.var(0), rtol=1e-6, atol=1e-9)
            assert (found.minimum == whole.min(0)).all()
            assert (found.maximum == whole.max(0)).all()


def test_scalings_reach_their_aim_and_are_undone() -> None:
    values = np.random.default_rng(0).normal(5, 3, (100, 4))
    values[:, 2] = 7.0
    statistics = Statistics(4)
    statistics.add(values)
    standard, ranged = Scaling.standard(statistics), Scaling.to_range(statistics, -1.0, 1.0)
    made = standard.apply(values)
    np.testing.assert_allclose(made.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(made.std(0), [1, 1, 0, 1], atol=1e-9)
    made = ranged.apply(values)
    np.testing.assert_allclose(made.min(0), -1)
    np.testing.assert_allclose(made.max(0), [1, 1, -1, 1])
    for scaling in (standard, ranged):
        np.testing.assert_allclose(scaling.invert(scaling.apply(values)), values)


def test_bad_input_is_refused() -> None:
    statistics = Statistics(2)
    for wrong, match in ((np.ones((3, 3)), r"\[frames, 2\]"), (np.full((1, 2), np.nan), "NaN")):
        with pytest.raises(InputError, match=match):
            statistics.add(wrong)
    for make in (Scaling.standard, Scaling.to_range):
        with pytest.raises(InputError, match="nothing to scale"):
            make(statistics)
    statistics.add(np.ones((1, 2)))
    with pytest.raises(InputError, match="must rise"):
        Scaling.to_range(statistics, 1.0, 1.0)
    with pytest.raises(InputError, match="at least 1"):
        Statistics(0)
