"""What is noted of speakers' pitch while training."""

from __future__ import annotations

import math

import pytest
import torch

from glottis.blocks.pitch import PitchInput, SpeakerPitch, pitch_bells, recorded_pitch


def _pitch(batch: int, frames: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    hertz = 180.0 * torch.exp(0.3 * torch.randn(batch, frames, generator=random))
    return hertz * (torch.rand(batch, frames, generator=random) < 0.6)


def test_many_batches_are_heard_as_one() -> None:
    pitch, speaker = _pitch(12, 50, 1), torch.arange(12) % 3
    apart, together = SpeakerPitch(4), SpeakerPitch(4)
    together.hear(*recorded_pitch(pitch), speaker)
    for rows in torch.arange(12).split([1, 4, 7]):
        apart.hear(*recorded_pitch(pitch[rows]), speaker[rows])
    for name in ("mean", "spread", "frames"):
        torch.testing.assert_close(getattr(apart, name), getattr(together, name))
    for index in range(3):
        heard = pitch[index::3]
        heard = heard[heard > 0].log()
        assert float(apart.mean[index]) == pytest.approx(float(heard.mean()), abs=1e-4)
        assert float(apart.spread[index]) == pytest.approx(float(heard.std(correction=0)), abs=1e-4)
    # Of whom nothing was heard nothing is known.
    assert float(apart.mean[3]) == pytest.approx(math.log(180.0))


def test_what_is_old_is_forgotten() -> None:
    known = SpeakerPitch(1, memory=100.0)
    for hertz in (100.0, 100.0, 200.0, 200.0, 200.0, 200.0, 200.0, 200.0):
        known.hear(*recorded_pitch(torch.full((1, 200), hertz)), None)
    assert float(known.mean.exp()) == pytest.approx(200.0, rel=0.01)


def test_moved_pitch_has_the_targets_mean_and_spread() -> None:
    known = SpeakerPitch(2)
    pitch = torch.stack([_pitch(1, 400, 2)[0], _pitch(1, 400, 3)[0].square() / 150.0])
    known.hear(*recorded_pitch(pitch), torch.tensor([0, 1]))
    here, there = torch.tensor([0, 1]), torch.tensor([1, 0])
    moved = known.moved(pitch, here, there)
    assert torch.equal(moved > 0, pitch > 0)
    for row, target in ((0, 1), (1, 0)):
        log = moved[row][moved[row] > 0].log()
        assert float(log.mean()) == pytest.approx(float(known.mean[target]), abs=1e-3)
    back = known.moved(moved, there, here)
    torch.testing.assert_close(back, pitch, rtol=1e-4, atol=1e-2)
    assert torch.equal(known.moved(pitch, here, here), pitch)


def test_nothing_is_added_before_it_is_learnt() -> None:
    bells = pitch_bells(*recorded_pitch(_pitch(2, 9, 1)))
    assert not PitchInput(5)(bells).any()
    assert PitchInput(5, stacked=2)(torch.cat([bells, bells], 1)).shape == (2, 5, 9)
