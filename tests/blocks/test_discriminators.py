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
