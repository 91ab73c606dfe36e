"""Pairs of vectors: maximum likelihood, conditionals, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from glottis.errors import InputError
from glottis.likelihood.joint_density import JointDensity, fit


def pairs(count: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two clusters with a linear law in each."""
    rng = np.random.default_rng(seed)
    which = rng.random(count) < 0.3
    x = rng.normal(0, 1, (count, 2)) + np.where(which, 6.0, 0.0)[:, None]
    y = np.where(which[:, None], 3 - 0.5 * x, 2 * x) + rng.normal(0, 0.1, (count, 2))
    return x, y


def test_the_likelihood_never_falls() -> None:
    _, history = fit(*pairs(), 3, rounds=25)
    assert (np.diff(history) > -1e-9).all()
    assert history[-1] > history[0] + 1


def test_a_single_gaussian_is_linear_regression() -> None:
    x, y = pairs()
    density, _ = fit(x, y, 1, rounds=2)
    mean, variance = density.conditional(x)
    for dimension in range(2):
        slope, offset = np.polyfit(x[:, dimension], y[:, dimension], 1)
        np.testing.assert_allclose(mean[:, dimension], slope * x[:, dimension] + offset, rtol=1e-6)
        left = y[:, dimension] - mean[:, dimension]
        np.testing.assert_allclose(variance[:, dimension], left.var(), rtol=1e-6)


def test_two_laws_are_told_apart() -> None:
    density, _ = fit(*pairs(), 2, rounds=40, seed=1)
    x, y = pairs(seed=5)
    mean, _ = density.conditional(x)
    assert np.median(np.abs(mean - y)) < 0.15


def test_densities_are_those_of_the_definition() -> None:
    density, _ = fit(*pairs(), 2, rounds=3)
    x, y = pairs(5, seed=2)
    wanted = np.zeros((5, 2))
    for mixture in range(2):
        for pair in range(5):
            total = np.log(density.weights[mixture])
            for d in range(2):
                covariance = np.array(
                    [
                        [density.xx[mixture, d], density.xy[mixture, d]],
                        [density.xy[mixture, d], density.yy[mixture, d]],
                    ]
                )
                apart = np.array(
                    [
                        x[pair, d] - density.x_mean[mixture, d],
                        y[pair, d] - density.y_mean[mixture, d],
                    ]
                )
                total -= 0.5 * apart @ np.linalg.solve(covariance, apart)
                total -= 0.5 * np.log(np.linalg.det(2 * np.pi * covariance))
            wanted[pair, mixture] = total
    np.testing.assert_allclose(density.log_prob(x, y), np.logaddexp(*wanted.T), rtol=1e-8)
    # The marginal is the joint density summed over the other vector.
    one = JointDensity(
        *(value[:, :1] if value.ndim == 2 else value for value in vars(density).values())
    )
    grid = np.linspace(-30, 30, 6001)[:, None]
    for point in (-1.0, 0.5, 4.0):
        joint = np.exp(one.log_prob(np.full_like(grid, point), grid)).sum() * 0.01
        assert np.exp(one.marginal_log_prob(np.array([[point]])))[0] == pytest.approx(joint, 1e-4)


def test_what_cannot_be_fitted_is_refused() -> None:
    x, y = pairs(50)
    for wrong, match in (
        ((x, y[:, :1], 2), "must have one shape"),
        ((x, y, 6), "too few for 6"),
        ((np.where(x > 2, np.nan, x), y, 1), "NaN"),
    ):
        with pytest.raises(InputError, match=match):
            fit(*wrong)
