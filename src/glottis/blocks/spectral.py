"""Spectra in torch: log-mels, the inverse transform as plain products, spectral losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glottis.audio.mel import MelConfig, mel_filterbank
from glottis.errors import InputError


def magnitudes(
    samples: Tensor,
    fft_size: int,
    hop: int,
    window: Tensor,
    *,
    lengths: Tensor | None = None,
    power_floor: float = 1e-9,
) -> Tensor:
    """Magnitude spectrogram, the torch twin of ``glottis.audio.mel.magnitude_spectrogram``.

    Args:
        samples: ``[batch, samples]``, longer than ``(fft_size - hop) / 2``.
        fft_size, hop: in samples.
        window: ``[fft_size]``.
        lengths: int64 ``[batch]``, in samples: each item is reflected at its own end, so that its
            spectrogram does not depend on what lies beyond. All samples when None.
        power_floor: added to powers, so that the root has a gradient (HiFi-GAN: 1e-9, VITS: 1e-6).

    Returns:
        ``[batch, fft_size // 2 + 1, samples // hop]``, float32.
    """
    padding = (fft_size - hop) // 2
    if lengths is None:
        padded = F.pad(samples.float().unsqueeze(1), (padding, padding), mode="reflect").squeeze(1)
    else:
        padded = _reflected(samples.float(), lengths, padding)
    spectrum = torch.stft(
        padded, fft_size, hop_length=hop, window=window, center=False, return_complex=True
    )
    return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + power_floor)


def _reflected(samples: Tensor, lengths: Tensor, padding: int) -> Tensor:
    """``[batch, samples]`` -> ``[batch, samples + 2 padding]``, reflected at each item's end.

    Zero from ``padding`` samples after it on; the samples beyond a length are not looked at.
    """
    steps = torch.arange(-padding, samples.shape[1] + padding, device=samples.device)
    last = (lengths.to(samples.device) - 1)[:, None]
    index = last - (last - steps.abs()[None, :]).abs()
    inside = (index >= 0) & (steps[None, :] <= last + padding)
    return torch.where(inside, samples.gather(1, index.clamp_min(0)), 0.0)


class LogMel(nn.Module):
    """Log-mels of a batch: ``[batch, samples]`` -> ``[batch, mels, samples // hop]``.

    Equal to :func:`glottis.audio.mel.log_mel` within 1e-4, and differentiable. Always in float32.
    ``power_floor`` as in :func:`magnitudes`.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: MelConfig, power_floor: float = 1e-9) -> None:
        super().__init__()
        self.config, self.power_floor = config, power_floor
        self.register_buffer("window", torch.hann_window(config.fft_size), persistent=False)
        self.register_buffer(
            "filters", torch.from_numpy(mel_filterbank(config).copy()), persistent=False
        )

    def forward(self, samples: Tensor) -> Tensor:
        with torch.autocast(samples.device.type, enabled=False):
            return self.of_magnitudes(self.magnitudes(samples))

    def magnitudes(self, samples: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See :func:`magnitudes`, with this feature's framing."""
        with torch.autocast(samples.device.type, enabled=False):
            return magnitudes(
                samples,
                self.config.fft_size,
                self.config.hop,
                self.window,
                lengths=lengths,
                power_floor=self.power_floor,
            )

    def of_magnitudes(self, magnitude: Tensor) -> Tensor:
        """``[batch, bins, frames]`` -> ``[batch, mels, frames]``."""
        with torch.autocast(magnitude.device.type, enabled=False):
            return torch.log((self.filters @ magnitude.float()).clamp_min(self.config.floor))


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
            # For each item by itself, so that a batch may be divided over processes.
            error = torch.linalg.vector_norm(theirs - ours, dim=(1, 2))
            scale = torch.linalg.vector_norm(theirs, dim=(1, 2)).clamp_min(1e-6)
            convergence = (error / scale).mean()
            logs = F.l1_loss(ours.clamp_min(1e-5).log(), theirs.clamp_min(1e-5).log())
            loss = loss + convergence + logs
        return loss / len(self.fft_sizes)


class InverseSTFT(nn.Module):
    """Inverse short-time Fourier transform with "same" padding, in exportable operations.

    ``(real, imaginary)``, each ``[batch, fft_size // 2 + 1, frames]`` -> ``[batch, frames * hop]``:
    the inverse of :func:`magnitudes`' framing. ONNX has no inverse transform; ``products=True``
    writes it as matrix products, one step of Cooley & Tukey 1965. With ``k = rows k1 + k2``,
    ``n = n1 + rows n2`` and ``rows = columns = sqrt(fft_size)`` or nearly so::

        x[n] = Re sum_k2 e^(2 pi i k2 n2 / columns) e^(2 pi i k2 n1 / fft_size)
                  sum_k1 e^(2 pi i k1 n1 / rows) w[k] X[k]

    where the sum runs over the bins up to the middle one, those with a mirror image counted twice
    by ``w``. Training uses the fast transform; a test holds the two equal.

    ``fft_size`` must be a power of two and a multiple of ``hop``.
    """

    window: Tensor
    weight: Tensor
    first_cos: Tensor
    first_sin: Tensor
    twiddle_cos: Tensor
    twiddle_sin: Tensor
    second_cos: Tensor
    second_sin: Tensor

    def __init__(self, fft_size: int, hop: int) -> None:
        super().__init__()
        if fft_size % hop or fft_size & (fft_size - 1) or fft_size < 16:
            raise InputError(
                f"fft_size {fft_size} must be a power of two, at least 16, and a multiple of "
                f"hop {hop}"
            )
        self.fft_size, self.hop = fft_size, hop
        self.products = False
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)
        # rows is the period of n1 and of k2: k = k1 * columns' count of k2 values.
        self.rows = 2 ** (fft_size.bit_length() // 2)
        self.columns = fft_size // self.rows
        half = fft_size // 2
        weight = torch.full((half + 1, 1), 2.0 / fft_size)
        weight[0] = weight[-1] = 1.0 / fft_size
        self.register_buffer("weight", weight, persistent=False)
        outer = torch.arange(half // self.columns + 1)  # k1: bins columns * k1 + k2
        inner = torch.arange(self.columns)  # k2
        fast = torch.arange(self.rows)  # n1
        slow = torch.arange(self.columns)  # n2
        for name, a, b, period in (
            ("first", fast, outer, self.rows),
            ("twiddle", fast, inner, fft_size),
            ("second", slow, inner, self.columns),
        ):
            angle = (a[:, None] * b[None, :]).double() * (2 * torch.pi / period)
            self.register_buffer(f"{name}_cos", angle.cos().float(), persistent=False)
            self.register_buffer(f"{name}_sin", angle.sin().float(), persistent=False)

    def forward(self, real: Tensor, imaginary: Tensor) -> Tensor:
        if self.products:
            frames = self._by_products(real, imaginary)
        else:
            spectrum = torch.complex(real, imaginary).transpose(1, 2)
            frames = torch.fft.irfft(spectrum, n=self.fft_size, dim=-1)
        signal = self._overlap_add(frames * self.window)
        weight = self._overlap_add(self.window.square().expand(1, real.shape[2], -1))
        trim = (self.fft_size - self.hop) // 2
        # Interior frames overlap fully; the clamp only guards the trimmed ends.
        return signal[:, trim:-trim] / weight[:, trim:-trim].clamp_min(1e-8)

    def _by_products(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """``[batch, bins, frames]`` twice -> ``[batch, frames, fft_size]``."""
        batch, _, frames = real.shape
        rest = self.first_cos.shape[1] * self.columns - (self.fft_size // 2 + 1)
        x, y = (
            F.pad(part * self.weight, (0, 0, 0, rest)).view(
                batch, self.first_cos.shape[1], self.columns * frames
            )
            for part in (real, imaginary)
        )
        shape = (batch, self.rows, self.columns, frames)
        a = (self.first_cos @ x - self.first_sin @ y).view(shape)
        b = (self.first_sin @ x + self.first_cos @ y).view(shape)
        cos, sin = self.twiddle_cos.unsqueeze(-1), self.twiddle_sin.unsqueeze(-1)
        samples = self.second_cos @ (a * cos - b * sin) - self.second_sin @ (a * sin + b * cos)
        return samples.permute(0, 3, 2, 1).reshape(batch, frames, self.fft_size)

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


class SpectrumHead(nn.Module):
    """Hidden states to audio: log-magnitude and phase for every bin, then the inverse transform.

    ``[batch, channels, frames]`` -> ``[batch, frames * hop]``. Phases count from ``reference``,
    ``[batch, bins, frames]`` in radians, where one is given. Float32 whatever the precision of
    the stack: half precision has too few digits for a phase.
    """

    def __init__(self, channels: int, fft_size: int, hop: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, fft_size + 2)
        self.inverse = InverseSTFT(fft_size, hop)
        self.bins = fft_size // 2 + 1

    def forward(self, x: Tensor, reference: Tensor | None = None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            y = self.project(x.float().transpose(1, 2)).transpose(1, 2)
            log_magnitude, phase = y.split([self.bins, self.bins], dim=1)
            if reference is not None:
                phase = phase + reference
            # Vocos' bound: a magnitude above 100 is never speech and would overflow in training.
            magnitude = log_magnitude.exp().clamp_max(100.0)
            samples: Tensor = self.inverse(magnitude * phase.cos(), magnitude * phase.sin())
            return samples
