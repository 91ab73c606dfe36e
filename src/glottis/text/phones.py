"""Phonemes as code points to phones: the units that have a beginning and an end in speech."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from glottis.text.frontend import Utterance
from glottis.text.phonemize import STRESS

# What changes the letter before it: length, palatalisation, aspiration, labialisation, rhoticity.
_MODIFIERS = frozenset("ːˑʲʰʷˤ˞ʼ")
# Two letters that are one phone: affricates, and the diphthongs of espeak-ng's languages.
_PAIRS = frozenset(
    str.split(
        "tʃ dʒ tɕ dʑ tʂ dʐ "
        "aɪ aʊ aʏ eɪ oʊ əʊ ɔɪ ɔʏ ɔø ɛɪ œy œʏ ʌʊ ʌɪ ʌy ɑʊ æʊ æɪ əɪ ɜʊ øʏ ɛʊ yʊ iʊ eʊ "
        "ɪə ʊə eə ɛə iə uə"
    )
)


@dataclass(frozen=True)
class Phone:
    """One phone, without stress: its ``label``, the range ``start:end`` of an utterance's
    ``phonemes`` that stands for it (stress included), and the index of its ``word``."""

    label: str
    start: int
    end: int
    word: int


def phones(utterance: Utterance) -> list[Phone]:
    """The phones of an utterance's words, in order; spaces and punctuation have none.

    Marks of length and other modifiers belong to the letter before them, stress to the letter
    after it, and affricates and diphthongs are one phone.
    """
    found: list[Phone] = []
    for index, word in enumerate(utterance.words):
        found += _of_word(utterance.phonemes[: word.end], word.start, index)
    return found


def spoken_phones(phonemes: str) -> list[Phone]:
    """The phones of phonemes as a prepared corpus keeps them, words between spaces."""
    found: list[Phone] = []
    for index, word in enumerate(re.finditer(r"\S+", phonemes)):
        found += _of_word(phonemes[: word.end()], word.start(), index)
    return found


def _of_word(phonemes: Sequence[str], first: int, word: int) -> list[Phone]:
    """The phones of ``phonemes[first:]``."""
    found: list[Phone] = []
    start = first
    for position in range(first, len(phonemes)):
        symbol = phonemes[position]
        if symbol in STRESS:
            continue
        joined = bool(found) and found[-1].end == position
        modifies = symbol in _MODIFIERS or unicodedata.category(symbol) == "Mn"
        if joined and (modifies or found[-1].label + symbol in _PAIRS):
            last = found[-1]
            found[-1] = Phone(last.label + symbol, last.start, position + 1, word)
        elif unicodedata.category(symbol)[0] in "LN" or symbol in "#ǃǀǁǂ":
            found.append(Phone(symbol, start, position + 1, word))
        start = position + 1
    return found
