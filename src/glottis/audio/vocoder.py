"""A vocoder of parameters: speech as pitch, mel-cepstrum and band aperiodicity, and back.

Analysis: :mod:`glottis.audio.pitch`, the envelope of :mod:`glottis.audio.envelope` as a
mel-cepstrum, and :mod:`glottis.audio.aperiodicity`. Synthesis is a source and a filter: all
harmonics of the pitch below half the sample rate, and white noise, are cut into overlapping frames;
in each frame both are weighted by what the aperiodicity says and pass through the minimum-phase
filter that the mel-cepstrum is, so that the filter crosses over linearly from frame to frame (the
time-varying filter of Liu et al. 2020, "Neural Homomorphic Vocoder", with the parameters of WORLD,
Morise et al. 2016). The same in torch, differentiable, is
:class:`glottis.blocks.parameter_synthesis.ParameterSynthesis`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glottis.audio.aperiodicity import band_aperiodicity, band_centres
from glottis.audio.envelope import fft_size_for, spectral_envelope
from glottis.audio.mel_cepstrum import alpha_for, mel_cepstrum, response_matrix
from glottis.audio.pitch import f0
from glottis.audio.products import product
from glottis.errors import InputError

Array = NDArray[np.float32]
Float = NDArray[np.float64]

_NOISE_BLOCK = 4096
_BLOCK = 64  # frames at a time, so that everything stays in the cache
_AT_A_PULSE = 1e-9  # periods
_NEPERS = np.float32(np.log(10) / 10)  # of power, in a dB


@dataclass(frozen=True)
class VocoderConfig:
    """Attributes:
    sample_rate: Hz.
    hop_seconds: between frames; a whole number of samples, so about 5 ms.
    order: of the mel-cepstrum, which has one coefficient more.
    low, high: the range of the pitch in Hz.
    """

    sample_rate: int = 22050
    hop_seconds: float = 0.005
    order: int = 39
    low: float = 65.0
    high: float = 600.0

    def __post_init__(self) -> None:
        if not 8000 <= self.sample_rate <= 96000:
            raise InputError(f"sample_rate must be 8000 to 96000 Hz, not {self.sample_rate}")
        if not 0.001 <= self.hop_seconds <= 0.01:
            raise InputError(f"hop_seconds must be 0.001 to 0.01, not {self.hop_seconds}")
        if not 1 <= self.order <= 127:
            raise InputError(f"order must be 1 to 127, not {self.order}")
        if not 20 <= self.low < self.high <= self.sample_rate / 4:
            raise InputError(
                f"the pitch range {self.low} to {self.high} Hz must rise from at least 20 Hz to at "
                f"most {self.sample_rate / 4:g} Hz, a quarter of the sample rate"
            )

    @property
    def hop(self) -> int:
        """Samples between frames."""
        return round(self.hop_seconds * self.sample_rate)

    @property
    def fft_size(self) -> int:
        """Of analysis and synthesis: it holds three periods of ``low``."""
        return fft_size_for(self.sample_rate, self.low)

    @property
    def alpha(self) -> float:
        """The warping of the mel-cepstrum."""
        return alpha_for(self.sample_rate)

    @property
    def bands(self) -> int:
        """Of the aperiodicity."""
        return len(band_centres(self.sample_rate))


@dataclass(frozen=True)
class Parameters:
    """Speech at the frames of a :class:`VocoderConfig`; frame ``t`` lies at ``(t + 1/2) * hop``.

    ``pitch`` float32 ``[frames]`` in Hz, 0 where unvoiced; ``cepstrum`` float32
    ``[order + 1, frames]`` in nepers; ``aperiodicity`` float32 ``[bands, frames]``, dB from -40 to
    0.
    """

    pitch: Array
    cepstrum: Array
    aperiodicity: Array


def analyse(samples: Array, config: VocoderConfig) -> Parameters:
    """``[samples]`` at ``config.sample_rate`` -> parameters of ``samples // hop`` frames.

    Raises:
        InputError: not mono, not finite, or shorter than one frame.
    """
    hop = config.hop
    pitch, _ = f0(samples, config.sample_rate, hop, config.low, config.high)
    power = spectral_envelope(samples, config.sample_rate, pitch, hop, config.fft_size)
    cepstrum = mel_cepstrum(power, config.order, config.alpha)
    noise = band_aperiodicity(samples, config.sample_rate, pitch, hop)
    return Parameters(
        pitch,
        np.ascontiguousarray(cepstrum.T, dtype=np.float32),
        np.ascontiguousarray(noise.T, dtype=np.float32),
    )


def synthesize(
    parameters: Parameters, config: VocoderConfig, seed: int = 0, *, timbre: float = 1.0
) -> Array:
    """Parameters -> float32 ``[frames * hop]``; the same seed gives the same noise.

    ``timbre`` moves the formants: above 1 to higher frequencies, as a shorter vocal tract does, by
    about this factor where hearing is linear. The pitch stays.

    Raises:
        InputError: shapes that do not fit ``config``, values that are not finite, a negative
            pitch, or a timbre out of range.
    """
    pieces = stream([parameters], config, seed, timbre=timbre)
    return np.concatenate([*pieces, np.zeros(0, np.float32)])


def stream(
    pieces: Iterable[Parameters], config: VocoderConfig, seed: int = 0, *, timbre: float = 1.0
) -> Iterator[Array]:
    """Parameters piece by piece -> audio piece by piece; joined it is what the whole would give.

    Audio comes two frames behind: what a frame's pitch and window do ends with the next frame.
    """
    if not TIMBRES[0] <= timbre <= TIMBRES[1]:
        raise InputError(f"timbre must be {TIMBRES[0]} to {TIMBRES[1]}, not {timbre}")
    synthesizer = _Synthesizer(config, seed, moved(config.alpha, timbre))
    for piece in pieces:
        _check(piece, config)
        if len(piece.pitch):
            yield synthesizer.push(piece)
    yield synthesizer.finish()


TIMBRES = (0.7, 1.4)
"""Lowest and highest ``timbre``."""


def moved(alpha: float, timbre: float) -> float:
    """The ``alpha`` under which a mel-cepstrum's formants lie ``timbre`` times as high.

    Exact where the warping's slope at 0 Hz, ``(1 + alpha) / (1 - alpha)``, holds.
    """
    slope = (1 + alpha) / (1 - alpha) / timbre
    return (slope - 1) / (slope + 1)


def _check(piece: Parameters, config: VocoderConfig) -> None:
    frames = len(piece.pitch)
    for name, shape in (
        ("pitch", (frames,)),
        ("cepstrum", (config.order + 1, frames)),
        ("aperiodicity", (config.bands, frames)),
    ):
        value = getattr(piece, name)
        if value.shape != shape:
            raise InputError(f"{name} must have shape {list(shape)}, not {list(value.shape)}")
        if not np.isfinite(value).all():
            raise InputError(f"{name} holds NaN or infinite values")
    if (piece.pitch < 0).any() or (piece.pitch > config.sample_rate / 4).any():
        raise InputError(
            f"a pitch must be 0 (unvoiced) to {config.sample_rate / 4:g} Hz, a quarter of the rate"
        )


class _Synthesizer:
    """What lies between two pieces: the pitch's phase, frames that wait, and tails of filters.

    The first and the last frame are repeated once, so that windows overlap up to the ends. Frame
    ``j`` of that row has its window's middle at sample ``(j - 1) * hop + hop // 2``.
    """

    def __init__(self, config: VocoderConfig, seed: int, alpha: float) -> None:
        self.config, self.seed = config, seed
        self.window = crossfade(config.hop).astype(np.float32)
        self.lead = lead(config.fft_size)
        response = response_matrix(config.order, alpha, config.fft_size).T
        self.real = response.real.astype(np.float32)
        self.imaginary = response.imag.astype(np.float32)
        turns = np.arange(config.fft_size // 2 + 1) * self.lead / config.fft_size
        self.delay = (-2 * np.pi * (turns % 1.0)).astype(np.float32)  # by ``lead`` samples
        self.weights = band_weights(config.sample_rate, config.fft_size).astype(np.float32)
        self.rows: Parameters | None = None  # from the last finished frame on
        self.held = UNHEARD_HZ
        self.done = 0  # finished frames
        self.phase = 0.0  # in periods, at the middle of the next frame to finish
        self.gap = np.zeros(config.hop, np.float32)  # harmonics from the middle of the one before
        # Sums of filtered frames; its first sample is where the next frame's response begins.
        self.sums = np.zeros(config.fft_size, np.float32)
        self.given = 0  # samples given away

    def push(self, piece: Parameters) -> Array:
        first = _slice(piece, 0, 1) if self.rows is None else self.rows
        self.rows = _joined(first, piece)
        return self._advance(len(self.rows.pitch) - 1)

    def finish(self) -> Array:
        if self.rows is None:
            return np.zeros(0, np.float32)
        last = _slice(self.rows, len(self.rows.pitch) - 1, None)
        self.rows = _joined(self.rows, _joined(last, last))
        frames = self.done + len(self.rows.pitch) - 3
        made = self._advance(len(self.rows.pitch))
        wanted = frames * self.config.hop - self.given
        return np.concatenate([made, self.sums])[: wanted + len(made)]

    def _advance(self, known: int) -> Array:
        """Finish all frames whose next one has a ``known`` pitch; -> samples now complete."""
        assert self.rows is not None
        count = known - 1
        if count < 1:
            return np.zeros(0, np.float32)
        hop, size = self.config.hop, self.config.fft_size
        pitch = filled(self.rows.pitch, self.held)[: count + 1]
        tone, self.phase = harmonics(pitch, hop, self.config.sample_rate, self.phase)
        source: Array = np.concatenate([self.gap, tone])
        noise = _noise(self.seed, self.done * hop, (count + 1) * hop)
        rows = _slice(self.rows, 0, count)
        sums = np.concatenate([self.sums, np.zeros(count * hop, np.float32)])
        responses = self._filtered(source.reshape(-1, hop), noise.reshape(-1, hop), rows)
        for begin, response in zip(range(0, count * hop, hop), responses, strict=True):
            sums[begin : begin + size] += response
        begin = (self.done - 1) * hop + hop // 2 - hop - self.lead  # of sums, in samples
        self.held, self.gap = float(pitch[count - 1]), source[-hop:]
        self.rows = _slice(self.rows, count, None)
        self.done += count
        made, self.sums = sums[: count * hop], sums[count * hop :]
        made = made[max(0, -begin) :]  # what lies before the first sample
        self.given += len(made)
        return made

    def _filtered(self, tone: Array, noise: Array, rows: Parameters) -> Iterator[Array]:
        """``[frames + 1, hop]`` each -> the frames' responses, ``[fft_size]`` each."""
        size, frames, long = self.config.fft_size, len(rows.pitch), self.window.shape[0]
        cuts = np.zeros((2, _BLOCK, size), np.float32)
        response = np.empty((_BLOCK, size // 2 + 1), np.complex64)
        for start in range(0, frames, _BLOCK):
            block = slice(start, min(start + _BLOCK, frames))
            count = block.stop - start
            for cut, source in zip(cuts, (tone, noise), strict=True):
                halves = source[start : block.stop + 1]
                np.multiply(halves[:-1], self.window[: long // 2], out=cut[:count, : long // 2])
                np.multiply(halves[1:], self.window[long // 2 :], out=cut[:count, long // 2 : long])
            # numpy falls back to long double where nothing is to be scaled: seven times as slow.
            mixed, noisy_part = np.fft.rfft(cuts[:, :count], axis=2, norm="forward")
            noisy = np.exp(product(rows.aperiodicity[:, block].T, self.weights) * (0.5 * _NEPERS))
            np.minimum(noisy, np.float32(1), out=noisy)
            noisy[rows.pitch[block] == 0] = 1.0
            mixed *= np.sqrt(1 - noisy**2)
            noisy_part *= noisy
            mixed += noisy_part
            level = np.exp(product(rows.cepstrum[:, block].T, self.real)) * np.float32(size)
            turn = product(rows.cepstrum[:, block].T, self.imaginary) + self.delay
            filtering = response[:count]
            np.multiply(level, np.cos(turn), out=filtering.real)
            np.multiply(level, np.sin(turn), out=filtering.imag)
            mixed *= filtering
            yield from np.fft.irfft(mixed, size, axis=1)


UNHEARD_HZ = 100.0
"""The pitch that runs on under unvoiced speech before anything was voiced."""


def crossfade(hop: int) -> Float:
    """The frames' window, ``[2 * hop]``: a Hann window, which sums to one at this hop."""
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(2 * hop) / hop)


def lead(fft_size: int) -> int:
    """Samples kept for what a response does before its frame (the bands' gains have no phase)."""
    return fft_size // 8


def band_weights(sample_rate: int, fft_size: int) -> Float:
    """``[bands, bins]``: linear interpolation between the bands' centres, held beyond them."""
    centres = band_centres(sample_rate)
    bins = np.arange(fft_size // 2 + 1) * (sample_rate / fft_size)
    return np.stack([np.interp(bins, centres, row) for row in np.eye(len(centres))])


def filled(pitch: Array, held: float = UNHEARD_HZ) -> Float:
    """A pitch for every frame ``[frames]``: an unvoiced one takes the next frame's, so that no
    voice begins with a glide, or else keeps the one before; ``held`` comes before the first."""
    voiced = np.concatenate([pitch > 0, [False]])
    after = voiced[1:] & ~voiced[:-1]
    known = np.where(after, np.append(pitch[1:], 0), pitch).astype(np.float64)
    place = np.maximum.accumulate(np.where(known > 0, np.arange(len(known)), -1))
    return np.where(place >= 0, known[place], held)


def harmonics(pitch: Float, hop: int, sample_rate: int, phase: float) -> tuple[Array, float]:
    """All harmonics below half the rate, cosines of equal power density 1.

    ``pitch`` ``[frames + 1]`` in Hz at frames ``hop`` apart, above zero and at most a quarter of
    the rate; ``phase`` in periods at the first. -> ``[frames * hop]`` and the phase at the last.

    ``sum_k cos(k x)`` in closed form (Dirichlet's kernel). The highest harmonic fades in as the
    pitch falls, so that nothing clicks.
    """
    steps = np.arange(hop) / hop
    logs = np.log(pitch)
    made = np.empty((len(pitch) - 1, hop), np.float32)
    for start in range(0, len(made), _BLOCK):
        # Phases in double precision, reduced to one turn before their sines are taken in single.
        rows = logs[start : start + _BLOCK + 1]
        hertz = np.exp(rows[:-1, None] + np.diff(rows)[:, None] * steps).reshape(-1)
        after = phase + (hertz / sample_rate).cumsum()
        turn = np.concatenate([[phase], after[:-1]])
        turn -= np.rint(turn)
        phase = float(after[-1] % 1.0)
        # Both kernels have limits where the pulses are.
        turn[np.abs(turn) < _AT_A_PULSE] = _AT_A_PULSE
        room = (0.5 * sample_rate / hertz).astype(np.float32)
        whole = np.floor(room)
        share, between = room - whole, whole - np.float32(0.5)
        many = between * turn
        many -= np.rint(many)
        angle, half = (2 * np.pi * many).astype(np.float32), (np.pi * turn).astype(np.float32)
        sine, cosine = np.sin(angle), np.cos(angle)
        half_sine = np.sin(half)
        kernel = sine / (2 * half_sine) - np.float32(0.5)
        kernel += share * (cosine * np.cos(half) - sine * half_sine)
        kernel *= np.sqrt((hertz * (4 / sample_rate)).astype(np.float32))
        made[start : start + _BLOCK] = kernel.reshape(-1, hop)
    return made.reshape(-1), phase


def _noise(seed: int, start: int, count: int) -> Array:
    """White noise, a function of the seed and the place alone."""
    blocks = range(start // _NOISE_BLOCK, (start + count - 1) // _NOISE_BLOCK + 1)
    made = np.concatenate(
        [
            np.random.default_rng([seed, block]).standard_normal(_NOISE_BLOCK, np.float32)
            for block in blocks
        ]
    )
    first = start - blocks.start * _NOISE_BLOCK
    return made[first : first + count]


def _slice(rows: Parameters, start: int, stop: int | None) -> Parameters:
    return Parameters(
        rows.pitch[start:stop], rows.cepstrum[:, start:stop], rows.aperiodicity[:, start:stop]
    )


def _joined(first: Parameters, second: Parameters) -> Parameters:
    return Parameters(
        np.concatenate([first.pitch, second.pitch]),
        np.concatenate([first.cepstrum, second.cepstrum], axis=1),
        np.concatenate([first.aperiodicity, second.aperiodicity], axis=1),
    )
