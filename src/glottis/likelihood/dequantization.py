"""Integers under a density: variational dequantisation and augmentation.

A density says nothing of an integer, whose probability under it is zero. Give the integer ``d`` to
the whole unit interval that rounds to it and it has one, ``P(d) = integral of p(d - u) du`` over
``u`` in [0, 1): a distribution over integers, from any flow. The integral has no closed form but
for the simplest densities; a second distribution ``q(u | d)`` bounds its logarithm from below (Ho
et al. 2019, Flow++, eq. 12)::

    log P(d) >= E_q [ log p(d - u) - log q(u | d) ]

with equality when ``q`` is the true posterior. Uniform noise is the case ``log q = 0``.

Augmentation bounds a density in the same way when the flow needs more channels than the data has
(Chen et al. 2020, VFlow, eq. 6): ``log p(x) >= E_q [ log p(x, nu) - log q(nu | x) ]``.

VITS' stochastic duration predictor is both at once, with a joint posterior ``q(u, nu | d)`` over
durations (Kim et al. 2021, section 2.2.2): :class:`VariationalDequantization` with ``augmented=1``.
Rounding up, so that ``d - u`` lies in ``(d - 1, d]`` and has a logarithm for every duration from
one frame on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from glottis.errors import InputError

Posterior = Distribution | Callable[[Tensor], Distribution]


def _draw(
    posterior: Posterior, value: Tensor, samples: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draws ``[samples, ...]`` and their log-density; only flows of ours take a generator."""
    if samples < 1:
        raise InputError(f"samples must be at least 1, not {samples}")
    given = posterior if isinstance(posterior, Distribution) else posterior(value)
    options: dict[str, Any] = {} if generator is None else {"generator": generator}
    draw = given.rsample(torch.Size([samples]), **options)
    return draw, given.log_prob(draw)


