"""Diffusion towards a Gaussian that the data's own mean is known of, and the way back.

Source: Popov, Vovk, Gogoryan, Sadekova & Kudinov 2021 (Grad-TTS). Noise is added by

    dX = 1/2 (mean - X) beta(t) dt + sqrt(beta(t)) dW,      0 <= t <= 1            (eq. 1)

so that ``X_t`` given ``X_0`` is Gaussian, and almost ``N(mean, 1)`` at ``t = 1``. Whoever knows the
score ``s(x, t) = grad log p_t(x)`` can go back (Anderson 1982; Song et al. 2021), by the reverse
stochastic equation or by the probability-flow equation, which has the same marginals:

    dx/dt = 1/2 beta(t) (mean - x - s(x, t))                                       (eq. 8)

:func:`score_loss` learns the score, :func:`sample` goes back in a few steps, and
:func:`log_likelihood` follows the same equation forwards to say what data is worth.

A score here is a function ``(x, t) -> like x``, ``x`` ``[batch, ...]`` and ``t`` ``[batch]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from glottis.errors import InputError
from glottis.kernels import winograd

Score = Callable[[Tensor, Tensor], Tensor]
Solver = Literal["euler", "midpoint", "heun", "dpm2", "ml_sde", "sde"]
SOLVERS: tuple[Solver, ...] = get_args(Solver)
STOCHASTIC: tuple[Solver, ...] = ("ml_sde", "sde")
"""The solvers that draw fresh noise in each step."""


@dataclass(frozen=True)
class NoiseSchedule:
    """``beta(t)`` rises linearly from ``beta_min`` to ``beta_max``; both in inverse time."""

    beta_min: float = 0.05
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise InputError(
                f"beta_min {self.beta_min} must be positive and at most beta_max {self.beta_max}"
            )

    def beta(self, t: float) -> float:
        """The rate at which noise comes in."""
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def integral(self, t: float) -> float:
        """``int_0^t beta``."""
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t * t

    def decay(self, t: float) -> float:
        """How much of ``X_0 - mean`` is left: ``exp(-1/2 int_0^t beta)``."""
        return math.exp(-0.5 * self.integral(t))

    def variance(self, t: float) -> float:
        """Of ``X_t`` given ``X_0``: ``1 - decay^2``."""
        return -math.expm1(-self.integral(t))

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``decay`` and ``variance`` at times ``[batch]``, each ``[batch]``."""
        integral = self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t.square()
        decay = torch.exp(-0.5 * integral)
        # 1 - decay^2 without its cancellation, in operations that ONNX has.
        return decay, torch.tanh(0.5 * integral) * (1 + decay.square())


class Diffused(NamedTuple):
    """``x`` at a time and the standard ``noise`` in it, both like the data."""

    x: Tensor
    noise: Tensor


def diffuse(
    data: Tensor,
    mean: Tensor,
    t: Tensor,
    schedule: NoiseSchedule,
    generator: torch.Generator | None = None,
) -> Diffused:
    """Draw ``X_t`` given ``X_0`` (eqs. 5 and 6, with unit terminal variance).

    ``data`` and ``mean`` ``[batch, ...]``, ``t`` ``[batch]`` in (0, 1).
    """
    decay, variance = (_beside(value, data) for value in schedule.marginal(t))
    noise = torch.randn(data.shape, generator=generator, dtype=data.dtype).to(data.device)
    return Diffused(mean + decay * (data - mean) + variance.sqrt() * noise, noise)


