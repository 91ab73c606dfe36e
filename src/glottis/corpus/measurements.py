"""What a recording and its transcript look like in numbers, for the doctor.

Recordings are measured as they are, at their own rate; only the levels are taken after the
high-pass that preparation applies, so that rumble does not pass for speech.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from glottis.audio.files import read
from glottis.corpus.conditioning import (
    STEP_SECONDS,
    active_level,
    highpass,
    levels,
    speech_bounds,
)
from glottis.corpus.prepare import (
    PrepareConfig,
    analyse,
    front_end,
    normalised_words,
    too_many_phonemes,
)
from glottis.corpus.readers import Row, Skipped
from glottis.errors import InputError
from glottis.text.guess import common_words

Array = NDArray[np.float32]

_FFT = 2048
SPECTRUM_POINTS = 240  # of the mean spectra, from 0 Hz to 24 kHz
SPECTRUM_HZ = 100.0


@dataclass(frozen=True)
class Measurement:
    """One usable row in numbers.

    Attributes:
        id, where, speaker: from the row.
        text: a hash of the transcript's words; equal for the same sentence.
        audio: a hash of the file's bytes.
        rate, channels: of the file; Hz.
        seconds: whole duration; ``speech_seconds`` that between the first and the last sound.
        leading, trailing: seconds of silence at the ends.
        peak: largest magnitude; ``clipped`` the number of samples that lie at the limit.
        level: active speech, dBFS; ``floor`` the quietest twentieth of a second, dBFS.
        offset: mean of the samples (DC).
        rumble: level of what the high-pass takes out (below 60 Hz) relative to the speech, dB.
        abrupt: whether the recording begins or ends at full level.
        spectrum: dB ``[SPECTRUM_POINTS]``, mean of the louder half in bands of 100 Hz; NaN above
            half the sample rate.
        bandwidth: Hz up to which the spectrum stays within 60 dB of its peak.
        phonemes: how many there are in the transcript, without marks of stress and punctuation.
        unsayable: characters of the transcript that the front end drops or spells out.
        digits: whether the transcript contains digits.
        common: what :func:`glottis.text.guess.common_words` says of the transcript.
    """

    id: str
    where: str
    speaker: str
    text: bytes
    audio: bytes
    rate: int
    channels: int
    seconds: float
    speech_seconds: float
    leading: float
    trailing: float
    peak: float
    clipped: int
    level: float
    floor: float
    offset: float
    rumble: float
    abrupt: bool
    spectrum: NDArray[np.float32]
    bandwidth: float
    phonemes: int
    unsayable: str
    digits: bool
    common: tuple[int, ...]


def measure(config: PrepareConfig, row: Row | Skipped) -> Measurement | Skipped:
    """Measure one row, or say why it cannot be used."""
    import soundfile

    if isinstance(row, Skipped):
        return row
    try:
        samples, rate = read(row.audio)
        speech = highpass(samples, rate, config.conditioning.highpass or 60.0)
        start, end = speech_bounds(speech, rate)
        channels = soundfile.info(row.audio).channels
        digest = hashlib.sha256(row.audio.read_bytes()).digest()[:8]
    except InputError as error:
        reason = f"{row.audio.name}: {str(error).removeprefix(f'{row.audio}: ')}"
        return Skipped(row.id, row.where, "bad audio", reason)
    utterance = analyse(config, row)
    if isinstance(utterance, Skipped):
        return utterance
    if (end - start) / rate >= config.minimum_seconds:
        kept = end - start if config.conditioning.trim else len(samples)
        seconds = min(kept / rate + 2 * config.conditioning.margin, len(samples) / rate)
        frames = int(seconds * config.mel.frame_rate)
        if skipped := too_many_phonemes(row, len(utterance.phonemes), frames):
            return skipped
    level = levels(speech, rate)
    loudness = active_level(speech[start:end], rate)
    spectrum = mean_spectrum(samples, rate)
    loud = float(np.percentile(level, 95))
    return Measurement(
        id=row.id,
        where=row.where,
        speaker=row.speaker,
        text=hashlib.sha256(normalised_words(row.text).encode()).digest()[:8],
        audio=digest,
        rate=rate,
        channels=channels,
        seconds=len(samples) / rate,
        speech_seconds=(end - start) / rate,
        leading=start / rate,
        trailing=(len(samples) - end) / rate,
        peak=float(np.abs(samples).max()),
        clipped=clipped_samples(samples),
        level=loudness,
        floor=_floor(level),
        offset=float(samples.mean(dtype=np.float64)),
        rumble=_rumble(samples, speech) - loudness,
        abrupt=bool(max(level[0], level[-1]) > loud - 20),
        spectrum=spectrum,
        bandwidth=bandwidth(spectrum),
        phonemes=sum(symbol.isalpha() for symbol in utterance.phonemes),
        unsayable=unsayable(row.text, config.language, config.lexicon, config.phonemes),
        digits=any(character.isdigit() for character in row.text),
        common=common_words(row.text),
    )


def column(rows: Sequence[Measurement], name: str) -> NDArray[np.float64]:
    """One measured value of all rows: ``[rows]``."""
    return np.array([getattr(row, name) for row in rows], dtype=np.float64)


def clipped_samples(samples: Array) -> int:
    """How many samples lie at a limit: ``[samples]`` -> count.

    These are samples at full scale (0.999 and above), and samples in runs of four or more that
    share one value within 1% of the peak: what is left when clipped audio was made quieter.
    """
    magnitude = np.abs(samples)
    peak = float(magnitude.max(initial=0.0))
    if peak == 0:
        return 0
    high = magnitude >= 0.99 * peak
    held = np.concatenate([[False], (np.diff(samples) == 0) & high[1:] & high[:-1], [False]])
    edges = np.flatnonzero(np.diff(held.astype(np.int8)))
    runs = edges[1::2] - edges[::2] + 1
    return max(int((magnitude >= 0.999).sum()), int(runs[runs >= 4].sum()))


def mean_spectrum(samples: Array, rate: int) -> NDArray[np.float32]:
    """Mean power of the louder half of the frames in bands of 100 Hz: dB ``[SPECTRUM_POINTS]``.

    Bands above half the sample rate are NaN.
    """
    if len(samples) < _FFT:
        samples = np.pad(samples, (0, _FFT - len(samples)))
    frames = sliding_window_view(samples, _FFT)[:: _FFT // 2] * np.hanning(_FFT).astype(np.float32)
    power = np.abs(np.fft.rfft(frames)) ** 2
    energy = power.sum(axis=1)
    power = power[energy >= np.median(energy)].mean(axis=0)
    band = (np.fft.rfftfreq(_FFT, 1 / rate) / SPECTRUM_HZ).astype(int)
    inside = band < min(SPECTRUM_POINTS, int(rate / 2 / SPECTRUM_HZ))
    sums = np.bincount(band[inside], power[inside], SPECTRUM_POINTS)
    counts = np.bincount(band[inside], minlength=SPECTRUM_POINTS)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums / counts
    return (10 * np.log10(np.maximum(mean, 1e-20))).astype(np.float32)


def bandwidth(spectrum: NDArray[np.float32]) -> float:
    """The frequency in Hz above which the spectrum stays 60 dB or more below its peak."""
    present = np.flatnonzero(spectrum > np.nanmax(spectrum) - 60)
    return float((present[-1] + 1) * SPECTRUM_HZ)


def _floor(level: NDArray[np.float64]) -> float:
    """Level of the quietest twentieth of a second, digital silence aside, in dBFS.

    Recordings that are cut tightly have few quiet frames, so a percentile would measure speech.
    """
    audible = level[level > -100]
    if len(audible) == 0:
        return float(level.min())
    width = min(len(audible), round(0.05 / STEP_SECONDS))
    power = np.convolve(10 ** (audible / 10), np.full(width, 1 / width), mode="valid")
    return float(10 * np.log10(power.min()))


def _rumble(samples: Array, speech: Array) -> float:
    """Level of what the high-pass took out (DC aside), in dBFS."""
    removed = samples - samples.mean(dtype=np.float64) - speech
    return float(10 * np.log10(max(float(np.mean(removed**2)), 1e-12)))


def unsayable(
    text: str, language: str, lexicon: str | None, phonemes: Literal["espeak", "text"]
) -> str:
    """The characters of ``text``, each once, that leave no sound or belong to another script."""
    return "".join(
        character
        for character in sorted(set(text))
        if not _sayable(character, language, lexicon, phonemes)
    )


@lru_cache(maxsize=65536)
def _sayable(character: str, language: str, lexicon: str | None, phonemes: Any) -> bool:
    category = unicodedata.category(character)
    if character.isspace() or character.isascii() or category.startswith(("P", "M")):
        return category != "Cc" or character in "\t\n\r"
    if category.startswith("L"):
        script = unicodedata.name(character, "UNKNOWN").split()[0]
        if script not in _scripts(language):
            return False
    spoken = front_end(language, lexicon, phonemes).analyse(character).phonemes
    return any(symbol.isalpha() for symbol in spoken)


def _scripts(language: str) -> tuple[str, ...]:
    """First words of the Unicode names of a language's letters."""
    other = {
        **dict.fromkeys(("ru", "uk", "bg", "sr", "mk", "be", "kk", "ky"), ("CYRILLIC",)),
        **dict.fromkeys(("ar", "fa", "ur"), ("ARABIC",)),
        **dict.fromkeys(("hi", "mr", "ne"), ("DEVANAGARI",)),
        **dict.fromkeys(("zh", "cmn", "yue"), ("CJK", "LATIN")),
        "ja": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"),
        "el": ("GREEK",),
        "he": ("HEBREW",),
        "ko": ("HANGUL",),
        "ka": ("GEORGIAN",),
        "hy": ("ARMENIAN",),
        "th": ("THAI",),
    }
    return other.get(language.split("-")[0], ("LATIN", "FEMININE", "MASCULINE"))
