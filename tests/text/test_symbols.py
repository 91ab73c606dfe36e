"""Phonemes to ids, in Piper's layout."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glottis.errors import InputError
from glottis.text.symbols import DEFAULT, NUM_SYMBOLS, Symbols, with_characters

# Known from published Piper voices; moving any of these would break every voice file.
KNOWN = {
    "_": 0, "^": 1, "$": 2, " ": 3, "!": 4, "'": 5, "(": 6, ")": 7, ",": 8, "-": 9, ".": 10,
    ":": 11, ";": 12, "?": 13, "a": 14, "f": 19, "h": 20, "z": 38, "æ": 39, "ç": 40, "ð": 41,
    "ŋ": 44, "ɐ": 50, "ɑ": 51, "ɔ": 54, "ə": 59, "ɚ": 60, "ɛ": 61, "ɜ": 62, "ɡ": 66, "ɪ": 74,
    "ɹ": 88, "ɾ": 92, "ʁ": 94, "ʃ": 96, "ʊ": 100, "ʌ": 102, "ʒ": 108, "ʔ": 109, "ʲ": 119,
    "ˈ": 120, "ˌ": 121, "ː": 122, "ˑ": 123, "β": 125, "θ": 126, "χ": 127, "ᵻ": 128, "ⱱ": 129,
    "0": 130, "9": 139, "\u0327": 140, "\u0303": 141, "\u032a": 142, "\u032f": 143,
    "\u0329": 144, "ʰ": 145, "ˤ": 146, "ε": 147, "↓": 148, "#": 149, '"': 150, "↑": 151,
    "\u033a": 152, "\u033b": 153, "g": 154, "ʦ": 155, "X": 156, "\u031d": 157, "\u030a": 158,
}  # fmt: skip


def test_default_is_pipers_map() -> None:
    assert {symbol: DEFAULT.phoneme_id_map[symbol] for symbol in KNOWN} == {
        symbol: [number] for symbol, number in KNOWN.items()
    }
    ids = [number for numbers in DEFAULT.phoneme_id_map.values() for number in numbers]
    assert sorted(ids) == list(range(len(DEFAULT)))
    assert len(DEFAULT) <= NUM_SYMBOLS
    assert all(len(symbol) == 1 for symbol in DEFAULT.phoneme_id_map)


def test_layout() -> None:
    assert DEFAULT.ids("ab") == [1, 0, 14, 0, 15, 0, 2]
    assert DEFAULT.ids("") == [1, 0, 2]


WITH_LONG_ENTRIES = Symbols(
    {"_": [0], "^": [1], "$": [2, 9], "a": [3], "b": [4, 5], "c": [6, 7, 8]}
)


@given(st.lists(st.sampled_from("abcxˈ")), st.sampled_from([DEFAULT, WITH_LONG_ENTRIES]))
def test_spans_and_positions_point_into_ids(phonemes: list[str], symbols: Symbols) -> None:
    ids, known = symbols.ids(phonemes), symbols.phoneme_id_map
    end = 2
    for phoneme, (start, stop), position in zip(
        phonemes, symbols.spans(phonemes), symbols.positions(phonemes), strict=True
    ):
        assert start == end, "spans tile the ids"
        end = stop
        if phoneme in known:
            assert ids[start:stop] == known[phoneme] + known["_"]
            assert position == start
        else:
            assert start == stop
            assert position == -1
    assert ids[:2] == known["^"] + known["_"]
    assert ids[end:] == known["$"]


def test_unknown_symbols_are_skipped_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    symbols = Symbols({"_": [0], "^": [1], "$": [2], "a": [3]})
    with caplog.at_level(logging.WARNING):
        assert symbols.ids("aZaZ") == symbols.ids("aa")
        symbols.ids("Z")
    assert [record.getMessage().count("'Z' (U+005A)") for record in caplog.records] == [1]


@pytest.mark.parametrize(
    ("phoneme_id_map", "named"),
    [
        ({"^": [1], "$": [2]}, "'_'"),
        ({"_": [0], "$": [2]}, r"'\^'"),
        ({"_": [0], "^": [1], "$": [2], "a": 3}, r"\['a'\]"),
        ({"_": [0], "^": [1], "$": [2], "a": []}, r"\['a'\]"),
        ({"_": [0], "^": [1], "$": [2], "a": [-1]}, r"\['a'\]"),
        ({"_": [0], "^": [1], "$": [2], "a": "3"}, r"\['a'\]"),
        ({"_": [0], "^": [1], "$": [2], "a": [True]}, r"\['a'\]"),
    ],
)
def test_bad_maps_are_refused(phoneme_id_map: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Symbols(phoneme_id_map)


def test_further_characters_take_the_spare_ids() -> None:
    symbols = with_characters("aбßб\u0308")
    further = {"ß": [161], "\u0308": [162], "б": [163]}
    assert symbols.phoneme_id_map == DEFAULT.phoneme_id_map | further
    assert with_characters("abc").phoneme_id_map == DEFAULT.phoneme_id_map
    # As many as an embedding has room for, and not one more.
    room = [chr(0x4E00 + i) for i in range(NUM_SYMBOLS - len(DEFAULT))]
    assert len(with_characters(room)) == NUM_SYMBOLS
    with pytest.raises(InputError, match=r"96 characters .* room for 95.*phonemes=espeak"):
        with_characters([*room, "é"])
