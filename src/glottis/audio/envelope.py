"""The spectral envelope of speech, freed of its pitch: CheapTrick.

A window of three periods makes the power spectrum of a voiced frame all but independent of where
it stands; smoothing over two thirds of the pitch fills the gaps between harmonics, and a lifter
removes what is left of them and puts back what the smoothing flattened (Morise 2015, "CheapTrick, a
spectral envelope estimator for high-quality speech synthesis").

An envelope is a power density: white noise of variance one has the envelope 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError

Array = NDArray[np.float32]
Float = NDArray[np.float64]

UNVOICED_HZ = 500.0
"""The pitch that unvoiced frames are analysed with."""
FLOOR = 1e-12
_COMPENSATION = -0.15
_BLOCK = 256  # frames at a time, so that everything stays in the cache


def fft_size_for(sample_rate: int, low: float) -> int:
    """The transform that holds three periods of ``low`` Hz: a power of two."""
    return int(2 ** np.ceil(np.log2(3.0 * sample_rate / low + 1.0)))


def spectral_envelope(
    samples: Array, sample_rate: int, pitch: Array, hop: int, fft_size: int
) -> Float:
    """Power density at the bins of ``fft_size``: float64 ``[frames, fft_size // 2 + 1]``.

    Frame ``t`` is centred on sample ``(t + 1/2) * hop``.

    Args:
        samples: ``[samples]``, mono.
        sample_rate: in Hz.
        pitch: ``[frames]`` in Hz, 0 where unvoiced.
        hop: samples between frames.
        fft_size: at least :func:`fft_size_for` the lowest pitch.

    Raises:
        InputError: a pitch too low for ``fft_size`` or above a quarter of the sample rate.
    """
    used = np.where(pitch > 0, pitch, min(UNVOICED_HZ, sample_rate / 4)).astype(np.float64)
    lowest = 3.0 * sample_rate / (fft_size - 3.0)
    if len(used) and (used.min() < lowest or used.max() > sample_rate / 4):
        raise InputError(
            f"the pitch lies between {used.min():.1f} and {used.max():.1f} Hz; a transform of "
            f"{fft_size} at {sample_rate} Hz takes {lowest:.1f} to {sample_rate / 4:g} Hz"
        )
    half = fft_size // 2
    padded = np.pad(np.asarray(samples, dtype=np.float64), half)
    centres = np.arange(len(used)) * hop + hop // 2
    result = np.empty((len(used), half + 1))
    for start in range(0, len(used), _BLOCK):
        block = slice(start, start + _BLOCK)
        frames = _windowed(padded, centres[block], used[block] / sample_rate, half)
        spectrum = np.fft.rfft(frames, fft_size, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        width = used[block] * fft_size / sample_rate  # the pitch in bins
        power = _smoothed(_with_low_end(power, width), width * (2.0 / 3.0))
        result[block] = _liftered(power, used[block] / sample_rate, fft_size)
    return result


def _windowed(padded: Float, centres: NDArray[np.int64], pitch: Float, half: int) -> Float:
    """Three periods around each centre under a Hann window of unit energy, without their mean."""
    offsets = np.arange(-half, half)
    frames = padded[centres[:, None] + offsets + half]
    phase = offsets * (pitch[:, None] / 1.5)
    window = np.where(np.abs(phase) <= 1.0, 0.5 + 0.5 * np.cos(np.pi * phase), 0.0)
    window /= np.sqrt((window**2).sum(1, keepdims=True))
    frames = frames * window
    mean = frames.sum(1, keepdims=True) / window.sum(1, keepdims=True)
    result: Float = frames - window * mean
    return result


def _with_low_end(power: Float, width: Float) -> Float:
    """Below the pitch the spectrum is mirrored on half of it: there is no harmonic at 0 Hz."""
    count = min(power.shape[1], int(width.max()) + 2)
    bins = np.arange(count)
    mirrored = np.clip(width[:, None] - bins, 0.0, power.shape[1] - 1.001)
    whole = mirrored.astype(np.int64)
    rows = np.arange(len(power))[:, None]
    low, high = power[rows, whole], power[rows, whole + 1]
    added = low + (mirrored - whole) * (high - low)
    result = power.copy()
    result[:, :count] += np.where(bins < width[:, None], added, 0.0)
    return result


def _smoothed(power: Float, width: Float) -> Float:
    """The mean over ``width`` bins around each bin; the spectrum goes on mirrored at both ends."""
    count = power.shape[1]
    reach = min(count - 1, int(width.max()) + 2)
    whole = np.concatenate([power[:, reach:0:-1], power, power[:, -2 : -reach - 2 : -1]], axis=1)
    # The integral up to the left edge of each bin.
    total = np.concatenate([np.zeros((len(power), 1)), np.cumsum(whole, axis=1)], axis=1)
    middle = np.arange(count) + reach + 0.5
    rows = np.arange(len(power))[:, None]

    def integral(edge: Float) -> Float:
        index = edge.astype(np.int64)
        below = total[rows, index]
        return np.asarray(below + (edge - index) * (total[rows, index + 1] - below))

    half = 0.5 * width[:, None]
    return (integral(middle + half) - integral(middle - half)) / width[:, None]


def _liftered(power: Float, pitch: Float, fft_size: int) -> Float:
    """What is left of the harmonics removed, what was flattened put back; in the cepstrum."""
    cepstrum = np.fft.irfft(np.log(np.maximum(power, FLOOR)), fft_size, axis=1)
    quefrency = np.arange(fft_size // 2 + 1) * pitch[:, None]  # in periods
    lifter = np.sinc(quefrency) * (
        1.0 - 2.0 * _COMPENSATION + 2.0 * _COMPENSATION * np.cos(2.0 * np.pi * quefrency)
    )
    smooth = cepstrum[:, : fft_size // 2 + 1] * lifter
    whole = np.concatenate([smooth, smooth[:, -2:0:-1]], axis=1)
    return np.asarray(np.exp(np.fft.rfft(whole, axis=1).real))
