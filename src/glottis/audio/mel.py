"""Log-mel spectrograms in numpy, by the HiFi-GAN convention.

The signal is reflected by ``(fft_size - hop) / 2`` samples on both sides and cut into Hann windows,
so that ``frames == samples // hop`` and frame ``t`` is centred on sample ``(t + 1/2) * hop``.
Magnitudes, not powers, go through a Slaney mel filterbank with area normalisation and then through
a natural logarithm clamped from below. Public vocoders trained with this convention fit.

Source: Kong, Kim & Bae 2020 (HiFi-GAN), released code; filterbank: Slaney 1998, Auditory Toolbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from glottis.errors import InputError

Array = NDArray[np.float32]


@dataclass(frozen=True)
class MelConfig:
    """How audio becomes a log-mel spectrogram.

    ``sample_rate`` in Hz; ``fft_size`` (also the window) and ``hop`` in samples; ``mel_low`` and
    ``mel_high`` in Hz; ``floor`` is the smallest magnitude before the logarithm.
    """

    sample_rate: int = 22050
    fft_size: int = 1024
    hop: int = 256
    mels: int = 80
    mel_low: float = 0.0
    mel_high: float = 8000.0
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.fft_size, self.hop, self.mels) <= 0:
            raise InputError("sample_rate, fft_size, hop and mels must be positive")
        if self.hop > self.fft_size:
            raise InputError(f"hop {self.hop} is longer than the window {self.fft_size}")
        if (self.fft_size - self.hop) % 2:
            raise InputError(
                f"fft_size - hop must be even, not {self.fft_size} - {self.hop}: "
                "frames could not be centred"
            )
        if not 0 <= self.mel_low < self.mel_high <= self.sample_rate / 2:
            raise InputError(
                f"the mel range {self.mel_low} to {self.mel_high} Hz does not fit below "
                f"{self.sample_rate / 2} Hz, half the sample rate; set mel_high lower"
            )

    @property
    def padding(self) -> int:
        """Samples that the signal is reflected by at each end."""
        return (self.fft_size - self.hop) // 2

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop


def hz_to_mel(hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Slaney's mel scale: linear below 1,000 Hz, logarithmic above. Any shape."""
    hz = np.asarray(hz, dtype=np.float64)
    linear = hz / (200.0 / 3.0)
    with np.errstate(divide="ignore"):
        logarithmic = 15.0 + 27.0 * np.log(np.maximum(hz, 1e-10) / 1000.0) / np.log(6.4)
    return np.where(hz >= 1000.0, logarithmic, linear)


def mel_to_hz(mel: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """The inverse of :func:`hz_to_mel`. Any shape."""
    mel = np.asarray(mel, dtype=np.float64)
    return np.where(
        mel >= 15.0, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0), mel * (200.0 / 3.0)
    )


@lru_cache(maxsize=8)
def mel_filterbank(config: MelConfig) -> Array:
    """Triangular filters of unit area: float32 ``[mels, fft_size // 2 + 1]``, read-only.

    Multiplied with a magnitude spectrum it gives mel magnitudes. Equal to
    ``librosa.filters.mel(norm="slaney", htk=False)``.
    """
    bins = np.arange(config.fft_size // 2 + 1) * (config.sample_rate / config.fft_size)
    ends = hz_to_mel(config.mel_low), hz_to_mel(config.mel_high)
    edges = mel_to_hz(np.linspace(*ends, config.mels + 2))
    widths = np.diff(edges)
    slopes = edges[:, None] - bins[None, :]
    rising = -slopes[:-2] / widths[:-1, None]
    falling = slopes[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    triangles *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    result = triangles.astype(np.float32)
    result.setflags(write=False)
    return result


@lru_cache(maxsize=8)
def hann(size: int) -> Array:
    """The periodic Hann window, float32 ``[size]``, read-only."""
    window = (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)).astype(np.float32)
    window.setflags(write=False)
    return window


def magnitude_spectrogram(samples: Array, config: MelConfig | None = None) -> Array:
    """Magnitudes of the short-time Fourier transform.

    Args:
        samples: ``[samples]``, mono, in [-1, 1], at ``config.sample_rate``.
        config: analysis settings; the project's defaults when left out.

    Returns:
        float32 ``[fft_size // 2 + 1, samples // hop]``.

    Raises:
        InputError: not one-dimensional, shorter than one hop, or not finite.
    """
    config = config or MelConfig()
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim != 1:
        raise InputError(f"audio must be mono, shape [samples]; this has shape {samples.shape}")
    if len(samples) < config.hop:
        raise InputError(
            f"audio of {len(samples)} samples is shorter than one frame ({config.hop} samples)"
        )
    if not np.isfinite(samples).all():
        raise InputError("audio holds NaN or infinite samples; repair or leave out this recording")
    padded = _reflect(samples, config.padding)
    windows = sliding_window_view(padded, config.fft_size)[:: config.hop]
    spectrum = np.fft.rfft(windows * hann(config.fft_size), axis=-1)
    # The tiny constant is HiFi-GAN's; it keeps the torch form's square root differentiable.
    magnitude = np.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9)
    return np.ascontiguousarray(magnitude.T, dtype=np.float32)


def log_mel(samples: Array, config: MelConfig | None = None) -> Array:
    """Log-mel spectrogram: ``[samples]`` -> float32 ``[mels, samples // hop]``, natural log.

    Arguments and errors as :func:`magnitude_spectrogram`. The torch form is
    :class:`glottis.blocks.spectral.LogMel`; both agree to 1e-4.
    """
    config = config or MelConfig()
    mel = mel_filterbank(config) @ magnitude_spectrogram(samples, config)
    return np.log(np.maximum(mel, config.floor), dtype=np.float32)


def between_frames(log_mel: NDArray[np.floating], parts: int) -> NDArray[np.float64]:
    """Log-mels ``[..., mels, frames]`` at the middle of each of ``parts`` parts of every frame:
    float64 ``[..., mels, frames * parts]``, linear between the frames' own middles and constant
    beyond the outermost."""
    frames = log_mel.shape[-1]
    place = np.clip((np.arange(frames * parts) + 0.5) / parts - 0.5, 0, frames - 1)
    before = place.astype(np.int64)
    share = place - before
    after = np.minimum(before + 1, frames - 1)
    return np.asarray(log_mel[..., before] * (1 - share) + log_mel[..., after] * share)


def _reflect(samples: Array, padding: int) -> Array:
    """Reflect at both ends; a signal shorter than the padding is reflected repeatedly."""
    if padding == 0:
        return samples
    if len(samples) == 1:
        return np.full(1 + 2 * padding, samples[0], dtype=np.float32)
    return np.pad(samples, padding, mode="reflect")
