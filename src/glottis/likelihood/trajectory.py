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
    mlpg_solve,
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
        self.windows = tuple(windows)
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
        draws = shape.numel() // max(1, items)
        flat = distance.reshape(-1, *self.event_shape)
        off = mlpg_windowed(flat, self.windows).unflatten(0, (draws, items))
        quadratic = (self._precision * off.square()).sum((2, 3)).reshape(shape)
        return 0.5 * (self._log_determinant() - quadratic) - 0.5 * self._size * math.log(
            2 * math.pi
        )

    def mode_with_global_variance(
        self,
        mean: Tensor,
        variance: Tensor,
        *,
        weight: float | None = None,
        steps: int = 20,
    ) -> Tensor:
        """``[..., frames, static]``: likely as a trajectory and in how much it moves about.

        The most likely trajectory is too smooth: its variance over time lies below that of speech.
        Toda & Tokuda (2007, eq. 22) give that variance, ``v(y)``, a Gaussian of its own and
        maximise ``weight log p(y) + log N(v(y); mean, variance)``. The ascent starts where theirs
        does, from the mode stretched around its average so that ``v(y)`` is ``mean``, or from the
        mode itself where that is better. Its steps are those of conjugate gradients, seen through
        ``R``; along a step the objective is a polynomial of degree four, whose best point is
        taken, so that it never falls. No gradients pass.

        Args:
            mean, variance: ``[static]`` or what broadcasts to ``[..., static]``: of the variance
                over time that natural tracks of one utterance have; both positive.
            weight: of the trajectory's likelihood; None for the paper's, the number of global
                variances over that of features, ``1 / (windows * frames)``.
            steps: at most so many, of one banded solve each.

        Raises:
            InputError: arguments that are not positive or do not broadcast.
        """
        frames, static = self.event_shape
        weight = 1 / (len(self.windows) * frames) if weight is None else weight
        if not (weight > 0 and steps >= 0):
            raise InputError(
                f"the weight must be above 0 and steps 0 or more, not {weight} and {steps}"
            )
        # Computed on [items, frames, static], in float64, every dimension on its own.
        shape = (*self.batch_shape, static)
        wide: list[Tensor] = []
        for name, value in (("mean", mean), ("variance", variance)):
            try:
                value = value.detach().to(self._mean.device, torch.float64).expand(shape)
            except RuntimeError as error:
                raise InputError(
                    f"the global variance's {name} {list(value.shape)} does not broadcast to "
                    f"{list(shape)}"
                ) from error
            if not bool((value > 0).all()):
                raise InputError(f"the global variance's {name} must be positive")
            wide.append(value.reshape(-1, 1, static))
        goal, spread = wide
        precision = self._precision.detach().double()
        mode = self._mean.detach().double().reshape(-1, frames, static)

        def weighed(one: Tensor, other: Tensor) -> Tensor:
            """``one' R other`` for windowed tracks, ``[items, 1, static]``."""
            return (precision * one * other).sum(1, keepdim=True).unflatten(2, (-1, static)).sum(2)

        def objective(track: Tensor) -> Tensor:
            off = mlpg_windowed(track - mode, self.windows)
            over = track.var(1, correction=0, keepdim=True) - goal
            return -0.5 * (weight * weighed(off, off) + over.square() / spread)

        average = mode.mean(1, keepdim=True)
        stretch = (goal / mode.var(1, correction=0, keepdim=True).clamp(min=1e-12)).sqrt()
        track = average + stretch * (mode - average)
        track = torch.where(objective(mode) > objective(track), mode, track)
        before = None
        for _ in range(steps):
            with torch.enable_grad():
                free = track.clone().requires_grad_()
                (slope,) = torch.autograd.grad(objective(free).sum(), free)
            seen = mlpg_solve(slope, precision, self.windows)
            direction, gain = seen, (seen * slope).sum(1, keepdim=True)
            if before is not None:
                last_direction, last_slope, last_gain = before
                turn = (seen * (slope - last_slope)).sum(1, keepdim=True)
                direction = (
                    seen + (turn / last_gain.clamp(min=1e-300)).clamp(min=0) * last_direction
                )
                climbs = (direction * slope).sum(1, keepdim=True) > 0
                direction = torch.where(climbs, direction, seen)
            before = direction, slope, gain
            off, change = (mlpg_windowed(each, self.windows) for each in (track - mode, direction))
            centred = track - track.mean(1, keepdim=True)
            over = centred.square().mean(1, keepdim=True) - goal
            along = (centred * direction).mean(1, keepdim=True)
            length = direction.var(1, correction=0, keepdim=True)
            roots = _cubic_roots(
                2 * length.square() / spread,
                6 * along * length / spread,
                weight * weighed(change, change)
                + (2 * over * length + 4 * along.square()) / spread,
                weight * weighed(off, change) + 2 * over * along / spread,
            )
            start = track
            for root in roots:
                tried = start + root * direction
                track = torch.where(objective(tried) > objective(track), tried, track)
        return track.reshape(self._mean.shape).to(self._mean.dtype)

    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """``[*sample_shape, ..., frames, static]``: smooth tracks, without gradients."""
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            noise = torch.randn(shape, generator=generator, dtype=self._precision.dtype)
            draws = noise.numel() // max(1, self._mean.numel())
            each = self._precision.expand(draws, *self._precision.shape).flatten(0, 1)
            made = mlpg_colour(noise.reshape(-1, *self.event_shape), each, self.windows)
            drawn = self._mean + made.reshape(shape).to(self._mean)
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


def _cubic_roots(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> list[Tensor]:
    """Real parts of the roots of ``a t^3 + b t^2 + c t + d``; ``-d / c`` where there is no cube."""
    flat = (c.abs() > 1e150 * a.abs()) | (a.abs() < 1e-200)
    companion = torch.zeros(*a.shape, 3, 3, dtype=a.dtype, device=a.device)
    companion[..., 1, 0] = companion[..., 2, 1] = 1
    for row, value in enumerate((d, c, b)):
        companion[..., row, 2] = torch.where(flat, 0, -value / torch.where(flat, 1, a))
    linear = -d / torch.where(c == 0, 1, c)
    roots = torch.linalg.eigvals(companion).real.unbind(-1)
    return [torch.where(flat, linear, root) for root in roots]
