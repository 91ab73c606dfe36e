"""Scaling features: statistics that grow as frames pass, and the two usual scalings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError

Float = NDArray[np.float64]


class Statistics:
    """Count, mean, variance, minimum and maximum of each dimension, one array at a time.

    Sums of squares are taken about the running mean and merged (Chan, Golub & LeVeque 1983), so
    that a large offset costs no digits; two processes' statistics merge as two arrays do.
    """

    def __init__(self, dimensions: int) -> None:
        if dimensions < 1:
            raise InputError(f"dimensions must be at least 1, not {dimensions}")
        self.count = 0
        self.mean: Float = np.zeros(dimensions)
        self._squares: Float = np.zeros(dimensions)
        self.minimum: Float = np.full(dimensions, np.inf)
        self.maximum: Float = np.full(dimensions, -np.inf)

    def add(self, values: NDArray[np.floating]) -> None:
        """``values`` ``[frames, dimensions]``; none is fine.

        Raises:
            InputError: another width, or values that are not finite.
        """
        if values.ndim != 2 or values.shape[1] != len(self.mean):
            raise InputError(f"values must be [frames, {len(self.mean)}], not {list(values.shape)}")
        if not np.isfinite(values).all():
            raise InputError("values hold NaN or infinity")
        if len(values):
            values = values.astype(np.float64)
            other = Statistics(len(self.mean))
            other.count, other.mean = len(values), values.mean(0)
            other._squares = ((values - other.mean) ** 2).sum(0)
            other.minimum, other.maximum = values.min(0), values.max(0)
            self.merge(other)

    def merge(self, other: Statistics) -> None:
        """Take in what another has seen."""
        count = self.count + other.count
        if not other.count:
            return
        apart = other.mean - self.mean
        self.mean = self.mean + apart * (other.count / count)
        self._squares += other._squares + apart**2 * (self.count * other.count / count)
        self.minimum = np.minimum(self.minimum, other.minimum)
        self.maximum = np.maximum(self.maximum, other.maximum)
        self.count = count

    @property
    def variance(self) -> Float:
        """``[dimensions]``, divided by the count."""
        return self._squares / max(self.count, 1)


@dataclass(frozen=True)
class Scaling:
    """``(values - offset) * factor``, and back; both ``[dimensions]``."""

    offset: Float
    factor: Float

    @classmethod
    def standard(cls, statistics: Statistics) -> Scaling:
        """To mean 0 and variance 1; a constant dimension becomes 0.

        Raises:
            InputError: nothing was added.
        """
        _not_empty(statistics)
        deviation = np.sqrt(statistics.variance)
        return cls(statistics.mean, 1 / np.where(deviation > 0, deviation, 1.0))

    @classmethod
    def to_range(cls, statistics: Statistics, low: float = 0.0, high: float = 1.0) -> Scaling:
        """The smallest value to ``low``, the largest to ``high``; a constant becomes ``low``.

        Raises:
            InputError: nothing was added, or an empty range.
        """
        _not_empty(statistics)
        if not low < high:
            raise InputError(f"a range must rise, not go from {low} to {high}")
        width = statistics.maximum - statistics.minimum
        factor = (high - low) / np.where(width > 0, width, 1.0)
        return cls(statistics.minimum - low / factor, factor)

    def apply(self, values: NDArray[np.floating]) -> Float:
        """``[..., dimensions]`` scaled."""
        scaled: Float = (values - self.offset) * self.factor
        return scaled

    def invert(self, values: NDArray[np.floating]) -> Float:
        """``[..., dimensions]`` as they were."""
        original: Float = values / self.factor + self.offset
        return original


def _not_empty(statistics: Statistics) -> None:
    if not statistics.count:
        raise InputError("no values were added; there is nothing to scale by")
