"""Phonemes as code points to phones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glottis.text import FrontEnd, Utterance
from glottis.text.frontend import Word
from glottis.text.phones import phones, spoken_phones

ENGLISH = FrontEnd("en-us")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Church", ["tʃ", "ɜː", "tʃ"]),
        ("my boy, now!", ["m", "aɪ", "b", "ɔɪ", "n", "aʊ"]),
        ("judge it", ["dʒ", "ʌ", "dʒ", "ɪ", "t"]),
        ("cats", ["k", "æ", "t", "s"]),
        ("...", []),
    ],
)
def test_english(text: str, expected: list[str]) -> None:
    assert [phone.label for phone in phones(ENGLISH.analyse(text))] == expected


def test_modifiers_join_and_stress_parts() -> None:
    symbols = tuple("ʃˈœ̃ːaˈɪ")
    found = phones(Utterance("x", "x", symbols, (Word("x", 0, len(symbols)),)))
    assert [phone.label for phone in found] == ["ʃ", "œ̃ː", "a", "ɪ"]
    assert [(phone.start, phone.end) for phone in found] == [(0, 1), (1, 5), (5, 6), (6, 8)]


def test_a_word_does_not_lend_its_letters_to_the_next() -> None:
    symbols = tuple("tʃ")
    words = (Word("t", 0, 1), Word("sh", 1, 2))
    found = phones(Utterance("t sh", "t sh", symbols, words))
    assert [(phone.label, phone.word) for phone in found] == [("t", 0), ("ʃ", 1)]


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz ,.?'", max_size=80))
def test_ranges_are_in_order_and_hold_every_sound(text: str) -> None:
    utterance = ENGLISH.analyse(text)
    found = phones(utterance)
    held = [at for phone in found for at in range(phone.start, phone.end)]
    assert held == sorted(set(held))
    sounds = {at for at, symbol in enumerate(utterance.phonemes) if symbol.isalpha()}
    assert sounds <= set(held)
    for phone in found:
        word = utterance.words[phone.word]
        assert word.start <= phone.start < phone.end <= word.end


@pytest.mark.parametrize(
    "text", ["The church, of course, fired twenty shots!", "Why? Oh, a pure year: nine boys."]
)
def test_phonemes_as_they_are_kept_have_the_same_phones(text: str) -> None:
    utterance = FrontEnd().analyse(text)
    kept = spoken_phones("".join(utterance.phonemes))
    found = phones(utterance)
    assert [phone.label for phone in kept] == [phone.label for phone in found]
    assert [(phone.start, phone.end) for phone in kept] == [
        (phone.start, phone.end) for phone in found
    ]
