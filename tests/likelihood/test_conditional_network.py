"""A network's Gaussians: what is around a frame counts, and the spread is the noise's."""

from __future__ import annotations

import numpy as np
import pytest

from glottis.errors import InputError
from glottis.likelihood.conditional_network import fit

NOISE = 0.3


def utterances(seed: int, count: int = 6) -> tuple[list, list, list]:
    """``y`` is what ``x`` was two frames before, with noise; a third of the frames is known."""
    rng = np.random.default_rng(seed)
    x = [5.0 + 2.0 * rng.normal(0, 1, (150 + 40 * item, 2)) for item in range(count)]
    places = [np.sort(rng.choice(np.arange(2, len(item)), len(item) // 3, False)) for item in x]
    y = [
        item[at - 2] * [1.0, -3.0] + NOISE * rng.normal(0, 1, (len(at), 2))
        for item, at in zip(x, places, strict=True)
    ]
    return x, places, y


def test_it_learns_from_what_is_around_a_frame_and_how_sure_it_is() -> None:
    law, history = fit(*utterances(0), channels=16, layers=2, steps=100, seed=3)
    assert np.mean(history[-10:]) < history[0] - 0.6
    x, _, _ = utterances(1, 1)
    mean, variance = law.conditional(x[0])
    inner = slice(5, -5)
    apart = (mean[2:] - x[0][:-2] * [1.0, -3.0])[inner] / [2.0, 6.0]  # of their own spread
    assert np.sqrt((apart**2).mean(0)) == pytest.approx([0, 0], abs=0.3)
    sure = np.sqrt(np.median(variance[inner], axis=0))
    assert (sure < [1.2, 2.4]).all()
    assert (sure > 0.5 * NOISE).all()


def test_the_same_seed_gives_the_same_network() -> None:
    data = utterances(0, 2)
    laws = [fit(*data, channels=8, layers=2, steps=3, seed=seed)[0] for seed in (1, 1, 2)]
    means = [law.conditional(data[0][0])[0] for law in laws]
    np.testing.assert_array_equal(means[0], means[1])
    assert np.abs(means[0] - means[2]).max() > 1e-6


def test_what_is_no_pair_is_refused() -> None:
    x, places, y = utterances(0, 2)
    with pytest.raises(InputError, match="no pairs"):
        fit(x, [at[:0] for at in places], [known[:0] for known in y])
    with pytest.raises(InputError, match="as many places as values"):
        fit(x, places, [known[1:] for known in y])
    y[1][0] = np.nan
    with pytest.raises(InputError, match="finite"):
        fit(x, places, y)
