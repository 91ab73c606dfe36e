"""How much of speech is noise, band by band.

Speech is read along its own pitch, so that every period has the same number of samples, and four
periods are looked at under a Hann window. Harmonics then lie on every fourth bin of the transform,
the bins half way between them hold noise alone, because the window's spectrum is zero there, and
the two powers say what share of the band is noise. Reading along the pitch keeps a glide from being
taken for noise (as in the warped analysis of Kawahara et al. 1999 and Malyska & Quatieri 2008).
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

Array = NDArray[np.float32]
Float = NDArray[np.float64]

CENTRES = (500.0, 1500.0, 3000.0, 5000.0, 7000.0, 10000.0, 14000.0, 19000.0)
"""Hz; a sample rate has those below 0.475 of it."""
LEAST = -40.0
"""dB; no recording is more periodic than can be measured."""
_PERIODS = 4
_OVERSAMPLING = 4


def band_centres(sample_rate: int) -> Float:
    """The bands' centres in Hz: ``[bands]``."""
    return np.array([centre for centre in CENTRES if centre <= 0.475 * sample_rate])


def band_aperiodicity(samples: Array, sample_rate: int, pitch: Array, hop: int) -> Float:
    """Power of the noise over all power in each band, dB: float64 ``[frames, bands]``.

    Between :data:`LEAST` and 0; 0 where unvoiced. Frame ``t`` is centred on sample
    ``(t + 1/2) * hop``.

    Args:
        samples: ``[samples]``, mono.
        sample_rate: in Hz.
        pitch: ``[frames]`` in Hz, 0 where unvoiced.
        hop: samples between frames.
    """
    centres = band_centres(sample_rate)
    result = np.zeros((len(pitch), len(centres)))
    voiced = np.flatnonzero(pitch > 0)
    if not len(voiced):
        return result
    signal = np.asarray(samples, dtype=np.float64)
    dense = soxr.resample(signal, sample_rate, sample_rate * _OVERSAMPLING, quality="HQ")
    # Phase in periods at the middle of each frame and beyond, the pitch held where there is none.
    middle = np.arange(len(pitch)) * hop + hop // 2
    margin = int(_PERIODS * sample_rate / pitch[voiced].min()) + 2
    time = np.arange(-margin, len(samples) + margin)
    held = np.exp(np.interp(time, middle[voiced], np.log(pitch[voiced].astype(np.float64))))
    phase = np.concatenate([[0.0], np.cumsum(0.5 * (held[1:] + held[:-1]))]) / sample_rate
    period = 2 ** np.ceil(np.log2(sample_rate / pitch[voiced]))
    for size in np.unique(period):
        chosen = voiced[period == size]
        for start in range(0, len(chosen), 256):
            rows = chosen[start : start + 256]
            steps = (np.arange(_PERIODS * int(size)) / size) - _PERIODS / 2
            wanted = phase[middle[rows] + margin][:, None] + steps
            places = np.interp(wanted, phase, time)
            frames = _interpolated(dense, places * _OVERSAMPLING)
            result[rows] = _noise_share(frames, pitch[rows].astype(np.float64), centres)
    return result


def _interpolated(samples: Float, places: Float) -> Float:
    """Cubic (Lagrange) interpolation at fractional indices; zero beyond the ends."""
    whole = np.floor(places).astype(np.int64)
    x = places - whole
    padded = np.pad(samples, 3)
    index = np.clip(whole + 3, 1, len(padded) - 3)
    a, b, c, d = (padded[index + shift] for shift in (-1, 0, 1, 2))
    inside = (whole >= -1) & (whole <= len(samples))
    value = (
        -x * (x - 1) * (x - 2) / 6 * a
        + (x + 1) * (x - 1) * (x - 2) / 2 * b
        - (x + 1) * x * (x - 2) / 2 * c
        + (x + 1) * x * (x - 1) / 6 * d
    )
    return np.where(inside, value, 0.0)


def _noise_share(frames: Float, pitch: Float, centres: Float) -> Float:
    """``[frames, 4 periods] -> dB [frames, bands]``."""
    size = frames.shape[1]
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)
    frames = frames - frames.mean(1, keepdims=True)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    lines, gaps = power[:, _PERIODS::_PERIODS], power[:, _PERIODS // 2 :: _PERIODS]
    lines, gaps = lines[:, : gaps.shape[1] - 1], gaps
    number = np.arange(1, lines.shape[1] + 1)
    width = np.maximum(np.gradient(centres) if len(centres) > 1 else centres, 500.0)
    noise, tone = np.empty((len(frames), len(centres))), np.empty((len(frames), len(centres)))
    for band, (centre, half) in enumerate(zip(centres, width, strict=True)):
        reach = np.maximum(half, pitch)[:, None]
        for into, values, order in (
            (noise, gaps, np.arange(gaps.shape[1]) + 0.5),
            (tone, lines, number),
        ):
            weight = np.maximum(0.0, 1.0 - np.abs(order * pitch[:, None] - centre) / reach)
            into[:, band] = (weight * values).sum(1) / np.maximum(weight.sum(1), 1e-9)
    # A line's power spread over the distance to the next, beside the density of the noise.
    density = noise / (window**2).sum()
    spread = size / _PERIODS * np.maximum(tone - noise, 0.0) / window.sum() ** 2
    share = density / np.maximum(density + spread, 1e-30)
    share = np.where(density + spread > 1e-30, share, 1.0)
    return np.clip(10.0 * np.log10(np.maximum(share, 1e-9)), LEAST, 0.0)
