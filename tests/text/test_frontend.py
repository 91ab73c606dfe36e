"""The whole front end: text in, phonemes and word ranges out."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glottis.errors import InputError
from glottis.text import FrontEnd, Symbols, Utterance
from glottis.text.symbols import DEFAULT

ENGLISH = FrontEnd("en-us")
FRONT_ENDS = {
    "en-us": ENGLISH,
    "en-gb": FrontEnd("en-gb"),
    "de": FrontEnd("de"),
    "nl": FrontEnd("nl"),
    "cmn": FrontEnd("cmn"),
    "text": FrontEnd("en-us", phonemes="text"),
}
PIECES = str.split(
    """the of a in to was I at it and Dr. $3.50 1990s BBC CDs 2021 ½ “quoted” (in brackets) — e.g.
    [[dʒˈɪf]] [[a|b]] 3:30 pm A B C X-ray don't 😀 日本 é ß ; ? ! ... , : . Henry VIII"""
)
TEXT = st.one_of(st.text(max_size=50), st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join))


def said(utterance: Utterance) -> str:
    return "".join(utterance.phonemes)


def owned(utterance: Utterance) -> dict[str, str]:
    return {word.text: said(utterance)[word.start : word.end] for word in utterance.words}


def test_layout_of_a_sentence() -> None:
    utterance = ENGLISH.analyse("Well, the cat sat; did it? Yes: it did!")
    assert said(utterance) == ("wˈɛl, ðə kˈæt sˈæt; dˈɪd ɪt? jˈɛs: ɪt dˈɪd!")
    assert utterance.spoken == "Well, the cat sat; did it? Yes: it did!"
    assert " ".join(word.text for word in utterance.words) == "Well the cat sat did it Yes it did"


def test_no_final_mark_is_invented() -> None:
    assert said(ENGLISH.analyse("hello world")) == "həlˈoʊ wˈɜːld"


def test_a_written_word_may_be_many_spoken_ones() -> None:
    utterance = ENGLISH.analyse("It costs $3.50 of the 2021 money.")
    assert owned(utterance)["$3.50"] == "θɹˈiː dˈɑːlɚz ænd fˈɪfti sˈɛnts"
    assert owned(utterance)["of"] == "ʌv"
    assert owned(utterance)["the"] == "ðə"
    assert owned(utterance)["2021"] == "twˈɛnti twˈɛntiwˈʌn"


def test_acronyms_get_the_stress_of_letters() -> None:
    assert said(ENGLISH.analyse("the BBC")) == "ðə bˌiːbˌiːsˈiː"
    assert said(ENGLISH.analyse("CDs"))[-1] == "z"
    assert said(ENGLISH.analyse("vitamin A is")).split()[1] == "ˈeɪ"


@given(TEXT, st.sampled_from(sorted(FRONT_ENDS)))
@example("\ud800", "en-us")
@example("\x00\x01", "de")
@example("", "en-us")
@example("…", "en-us")
@example("[[ ]] [[|]] [[a|]]", "en-us")
def test_laws_of_utterances(text: str, name: str) -> None:
    utterance = FRONT_ENDS[name].analyse(text)
    assert utterance.text == text
    assert all(len(phoneme) == 1 for phoneme in utterance.phonemes)
    position = 0
    covered = set()
    for word in utterance.words:
        assert position <= word.start <= word.end
        position = word.end
        covered |= set(range(word.start, word.end))
    assert position <= len(utterance.phonemes)
    left = {p for k, p in enumerate(utterance.phonemes) if k not in covered}
    assert left <= set(" ,.?!;:"), "every sound belongs to a word"
    assert "  " not in said(utterance)
    assert said(utterance) == said(utterance).strip()
    assert bool(utterance.words) == bool(utterance.phonemes)
    if utterance.phonemes:
        assert utterance.phonemes[0] not in " ,.?!;:"


@given(TEXT)
def test_what_is_said_in_one_call_is_said_in_the_next(text: str) -> None:
    assert ENGLISH.analyse(text) == FrontEnd("en-us").analyse(text)


