"""VITS' centred flow: what speakers have in common stays, and what sets them apart goes."""

from __future__ import annotations

import math

import pytest
import torch

from glottis.likelihood.flows import AffineCoupling, Flip, Flow
from glottis.models.vits.speaker_flow import CentredShift, SymbolGaussians, apart


def _shift(speakers: int) -> CentredShift:
    torch.manual_seed(0)
    shift = CentredShift(4, 8, 3, 2, speakers)
    with torch.no_grad():
        shift.speaker_shift.normal_()
    return shift


@pytest.mark.parametrize("told", [0, 3])
def test_shifts_of_all_speakers_sum_to_zero(told: int) -> None:
    """Whatever stands in front of the speaker's channels."""
    shift = _shift(5)
    own = apart(torch.arange(5), 5).expand(-1, -1, 7)
    pitch = torch.randn(1, told, 7).expand(5, -1, -1)
    x = torch.randn(1, 4, 7).expand(5, -1, -1)
    mask = torch.ones(5, 1, 7, dtype=torch.bool)
    moved = shift(x, mask, torch.cat([pitch, own], dim=1))
    assert float(moved.detach().abs().max()) > 0.1
    torch.testing.assert_close(moved.sum(0), torch.zeros(4, 7), atol=1e-4, rtol=0)


def test_symbols_are_heard_as_they_are() -> None:
    """Means and covariances of all frames of a symbol, inside the mask; the latest weigh more."""
    torch.manual_seed(0)
    gaussians = SymbolGaussians(4, 3, memory=1.0, pull=0.0, floor=0.0)
    mixed = torch.tensor([[1.0, 0.0, 0.0], [0.8, 1.0, 0.0], [-0.5, 0.3, 1.0]])
    batches = [
        (mixed @ torch.randn(2, 3, 50) * 2 + i - 5, torch.randint(0, 3, (2, 50))) for i in range(3)
    ]
    mask = torch.arange(50).expand(2, 1, 50) < 40
    for x, symbols in batches:
        spoiled = torch.where(mask, x, math.nan)
        gaussians.hear(spoiled, symbols, mask)
    frames = torch.cat([x[..., :40].transpose(1, 2).flatten(0, 1) for x, _ in batches])
    spoken = torch.cat([s[:, :40].flatten() for _, s in batches])
    heard = gaussians.covariances(torch.arange(3))
    for symbol in range(3):
        own = frames[spoken == symbol]
        torch.testing.assert_close(gaussians.mean[symbol], own.mean(0))
        wanted = torch.cov(own.T, correction=0)
        torch.testing.assert_close(heard[symbol], wanted, rtol=1e-4, atol=1e-4)
    assert gaussians.count.tolist()[3] == 0
    x, symbols = batches[0]
    normal = torch.distributions.MultivariateNormal(gaussians.mean[symbols], heard[symbols])
    best = normal.log_prob(gaussians.mean[symbols])
    wanted = (best - normal.log_prob(x.transpose(1, 2)))[:, :40].mean()
    spoiled = torch.where(mask, x, math.nan)
    torch.testing.assert_close(gaussians.nats(spoiled, symbols, mask), wanted, rtol=1e-4, atol=1e-4)
    fading = SymbolGaussians(4, 3, memory=0.0)
    for x, symbols in batches:
        fading.hear(x, symbols, mask)
    last = batches[-1][0][..., :40].transpose(1, 2)[batches[-1][1][:, :40] == 1]
    torch.testing.assert_close(fading.mean[1], last.mean(0))


def test_a_symbol_heard_little_has_the_covariance_of_all() -> None:
    torch.manual_seed(0)
    gaussians = SymbolGaussians(4, 3, memory=1.0, pull=10.0, floor=0.5)
    x, symbols = 2 * torch.randn(1, 3, 400), torch.arange(400)[None] % 2
    symbols[0, 0] = 2
    gaussians.hear(x, symbols, torch.ones(1, 1, 400, dtype=torch.bool))
    own, seldom, never = gaussians.covariances(torch.tensor([1, 2, 3]))
    every = torch.stack([torch.cov(x[0][:, symbols[0] == s], correction=0) for s in range(2)])
    common = (every * torch.tensor([199.0, 200.0])[:, None, None]).sum(0) / 400
    floor = 0.5 * torch.eye(3)
    torch.testing.assert_close(own, (200 * every[1] + 10 * common) / 210 + floor)
    torch.testing.assert_close(seldom, 10 * common / 11 + floor)
    torch.testing.assert_close(never, common + floor)


def test_nothing_is_gained_by_taking_from_one_channel_what_another_says() -> None:
    """Whitening two speakers' frames by a shear each lowers variances, not whole covariances.

    It keeps volumes, and is what would be put on the other speaker in conversion.
    """
    torch.manual_seed(0)
    frames = torch.randn(2, 2, 4000)
    slopes = torch.tensor([0.9, -0.9]).view(2, 1)
    frames[:, 1] += slopes * frames[:, 0]
    sheared = frames.clone()
    sheared[:, 1] -= slopes * frames[:, 0]
    symbols, mask = torch.zeros(1, 4000, dtype=torch.long), torch.ones(1, 1, 4000).bool()

    def entropy(x: torch.Tensor) -> torch.Tensor:
        gaussians = SymbolGaussians(1, 2, pull=0.0, floor=0.0)
        gaussians.hear(x, symbols, mask)
        root = torch.logdet(gaussians.covariances(symbols[0, :1])[0])
        return gaussians.nats(x, symbols, mask) + 0.5 * root

    for one, other in zip(frames[:, None], sheared[:, None], strict=True):
        torch.testing.assert_close(entropy(one), entropy(other), rtol=0, atol=1e-4)
        variances = [x[0].var(1, correction=0).log().sum() for x in (one, other)]
        assert variances[1] < variances[0] - 0.3


def test_a_flow_learns_to_take_the_speaker_out_and_to_put_another_in() -> None:
    """Two speakers who say the same symbols, one of them lower in half of the channels.

    After a few steps converted frames lie where the other speaker's do.
    """
    torch.manual_seed(0)
    couplings = [AffineCoupling(CentredShift(2, 8, 3, 1, 2), True) for _ in range(2)]
    flow = Flow(layer for coupling in couplings for layer in (coupling, Flip()))
    gaussians, told = SymbolGaussians(3, 4), apart(torch.arange(2), 2)
    centres, offset = 3 * torch.randn(3, 4), torch.tensor([1.0, -1.0, 0.5, 2.0])

    def say(speaker: int, symbols: torch.Tensor) -> torch.Tensor:
        x = centres[symbols] + (offset if speaker else 0.0)
        return (x + 0.1 * torch.randn(x.shape)).transpose(1, 2)

    mask = torch.ones(2, 1, 30, dtype=torch.bool)
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    for _ in range(150):
        symbols = torch.randint(0, 3, (2, 30))
        x = torch.cat([say(i, symbols[i : i + 1]) for i in range(2)])
        image, _ = flow.call_and_ladj(x, mask, told)
        gaussians.hear(image.detach(), symbols, mask)
        optimizer.zero_grad()
        gaussians.nats(image, symbols, mask).backward()
        optimizer.step()
    symbols = torch.randint(0, 3, (1, 30))
    source, target = say(0, symbols), say(1, symbols)
    with torch.no_grad():
        image, _ = flow.call_and_ladj(source, mask[:1], told[:1])
        converted = flow.inverse(image, mask[:1], told[1:])
    before, after = ((x - target).square().mean() for x in (source, converted))
    assert after < 0.2 * before
