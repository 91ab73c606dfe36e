"""Fundamental frequency: YIN's candidates, one path through them by dynamic programming.

Each frame gives a few candidate periods, the dips of the cumulative mean normalised difference
function (YIN; de Cheveigné & Kawahara 2002, eqs. 7-8). A path through the candidates and an
unvoiced state is then chosen that trades periodicity against jumps in pitch and voicing (the costs
of Boersma 1993, in the lattice of pYIN, Mauch & Dixon 2014). Summing over all paths instead gives
the probability of voicing.

Unlike YIN's, the difference at lag ``tau`` is taken over all pairs ``tau`` apart in the frame, so
that every lag is centred on the frame; a gliding pitch is then read where the frame says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from glottis.errors import InputError

Array = NDArray[np.float32]

# Analysis is done on the band of the first few harmonics: above it, dips are too sharp for whole
# samples, and breath noise rules.
_BAND_HIGH = 3000.0
_CANDIDATES = 8


@dataclass(frozen=True)
class PitchConfig:
    """Costs of the path, in shares of a frame's power that is aperiodic.

    ``unvoiced``: a voiced frame must be less aperiodic than this. ``octave``: what a candidate
    costs for each octave below the highest pitch, so that of equally good periods the shortest
    wins. ``jump``: cost for each octave of change in 10 ms; ``switch``: cost of starting or ending
    voicing in 10 ms. ``silence``: frames below this share of the signal's loud level are unvoiced.
    ``temperature``: costs are this many nats' inverse when probabilities are formed.
    """

    unvoiced: float = 0.45
    octave: float = 0.02
    jump: float = 0.35
    switch: float = 0.14
    silence: float = 0.01
    temperature: float = 0.05


def f0(
    samples: Array,
    sample_rate: int,
    hop: int = 256,
    low: float = 60.0,
    high: float = 600.0,
    config: PitchConfig | None = None,
) -> tuple[Array, Array]:
    """Fundamental frequency and probability of voicing.

    Frame ``t`` is centred on sample ``(t + 1/2) * hop``, as in :mod:`glottis.audio.mel`.

    Args:
        samples: ``[samples]``, mono, any level.
        sample_rate: in Hz.
        hop: samples between frames.
        low: lowest pitch in Hz; the analysis window is two of its periods.
        high: highest pitch in Hz.
        config: costs of the path.

    Returns:
        float32 ``[samples // hop]`` in Hz, 0 where unvoiced, and float32 ``[samples // hop]``, the
        probability that the frame is voiced.

    Raises:
        InputError: not mono, not finite, shorter than one hop, or a range that does not fit.
    """
    config = config or PitchConfig()
    signal = np.asarray(samples, dtype=np.float64)
    _check(signal, sample_rate, hop, low, high)
    frames = len(signal) // hop
    audio = _band(signal, sample_rate, low)
    longest = int(np.ceil(sample_rate / low)) + 2
    shortest = max(2, int(sample_rate / high) - 1)
    size = 2 * longest
    centres = (np.arange(frames) * hop) + hop // 2
    padded = np.pad(audio, size)
    windows = sliding_window_view(padded, size)[centres + size - size // 2]
    power = np.mean(windows**2, axis=1)
    loud = float(np.max(power, initial=0.0))
    if loud <= 1e-20:
        return np.zeros(frames, np.float32), np.zeros(frames, np.float32)
    aperiodicity = _normalised_difference(windows, longest)
    lags, depth = _candidates(aperiodicity, shortest, longest - 1, config.octave)
    hertz = sample_rate / lags
    usable = np.isfinite(depth) & (hertz >= low) & (hertz <= high)
    hertz = np.where(usable, hertz, high)
    cost = np.where(usable, depth + config.octave * np.log2(high / hertz), np.inf)
    # Quiet frames drift to unvoiced as their amplitude falls towards the silence threshold.
    level = np.sqrt(power / loud)
    quiet = np.maximum(0.0, 1.0 - level / (2 * config.silence)) * 2.0
    cost = np.concatenate([cost, (config.unvoiced - quiet)[:, None]], axis=1)
    pitch = np.log2(hertz)
    steps = hop / sample_rate / 0.010  # transition costs are given for 10 ms
    states, voicing = _best_path(cost, pitch, config, 1.0 / max(steps, 1e-3))
    result = np.concatenate([hertz, np.zeros((frames, 1))], axis=1)[np.arange(frames), states]
    return result.astype(np.float32), voicing.astype(np.float32)


def _check(
    samples: NDArray[np.float64], sample_rate: int, hop: int, low: float, high: float
) -> None:
    if samples.ndim != 1:
        raise InputError(f"audio must be mono, shape [samples]; this has shape {samples.shape}")
    if hop < 1 or sample_rate < 1:
        raise InputError(f"hop {hop} and sample rate {sample_rate} must be positive")
    if len(samples) < hop:
        raise InputError(
            f"audio of {len(samples)} samples is shorter than one frame ({hop} samples)"
        )
    if not np.isfinite(samples).all():
        raise InputError("audio holds NaN or infinite samples; repair or leave out this recording")
    if not 10.0 <= low < high <= sample_rate / 4:
        raise InputError(
            f"a pitch range of {low} to {high} Hz does not fit: it must rise from at least 10 Hz "
            f"to at most {sample_rate / 4:g} Hz, a quarter of the sample rate"
        )


def _band(samples: NDArray[np.float64], sample_rate: int, low: float) -> NDArray[np.float64]:
    """Keep ``low / 1.5`` to 3,000 Hz, with smooth edges; no phase shift.

    Done in blocks of some seconds that overlap, so that time stays linear and memory small.
    """
    size = 1 << 16
    margin = 1 << 12
    frequencies = np.fft.rfftfreq(size, 1.0 / sample_rate)
    rise = np.clip((frequencies - low / 3.0) / (low / 3.0), 0.0, 1.0)
    top = min(_BAND_HIGH, 0.45 * sample_rate)
    fall = np.clip((1.25 * top - frequencies) / (0.25 * top), 0.0, 1.0)
    gain = np.sin(0.5 * np.pi * rise) ** 2 * np.sin(0.5 * np.pi * fall) ** 2
    padded = np.pad(samples, (margin, size))
    result = np.empty_like(samples)
    step = size - 2 * margin
    for start in range(0, len(samples), step):
        block = np.fft.irfft(np.fft.rfft(padded[start : start + size]) * gain, size)
        end = min(len(samples), start + step)
        result[start:end] = block[margin : margin + end - start]
    return result


def _normalised_difference(windows: NDArray[np.float64], longest: int) -> NDArray[np.float64]:
    """YIN's d'(tau) for tau = 0..longest: ``[frames, size]`` -> ``[frames, longest + 1]``.

    The mean, not the sum, of squared differences is normalised, since longer lags have fewer pairs.
    """
    frames, size = windows.shape
    length = _fast_length(size + longest + 1)
    result = np.empty((frames, longest + 1))
    lags = np.arange(longest + 1)
    # In blocks of frames that stay in the cache.
    for start in range(0, frames, 128):
        block = windows[start : start + 128]
        spectrum = np.fft.rfft(block, length, axis=1)
        correlation = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, length, axis=1)
        total = np.cumsum(block**2, axis=1)
        first = total[:, size - 1 - lags]  # energy of x[0 : size - tau]
        second = total[:, -1:] - np.where(lags > 0, total[:, lags - 1], 0.0)  # of x[tau : size]
        difference = (first + second - 2.0 * correlation[:, : longest + 1]) / (size - lags)
        difference = np.maximum(difference, 0.0)
        difference[:, 0] = 0.0
        running = np.cumsum(difference, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            normalised = difference * lags / running
        result[start : start + 128] = np.where(running > 1e-30, normalised, 1.0)
    result[:, 0] = 1.0
    return result


def _candidates(
    aperiodicity: NDArray[np.float64], shortest: int, longest: int, octave: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The deepest dips between the lags: lag and depth, both ``[frames, candidates]``.

    A dip counts as shallower by ``octave`` for each octave of lag, or the many equally deep
    multiples of a short period would push it out. Dips are refined by a parabola through three
    lags. Missing candidates have depth infinity.
    """
    left = aperiodicity[:, shortest - 1 : longest - 1]
    middle = aperiodicity[:, shortest:longest]
    right = aperiodicity[:, shortest + 1 : longest + 1]
    dip = (middle < left) & (middle <= right)
    depths = np.where(dip, middle + octave * np.log2(np.arange(shortest, longest)), np.inf)
    count = min(_CANDIDATES, depths.shape[1])
    chosen = np.argpartition(depths, count - 1, axis=1)[:, :count]
    rows = np.arange(len(depths))[:, None]
    a, b, c = left[rows, chosen], middle[rows, chosen], right[rows, chosen]
    curvature = a - 2.0 * b + c
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(curvature > 0, 0.5 * (a - c) / curvature, 0.0)
    shift = np.clip(shift, -0.5, 0.5)
    found = np.isfinite(depths[rows, chosen])
    depth = np.where(found, np.maximum(b - 0.25 * (a - c) * shift, 0.0), np.inf)
    lag = np.asarray(chosen + shortest + shift, dtype=np.float64)
    return lag, depth


def _best_path(
    cost: NDArray[np.float64], pitch: NDArray[np.float64], config: PitchConfig, rate: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The cheapest path and the probability of voicing.

    Args:
        cost: ``[frames, candidates + 1]``, the last state unvoiced.
        pitch: ``[frames, candidates]``, log2 of Hz.
        rate: transitions cost this many times their price for 10 ms.

    Returns:
        The state of each frame ``[frames]`` and the probability ``[frames]`` of not being in the
        last state when paths are weighted by exp(-cost / temperature).
    """
    frames, states = cost.shape
    moves = np.empty((frames - 1, states, states))
    moves[:, :-1, :-1] = config.jump * rate * np.abs(pitch[:-1, :, None] - pitch[1:, None, :])
    moves[:, -1, :] = moves[:, :, -1] = config.switch * rate
    moves[:, -1, -1] = 0.0
    back = np.zeros((frames, states), dtype=np.int64)
    columns = np.arange(states)
    best = cost[0]
    for t in range(1, frames):
        through = best[:, None] + moves[t - 1]
        back[t] = through.argmin(axis=0)
        best = through[back[t], columns] + cost[t]
    path = np.empty(frames, dtype=np.int64)
    path[-1] = best.argmin()
    for t in range(frames - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    likelihood = np.exp(-(cost - cost.min(axis=1, keepdims=True)) / config.temperature)
    transition = np.exp(-moves / config.temperature)
    forward, backward = np.empty_like(cost), np.ones_like(cost)
    forward[0] = likelihood[0] / likelihood[0].sum()
    for t in range(1, frames):
        row = (forward[t - 1] @ transition[t - 1]) * likelihood[t]
        forward[t] = row / row.sum()
    for t in range(frames - 2, -1, -1):
        row = transition[t] @ (likelihood[t + 1] * backward[t + 1])
        backward[t] = row / row.sum()
    posterior = forward * backward
    return path, 1.0 - posterior[:, -1] / posterior.sum(axis=1)


def _fast_length(least: int) -> int:
    """The smallest 2^a 3^b 5^c that is not below ``least``: lengths the FFT is fast at."""
    best = 1 << (least - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            two = max(0, (-(-least // three) - 1).bit_length())
            best = min(best, three << two)
            three *= 3
        five *= 5
    return best
