"""VITS' centred flow: what speakers have in common stays, and what sets them apart goes."""

from __future__ import annotations

import math

import pytest
import torch

from glottis.likelihood.flows import AffineCoupling, Flip, Flow
from glottis.models.vits.speaker_flow import CentredShift, SymbolGaussians


def _shift(speakers: int, told: int = 0) -> CentredShift:
    torch.manual_seed(0)
    shift = CentredShift(4, 8, 3, 2, told, speakers)
    with torch.no_grad():
        shift.shift.normal_()
    return shift


@pytest.mark.parametrize("told", [0, 3])
def test_shifts_of_all_speakers_sum_to_zero(told: int) -> None:
    shift = _shift(5, told)
    embeddings = torch.randn(6, 5)
    apart = (embeddings - embeddings.mean(0)).unsqueeze(-1).expand(-1, -1, 7)
    pitch = torch.randn(1, told, 7).expand(6, -1, -1)
    x = torch.randn(1, 4, 7).expand(6, -1, -1)
    mask = torch.ones(6, 1, 7, dtype=torch.bool)
    moved = shift(x, mask, torch.cat([pitch, apart], dim=1))
    assert float(moved.detach().abs().max()) > 0.1
    torch.testing.assert_close(moved.sum(0), torch.zeros(4, 7), atol=1e-4, rtol=0)


def test_symbols_are_heard_as_they_are() -> None:
    """Means and variances of all frames of a symbol, inside the mask; the latest weigh more."""
    torch.manual_seed(0)
    gaussians = SymbolGaussians(4, 3, memory=1.0)
    batches = [(torch.randn(2, 3, 50) * 2 + i, torch.randint(0, 3, (2, 50))) for i in range(3)]
    mask = torch.arange(50).expand(2, 1, 50) < 40
    for x, symbols in batches:
        spoiled = torch.where(mask, x, math.nan)
        gaussians.hear(spoiled, symbols, mask)
    frames = torch.cat([x[..., :40].transpose(1, 2).flatten(0, 1) for x, _ in batches])
    spoken = torch.cat([s[:, :40].flatten() for _, s in batches])
    for symbol in range(3):
        own = frames[spoken == symbol]
        torch.testing.assert_close(gaussians.mean[symbol], own.mean(0))
        variance = gaussians.square[symbol] - gaussians.mean[symbol].square()
        torch.testing.assert_close(variance, own.var(0, unbiased=False), rtol=1e-4, atol=1e-4)
    assert gaussians.count.tolist()[3] == 0
    x, symbols = batches[0]
    normal = torch.distributions.Normal(
        gaussians.mean[symbols], (gaussians.square - gaussians.mean.square())[symbols].sqrt()
    )
    still = torch.distributions.Normal(torch.zeros_like(normal.scale), normal.scale)
    wanted = (still.log_prob(still.mean) - normal.log_prob(x.transpose(1, 2)))[:, :40].sum(2).mean()
    torch.testing.assert_close(gaussians.nats(x, symbols, mask), wanted, rtol=1e-4, atol=1e-4)
    fading = SymbolGaussians(4, 3, memory=0.0)
    for x, symbols in batches:
        fading.hear(x, symbols, mask)
    last = batches[-1][0][..., :40].transpose(1, 2)[batches[-1][1][:, :40] == 1]
    torch.testing.assert_close(fading.mean[1], last.mean(0))


def test_a_flow_learns_to_take_the_speaker_out_and_to_put_another_in() -> None:
    """Two speakers who say the same symbols, one of them lower in half of the channels.

    After a few steps converted frames lie where the other speaker's do.
    """
    torch.manual_seed(0)
    couplings = [AffineCoupling(CentredShift(2, 8, 3, 1, 0, 2), True) for _ in range(2)]
    flow = Flow(layer for coupling in couplings for layer in (coupling, Flip()))
    gaussians, embeddings = SymbolGaussians(3, 4), torch.nn.functional.normalize(torch.eye(2))
    apart = (embeddings - embeddings.mean(0)).unsqueeze(-1)
    centres, offset = 3 * torch.randn(3, 4), torch.tensor([1.0, -1.0, 0.5, 2.0])

    def say(speaker: int, symbols: torch.Tensor) -> torch.Tensor:
        x = centres[symbols] + (offset if speaker else 0.0)
        return (x + 0.1 * torch.randn(x.shape)).transpose(1, 2)

    mask = torch.ones(2, 1, 30, dtype=torch.bool)
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    for _ in range(150):
        symbols = torch.randint(0, 3, (2, 30))
        x = torch.cat([say(i, symbols[i : i + 1]) for i in range(2)])
        image, _ = flow.call_and_ladj(x, mask, apart)
        gaussians.hear(image.detach(), symbols, mask)
        optimizer.zero_grad()
        gaussians.nats(image, symbols, mask).backward()
        optimizer.step()
    symbols = torch.randint(0, 3, (1, 30))
    source, target = say(0, symbols), say(1, symbols)
    with torch.no_grad():
        image, _ = flow.call_and_ladj(source, mask[:1], apart[:1])
        converted = flow.inverse(image, mask[:1], apart[1:])
    before, after = ((x - target).square().mean() for x in (source, converted))
    assert after < 0.2 * before
