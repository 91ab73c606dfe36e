"""Adversarial losses and the discriminators they judge by."""

from __future__ import annotations

import torch

from glottis.blocks.discriminators import (
    Discriminators,
    PeriodDiscriminator,
    ResolutionDiscriminator,
    discriminator_loss,
    feature_matching_loss,
    frozen,
    generator_loss,
)


def _network() -> Discriminators:
    return Discriminators([PeriodDiscriminator(3, (4, 8)), ResolutionDiscriminator(256, 4)])


def test_verdicts_have_one_row_for_each_item_whatever_the_length() -> None:
    network = _network()
    for length in (1000, 1001, 1002):
        for scores, features in network(torch.randn(2, length)):
            assert scores.shape[0] == 2
            assert all(f.shape[0] == 2 for f in features)


def test_perfect_verdicts_cost_nothing() -> None:
    ones, zeros = [(torch.ones(2, 5), [])], [(torch.zeros(2, 5), [])]
    assert float(discriminator_loss(ones, zeros)) == 0
    assert float(discriminator_loss(zeros, ones)) == 2
    assert float(generator_loss(ones)) == 0
    assert float(generator_loss(zeros)) == 1


def test_features_match_themselves_only() -> None:
    network = _network().requires_grad_(False)
    audio = torch.randn(2, 1024)
    judged = network(audio)
    assert float(feature_matching_loss(judged, judged)) == 0
    assert float(feature_matching_loss(judged, network(audio * 0.5))) > 0


def test_frozen_discriminator_passes_gradients_on_and_keeps_none() -> None:
    network = _network()
    audio = torch.randn(1, 1024, requires_grad=True)
    with frozen(network):
        generator_loss(network(audio)).backward()
    assert audio.grad is not None
    assert float(audio.grad.abs().sum()) > 0
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_verdicts_of_two_batches_are_those_of_each() -> None:
    """Heard as one, or for a generator: the same losses and gradients as one after the other."""
    torch.manual_seed(0)
    network, real = _network(), torch.randn(2, 1000)
    plain, heard = (torch.randn(2, 1000, generator=g).requires_grad_() for g in _twice())
    apart = network(real), network(plain)
    together = network.both(real, plain)
    losses = [discriminator_loss(*apart), discriminator_loss(*together)]
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss, list(network.parameters())) for loss in losses]
    for alone, at_once in zip(*gradients, strict=True):
        torch.testing.assert_close(alone, at_once, rtol=1e-4, atol=1e-6)
    feature_matching_loss(network(real), network(plain)).backward()
    network.zero_grad(set_to_none=True)
    feature_matching_loss(*network.against(real, heard)).backward()
    torch.testing.assert_close(heard.grad, plain.grad)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def _twice() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(1) for _ in range(2)]
