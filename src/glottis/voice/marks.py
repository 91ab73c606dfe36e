"""When each word and each sound of an utterance is heard."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from glottis.text import Utterance
from glottis.voice.speech import Mark

STRESS = "ˈˌ"
LENGTH = "ːˑ˞"


def word_marks(utterance: Utterance, times: Sequence[tuple[float, float]]) -> list[Mark]:
    """A mark for each word, from the times in seconds of each of the utterance's phonemes."""
    return [
        Mark("word", word.text, times[word.start][0], times[word.end - 1][1])
        for word in utterance.words
        if word.start < word.end and times[word.start][0] < times[word.end - 1][1]
    ]


def phoneme_marks(phonemes: Sequence[str], times: Sequence[tuple[float, float]]) -> list[Mark]:
    """A mark for each sound: stress belongs to what follows it, length to what it follows."""
    marks: list[Mark] = []
    stress, start = "", 0.0
    for phoneme, (begin, end) in zip(phonemes, times, strict=True):
        if begin == end:
            continue
        if phoneme in STRESS:
            start = start if stress else begin
            stress += phoneme
        elif marks and marks[-1].end == begin and _belongs_to_previous(phoneme):
            last = marks.pop()
            marks.append(Mark("phoneme", last.text + phoneme, last.start, end))
        elif unicodedata.category(phoneme)[0] in "LN":
            marks.append(Mark("phoneme", stress + phoneme, start if stress else begin, end))
            stress = ""
        else:
            stress = ""
    return marks


def _belongs_to_previous(phoneme: str) -> bool:
    return phoneme in LENGTH or unicodedata.category(phoneme) == "Mn"
