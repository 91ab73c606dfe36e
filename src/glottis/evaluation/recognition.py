"""Intelligibility: what a generic speech recogniser understands.

PocketSphinx with the US English model and trigram language model of its package listens to the
audio at 16 kHz; word and character errors are counted by jiwer against the text that was meant.
The absolute level says as much about the recogniser as about the voice (recordings of the LJ
Speech reader get about 24% word errors), so compare it with recordings heard the same way.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from glottis.errors import InputError
from glottis.evaluation.extras import require

Array = NDArray[np.float32]

#: Hz, and the peak that audio is scaled to before any program listens to it.
LISTENING_RATE = 16000
LISTENING_PEAK = 0.7


def listening_copy(samples: Array, sample_rate: int) -> Array:
    """Audio as the judging programs hear it: 16 kHz, peak 0.7.

    Args:
        samples: ``[samples]``, mono, any level.
        sample_rate: in Hz.

    Returns:
        float32 ``[samples * 16000 / sample_rate]``; silence stays silence.

    Raises:
        InputError: not mono, empty or not finite.
    """
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim != 1:
        raise InputError(f"audio must be mono, shape [samples]; this has shape {samples.shape}")
    if samples.size == 0:
        raise InputError("the audio to evaluate is empty (zero samples)")
    if not np.isfinite(samples).all():
        raise InputError("the audio to evaluate holds NaN or infinite samples")
    if sample_rate != LISTENING_RATE:
        samples = soxr.resample(samples, sample_rate, LISTENING_RATE).astype(np.float32)
    peak = float(np.abs(samples).max(initial=0.0))
    return samples * np.float32(LISTENING_PEAK / peak) if peak > 0 else samples


def letters(text: str) -> str:
    """Lower-cased words of letters only, separated by single spaces.

    Apostrophes join ("don't" is "dont"), accents fall off, everything else separates words.
    Numbers must be written out before (:attr:`glottis.text.Utterance.spoken`): digits vanish here.
    """
    plain = unicodedata.normalize("NFKD", text.lower())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join(re.sub(r"[^a-z]+", " ", re.sub(r"['’ʼ]", "", plain)).split())


@dataclass(frozen=True)
class Errors:
    """Edit distances of one sentence, and what was heard.

    ``words`` and ``characters`` are the lengths of the reference; a rate over several sentences is
    the sum of errors over the sum of lengths, as jiwer computes it for lists.
    """

    heard: str
    word_errors: int
    words: int
    character_errors: int
    characters: int


def count_errors(text: str, heard: str) -> Errors:
    """Word and character errors of ``heard`` against ``text``, both reduced to :func:`letters`.

    Substitutions, deletions and insertions count one each (Levenshtein distance).

    Raises:
        InputError: ``text`` holds no letter, so that no rate exists.
    """
    jiwer: Any = require("jiwer")
    reference, hypothesis = letters(text), letters(heard)
    if not reference:
        raise InputError(
            f"the text {text!r} has no letters to recognise; write numbers out or leave it out"
        )
    words = jiwer.process_words(reference, hypothesis)
    characters = jiwer.process_characters(reference, hypothesis)
    return Errors(
        heard=hypothesis,
        word_errors=words.substitutions + words.deletions + words.insertions,
        words=len(reference.split()),
        character_errors=characters.substitutions + characters.deletions + characters.insertions,
        characters=len(reference),
    )


def understands(language: str) -> bool:
    """Whether the recogniser's model is of ``language``: English, of whatever region."""
    return language.replace("_", "-").partition("-")[0].lower() == "en"


class Recogniser:
    """PocketSphinx with its generic English model; loading takes about half a second.

    What it hears does not depend on what it heard before: cepstral means are taken over each whole
    utterance, and its estimate of the noise starts anew.
    """

    def __init__(self) -> None:
        pocketsphinx: Any = require("pocketsphinx")
        self._decoder = pocketsphinx.Decoder(samprate=LISTENING_RATE, cmn="batch", loglevel="FATAL")

    def transcribe(self, samples: Array, sample_rate: int) -> str:
        """What is heard in ``samples`` ``[samples]``: lower-case words, possibly none."""
        heard = listening_copy(samples, sample_rate)
        # The decoder refuses less than one analysis window.
        heard = np.pad(heard, (0, max(0, LISTENING_RATE // 10 - len(heard))))
        self._decoder.reinit_feat()  # forgets the noise of what was heard before
        self._decoder.start_utt()
        self._decoder.process_raw(
            np.rint(heard * 32767.0).astype(np.int16).tobytes(), full_utt=True
        )
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis is not None else ""


def error_rates(errors: Sequence[Errors]) -> tuple[float, float]:
    """Word and character error rate over several sentences (1.0 is 100%; more is possible)."""
    words = sum(e.words for e in errors)
    characters = sum(e.characters for e in errors)
    if not words:
        raise InputError("no sentence to take an error rate over")
    return (
        sum(e.word_errors for e in errors) / words,
        sum(e.character_errors for e in errors) / characters,
    )
