"""Mixtures of Gaussians over pairs of vectors, and what one of a pair says of the other.

Kain & Macon 1998; Toda, Black & Tokuda 2007. Covariances are diagonal within and between the two
vectors: dimension ``d`` of ``x`` varies with dimension ``d`` of ``y`` alone, which fits cepstra and
needs few pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError

Float = NDArray[np.float64]

_FLOOR = 1e-3  # least variance, in shares of that of all pairs
_BLOCK = 8192


@dataclass(frozen=True)
class JointDensity:
    """``weights`` ``[mixtures]``; ``x_mean``, ``y_mean``, the variances ``xx`` and ``yy`` and the
    covariance ``xy``, all ``[mixtures, dimensions]``."""

    weights: Float
    x_mean: Float
    y_mean: Float
    xx: Float
    xy: Float
    yy: Float

    def turned(self) -> JointDensity:
        """The same density with ``x`` and ``y`` in each other's place."""
        return JointDensity(self.weights, self.y_mean, self.x_mean, self.yy, self.xy, self.xx)

    def log_prob(self, x: Float, y: Float) -> Float:
        """Of pairs ``[pairs, dimensions]`` each: ``[pairs]``, nats."""
        return _log_sum(self._joint(x, y))

    def marginal_log_prob(self, x: Float) -> Float:
        """Of ``x`` alone: ``[pairs]``, nats."""
        return _log_sum(self._marginal(x))

    def conditional(self, x: Float) -> tuple[Float, Float]:
        """Mean and variance of ``y`` given ``x``, ``[frames, dimensions]`` both.

        Those of the mixture that explains ``x`` best (Toda et al. 2007, eqs. 27 and 28).
        """
        best = self._marginal(x).argmax(1)
        slope = self.xy / self.xx
        mean = self.y_mean[best] + slope[best] * (x - self.x_mean[best])
        return mean, (self.yy - slope * self.xy)[best]

    def _marginal(self, x: Float) -> Float:
        precision = 1 / self.xx
        constant = np.log(self.weights) + 0.5 * np.log(precision / (2 * np.pi)).sum(1)
        constant = constant - 0.5 * (precision * self.x_mean**2).sum(1)
        found: Float = constant + x @ (precision * self.x_mean).T - 0.5 * x**2 @ precision.T
        return found

    def _joint(self, x: Float, y: Float) -> Float:
        """``[pairs, mixtures]``."""
        determinant = self.xx * self.yy - self.xy**2
        a, b, c = self.yy / determinant, -self.xy / determinant, self.xx / determinant
        to_x, to_y = a * self.x_mean + b * self.y_mean, b * self.x_mean + c * self.y_mean
        constant = np.log(self.weights) - 0.5 * np.log(4 * np.pi**2 * determinant).sum(1)
        constant = constant - 0.5 * (to_x * self.x_mean + to_y * self.y_mean).sum(1)
        found: Float = constant + x @ to_x.T + y @ to_y.T
        found -= 0.5 * (x**2 @ a.T + y**2 @ c.T) + (x * y) @ b.T
        return found


def fit(
    x: Float, y: Float, mixtures: int, *, rounds: int = 20, seed: int = 0
) -> tuple[JointDensity, list[float]]:
    """Maximum likelihood by expectation and maximisation.

    Args:
        x, y: pairs ``[pairs, dimensions]`` each.
        mixtures: how many Gaussians.
        rounds: passes over the pairs.
        seed: of the pairs that the Gaussians begin at.

    Returns:
        The density, and the mean log-likelihood of a pair before each round.

    Raises:
        InputError: shapes that differ, values that are not finite, or fewer than ten pairs a
            mixture.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or x.shape != y.shape:
        raise InputError(f"pairs must have one shape, not {list(x.shape)} and {list(y.shape)}")
    if mixtures < 1 or len(x) < 10 * mixtures:
        raise InputError(f"{len(x)} pairs are too few for {mixtures} mixtures; ten each are needed")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("pairs hold NaN or infinite values")
    least = _FLOOR * x.var(0) + 1e-10, _FLOOR * y.var(0) + 1e-10
    order = np.random.default_rng(seed).permutation(len(x))[:mixtures]
    whole = np.ones((mixtures, 1))
    density = JointDensity(
        np.full(mixtures, 1 / mixtures),
        x[order],
        y[order],
        whole * (x.var(0) + least[0]),
        0 * whole * x[:1],
        whole * (y.var(0) + least[1]),
    )
    history = []
    for _ in range(rounds):
        sums, total = np.zeros((mixtures, 1 + 5 * x.shape[1])), 0.0
        for start in range(0, len(x), _BLOCK):
            a, b = x[start : start + _BLOCK], y[start : start + _BLOCK]
            joint = density._joint(a, b)
            whole_log = _log_sum(joint)
            total += float(whole_log.sum())
            share = np.exp(joint - whole_log[:, None])
            sums += share.T @ np.concatenate([np.ones((len(a), 1)), a, b, a * a, a * b, b * b], 1)
        history.append(total / len(x))
        density = _from_sums(sums, len(x), least)
    return density, history


def _from_sums(sums: Float, pairs: int, least: tuple[Float, Float]) -> JointDensity:
    count = np.maximum(sums[:, :1], 1e-8)
    x, y, xx, xy, yy = np.split(sums[:, 1:] / count, 5, axis=1)
    xx = np.maximum(xx - x**2, least[0])
    yy = np.maximum(yy - y**2, least[1])
    # However few pairs there are, one vector never says all of the other.
    limit = 0.999 * np.sqrt(xx * yy)
    xy = (xy - x * y).clip(-limit, limit)
    return JointDensity(count[:, 0] / count.sum(), x, y, xx, xy, yy)


def _log_sum(values: Float) -> Float:
    largest = values.max(1)
    found: Float = largest + np.log(np.exp(values - largest[:, None]).sum(1))
    return found
