"""Torch spectra against the numpy ones, and the inverse against the forward transform."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glottis.audio.mel import MelConfig, log_mel
from glottis.blocks.spectral import InverseSTFT, LogMel, SpectralLoss
from glottis.errors import InputError


@pytest.fixture
def speech() -> torch.Tensor:
    """Something with harmonics, silence and noise, ``[2, samples]``."""
    rng = np.random.default_rng(0)
    time = np.arange(256 * 40) / 22050
    tone = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 12)) * 0.1
    tone[: 256 * 5] = 0
    # A recording's noise floor: bins that cancel to 1e-5 exactly exist in synthetic signals only.
    tone += rng.normal(size=len(time)) * 1e-3
    noise = rng.normal(size=len(time)) * 0.05
    return torch.from_numpy(np.stack([tone, noise]).astype(np.float32))


@pytest.mark.parametrize(
    "config",
    [MelConfig(), MelConfig(sample_rate=16000, fft_size=512, hop=128, mels=40, mel_high=7600.0)],
)
def test_torch_log_mel_equals_numpy(speech: torch.Tensor, config: MelConfig) -> None:
    ours = LogMel(config)(speech).numpy()
    theirs = np.stack([log_mel(row.numpy(), config) for row in speech])
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_log_mel_is_differentiable_at_silence() -> None:
    silence = torch.zeros(1, 4096, requires_grad=True)
    LogMel(MelConfig())(silence).sum().backward()
    assert silence.grad is not None
    assert torch.isfinite(silence.grad).all()


@pytest.mark.parametrize(("size", "hop"), [(1024, 256), (512, 128), (256, 128), (16, 4)])
def test_products_equal_the_fast_transform(size: int, hop: int) -> None:
    generator = torch.Generator().manual_seed(size)
    real = torch.randn(2, size // 2 + 1, 9, generator=generator)
    imaginary = torch.randn(2, size // 2 + 1, 9, generator=generator)
    # A real signal's first and middle bins are real; the transform must ignore the rest.
    inverse = InverseSTFT(size, hop)
    fast = inverse(real, imaginary)
    inverse.products = True
    torch.testing.assert_close(inverse(real, imaginary), fast, atol=2e-6, rtol=1e-4)
    assert fast.shape == (2, 9 * hop)


def test_inverse_undoes_the_transform(speech: torch.Tensor) -> None:
    size, hop = 1024, 256
    padding = (size - hop) // 2
    padded = torch.nn.functional.pad(speech.unsqueeze(1), (padding, padding), mode="reflect")
    spectrum = torch.stft(
        padded.squeeze(1),
        size,
        hop,
        window=torch.hann_window(size),
        center=False,
        return_complex=True,
    )
    again = InverseSTFT(size, hop)(spectrum.real, spectrum.imag)
    torch.testing.assert_close(again, speech, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("size", "hop"), [(1000, 250), (1024, 300), (8, 4)])
def test_inverse_names_impossible_sizes(size: int, hop: int) -> None:
    with pytest.raises(InputError, match=f"{size}"):
        InverseSTFT(size, hop)


def test_spectral_loss_is_a_distance(speech: torch.Tensor) -> None:
    loss = SpectralLoss()
    assert float(loss(speech, speech)) < 1e-6
    near, far = loss(speech * 0.99, speech), loss(speech * 0.5, speech)
    assert 0 < float(near) < float(far)


def test_an_items_spectrogram_ends_at_its_own_length(speech: torch.Tensor) -> None:
    mel = LogMel(MelConfig())
    lengths = torch.tensor([30 * 256, 9 * 256])
    batch = speech[:, : 30 * 256].expand(2, -1).clone()
    batch[1, int(lengths[1]) :] = float("nan")
    together = mel.magnitudes(batch, lengths)
    alone = mel.magnitudes(batch[1:, : int(lengths[1])])
    assert torch.equal(together[1, :, :9], alone[0])
    torch.testing.assert_close(together[:1], mel.magnitudes(batch[:1]))
    torch.testing.assert_close(mel.of_magnitudes(alone), mel(batch[1:, : int(lengths[1])]))


def test_power_floor_is_what_silence_sounds_like() -> None:
    for floor in (1e-9, 1e-6):
        silent = LogMel(MelConfig(), floor).magnitudes(torch.zeros(1, 2048))
        torch.testing.assert_close(silent, torch.full_like(silent, floor**0.5))
