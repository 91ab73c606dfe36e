"""Pitch as phases of a spectrum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from glottis.blocks.pitch import harmonic_phase
from glottis.blocks.spectral import InverseSTFT

RATE, HOP, SIZE = 22050, 256, 1024


def _spectrum(samples: torch.Tensor, size: int = SIZE, hop: int = HOP) -> torch.Tensor:
    return torch.stft(
        samples, size, hop, window=torch.hann_window(size), center=False, return_complex=True
    )


@pytest.mark.parametrize("hertz", [60.0, 119.3, 240.0, 600.0])
def test_a_steady_tone_goes_on_from_frame_to_frame(hertz: float) -> None:
    frames = 40
    phase = harmonic_phase(torch.full((1, frames), hertz), SIZE, HOP, RATE)[0]
    turned = math.tau * hertz * HOP / RATE
    for number in (1, 2, 7):
        nearest = round(number * hertz * SIZE / RATE)
        step = phase[nearest].diff() - number * turned
        assert torch.cos(step).min() > 1 - 1e-5, number


def test_magnitudes_of_a_gliding_voice_and_these_phases_make_it_again() -> None:
    frames = 80
    time = np.arange(frames * HOP) / RATE
    hertz = 200 * 2 ** (0.3 * np.sin(2 * np.pi * 1.5 * time))
    cycles = np.cumsum(hertz) / RATE
    voice = sum(np.cos(2 * np.pi * h * cycles) / h for h in range(1, 30)).astype(np.float32)
    edge = (SIZE - HOP) // 2
    magnitude = _spectrum(torch.from_numpy(np.pad(voice, edge))).abs()[None]
    pitch = torch.from_numpy(hertz[HOP // 2 :: HOP].astype(np.float32))[None]
    inverse = InverseSTFT(SIZE, HOP)

    def error(phase: torch.Tensor) -> float:
        made = inverse(magnitude * phase.cos(), magnitude * phase.sin())[0]
        ours, theirs = (_spectrum(x, 512, 128).abs() for x in (made, torch.from_numpy(voice)))
        return float((ours - theirs).norm() / theirs.norm())

    assert error(harmonic_phase(pitch, SIZE, HOP, RATE)) < 0.15
    assert error(torch.zeros_like(magnitude)) > 0.5


def test_unvoiced_frames_have_no_phase_and_a_minute_loses_none() -> None:
    pitch = torch.full((1, 6000), 400.0)
    pitch[:, 100:200] = 0.0
    phase = harmonic_phase(pitch, SIZE, HOP, RATE)
    assert not phase[:, :, 100:200].any()
    exact = harmonic_phase(pitch.double(), SIZE, HOP, RATE)
    assert (torch.cos(phase - exact) > 0.999).all()
