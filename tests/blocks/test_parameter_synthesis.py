"""The vocoder in torch: equal to numpy's, and differentiable."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glottis.audio.vocoder import VocoderConfig, _noise, analyse, filled, synthesize
from glottis.blocks.parameter_synthesis import ParameterSynthesis
from speechlike import vowel


@pytest.mark.parametrize("rate", [8000, 22050])
def test_torch_equals_numpy(rate: int) -> None:
    config = VocoderConfig(rate)
    found = analyse(vowel(1.0, rate)[rate // 5 :], config)
    frames = len(found.pitch)
    assert 0 < (found.pitch == 0).mean() < 1
    noise = torch.from_numpy(_noise(5, 0, (frames + 3) * config.hop))[None]
    made = ParameterSynthesis(config)(
        torch.from_numpy(filled(found.pitch)).float()[None],
        torch.from_numpy(found.pitch > 0).float()[None],
        torch.from_numpy(found.cepstrum)[None],
        torch.from_numpy(found.aperiodicity)[None],
        noise,
    )
    whole = synthesize(found, config, seed=5)
    assert made.shape == (1, len(whole))
    assert found.pitch[0] > 0
    np.testing.assert_allclose(made[0].numpy(), whole, atol=2e-4 * np.abs(whole).max())


def test_gradients_reach_every_parameter() -> None:
    config = VocoderConfig(8000, order=3, low=250.0, high=500.0)
    module = ParameterSynthesis(config).double()
    generator = torch.Generator().manual_seed(0)
    frames = 3
    pitch = 300 + 20 * torch.rand(1, frames, generator=generator, dtype=torch.float64)
    voicing = 0.3 + 0.4 * torch.rand(1, frames, generator=generator, dtype=torch.float64)
    cepstrum = 0.1 * torch.randn(1, 4, frames, generator=generator, dtype=torch.float64)
    share = -20 * torch.rand(1, config.bands, frames, generator=generator, dtype=torch.float64) - 1
    noise = torch.randn(1, (frames + 3) * config.hop, generator=generator, dtype=torch.float64)
    inputs = [value.requires_grad_() for value in (pitch, voicing, cepstrum, share)]
    assert torch.autograd.gradcheck(lambda *given: module(*given, noise)[:, ::7], inputs)


def test_gradients_are_finite_at_the_edges_of_voicing() -> None:
    config = VocoderConfig(8000)
    module = ParameterSynthesis(config)
    voicing = torch.tensor([[0.0, 0.0, 1.0, 1.0]], requires_grad=True)
    share = torch.tensor([[[0.0, -40.0, 0.0, -40.0]]]).repeat(1, config.bands, 1).requires_grad_()
    pitch = torch.full((1, 4), 100.0, requires_grad=True)
    cepstrum = torch.zeros(1, config.order + 1, 4, requires_grad=True)
    module(pitch, voicing, cepstrum, share).square().sum().backward()
    for value in (voicing, share, pitch, cepstrum):
        assert value.grad is not None
        assert torch.isfinite(value.grad).all()


def test_a_generator_makes_it_repeatable() -> None:
    config = VocoderConfig(8000)
    module = ParameterSynthesis(config)
    given = (
        torch.full((2, 5), 120.0),
        torch.ones(2, 5),
        torch.zeros(2, config.order + 1, 5),
        torch.full((2, config.bands, 5), -6.0),
    )
    one, two = (module(*given, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert one.shape == (2, 5 * config.hop)
    assert torch.equal(one, two)
