"""Spectra in torch: log-mels, the inverse transform as plain products, spectral losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glottis.audio.mel import MelConfig, mel_filterbank


def magnitudes(samples: Tensor, fft_size: int, hop: int, window: Tensor) -> Tensor:
    """Magnitude spectrogram, the torch twin of ``glottis.audio.mel.magnitude_spectrogram``.

    Args:
        samples: ``[batch, samples]``, longer than ``(fft_size - hop) / 2``.
        fft_size, hop: in samples.
        window: ``[fft_size]``.

    Returns:
        ``[batch, fft_size // 2 + 1, samples // hop]``, float32.
    """
    padding = (fft_size - hop) // 2
    padded = F.pad(samples.float().unsqueeze(1), (padding, padding), mode="reflect").squeeze(1)
    spectrum = torch.stft(
        padded, fft_size, hop_length=hop, window=window, center=False, return_complex=True
    )
    return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9)


class LogMel(nn.Module):
    """Log-mels of a batch: ``[batch, samples]`` -> ``[batch, mels, samples // hop]``.

    Equal to :func:`glottis.audio.mel.log_mel` within 1e-4, and differentiable. Always in float32.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.fft_size), persistent=False)
        self.register_buffer(
            "filters", torch.from_numpy(mel_filterbank(config).copy()), persistent=False
        )

    def forward(self, samples: Tensor) -> Tensor:
        with torch.autocast(samples.device.type, enabled=False):
            magnitude = magnitudes(samples, self.config.fft_size, self.config.hop, self.window)
            return torch.log((self.filters @ magnitude).clamp_min(self.config.floor))


class SpectralLoss(nn.Module):
    """Distance between two batches of audio at several resolutions of the STFT.

    For each resolution: spectral convergence ``|S - S'|_F / |S|_F`` and the mean absolute
    difference of natural-log magnitudes (Yamamoto, Song & Kim 2020, Parallel WaveGAN, eqs. 3-5).
    The hop is a quarter of the window.
    """

    def __init__(self, fft_sizes: Sequence[int] = (512, 1024, 2048)) -> None:
        super().__init__()
        self.fft_sizes = tuple(fft_sizes)
        for size in self.fft_sizes:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Both ``[batch, samples]``; returns a scalar, averaged over resolutions."""
        loss = predicted.new_zeros(())
        for size in self.fft_sizes:
            window = getattr(self, f"window_{size}")
            ours = magnitudes(predicted, size, size // 4, window)
            theirs = magnitudes(target, size, size // 4, window)
            convergence = torch.linalg.vector_norm(theirs - ours) / torch.linalg.vector_norm(
                theirs
            ).clamp_min(1e-6)
            logs = F.l1_loss(ours.clamp_min(1e-5).log(), theirs.clamp_min(1e-5).log())
            loss = loss + convergence + logs
        return loss / len(self.fft_sizes)


class InverseSTFT(nn.Module):
    """Inverse short-time Fourier transform with "same" padding, in exportable operations.

    ``(real, imaginary)``, each ``[batch, fft_size // 2 + 1, frames]`` -> ``[batch, frames * hop]``:
    the inverse of :func:`magnitudes`' framing. ONNX has no inverse transform, so ``products=True``
    writes it as two matrix products: a real signal is the sum of an even part (cosines of the real
    parts) and an odd part (sines of the imaginary parts), each known from its first half. The
    cosines are gathered from a table of one period, so that an exported graph stores
    ``fft_size`` numbers and not a matrix. Training uses the fast transform; a test holds them equal.

    ``fft_size`` must be a multiple of ``hop``.
    """

    window: Tensor
    cosines: Tensor
    bins: Tensor

    def __init__(self, fft_size: int, hop: int) -> None:
        super().__init__()
        if fft_size % hop or fft_size % 4:
            raise ValueError(f"fft_size {fft_size} must be a multiple of 4 and of hop {hop}")
        self.fft_size, self.hop = fft_size, hop
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)
        angles = torch.arange(fft_size, dtype=torch.float64) * (2 * torch.pi / fft_size)
        self.register_buffer("cosines", angles.cos().float(), persistent=False)
        self.register_buffer("bins", torch.arange(fft_size // 2 + 1), persistent=False)
        self.products = False

    def forward(self, real: Tensor, imaginary: Tensor) -> Tensor:
        if self.products:
            frames = self._by_products(real.transpose(1, 2), imaginary.transpose(1, 2))
        else:
            spectrum = torch.complex(real, imaginary).transpose(1, 2)
            frames = torch.fft.irfft(spectrum, n=self.fft_size, dim=-1)
        signal = self._overlap_add(frames * self.window)
        weight = self._overlap_add(self.window.square().expand(1, real.shape[2], -1))
        trim = (self.fft_size - self.hop) // 2
        length = real.shape[2] * self.hop
        return signal[:, trim : trim + length] / weight[:, trim : trim + length].clamp_min(1e-8)

    def _by_products(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """``[batch, frames, bins]`` twice -> ``[batch, frames, fft_size]``."""
        size, half = self.fft_size, self.fft_size // 2
        # The mirrored bins 1 .. half-1 count twice, the first and the last once.
        inner = (self.bins > 0) & (self.bins < half)
        gain = torch.where(inner, 2.0 / size, 1.0 / size).unsqueeze(1)
        phase = (self.bins[:, None] * self.bins[None, :]) % size
        even = real @ (self.cosines[phase] * gain)
        # sin(x) = cos(x - pi / 2), a quarter of the table earlier.
        odd = imaginary @ (-self.cosines[(phase + 3 * size // 4) % size] * gain)
        first, second = even + odd, even - odd
        return torch.cat([first, second[..., 1:half].flip(-1)], dim=-1)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """``[batch, frames, fft_size]`` -> ``[batch, (frames - 1) * hop + fft_size]``."""
        batch, count, size = frames.shape
        parts = size // self.hop
        pieces = frames.reshape(batch, count, parts, self.hop)
        total = None
        for part in range(parts):
            shifted = F.pad(pieces[:, :, part], (0, 0, part, parts - 1 - part))
            total = shifted if total is None else total + shifted
        assert total is not None
        return total.reshape(batch, -1)