def score_loss(
    score: Score,
    data: Tensor,
    mean: Tensor,
    schedule: NoiseSchedule,
    mask: Tensor | None = None,
    *,
    t: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Denoising score matching, weighted by the variance of the noise (eqs. 13 and 14).

    The mean of ``(sqrt(variance) s(X_t, t) + noise)^2`` over elements inside the mask: 1 for a
    score of zero, and for the true score the share of the noise that ``X_t`` does not tell.

    Args:
        score: to be learnt.
        data, mean: ``[batch, channels, time]``.
        schedule: of the noise.
        mask: bool ``[batch, 1, time]``; everything when None.
        t: times ``[batch]``; uniform in (0, 1) when None.
        generator: draws the times and the noise.
    """
    t = _times(data, generator) if t is None else t
    drawn = diffuse(data, mean, t, schedule, generator)
    deviation = _beside(schedule.marginal(t)[1].sqrt(), data)
    return _mean_square(deviation * score(drawn.x, t).to(data.dtype) + drawn.noise, mask)


def velocity_loss(
    velocity: Score,
    data: Tensor,
    mean: Tensor,
    schedule: NoiseSchedule,
    mask: Tensor | None = None,
    *,
    t: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The same for a network that says the velocity ``decay * noise - deviation * (X_0 - mean)``.

    Its mean squared error is :func:`score_loss`'s with each time's weight divided by ``decay^2``
    (Salimans & Ho 2022, "Progressive Distillation", section 4). The target is of unit size at all
    times, while a score grows as one over the deviation; and where hardly anything but noise is
    left, whence few steps start, the network is asked for the data, which the noise's error,
    divided by the decay, says nothing of. Arguments as there.
    """
    t = _times(data, generator) if t is None else t
    drawn = diffuse(data, mean, t, schedule, generator)
    decay, variance = (_beside(value, data) for value in schedule.marginal(t))
    target = decay * drawn.noise - variance.sqrt() * (data - mean)
    return _mean_square(velocity(drawn.x, t).to(data.dtype) - target, mask)


def score_of_velocity(velocity: Score, mean: Tensor, schedule: NoiseSchedule) -> Score:
    """The score that a network's velocity implies: ``mean - x - decay / deviation * velocity``."""

    def score(x: Tensor, t: Tensor) -> Tensor:
        decay, variance = (_beside(value, x) for value in schedule.marginal(t))
        return mean - x - decay * variance.rsqrt() * velocity(x, t).to(x.dtype)

    return score


def _times(data: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(len(data), generator=generator).clamp(1e-5, 1 - 1e-5).to(data)


def _mean_square(error: Tensor, mask: Tensor | None) -> Tensor:
    """Over the elements of ``[batch, channels, time]`` inside the mask."""
    if mask is None:
        return error.square().mean()
    return torch.where(mask, error.square(), 0.0).sum() / (mask.sum() * error.shape[1])


def sample(
    score: Score,
    start: Tensor,
    mean: Tensor,
    schedule: NoiseSchedule,
    solver: Solver = "euler",
    steps: int = 10,
    *,
    noise: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """From ``X_1`` back to ``X_0`` in ``steps`` steps.

    - ``euler``: the probability-flow equation, drift taken in the middle of each step's time, as
      the authors of Grad-TTS do.
    - ``midpoint`` and ``heun``: second order, two scores a step (Heun's last step, which would
      need the score at time 0, is an Euler step).
    - ``dpm2``: DPM-Solver++(2M) (Lu et al. 2022), second order, one score a step: the linear part
      is solved exactly, the prediction of ``X_0`` is extrapolated from the last two. Times are the
      squares of even ones: of the grids tried on mixtures of Gaussians, the best for few steps.
    - ``ml_sde``: draws from the Gaussian that ``X_{t-h}`` has given ``X_t`` and the prediction of
      ``X_0``: the maximum-likelihood solver of Popov et al. 2022 (Diffusion-Based Voice
      Conversion, eqs. 9 to 11).
    - ``sde``: the reverse stochastic equation by Euler and Maruyama, drift as in ``euler``.

    All coefficients are numbers known beforehand, so that a traced graph holds plain arithmetic.

    Args:
        score: function of ``(x, t)``.
        start: ``X_1``, ``[batch, ...]``, for example a draw from ``N(mean, 1)``.
        mean: like ``start``.
        schedule: of the noise.
        solver, steps: see above.
        noise: gives standard Gaussian noise like ``start`` for the step of a number; for ``ml_sde``
            and ``sde``. torch's own source when None.

    Raises:
        InputError: an unknown solver (the known ones are listed), or no steps.
    """
    if solver not in SOLVERS:
        raise InputError(f"there is no solver {solver!r}. Solvers: {', '.join(SOLVERS)}")
    if steps < 1:
        raise InputError(f"steps must be at least 1, not {steps}")
    if noise is None:
        noise = lambda _: torch.randn_like(start)  # noqa: E731

    def score_at(x: Tensor, t: float) -> Tensor:
        return score(x, x.new_full(x.shape[:1], t))

    # One network, asked over and over.
    with winograd.same_weights():
        if solver == "dpm2":
            return _dpm2(score_at, start, mean, schedule, steps)
        x, h = start, 1.0 / steps
        for i in range(steps):
            t = 1.0 - i * h
            middle, end = t - 0.5 * h, (0.0 if i == steps - 1 else t - h)
            if solver == "ml_sde":
                x = _posterior(score_at, x, mean, schedule, t, end, noise(i))
            elif solver == "sde":
                amount = schedule.beta(middle) * h
                drift = 0.5 * (x - mean) + score_at(x, middle)
                x = x + amount * drift + math.sqrt(amount) * noise(i)
            elif solver == "euler" or (solver == "heun" and end == 0.0):
                x = x + schedule.beta(middle) * h * _drift(score_at(x, middle), x, mean)
            elif solver == "midpoint":
                half = x + 0.5 * h * schedule.beta(t) * _drift(score_at(x, t), x, mean)
                x = x + schedule.beta(middle) * h * _drift(score_at(half, middle), half, mean)
            else:
                first = schedule.beta(t) * _drift(score_at(x, t), x, mean)
                ahead = x + h * first
                second = schedule.beta(end) * _drift(score_at(ahead, end), ahead, mean)
                x = x + 0.5 * h * (first + second)
        return x


def evaluations(solver: Solver, steps: int) -> int:
    """How many scores :func:`sample` computes."""
    return {"midpoint": 2 * steps, "heun": 2 * steps - 1}.get(solver, steps)


def _drift(score: Tensor, x: Tensor, mean: Tensor) -> Tensor:
    """Of the probability-flow equation run backwards, without ``beta``."""
    return 0.5 * (x - mean + score)


def _posterior(
    score: Callable[[Tensor, float], Tensor],
    x: Tensor,
    mean: Tensor,
    schedule: NoiseSchedule,
    t: float,
    end: float,
    noise: Tensor,
) -> Tensor:
    """``X_end`` given ``X_t`` and the prediction of ``X_0``, all less the mean."""
    here, there = schedule.variance(t), schedule.variance(end)
    between = math.exp(-0.5 * (schedule.integral(t) - schedule.integral(end)))
    lost = -math.expm1(-(schedule.integral(t) - schedule.integral(end)))
    deviation = x - mean
    clean = (deviation + here * score(x, t)) / schedule.decay(t)
    found = schedule.decay(end) * lost / here * clean + between * there / here * deviation
    return mean + found + math.sqrt(there * lost / here) * noise


def _dpm2(
    score: Callable[[Tensor, float], Tensor],
    start: Tensor,
    mean: Tensor,
    schedule: NoiseSchedule,
    steps: int,
) -> Tensor:
    def log_ratio(t: float) -> float:
        return -0.5 * schedule.integral(t) - 0.5 * math.log(schedule.variance(t))

    times = [(1 - i / steps) ** 2 for i in range(steps)]
    deviation, before, width = start - mean, start, 0.0
    for i, t in enumerate(times):
        clean = (deviation + schedule.variance(t) * score(mean + deviation, t)) / schedule.decay(t)
        if i == steps - 1:
            # To time 0, where nothing is left but the prediction: in a straight line through the
            # last two, over the deviation in units of the decay, which there is 0.
            if i == 0:
                return mean + clean
            last, prior = (math.exp(-log_ratio(each)) for each in (t, times[i - 1]))
            return mean + clean + last / (prior - last) * (clean - before)
        end = times[i + 1]
        h = log_ratio(end) - log_ratio(t)
        # Two predictions, extrapolated to the middle of this step.
        ahead = clean if i == 0 else clean + 0.5 * h / width * (clean - before)
        shrink = math.sqrt(schedule.variance(end) / schedule.variance(t))
        gain = -schedule.decay(end) * math.expm1(-h)
        deviation, before, width = shrink * deviation + gain * ahead, clean, h
    raise AssertionError


class Likelihood(NamedTuple):
    """``log_prob`` ``[batch]`` in nats; ``dimensions`` ``[batch]``; ``evaluations`` of the score.

    ``log_prob`` is exact up to the integrator's tolerance and, with a random trace, an unbiased
    draw.
    """

    log_prob: Tensor
    dimensions: Tensor
    evaluations: int

    @property
    def bits_per_dimension(self) -> Tensor:
        """``-log2 p / dimensions``, ``[batch]``; less is better, and a density may go below 0."""
        return -self.log_prob / (self.dimensions * math.log(2))


def log_likelihood(
    score: Score,
    data: Tensor,
    mean: Tensor,
    schedule: NoiseSchedule,
    mask: Tensor | None = None,
    *,
    tolerance: float = 1e-4,
    probes: int | None = 1,
    generator: torch.Generator | None = None,
) -> Likelihood:
    """``log p_0(data)`` by the probability-flow equation (Song et al. 2021, section 4.3).

    ``log p_0(x_0) = log N(x_1; mean, 1) + int_0^1 div f(x_t, t) dt`` along the solution that starts
    in the data. The divergence is ``v^T (df/dx) v`` averaged over random signs ``v``, the same all
    the way (Hutchinson 1990; Grathwohl et al. 2019), and the integral is Dormand & Prince's (1980)
    of order 5 with steps chosen by its embedded error of order 4.

    Args:
        score: differentiable in ``x``.
        data, mean: ``[batch, channels, time]``.
        schedule: of the noise.
        mask: bool ``[batch, 1, time]``; what lies outside does not count. Everything when None.
        tolerance: of the integrator, absolute and relative, an element and step; of the
            log-density, for each dimension.
        probes: number of random sign vectors; None for the exact trace, one derivative a dimension.
        generator: draws them.

    Raises:
        InputError: the integrator needs more than 10,000 steps, or ever smaller ones.
    """
    inside = torch.ones_like(data, dtype=torch.bool)
    if mask is not None:
        inside = mask.expand_as(data)
    data, mean = torch.where(inside, data, 0.0), torch.where(inside, mean, 0.0)
    axes = tuple(range(1, data.dim()))
    dimensions = inside.sum(axes)
    if probes is None:
        basis = torch.eye(data[0].numel(), dtype=data.dtype, device=data.device)
        signs = [row.view(1, *data.shape[1:]).expand_as(data) for row in basis]
    else:
        if probes < 1:
            raise InputError(f"probes must be at least 1, not {probes}")
        signs = [
            2.0 * torch.randint(0, 2, data.shape, generator=generator).to(data) - 1.0
            for _ in range(probes)
        ]
    signs = [torch.where(inside, sign, 0.0) for sign in signs]
    weight = 1.0 if probes is None else 1.0 / probes
    count = 0

    def slope(t: float, x: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal count
        count += 1
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            found = score(x, torch.full((len(x),), t, dtype=x.dtype, device=x.device))
            velocity = 0.5 * schedule.beta(t) * (mean - x - found)
            velocity = torch.where(inside, velocity, 0.0)
            trace = x.new_zeros(len(x))
            for i, sign in enumerate(signs):
                (product,) = torch.autograd.grad(velocity, x, sign, retain_graph=i < len(signs) - 1)
                trace = trace + weight * (product * sign).sum(axes)
        return velocity.detach(), trace.detach()

    end, change = _dormand_prince(slope, data, dimensions, tolerance)
    normal = -0.5 * torch.where(inside, (end - mean).square(), 0.0).sum(axes)
    normal = normal - 0.5 * math.log(2 * math.pi) * dimensions
    return Likelihood(normal + change, dimensions, count)


# Dormand & Prince 1980, table 2: nodes, stages, and the difference between orders 5 and 4.
NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
DIFFERENCE = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def _dormand_prince(
    slope: Callable[[float, Tensor], tuple[Tensor, Tensor]],
    start: Tensor,
    dimensions: Tensor,
    tolerance: float,
) -> tuple[Tensor, Tensor]:
    """``x`` and the integral of a trace from time 1e-5, below which no score is learnt, to 1."""
    t, h, x, total = 1e-5, 0.01, start, start.new_zeros(len(start))
    first = slope(t, x)
    for _ in range(10_000):
        h = min(h, 1.0 - t)
        slopes = [first]
        for node, stage in zip(NODES[1:], STAGES[1:], strict=True):
            ahead = x + h * sum(a * s for a, (s, _) in zip(stage, slopes, strict=True) if a)
            slopes.append(slope(t + node * h, ahead))
        gain = h * sum(a * s for a, (_, s) in zip(STAGES[-1], slopes, strict=False) if a)
        error = h * sum(d * s for d, (s, _) in zip(DIFFERENCE, slopes, strict=True) if d)
        off = h * sum(d * s for d, (_, s) in zip(DIFFERENCE, slopes, strict=True) if d)
        scale = tolerance * (1 + torch.maximum(x.abs(), ahead.abs()))
        # Root mean square over what is inside; outside both error and slope are zero.
        each = ((error / scale).square().flatten(1).sum(1) / dimensions).sqrt()
        worst = float(torch.maximum(each, (off / (tolerance * dimensions)).abs()).max())
        if worst <= 1.0:
            # The last stage is the first of the next step.
            t, x, total, first = t + h, ahead, total + gain, slopes[-1]
            if t >= 1.0 - 1e-9:
                return x, total
        if h < 1e-10:
            break
        h *= min(5.0, max(0.2, 0.9 * max(worst, 1e-10) ** -0.2)) if math.isfinite(worst) else 0.2
    raise InputError(
        f"the likelihood's integrator stopped at time {t:.3g} of 1, at a step of {h:.1g}: raise "
        f"the tolerance ({tolerance}), or train longer: the score is not smooth, or not finite"
    )


def _beside(value: Tensor, data: Tensor) -> Tensor:
    """``[batch]`` -> ``[batch, 1, ...]`` with as many axes as ``data``."""
    return value.view(-1, *(1 for _ in data.shape[1:]))
