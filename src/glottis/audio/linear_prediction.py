"""What log-mels alone say about the next sample: linear prediction from a smoothed spectrum.

A frame's log-mels are spread over the bins of the spectrum, as power; its inverse Fourier transform
is an autocorrelation, and the Levinson-Durbin recursion turns that into the coefficients of the
best linear predictor and the size of what it leaves unpredicted. Nothing is sent beside the
log-mels, so whoever predicts them predicts this too.

Sources: Valin & Skoglund 2019, "LPCNet" (coefficients from the acoustic features); Makhoul 1975,
"Linear Prediction: A Tutorial Review" (the recursion); Tohkura, Itakura & Hashimoto 1978 (the lag
window).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from glottis.audio.mel import MelConfig, hann, mel_filterbank
from glottis.errors import InputError

Double = NDArray[np.float64]

# White noise that the spectrum is taken to hold, as a share of its mean: it bounds how far one part
# may stand out, and so how near the poles come to the circle and how much is left where a frame's
# spectrum does not fit its first or last samples.
FLOOR = 1e-4
# Deviation in Hz of the Gaussian by which the lag window widens every resonance. Narrow enough for
# the harmonics of a voice, which predictors of a high order find in the bands of low frequency.
SMOOTHING = 5.0
# Log-mels are held between the log of their floor and this before the exponential.
HIGHEST = 12.0


@dataclass(frozen=True)
class LinearPrediction:
    """A linear predictor for each frame of log-mels.

    Args:
        mel: how the log-mels were made.
        order: past samples that a prediction is made of; 0 predicts zeros.
        bits: of the samples: they were rounded to a grid of ``2**bits`` values from -1 to 1, and
            that rounding cannot be predicted.

    Raises:
        InputError: an order that is negative or does not fit the transform's size.
    """

    mel: MelConfig
    order: int
    bits: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.order <= self.mel.fft_size // 2:
            raise InputError(
                f"linear_prediction takes 0 (none) to {self.mel.fft_size // 2}, half of fft_size, "
                f"not {self.order}"
            )

    def __call__(self, log_mel: NDArray[np.floating]) -> tuple[Double, Double]:
        """Log-mels ``[..., mels, frames]`` -> coefficients and gains, float64.

        Returns:
            ``[..., frames, order]``: the prediction of a sample is the sum over ``k`` of the
            ``k``-th coefficient times the sample ``k + 1`` before it. ``[..., frames]``: the
            standard deviation of what remains, for samples in [-1, 1]. All poles of the synthesis
            filter lie inside the unit circle, whatever the log-mels, as long as they are numbers.
        """
        spread, level, cosines = _transforms(self.mel, self.order)
        frames = np.moveaxis(np.asarray(log_mel, np.float64), -2, -1)
        frames = np.clip(frames, np.log(self.mel.floor), HIGHEST)
        rounding = (2 / (2**self.bits - 1)) ** 2 / 12
        lags = np.zeros((*frames.shape[:-1], self.order + 1))
        # One by one: the last bits of a matrix product depend on how many rows it has, and a
        # frame's numbers must not depend on its company.
        for place in np.ndindex(frames.shape[:-1]):
            power = np.exp(2 * (spread @ np.ascontiguousarray(frames[place]) + level))
            lags[place] = cosines @ (power + rounding + FLOOR * power.mean())
        coefficients, remaining = levinson(lags)
        return coefficients, np.sqrt(np.maximum(remaining, rounding))


def levinson(lags: Double) -> tuple[Double, Double]:
    """Autocorrelations ``[..., order + 1]`` -> coefficients ``[..., order]`` and the variance that
    remains ``[...]``, by the Levinson-Durbin recursion."""
    order = lags.shape[-1] - 1
    found = np.zeros((*lags.shape[:-1], order))
    remaining = lags[..., 0].copy()
    for i in range(order):
        before = found[..., :i].copy()
        reflection = lags[..., i + 1] - (before * lags[..., i:0:-1]).sum(-1)
        reflection /= remaining
        found[..., i] = reflection
        found[..., :i] -= reflection[..., None] * before[..., ::-1]
        remaining = remaining * (1 - reflection * reflection)
    return found, remaining


@lru_cache(maxsize=8)
def _transforms(config: MelConfig, order: int) -> tuple[Double, Double, Double]:
    """Log-mels to the log of a spectrum's magnitude, ``[bins, mels]`` and ``[bins]``, and a power
    spectrum to its lags, ``[order + 1, bins]``."""
    spread, level = spectrum_of_mels(config)
    bins, k = np.arange(len(spread)), np.arange(order + 1)
    cosines = np.cos(2 * np.pi * np.outer(k, bins) / config.fft_size)
    # A spectrum's two halves mirror each other about its first and its middle bin.
    cosines *= np.where((bins == 0) | (2 * bins == config.fft_size), 1, 2) / config.fft_size
    cosines *= np.exp(-0.5 * (2 * np.pi * SMOOTHING * k / config.sample_rate) ** 2)[:, None]
    return spread, level, cosines


@lru_cache(maxsize=8)
def spectrum_of_mels(config: MelConfig) -> tuple[Double, Double]:
    """Log-mels to the log of a spectrum's magnitude: a matrix ``[bins, mels]``, and what is added,
    ``[bins]``."""
    filters = mel_filterbank(config).astype(np.float64)
    # A filter that is narrower than the bins are apart may hold none of them.
    filters += 1e-9 * filters.max()
    bins = np.arange(filters.shape[1])
    centres = (filters @ bins) / filters.sum(1)
    # Linear between the middles of the filters; beyond the outermost, their level goes on.
    spread = np.stack([np.interp(bins, centres, unit) for unit in np.eye(config.mels)], axis=1)
    window = hann(config.fft_size).astype(np.float64)
    # A filter's sum is the level of a flat spectrum, and the window's energy that of white noise.
    level = -spread @ np.log(filters.sum(1)) - 0.5 * np.log((window**2).sum())
    return spread, level
