"""Laws of the bounds: never above the enumerated log-likelihood, equal for the true posterior."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.distributions import (
    Beta,
    Distribution,
    ExpTransform,
    Independent,
    MultivariateNormal,
    Normal,
    SigmoidTransform,
    Uniform,
)

from glottis.errors import InputError
from glottis.likelihood.dequantization import VariationalAugmentation, VariationalDequantization
from glottis.likelihood.flows import (
    ActNorm,
    AffineCoupling,
    Flip,
    Flow,
    FlowDistribution,
    Pointwise,
    SequenceNormal,
)

DURATIONS = torch.arange(-4.0, 9.0, dtype=torch.float64)
DENSITY = Normal(torch.tensor(2.3, dtype=torch.float64), 1.7)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class TruePosterior(Distribution):
    """``q(u | d) = p(d - u) / P(d)`` of a density with a distribution function."""

    arg_constraints: ClassVar = {}

    def __init__(self, density, value, sign):
        self.density, self.value, self.sign = density, value, sign
        self.low = value - 1 if sign < 0 else value
        self.mass = density.cdf(self.low + 1) - density.cdf(self.low)
        super().__init__(value.shape, validate_args=False)

    def rsample(self, sample_shape=()):
        part = torch.rand(*sample_shape, *self.value.shape, dtype=torch.float64)
        y = self.density.icdf(self.density.cdf(self.low) + part * self.mass)
        return (y - self.value) * self.sign

    def log_prob(self, noise):
        return self.density.log_prob(self.value + self.sign * noise) - self.mass.log()


@pytest.mark.parametrize(("rounding", "sign"), [("up", -1), ("down", 1)])
def test_true_posterior_makes_the_bound_exact_for_every_draw(rounding, sign):
    integers = VariationalDequantization(
        DENSITY, lambda d: TruePosterior(DENSITY, d, sign), rounding=rounding
    )
    wanted = integers.log_prob(DURATIONS)
    for samples in (1, 7):
        torch.testing.assert_close(integers.evidence_bound(DURATIONS, samples), wanted)


@pytest.mark.parametrize("rounding", ["up", "down"])
def test_probabilities_of_the_integers_sum_to_one(rounding):
    integers = VariationalDequantization(DENSITY, Uniform(0.0, 1.0), rounding=rounding)
    every = torch.arange(-30.0, 30.0, dtype=torch.float64)
    assert integers.log_prob(every).exp().sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    "noise",
    [Uniform(torch.zeros(13).double(), 1.0), Beta(torch.full((13,), 2.0).double(), 3.0)],
    ids=["uniform", "beta"],
)
def test_bound_stays_below_and_tightens_with_samples(noise):
    integers = VariationalDequantization(DENSITY, noise)
    exact = integers.log_prob(DURATIONS)
    gaps = []
    for samples in (1, 10, 100):
        draws = torch.stack([integers.evidence_bound(DURATIONS, samples) for _ in range(600)])
        error = draws.std(0) / math.sqrt(600)
        assert (draws.mean(0) <= exact + 4 * error).all()
        gaps.append((exact - draws.mean(0)).mean().item())
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.05


def test_uniform_noise_averages_the_density_over_the_interval():
    integers = VariationalDequantization(DENSITY, Uniform(torch.zeros(13).double(), 1.0))
    grid = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    wanted = DENSITY.log_prob(DURATIONS - grid[:, None]).mean(0)
    draws = torch.stack([integers.evidence_bound(DURATIONS) for _ in range(4000)])
    error = draws.std(0) / math.sqrt(4000)
    assert ((draws.mean(0) - wanted).abs() < 4.5 * error).all()


def joint_gaussian():
    """Two channels, one time step, correlated: everything about it is known."""
    factor = torch.tensor([[1.3, 0.0], [0.8, 0.6]], dtype=torch.float64)
    mean = torch.tensor([2.0, -1.0], dtype=torch.float64)
    plain = MultivariateNormal(mean, scale_tril=factor)

    class Joint(Distribution):
        arg_constraints: ClassVar = {}

        def log_prob(self, value):
            return plain.log_prob(value.squeeze(-1))

        def sample(self, sample_shape=()):
            return plain.sample((*sample_shape, 5))[..., None]

    joint = Joint(torch.Size([5]), torch.Size([2, 1]), validate_args=False)
    covariance = factor @ factor.T
    slope = covariance[0, 1] / covariance[0, 0]
    left = (covariance[1, 1] - slope * covariance[0, 1]).sqrt()

    def of_second(first):
        return Independent(Normal(mean[1] + slope * (first - mean[0]), left), 2)

    return joint, of_second, Normal(mean[0], covariance[0, 0].sqrt())


def test_augmentation_is_exact_for_the_true_posterior_and_below_otherwise():
    joint, of_second, marginal = joint_gaussian()
    x = torch.randn(5, 1, 1, dtype=torch.float64)
    wanted = marginal.log_prob(x)[:, 0, 0]
    exact = VariationalAugmentation(joint, of_second, 1)
    torch.testing.assert_close(exact.evidence_bound(x, 3), wanted)
    assert exact.sample((7,)).shape == (7, 5, 1, 1)
    wide = VariationalAugmentation(
        joint, lambda x: Independent(Normal(torch.zeros_like(x), 2.0), 2), 1
    )
    draws = torch.stack([wide.evidence_bound(x) for _ in range(2000)])
    assert (draws.mean(0) <= wanted + 4 * draws.std(0) / math.sqrt(2000)).all()
    assert (draws.mean(0) < wanted - 0.05).all()


def test_dequantised_and_augmented_at_once_is_exact_for_the_true_posterior():
    joint, of_second, marginal = joint_gaussian()
    durations = torch.arange(1.0, 6.0, dtype=torch.float64).view(5, 1, 1)

    class Both(Distribution):
        arg_constraints: ClassVar = {}

        def __init__(self, value):
            self.value, self.noise = value, TruePosterior(marginal, value, -1)
            super().__init__(value.shape[:1], torch.Size([2, 1]), validate_args=False)

        def rsample(self, sample_shape=()):
            noise = self.noise.rsample(sample_shape)
            return torch.cat([noise, of_second(self.value - noise).rsample()], dim=-2)

        def log_prob(self, draw):
            noise, second = draw[..., :1, :], draw[..., 1:, :]
            first = self.noise.log_prob(noise)[..., 0, 0]
            return first + of_second(self.value - noise).log_prob(second)

    integers = VariationalDequantization(joint, Both, augmented=1)
    assert integers.event_shape == (1, 1)
    mass = marginal.cdf(durations) - marginal.cdf(durations - 1)
    torch.testing.assert_close(integers.evidence_bound(durations, 4), mass.log()[:, 0, 0])
    assert integers.sample((3,)).shape == (3, 5, 1, 1)


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv1d(1, 2, 1)

    def forward(self, x, mask, condition):
        return torch.tanh(self.layer(x) + condition) * mask


def duration_predictor(durations, lengths, hidden):
    """VITS' stochastic duration predictor in small: log durations and one more channel."""
    torch.manual_seed(1)
    forward = Flow([ActNorm(2), AffineCoupling(Shift()), Flip(), AffineCoupling(Shift())]).eval()
    noise = Flow([AffineCoupling(Shift()), Flip(), AffineCoupling(Shift())])
    density = FlowDistribution(
        SequenceNormal(2, lengths),
        [
            forward.transform(lengths, hidden).inv,
            Pointwise(ExpTransform(), lengths, slice(0, 1)),
        ],
    )
    posterior = FlowDistribution(
        SequenceNormal(2, lengths),
        [noise.transform(lengths, hidden), Pointwise(SigmoidTransform(), lengths, slice(0, 1))],
    )
    return VariationalDequantization(density, posterior, augmented=1), (forward, noise)


