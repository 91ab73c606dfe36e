"""Noise from a seed is what it says: standard normal, repeatable, independent."""

from __future__ import annotations

import math

import torch

from glottis.blocks.noise import normal_from_seed, uniform_from_seed


def _seed(value: int) -> torch.Tensor:
    return torch.tensor([value])


def test_uniform_fills_the_interval_evenly() -> None:
    values = uniform_from_seed(_seed(3), torch.arange(200_000), 0)
    assert float(values.min()) > 0
    assert float(values.max()) < 1
    # Kolmogorov-Smirnov: a perfect generator exceeds 1.95 / sqrt(n) once in a thousand seeds.
    ordered = values.double().sort().values
    grid = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    assert float((ordered - grid).abs().max()) < 1.95 / math.sqrt(len(ordered))


def test_normal_moments() -> None:
    noise = normal_from_seed(_seed(11), 5000, 80).double()
    count = noise.numel()
    assert noise.shape == (1, 80, 5000)
    assert abs(float(noise.mean())) < 4 / math.sqrt(count)
    assert abs(float(noise.square().mean()) - 1) < 4 * math.sqrt(2 / count)
    assert abs(float(noise.pow(4).mean()) - 3) < 4 * math.sqrt(96 / count)


def test_neighbours_seeds_and_streams_are_uncorrelated() -> None:
    first = normal_from_seed(_seed(1), 3000, 80).double()
    second = normal_from_seed(_seed(2), 3000, 80).double()
    bound = 4 / math.sqrt(first.numel())
    assert abs(float((first * second).mean())) < bound
    assert abs(float((first[..., 1:] * first[..., :-1]).mean())) < bound
    assert abs(float((first[:, 1:] * first[:, :-1]).mean())) < bound
    assert abs(float((first[:, :40] * first[:, 40:]).mean())) < bound


def test_same_seed_same_noise_whatever_the_length() -> None:
    long = normal_from_seed(_seed(123456789), 50, 80)
    short = normal_from_seed(_seed(123456789), 20, 80)
    assert torch.equal(long[..., :20], short)
    assert not torch.equal(short, normal_from_seed(_seed(123456790), 20, 80))


def test_extreme_seeds_are_finite() -> None:
    for seed in (0, 2**31 - 1, 2**62, 2**63 - 1):
        assert torch.isfinite(normal_from_seed(_seed(seed), 100, 80)).all()


def test_streams_of_one_seed_are_independent() -> None:
    seed = torch.tensor([3])
    one, two = (normal_from_seed(seed, 4000, 4, stream=s).flatten() for s in (0, 1))
    assert torch.equal(one, normal_from_seed(seed, 4000, 4).flatten())
    assert abs(float(torch.corrcoef(torch.stack([one, two]))[0, 1])) < 4 / 16000**0.5
    assert abs(float(two.mean())) < 4 / 16000**0.5