class _Bounded(Distribution):
    """A distribution whose log-probability is known by a bound from below."""

    arg_constraints: ClassVar = {}

    def evidence_bound(
        self, value: Tensor, samples: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """A lower bound of ``log_prob(value)`` in expectation: nats ``[*batch_shape]``.

        With several ``samples`` the logarithm of their mean weight is taken, which is tighter
        (Burda, Grosse & Salakhutdinov 2016, eq. 8). Differentiable in everything: maximise it.

        Args:
            value: ``[*batch_shape, *event_shape]``.
            samples: posterior draws.
            generator: source of randomness; the posterior's ``rsample`` must take one
                (:class:`~glottis.likelihood.flows.FlowDistribution` does).
        """
        draw, log_posterior = _draw(self.posterior, value, samples, generator)
        log_weight = self._log_joint(value, draw) - log_posterior
        return torch.logsumexp(log_weight, 0) - math.log(samples)

    posterior: Posterior

    def _log_joint(self, value: Tensor, draw: Tensor) -> Tensor:
        raise NotImplementedError


class VariationalDequantization(_Bounded):
    """Integers whose probability is a density's mass over the interval that rounds to them.

    Args:
        density: over the dequantised value; its batch and event shapes are taken over. With
            ``augmented`` channels its events are ``[channels + augmented, time]``.
        posterior: a distribution over the noise, or a function from the integers (as floats) to
            one, with ``rsample`` and ``log_prob`` of ``density``'s batch shape; the noise lies in
            [0, 1). With ``augmented`` channels it is over ``[channels + augmented, time]``, and
            the first ``channels`` of them are the noise.
        rounding: ``"up"``: ``d = ceil(y)``, ``y = d - u`` (VITS); ``"down"``: ``d = floor(y)``,
            ``y = d + u`` (Flow++).
        augmented: channels that the density has beside the data.

    ``sample`` rounds a draw of the density. ``log_prob`` is exact, and there only for a density of
    scalars that has a ``cdf``; otherwise use :meth:`evidence_bound`.

    Raises:
        InputError: an unknown rounding; values that are not whole (``validate_args``).
    """

    support = constraints.integer_interval(-(2**31), 2**31)

    def __init__(
        self,
        density: Distribution,
        posterior: Posterior,
        *,
        rounding: str = "up",
        augmented: int = 0,
        validate_args: bool | None = None,
    ) -> None:
        if rounding not in ("up", "down"):
            raise InputError(f'rounding must be "up" or "down", not {rounding!r}')
        event = density.event_shape
        if augmented and (len(event) < 2 or not 0 < augmented < event[-2]):
            raise InputError(
                f"with {augmented} augmented channels a density of events [channels, time] with "
                f"more of them is needed, not of {list(event)}"
            )
        self.density, self.posterior = density, posterior
        self.rounding, self.augmented = rounding, augmented
        if augmented:
            event = torch.Size([*event[:-2], event[-2] - augmented, event[-1]])
        super().__init__(density.batch_shape, event, validate_args=validate_args)

    def evidence_bound(
        self, value: Tensor, samples: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """See :meth:`_Bounded.evidence_bound`; ``value`` of an integer or floating type."""
        return super().evidence_bound(self._whole(value), samples, generator)

    def _log_joint(self, value: Tensor, draw: Tensor) -> Tensor:
        if self.augmented:
            noise, extra = draw.split([draw.shape[-2] - self.augmented, self.augmented], dim=-2)
            joined = torch.cat([self._dequantized(value, noise), extra], dim=-2)
            return self.density.log_prob(joined)
        return self.density.log_prob(self._dequantized(value, draw))

    def _dequantized(self, value: Tensor, noise: Tensor) -> Tensor:
        return value - noise if self.rounding == "up" else value + noise

    def log_prob(self, value: Tensor) -> Tensor:
        """Exact nats ``[*batch_shape]``, by the density's ``cdf``."""
        if self.augmented or self.event_shape:
            raise NotImplementedError("only a bound is known here: use evidence_bound")
        value = self._whole(value)
        lower = value - 1 if self.rounding == "up" else value
        return (self.density.cdf(lower + 1) - self.density.cdf(lower)).log()

    @torch.no_grad()
    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """Whole numbers as floats, ``[*sample_shape, *batch_shape, *event_shape]``."""
        options: dict[str, Any] = {} if generator is None else {"generator": generator}
        value = self.density.sample(torch.Size(sample_shape), **options)
        if self.augmented:
            value = value[..., : value.shape[-2] - self.augmented, :]
        return value.ceil() if self.rounding == "up" else value.floor()

    def _whole(self, value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value.to(torch.get_default_dtype())
        if self._validate_args and not (value == value.round()).all():
            raise InputError("dequantisation takes whole numbers; round them first")
        return value


class VariationalAugmentation(_Bounded):
    """A density over ``[channels, time]`` from one over more channels.

    Args:
        joint: over ``[channels + augmented, time]``.
        posterior: a distribution over the augmented channels ``[augmented, time]``, or a function
            from the value to one.
        augmented: how many channels the joint density has beside the data.

    ``sample`` draws from the joint and keeps the data; of ``log_prob`` only the bound is known
    (:meth:`evidence_bound`).
    """

    support = constraints.independent(constraints.real, 2)

    def __init__(self, joint: Distribution, posterior: Posterior, augmented: int) -> None:
        event = joint.event_shape
        if len(event) < 2 or not 0 < augmented < event[-2]:
            raise InputError(
                f"the joint density must be over more than {augmented} channels of "
                f"[channels, time], not over {list(event)}"
            )
        self.joint, self.posterior, self.augmented = joint, posterior, augmented
        data = torch.Size([*event[:-2], event[-2] - augmented, event[-1]])
        super().__init__(joint.batch_shape, data, validate_args=False)

    def _log_joint(self, value: Tensor, draw: Tensor) -> Tensor:
        data = value.expand(*draw.shape[:-2], *value.shape[-2:])
        return self.joint.log_prob(torch.cat([data, draw], dim=-2))

    @torch.no_grad()
    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """``[*sample_shape, *batch_shape, *event_shape]``."""
        options: dict[str, Any] = {} if generator is None else {"generator": generator}
        value: Tensor = self.joint.sample(torch.Size(sample_shape), **options)
        return value[..., : value.shape[-2] - self.augmented, :]
