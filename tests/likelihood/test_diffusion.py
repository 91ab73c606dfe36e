"""Diffusion on Gaussian data, where marginals, scores, paths and likelihoods are known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from glottis.errors import InputError
from glottis.likelihood.diffusion import (
    SOLVERS,
    STOCHASTIC,
    NoiseSchedule,
    diffuse,
    evaluations,
    log_likelihood,
    sample,
    score_loss,
    score_of_velocity,
    velocity_loss,
)

SCHEDULE = NoiseSchedule()
CENTRE, SPREAD, PRIOR = 1.5, 0.6, -2.0
"""The data is ``N(CENTRE, SPREAD^2)``; noise leads to ``N(PRIOR, 1)``."""


def _moments(t: Tensor) -> tuple[Tensor, Tensor]:
    decay, variance = SCHEDULE.marginal(t)
    return PRIOR + decay * (CENTRE - PRIOR), decay.square() * SPREAD**2 + variance


def _score(x: Tensor, t: Tensor) -> Tensor:
    mean, variance = (value.view(-1, 1, 1) for value in _moments(t))
    return -(x - mean) / variance


def _exact_end(start: Tensor) -> Tensor:
    """Where the probability-flow equation leads from time 1: quantiles are kept."""
    mean, variance = _moments(torch.ones(1, dtype=start.dtype))
    return CENTRE + SPREAD * (start - mean) / variance.sqrt()


def _start(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    prior = torch.full(shape, PRIOR, dtype=torch.float64)
    return prior + torch.randn(shape, generator=generator, dtype=torch.float64), prior


def test_the_schedule_is_the_integral_of_its_rate() -> None:
    for t in (0.01, 0.3, 1.0):
        steps = 20_000
        total = sum(SCHEDULE.beta((i + 0.5) * t / steps) for i in range(steps)) * t / steps
        assert SCHEDULE.integral(t) == pytest.approx(total, rel=1e-6)
        assert SCHEDULE.decay(t) ** 2 + SCHEDULE.variance(t) == pytest.approx(1)
        decay, variance = SCHEDULE.marginal(torch.tensor([t], dtype=torch.float64))
        assert float(decay) == pytest.approx(SCHEDULE.decay(t))
        assert float(variance) == pytest.approx(SCHEDULE.variance(t))


def test_the_marginal_solves_the_forward_equation() -> None:
    """Equation 1 simulated in small steps, many at once."""
    generator = torch.Generator().manual_seed(0)
    steps, x = 400, CENTRE + SPREAD * torch.randn(40_000, generator=generator)
    for i in range(steps // 2):
        amount = SCHEDULE.beta((i + 0.5) / steps) / steps
        noise = torch.randn(x.shape, generator=generator)
        x = x + 0.5 * (PRIOR - x) * amount + math.sqrt(amount) * noise
    data = CENTRE + SPREAD * torch.randn(1, 1, 40_000, generator=generator)
    t = torch.tensor([0.5])
    drawn = diffuse(data, torch.full_like(data, PRIOR), t, SCHEDULE, generator).x
    mean, variance = _moments(t)
    for values in (x, drawn):
        assert float(values.mean()) == pytest.approx(float(mean), abs=0.03)
        assert float(values.var()) == pytest.approx(float(variance), rel=0.04)


def test_the_loss_of_the_true_score_is_known_and_least() -> None:
    generator = torch.Generator().manual_seed(0)
    data = CENTRE + SPREAD * torch.randn(4, 8, 2000, generator=generator)
    prior, t = torch.full_like(data, PRIOR), torch.tensor([0.05, 0.2, 0.5, 0.9])

    def loss(score) -> float:  # type: ignore[no-untyped-def]
        own = torch.Generator().manual_seed(1)
        return float(score_loss(score, data, prior, SCHEDULE, t=t, generator=own))

    decay, _ = SCHEDULE.marginal(t)
    expected = (decay.square() * SPREAD**2 / _moments(t)[1]).mean()
    assert loss(_score) == pytest.approx(float(expected), rel=0.02)
    assert loss(lambda x, t: torch.zeros_like(x)) == pytest.approx(1, rel=0.02)
    for scale, shift in ((0.9, 0.0), (1.1, 0.0), (1.0, 0.1)):
        assert loss(lambda x, t, a=scale, b=shift: a * _score(x, t) + b) > loss(_score)


def _velocity(x: Tensor, t: Tensor) -> Tensor:
    """Of the same data, by what is known of Gaussians: E[decay noise - deviation (X_0 - mean)]."""
    decay, variance = (value.view(-1, 1, 1) for value in SCHEDULE.marginal(t))
    noise = -variance.sqrt() * _score(x, t)
    clean = (x - PRIOR - variance.sqrt() * noise) / decay
    return decay * noise - variance.sqrt() * clean


def test_a_velocity_implies_the_score_and_is_least_wrong_where_it_is_right() -> None:
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(4000, generator=generator, dtype=torch.float64).clamp(1e-3, 1 - 1e-3)
    data = CENTRE + SPREAD * torch.randn(4000, 1, 8, generator=generator, dtype=torch.float64)
    prior = torch.full_like(data, PRIOR)
    implied = score_of_velocity(_velocity, prior, SCHEDULE)
    torch.testing.assert_close(implied(data, t), _score(data, t))

    def loss(velocity) -> float:  # type: ignore[no-untyped-def]
        own = torch.Generator().manual_seed(1)
        return float(velocity_loss(velocity, data, prior, SCHEDULE, t=t, generator=own))

    for scale, shift in ((0.9, 0.0), (1.1, 0.0), (1.0, 0.1)):
        assert loss(lambda x, t, a=scale, b=shift: a * _velocity(x, t) + b) > loss(_velocity)


def test_the_velocitys_loss_is_the_scores_divided_by_the_squared_decay() -> None:
    data, prior = _start(6, 2, 50)
    off = lambda x, t: _velocity(x, t) + 0.3 * x.sin()  # noqa: E731
    for time in (0.01, 0.3, 0.8):
        t = torch.full((6,), time, dtype=torch.float64)
        given = {"t": t, "generator": torch.Generator().manual_seed(1)}
        velocity = velocity_loss(off, data, prior, SCHEDULE, **given)  # type: ignore[arg-type]
        given["generator"] = torch.Generator().manual_seed(1)
        score = score_loss(score_of_velocity(off, prior, SCHEDULE), data, prior, SCHEDULE, **given)  # type: ignore[arg-type]
        torch.testing.assert_close(velocity, score / SCHEDULE.decay(time) ** 2)


@pytest.mark.parametrize("loss", [score_loss, velocity_loss])
def test_the_loss_does_not_look_at_padding(loss: Callable[..., Tensor]) -> None:
    data = torch.randn(2, 3, 10)
    mask = (torch.arange(10) < torch.tensor([10, 6])[:, None])[:, None]
    spoilt = torch.where(mask, data, math.nan)
    t = torch.tensor([0.3, 0.7])
    losses = []
    for x in (data, spoilt):
        generator = torch.Generator().manual_seed(0)
        losses.append(loss(_score, x, x * 0, SCHEDULE, mask, t=t, generator=generator))
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize(
    ("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("dpm2", 2)]
)
def test_deterministic_solvers_converge_with_their_order(solver: str, order: int) -> None:
    start, prior = _start(1, 1, 64)
    errors = []
    for steps in (40, 80, 160):
        found = sample(_score, start, prior, SCHEDULE, solver, steps)  # type: ignore[arg-type]
        errors.append(float((found - _exact_end(start)).abs().max()))
    assert errors[2] < 0.02
    slope = math.log2(errors[0] / errors[2]) / 2
    assert slope > order - 0.35


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_draws_the_data(solver: str) -> None:
    generator = torch.Generator().manual_seed(3)
    start, prior = _start(1, 1, 20_000)

    def noise(_: int) -> Tensor:
        return torch.randn(start.shape, generator=generator, dtype=start.dtype)

    found = sample(_score, start, prior, SCHEDULE, solver, 200, noise=noise)  # type: ignore[arg-type]
    assert float(found.mean()) == pytest.approx(CENTRE, abs=0.06)
    assert float(found.std()) == pytest.approx(SPREAD, abs=0.03)


def test_the_maximum_likelihood_solver_needs_few_steps_for_a_point() -> None:
    """Of data that is one point the prediction is exact, so even one step arrives."""
    start, prior = _start(1, 2, 5)
    point = torch.full_like(prior, 0.7)

    def score(x: Tensor, t: Tensor) -> Tensor:
        decay, variance = (value.view(-1, 1, 1) for value in SCHEDULE.marginal(t))
        return -(x - prior - decay * (point - prior)) / variance

    for steps in (1, 3):
        torch.testing.assert_close(
            sample(score, start, prior, SCHEDULE, "ml_sde", steps), point, atol=1e-9, rtol=0
        )
    torch.testing.assert_close(
        sample(score, start, prior, SCHEDULE, "dpm2", 1), point, atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_count_of_evaluations_is_what_is_evaluated(solver: str) -> None:
    start, prior = _start(2, 1, 3)
    seen: list[Tensor] = []

    def score(x: Tensor, t: Tensor) -> Tensor:
        seen.append(t)
        return _score(x, t)

    for steps in (1, 2, 5):
        seen.clear()
        sample(score, start, prior, SCHEDULE, solver, steps)  # type: ignore[arg-type]
        assert len(seen) == evaluations(solver, steps)  # type: ignore[arg-type]
        # Of time 0 no score is learnt.
        assert all(t.shape == (2,) and 0 < float(t.min()) <= 1 for t in seen)


@pytest.mark.parametrize("solver", SOLVERS)
def test_noise_is_drawn_by_stochastic_solvers_alone(solver: str) -> None:
    start, prior = _start(1, 1, 3)
    asked: list[int] = []

    def noise(step: int) -> Tensor:
        asked.append(step)
        return torch.zeros_like(start)

    sample(_score, start, prior, SCHEDULE, solver, 3, noise=noise)  # type: ignore[arg-type]
    assert asked == ([0, 1, 2] if solver in STOCHASTIC else [])


def _normal(data: Tensor) -> Tensor:
    return torch.distributions.Normal(CENTRE, SPREAD).log_prob(data)


def test_the_likelihood_of_gaussian_data_is_its_density() -> None:
    data = torch.randn(3, 2, 4, dtype=torch.float64) * SPREAD + CENTRE
    prior = torch.full_like(data, PRIOR)
    exact = log_likelihood(_score, data, prior, SCHEDULE, probes=None, tolerance=1e-6)
    # X_1 is not quite N(PRIOR, 1), as the likelihood takes it to be: the schedule leaves a little.
    mean, variance = _moments(torch.ones(1, dtype=data.dtype))
    end = mean + variance.sqrt() * (data - CENTRE) / SPREAD
    taken = torch.distributions.Normal(PRIOR, 1.0).log_prob(end)
    true = torch.distributions.Normal(mean, variance.sqrt()).log_prob(end)
    expected = (_normal(data) + taken - true).sum((1, 2))
    torch.testing.assert_close(exact.log_prob, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(exact.log_prob, _normal(data).sum((1, 2)), atol=1.0, rtol=0)
    shown = -exact.log_prob / (8 * math.log(2))
    torch.testing.assert_close(exact.bits_per_dimension, shown)
    # The divergence of a diagonal field is the same for any signs.
    random = log_likelihood(_score, data, prior, SCHEDULE, probes=1, tolerance=1e-6)
    torch.testing.assert_close(random.log_prob, exact.log_prob, atol=1e-6, rtol=0)


def test_the_trace_is_unbiased_when_dimensions_depend_on_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    factor = torch.tensor([[0.8, 0.0], [0.5, 0.4]], dtype=torch.float64)
    covariance = factor @ factor.T

    def score(x: Tensor, t: Tensor) -> Tensor:
        decay, variance = SCHEDULE.marginal(t)
        eye = torch.eye(2, dtype=x.dtype)
        inverse = torch.linalg.inv(
            decay[:, None, None].square() * covariance + variance[:, None, None] * eye
        )
        return -(inverse @ x)

    data = factor @ torch.randn(3, 2, 1, generator=generator, dtype=torch.float64)
    prior = torch.zeros_like(data)
    density = torch.distributions.MultivariateNormal(torch.zeros(2).double(), covariance)
    exact = log_likelihood(score, data, prior, SCHEDULE, probes=None, tolerance=1e-6)
    torch.testing.assert_close(exact.log_prob, density.log_prob(data.squeeze(2)), atol=2e-3, rtol=0)
    draws = [
        log_likelihood(
            score, data, prior, SCHEDULE, probes=1, tolerance=1e-4, generator=generator
        ).log_prob
        for _ in range(40)
    ]
    assert float(torch.stack(draws).std(0).max()) > 0.05
    torch.testing.assert_close(torch.stack(draws).mean(0), exact.log_prob, atol=0.5, rtol=0)


def test_a_smaller_tolerance_costs_more_and_errs_less() -> None:
    data = torch.randn(1, 2, 4, dtype=torch.float64) * SPREAD + CENTRE
    prior = torch.full_like(data, PRIOR)
    fine, *found = (
        log_likelihood(_score, data, prior, SCHEDULE, tolerance=tolerance)
        for tolerance in (1e-9, 1e-2, 1e-4, 1e-6)
    )
    errors = [float((one.log_prob - fine.log_prob).abs()) for one in found]
    counts = [one.evaluations for one in found]
    assert counts == sorted(counts)
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-4


def test_the_likelihood_does_not_look_at_padding() -> None:
    data = torch.randn(2, 2, 5, dtype=torch.float64)
    mask = (torch.arange(5) < torch.tensor([5, 3])[:, None])[:, None]
    prior = torch.where(mask, PRIOR, math.nan).expand_as(data)
    spoilt = torch.where(mask, data, math.nan)
    found = log_likelihood(_score, spoilt, prior, SCHEDULE, mask)
    alone = log_likelihood(_score, data[1:, :, :3], prior[1:, :, :3], SCHEDULE)
    torch.testing.assert_close(found.log_prob[1:], alone.log_prob, atol=2e-3, rtol=0)
    assert found.dimensions.tolist() == [10, 6]


def test_bad_settings_are_named() -> None:
    x = torch.zeros(1, 1, 2)
    with pytest.raises(InputError, match="euler, midpoint"):
        sample(_score, x, x, SCHEDULE, "rk4")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 1"):
        sample(_score, x, x, SCHEDULE, steps=0)
    with pytest.raises(InputError, match="probes"):
        log_likelihood(_score, x, x, SCHEDULE, probes=0)
    with pytest.raises(InputError, match="beta_min"):
        NoiseSchedule(2.0, 1.0)


def test_an_integrator_that_cannot_end_says_so() -> None:
    x = torch.zeros(1, 1, 2)
    with pytest.raises(InputError, match="raise the tolerance"):
        log_likelihood(lambda x, t: x * math.nan, x, x, SCHEDULE)