def test_threads_and_languages_equal_serial() -> None:
    jobs = [
        ("en-us", "The quick brown fox of the U.S. paid $3.50."),
        ("de", "Der schnelle braune Fuchs am 3. Mai."),
        ("nl", "De snelle bruine vos."),
        ("en-gb", "In 2008, 150 cats and the dogs."),
    ] * 15
    serial = [FRONT_ENDS[name].analyse(text) for name, text in jobs]
    results: list[list[Utterance]] = [[] for _ in range(4)]

    def work(mine: list[Utterance]) -> None:
        mine += [FRONT_ENDS[name].analyse(text) for name, text in jobs]

    threads = [threading.Thread(target=work, args=(mine,)) for mine in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == serial for mine in results)


def test_lexicon_wins_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    file = tmp_path / "words.tsv"
    file.write_text("gif\tdʒˈɪf\nPolish\tpˈoʊlɪʃ\nthe\tðˈiː\nAC/DC\tˈeɪsiːdˈiːsiː\n", "utf-8")
    front_end = FrontEnd("en-us", lexicon=file)
    mine = front_end.analyse("A GIF, a Gif and of the gif.")
    assert [said(mine)[w.start : w.end] for w in mine.words if w.text.lower() == "gif"] == [
        "dʒˈɪf"
    ] * 3
    assert owned(mine)["the"] == "ðˈiː"
    assert owned(mine)["of"] == "ʌv"
    # A word with a capital covers only itself; a name with signs is found whole.
    assert owned(front_end.analyse("Polish it."))["Polish"] == "pˈoʊlɪʃ"
    assert owned(front_end.analyse("polish it.")) == owned(ENGLISH.analyse("polish it."))
    # Untouched sentences are as without a lexicon.
    plain = "Nothing here needs help, Dr. Smith."
    assert front_end.analyse(plain) == ENGLISH.analyse(plain)


def test_inline_phonemes() -> None:
    utterance = ENGLISH.analyse("I like [[dʒˈɪf]] files and [[təmˈɑːtoʊ|tomato]] soup.")
    assert "lˈaɪk dʒˈɪf fˈaɪlz" in said(utterance)
    assert owned(utterance)["tomato"] == "təmˈɑːtoʊ"
    assert utterance.spoken == "I like dʒˈɪf files and tomato soup."
    # Double brackets around anything else are brackets.
    assert [word.text for word in ENGLISH.analyse("see [[Main Page]] now").words] == [
        "see", "Main", "Page", "now",
    ]  # fmt: skip


def test_plain_characters() -> None:
    utterance = FrontEnd("en-us", phonemes="text").analyse("Dr. Café has 3.")
    assert said(utterance) == "doctor cafe\u0301 has three."
    assert owned(utterance)["Dr."] == "doctor"


def test_everything_english_needs_is_in_the_default_symbols() -> None:
    text = (
        "The measure of pleasure: a bathing judge, young thanks! Which vision? Oil; boys, how now, "
        "butter, written, nature, churches, singing, uncle, father, bird, nurse, about, tomatoes."
    )
    assert all(phoneme in DEFAULT for phoneme in ENGLISH.analyse(text).phonemes)


def test_unsayable_characters() -> None:
    assert ENGLISH.unsayable("plain text, with signs: & % € ½ — “so” é ß α 3") == set()
    assert ENGLISH.unsayable("a 😀 b 日本 привет\u200b\x07") == set("😀日本привет")
    assert FRONT_ENDS["cmn"].unsayable("日本") == set()


def test_unsayable_characters_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    front_end = FrontEnd("en-us")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            front_end.analyse("smile 😀 😀")
    assert [record.getMessage().count("U+1F600") for record in caplog.records] == [1]


def test_a_long_text_without_stops_is_analysed_in_pieces() -> None:
    utterance = ENGLISH.analyse("word " * 2000)
    assert len(utterance.words) == 2000
    assert {owned(utterance)["word"]} == {"wˈɜːd"}


def test_wrong_settings_are_named() -> None:
    with pytest.raises(InputError, match="espeak"):
        FrontEnd(phonemes="ipa")
    with pytest.raises(InputError, match="klingonese"):
        FrontEnd("klingonese")


def test_sentences_are_those_of_the_language() -> None:
    assert ENGLISH.sentences("Dr. Smith. He is.") == ["Dr. Smith.", "He is."]
    assert FRONT_ENDS["de"].sentences("Am 3. Mai. Gut.") == ["Am 3. Mai.", "Gut."]


def test_public_names_and_light_import() -> None:
    assert Symbols is not None
    script = (
        "import sys, glottis.text\n"
        "heavy = {'num2words', 'numpy', 'torch', 'espeakng_loader', 'xml.parsers.expat'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