def test_a_stochastic_duration_predictor_is_four_lines_and_trains():
    lengths = torch.tensor([4, 2])
    durations = torch.tensor([[[3, 1, 7, 2]], [[1, 5, 0, 0]]])
    hidden = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0))
    predictor, networks = duration_predictor(durations, lengths, hidden)
    parameters = [p for network in networks for p in network.parameters()]
    generator = torch.Generator().manual_seed(5)
    bound = predictor.evidence_bound(durations, generator=generator)
    assert bound.shape == (2,)
    again = predictor.evidence_bound(durations, generator=generator.manual_seed(5))
    assert torch.equal(bound, again)
    dirty = torch.where(torch.arange(4) < lengths[:, None, None], durations, 99)
    assert torch.equal(predictor.evidence_bound(dirty, generator=generator.manual_seed(5)), bound)
    gradients = torch.autograd.grad(bound.sum(), parameters)
    assert all(torch.isfinite(g).all() and g.any() for g in gradients)
    drawn = predictor.sample((50,), generator=generator)
    assert drawn.shape == (50, 2, 1, 4)
    assert (drawn[:, 0] >= 1).all()
    assert not drawn[:, 1, 0, 2:].any()


def test_duration_predictor_s_bound_is_below_the_enumerated_log_likelihood():
    # One token: P(d) by drawing from the model and counting, E[bound] by drawing from q.
    lengths = torch.tensor([1])
    predictor, _ = duration_predictor(None, lengths, torch.full((1, 2, 1), 0.3))
    with torch.no_grad():
        drawn = predictor.sample((200_000,)).flatten()
        for duration in (1.0, 2.0, 3.0):
            part = (drawn == duration).double().mean()
            value = torch.full((1, 1, 1), duration)
            bounds = torch.cat([predictor.evidence_bound(value, 50) for _ in range(100)])
            error = 4 * (bounds.std() / 10 + ((1 - part) / part / 200_000).sqrt())
            assert bounds.mean() <= part.log() + error
            tight = torch.logsumexp(predictor.evidence_bound(value, 20_000), 0)
            assert tight.item() == pytest.approx(part.log().item(), abs=0.1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="up"):
        VariationalDequantization(DENSITY, Uniform(0.0, 1.0), rounding="nearest")
    integers = VariationalDequantization(DENSITY, Uniform(0.0, 1.0), validate_args=True)
    with pytest.raises(InputError, match="whole"):
        integers.log_prob(torch.tensor(1.5))
    with pytest.raises(InputError, match="at least 1"):
        integers.evidence_bound(torch.tensor(1.0), 0)
    with pytest.raises(InputError, match="channels"):
        VariationalDequantization(DENSITY, Uniform(0.0, 1.0), augmented=1)
    with pytest.raises(InputError, match="channels"):
        VariationalAugmentation(SequenceNormal(2, torch.tensor([3])), Uniform(0.0, 1.0), 2)
    density = SequenceNormal(2, torch.tensor([3]))
    sequences = VariationalDequantization(density, density)
    with pytest.raises(NotImplementedError, match="evidence_bound"):
        sequences.log_prob(torch.ones(1, 2, 3))
