"""What speaking gives: audio, and when each word and phoneme is heard."""

from __future__ import annotations

import base64
import html
import io
import os
import wave
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from glottis.audio.files import to_pcm16, write
from glottis.errors import InputError


@dataclass(frozen=True)
class Mark:
    """Something that is heard from ``start`` to ``end``, in seconds from the speech's beginning.

    ``text`` is the sentence or word as written, the phoneme in IPA (with its stress and length
    signs), or the name of an SSML ``<mark>``, whose start and end are equal.
    """

    kind: Literal["sentence", "word", "phoneme", "mark"]
    text: str
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Speech:
    """Spoken text.

    ``samples`` float32 ``[samples]`` in [-1, 1] at ``sample_rate`` Hz. ``marks`` are sorted by
    their start; voices that give no durations (Piper's) have only the marks of sentences.
    """

    samples: NDArray[np.float32] = field(repr=False)
    sample_rate: int
    marks: tuple[Mark, ...] = field(default=(), repr=False)
    text: str = ""

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate

    @property
    def words(self) -> tuple[Mark, ...]:
        """The marks of words."""
        return tuple(mark for mark in self.marks if mark.kind == "word")

    @property
    def phonemes(self) -> tuple[Mark, ...]:
        """The marks of phonemes."""
        return tuple(mark for mark in self.marks if mark.kind == "phoneme")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a sound file; codecs and errors as :func:`glottis.audio.files.write`."""
        write(path, self.samples, self.sample_rate)

    @staticmethod
    def join(chunks: Iterable[Speech]) -> Speech:
        """Put speech one after another; the marks are shifted to their new times.

        Raises:
            InputError: nothing to join, or chunks of different sample rates.
        """
        chunks = list(chunks)
        rates = {chunk.sample_rate for chunk in chunks}
        if len(rates) != 1:
            raise InputError(f"cannot join speech of sample rates {sorted(rates)}")
        (rate,) = rates
        marks: list[Mark] = []
        length = 0
        for chunk in chunks:
            start = length / rate
            marks += [
                replace(mark, start=start + mark.start, end=start + mark.end)
                for mark in chunk.marks
            ]
            length += len(chunk.samples)
        marks.sort(key=lambda mark: (mark.start, -mark.end))
        return Speech(
            samples=np.concatenate([chunk.samples for chunk in chunks]),
            sample_rate=rate,
            marks=tuple(marks),
            text=" ".join(chunk.text for chunk in chunks if chunk.text),
        )

    def _repr_html_(self) -> str:
        """A player, for notebooks."""
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(self.sample_rate)
            writer.writeframes(to_pcm16(self.samples))
        data = base64.b64encode(file.getvalue()).decode("ascii")
        return (
            f'<audio controls src="data:audio/wav;base64,{data}"></audio>'
            f"<div>{html.escape(self.text)} ({self.duration:.2f} s)</div>"
        )
