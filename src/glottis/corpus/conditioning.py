"""Recordings made alike: one rate, no rumble, no silent ends, one loudness.

Everything here is numpy on whole recordings. Times are seconds, levels decibels relative to full
scale (dBFS: a square wave between -1 and 1 has an RMS of 0 dBFS).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from glottis.audio.files import resample
from glottis.errors import InputError

Array = NDArray[np.float32]

FRAME_SECONDS, STEP_SECONDS = 0.02, 0.005  # the frames that levels are measured on
SILENCE = -120.0  # the level given to digital silence, dBFS


@dataclass(frozen=True)
class ConditioningConfig:
    """What is done to a recording before its features are computed.

    Attributes:
        highpass: cut-off in Hz of a zero-phase eighth-order Butterworth high-pass, or None. It
            takes DC, mains hum's fundamental and rumble, and leaves the lowest voices (70 Hz).
        trim: whether silence at both ends is cut.
        margin: seconds of silence that stay at each trimmed end.
        loudness: level in dBFS to which the active speech is brought, or None to leave it.
        peak: largest magnitude a loudness gain may produce; the gain is lowered to keep it.
    """

    highpass: float | None = 60.0
    trim: bool = True
    margin: float = 0.07
    loudness: float | None = -23.0
    peak: float = 0.95

    def __post_init__(self) -> None:
        if self.highpass is not None and not 0 < self.highpass < 1000:
            raise InputError(f"highpass must lie between 0 and 1000 Hz, not {self.highpass}")
        if not 0 <= self.margin <= 10:
            raise InputError(f"margin must lie between 0 and 10 seconds, not {self.margin}")
        if self.loudness is not None and not -60 <= self.loudness <= -3:
            raise InputError(f"loudness must lie between -60 and -3 dBFS, not {self.loudness}")
        if not 0 < self.peak <= 1:
            raise InputError(f"peak must lie above 0 and up to 1, not {self.peak}")


@dataclass(frozen=True)
class Conditioned:
    """A recording after conditioning, and what was done to it.

    Attributes:
        samples: float32 ``[samples]`` at the target rate.
        start, end: the part of the original that was kept, in seconds.
        gain: decibels that the loudness rule added.
    """

    samples: Array
    start: float
    end: float
    gain: float


def condition(
    samples: Array, rate: int, target_rate: int, config: ConditioningConfig | None = None
) -> Conditioned:
    """Resample, high-pass, trim and level one recording.

    Args:
        samples: mono, ``[samples]`` at ``rate`` Hz.
        rate, target_rate: in Hz.
        config: the project's defaults when left out.

    Raises:
        InputError: nothing in the recording rises above silence.
    """
    config = config or ConditioningConfig()
    samples = resample(samples, rate, target_rate)
    if config.highpass is not None:
        samples = highpass(samples, target_rate, config.highpass)
    start, end = speech_bounds(samples, target_rate)
    if config.trim:
        margin = round(config.margin * target_rate)
        start, end = max(0, start - margin), min(len(samples), end + margin)
    else:
        start, end = 0, len(samples)
    kept = samples[start:end]
    gain = 0.0
    if config.loudness is not None:
        gain = config.loudness - active_level(kept, target_rate)
        gain = min(gain, 20 * np.log10(config.peak / float(np.abs(kept).max())))
    return Conditioned(
        samples=kept * np.float32(10 ** (gain / 20)),
        start=start / target_rate,
        end=end / target_rate,
        gain=float(gain),
    )


def highpass(samples: Array, rate: int, cutoff: float, order: int = 8) -> Array:
    """Zero-phase high-pass with a Butterworth magnitude: ``[samples]`` -> ``[samples]``.

    ``|H(f)|^2 = 1 / (1 + (cutoff / f)^(2 * order))``, applied in the frequency domain to the
    signal extended by its own reflections, so that ends do not wrap around.
    """
    if len(samples) == 0:
        return samples
    padding = min(len(samples) - 1, round(4 * rate / cutoff))
    padded = np.pad(samples.astype(np.float64), padding, mode="reflect")
    size = _fast_length(len(padded))
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    with np.errstate(divide="ignore"):
        response = 1 / np.sqrt(1 + (cutoff / frequencies) ** (2 * order))
    # The last sample is held while the transform's length is filled up.
    filled = np.pad(padded, (0, size - len(padded)), mode="edge")
    filtered = np.fft.irfft(np.fft.rfft(filled) * response, size)
    return filtered[padding : padding + len(samples)].astype(np.float32)


def levels(samples: Array, rate: int) -> NDArray[np.float64]:
    """RMS level of 20 ms frames, one every 5 ms: ``[samples]`` -> dBFS ``[frames]``.

    A signal shorter than one frame counts as one frame.
    """
    frame, step = round(FRAME_SECONDS * rate), max(1, round(STEP_SECONDS * rate))
    if len(samples) < frame:
        samples = np.pad(samples, (0, frame - len(samples)))
    total = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    starts = np.arange(0, len(samples) - frame + 1, step)
    power = (total[starts + frame] - total[starts]) / frame
    return 10 * np.log10(np.maximum(power, 10 ** (SILENCE / 10)))


def noise_floor(level: NDArray[np.float64]) -> float:
    """The level below which the quietest tenth of the frames lies, in dBFS."""
    return float(np.percentile(level, 10))


def speech_bounds(samples: Array, rate: int) -> tuple[int, int]:
    """Where speech begins and ends, as a half-open range of samples.

    A frame is active when it rises 9 dB above the noise floor and is at most 45 dB below the loud
    frames (95th percentile); a steady noise cannot pass for speech and a floor close to the speech
    cannot swallow it (the threshold stays 15 dB below the loud frames). The first difference of
    the signal is judged in the same way, so that weak fricatives at the ends are kept. Bursts
    shorter than 30 ms (clicks) are no speech.

    Raises:
        InputError: the recording is silent.
    """
    if len(samples) == 0 or float(np.abs(samples).max()) < 1e-4:
        raise InputError("is silent; record it again or leave it out")
    active = _active(levels(samples, rate))
    active |= _active(levels(np.diff(samples, prepend=samples[:1]), rate))
    shortest = round(0.03 / STEP_SECONDS)
    if len(active) > shortest:
        sustained = sliding_window_view(active, shortest).all(axis=1)
        active = np.convolve(sustained, np.ones(shortest)) > 0.5
    where = np.flatnonzero(active)
    if len(where) == 0:
        raise InputError("holds no speech: nothing in it rises above its noise floor")
    step, frame = max(1, round(STEP_SECONDS * rate)), round(FRAME_SECONDS * rate)
    return int(where[0]) * step, min(len(samples), int(where[-1]) * step + frame)


def active_level(samples: Array, rate: int) -> float:
    """Level of the active speech in dBFS.

    The RMS over the 20 ms frames that are at most 20 dB below the RMS of all frames: a gate
    relative to the signal as in ITU-R BS.1770, with short frames so that pauses do not count.
    """
    power = 10 ** (levels(samples, rate) / 10)
    gated = power[power >= power.mean() / 100]
    return float(10 * np.log10(gated.mean()))


def _active(level: NDArray[np.float64]) -> NDArray[np.bool_]:
    loud = float(np.percentile(level, 95))
    threshold = max(noise_floor(level) + 9, loud - 45)
    return level >= min(threshold, loud - 15)


def _fast_length(length: int) -> int:
    """The smallest 2^a 3^b at or above ``length``: transforms of prime lengths are slow."""
    best = 1 << (length - 1).bit_length()
    odd = 3
    while odd < best:
        size = odd << max(0, (-(-length // odd) - 1).bit_length())
        best = min(best, size)
        odd *= 3
    return best
