"""The trajectory Gaussian: static and dynamic features as one distribution over smooth tracks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from glottis.errors import InputError
from glottis.kernels import (
    WINDOWS,
    mlpg,
    mlpg_colour,
    mlpg_log_determinant,
    mlpg_precisions,
    mlpg_windowed,
)


class TrajectoryGaussian(Distribution):
    """A Gaussian over static trajectories, from Gaussians over static and dynamic features.

    Multiplying the densities of all windows' features and normalising over the static trajectory
    ``y`` gives ``N(y; R^-1 r, R^-1)`` with ``R = sum_w W_w' U_w^-1 W_w`` and ``r = sum_w W_w'
    U_w^-1 mu_w`` (Zen, Tokuda & Kitamura 2007, eq. 15 to 19), independently for each static
    dimension. Unlike a likelihood frame by frame it is a proper density of what is generated: the
    mean is what :func:`glottis.kernels.mlpg` gives. Everything is linear in frames, by one banded
    factor.

    ``batch_shape`` is ``[...]``, ``event_shape`` ``[frames, static]``.

    Args:
        mean: ``[..., frames, windows * static]``, as for ``mlpg``.
        variance: of the shape of ``mean`` or one that broadcasts to it; positive.
        windows: as for ``mlpg``, the first static.
        lengths: integers ``[...]``, frames in each item; what lies beyond them, in ``value`` too,
            takes no part. All frames when None.

    Raises:
        InputError: widths or windows that do not fit, or (when used) variances not positive.
    """

    arg_constraints: ClassVar = {}
    support = constraints.independent(constraints.real, 2)

    def __init__(
        self,
        mean: Tensor,
        variance: Tensor,
        windows: Sequence[Any] = WINDOWS,
        lengths: Any = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.features = mean
        self.variances = variance
        self.windows = windows
        # The trajectory itself, which also refuses whatever does not fit.
        self._mean = mlpg(mean, variance, windows, lengths)
        self._flat, self._precision = mlpg_precisions(mean, variance, tuple(windows), lengths)
        self._inside: Tensor | None = None
        if lengths is not None:
            steps = torch.arange(mean.shape[-2], device=mean.device)
            counts = torch.as_tensor(lengths, device=mean.device)
            self._inside = (steps < counts[..., None])[..., None]
        super().__init__(self._mean.shape[:-2], self._mean.shape[-2:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """``[..., frames, static]``, the most likely trajectory; differentiable."""
        return self._mean

    @property
    def mode(self) -> Tensor:
        return self._mean

    def log_prob(self, value: Tensor) -> Tensor:
        """``[..., frames, static] -> [...]`` in nats; differentiable in all three."""
        if value.shape[-2:] != self.event_shape:
            raise InputError(
                f"a trajectory must be [..., {self.event_shape[0]} frames, {self.event_shape[1]}], "
                f"not {list(value.shape)}"
            )
        shape = torch.broadcast_shapes(value.shape[:-2], self.batch_shape)
        distance = value - self._mean
        if self._inside is not None:
            distance = torch.where(self._inside, distance, 0.0)
        distance = distance.expand(*shape, *self.event_shape)
        # All draws of one item share its precision: the item's axis last, then one more for draws.
        items = self._precision.shape[0]
        distance = distance.reshape(-1, items, *self.event_shape)
        weighed = [
            (self._precision * mlpg_windowed(draw, self.windows).square()).sum((1, 2))
            for draw in distance
        ]
        quadratic = torch.stack(weighed).reshape(shape)
        return 0.5 * (self._log_determinant() - quadratic) - 0.5 * self._size * math.log(
            2 * math.pi
        )

    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """``[*sample_shape, ..., frames, static]``: smooth tracks, without gradients."""
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            noise = torch.randn(shape, generator=generator, dtype=self._precision.dtype)
            items = noise.reshape(-1, self._precision.shape[0], *self.event_shape)
            made = [mlpg_colour(draw, self._precision, self.windows) for draw in items]
            drawn = self._mean + torch.stack(made).reshape(shape).to(self._mean)
            return drawn if self._inside is None else torch.where(self._inside, drawn, 0.0)

    def entropy(self) -> Tensor:
        """``[...]`` in nats; differentiable in the variance."""
        return 0.5 * self._size * (1 + math.log(2 * math.pi)) - 0.5 * self._log_determinant()

    @property
    def _size(self) -> int | Tensor:
        """Numbers in an item's trajectory."""
        if self._inside is None:
            return self.event_shape[0] * self.event_shape[1]
        return self._inside.sum((-2, -1)) * self.event_shape[1]

    def _log_determinant(self) -> Tensor:
        of_items = mlpg_log_determinant(self._precision, self.windows).sum(1)
        return of_items.reshape(self.batch_shape)
