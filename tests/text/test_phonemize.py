"""espeak-ng through ctypes, lexicons, and which phonemes are whose."""

from __future__ import annotations

import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glottis.errors import InputError
from glottis.text import phonemize
from glottis.text.phonemize import espeak, read_lexicon, word_ranges


def test_known_pronunciations() -> None:
    assert espeak().phonemes("hello world", "en-us") == "həlˈoʊ wˈɜːld"
    assert espeak().phonemes("guten Morgen", "de") == "ɡˈuːtən mˈɔɾɡən"
    assert espeak().phonemes("goede morgen", "nl") == "ɣˈudə mˈɔrɣən"


@given(st.text(max_size=40), st.sampled_from(["en-us", "de", "nl", "fr", "cmn"]))
def test_any_text_gives_tidy_code_points(text: str, language: str) -> None:
    ipa = espeak().phonemes(text, language)
    assert ipa == unicodedata.normalize("NFD", ipa)
    assert ipa == " ".join(ipa.split())
    assert not set("()\u200d\u0361") & set(ipa)


def test_regional_languages_fall_back_to_their_base() -> None:
    assert espeak().phonemes("goede morgen", "nl-be") == espeak().phonemes("goede morgen", "nl")


def test_unknown_language_is_named() -> None:
    with pytest.raises(InputError, match="zz-top"):
        espeak().phonemes("x", "zz-top")
    # And the next call is not left with the wrong voice.
    assert espeak().phonemes("hello", "en-us") == "həlˈoʊ"


def test_threads_get_what_one_thread_gets() -> None:
    jobs = [("the quick brown fox", "en-us"), ("der schnelle Fuchs", "de"), ("de vos", "nl")] * 60
    serial = [espeak().phonemes(*job) for job in jobs]
    results: list[list[str]] = [[] for _ in range(4)]
    start = threading.Barrier(4)

    def work(mine: list[str]) -> None:
        start.wait()
        mine += [espeak().phonemes(*job) for job in jobs]

    threads = [threading.Thread(target=work, args=(mine,)) for mine in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == serial for mine in results)


def test_without_the_library_the_message_has_the_remedy() -> None:
    script = (
        "import sys; sys.modules['espeakng_loader'] = None\n"
        "from glottis.errors import InputError\n"
        "from glottis.text import FrontEnd\n"
        "assert FrontEnd(phonemes='text').analyse('plain').phonemes == tuple('plain')\n"
        "try: FrontEnd()\n"
        "except InputError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "pip install espeakng-loader" in done.stdout


def test_lexicon(tmp_path: Path) -> None:
    file = tmp_path / "words.tsv"
    file.write_text(
        "\ufeff# comment\n\ngif\tdʒˈɪf\nNice\tnˈiːs  # no comment here\nça\tsa\n", "utf-8"
    )
    lexicon = read_lexicon(file)
    assert lexicon["gif"] == "dʒˈɪf"
    assert lexicon["Nice"].startswith("nˈiːs")
    assert all(ipa == unicodedata.normalize("NFD", ipa) for ipa in lexicon.values())


@pytest.mark.parametrize(
    ("line", "named"),
    [("gif dʒˈɪf", "tab"), ("gif\t", "tab"), ("\tdʒˈɪf", "tab"), ("two words\ta", "space")],
)
def test_bad_lexicon_lines_are_named(tmp_path: Path, line: str, named: str) -> None:
    file = tmp_path / "words.tsv"
    file.write_text(f"# one\nok\toʊkˈeɪ\n{line}\n", "utf-8")
    with pytest.raises(InputError, match=r"words\.tsv:3: ") as caught:
        read_lexicon(file)
    assert named in str(caught.value)


def test_unreadable_lexicons_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.tsv"):
        read_lexicon(tmp_path / "none.tsv")
    (tmp_path / "latin.tsv").write_bytes(b"caf\xe9\tx\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_lexicon(tmp_path / "latin.tsv")
    with pytest.raises(InputError, match="cannot read"):
        read_lexicon(tmp_path)


# Ranges ----------------------------------------------------------------------------------------

SOUNDS = "abdefhijklmnopstuvzæðŋəɪʃθ"
WORD = st.tuples(st.sampled_from(["", "ˈ", "ˌ"]), st.text(SOUNDS, min_size=1, max_size=6)).map(
    "".join
)


def owned(phonemes: str, ranges: list[tuple[int, int]]) -> list[str]:
    return [phonemes[start:end] for start, end in ranges]


def check_laws(phonemes: str, words: list[str], ranges: list[tuple[int, int]]) -> None:
    assert len(ranges) == len(words)
    position = 0
    covered = set()
    for start, end in ranges:
        assert position <= start <= end <= len(phonemes)
        assert phonemes[start:end] == phonemes[start:end].strip()
        covered |= set(range(start, end))
        position = end
    if any(words):
        assert {k for k, sound in enumerate(phonemes) if sound != " "} <= covered


@given(st.lists(WORD, max_size=8))
def test_words_that_stand_alone_keep_their_phonemes(words: list[str]) -> None:
    phonemes = " ".join(words)
    assert owned(phonemes, word_ranges(phonemes, words)) == words


@given(st.lists(st.lists(WORD, min_size=1, max_size=3), max_size=6))
def test_words_of_several_groups_are_whole(parts: list[list[str]]) -> None:
    words = [" ".join(own) for own in parts]
    phonemes = " ".join(words)
    assert owned(phonemes, word_ranges(phonemes, words)) == words


@given(st.lists(st.tuples(WORD, st.sampled_from([" ", " ", ""])), min_size=1, max_size=8))
def test_joined_words_are_told_apart(pairs: list[tuple[str, str]]) -> None:
    """Two words written as one group: the ranges still tile it, each word with something."""
    words = [word for word, _ in pairs]
    phonemes = "".join(word + gap for word, gap in pairs).strip()
    ranges = word_ranges(phonemes, words)
    check_laws(phonemes, words, ranges)
    assert all(start < end for start, end in ranges)


@given(st.lists(WORD, max_size=6), st.lists(st.one_of(WORD, st.just("")), max_size=6))
def test_ranges_are_ordered_and_cover_whatever_espeak_says(
    groups: list[str], words: list[str]
) -> None:
    phonemes = " ".join(groups)
    check_laws(phonemes, words, word_ranges(phonemes, words))


@pytest.mark.parametrize(
    ("phonemes", "words", "expected"),
    [
        ("ʌvðə dˈeɪ", ["ʌv", "ðə", "dˈeɪ"], ["ʌv", "ðə", "dˈeɪ"]),
        ("aɪ hɐvbɪn ðˈɛɹ", ["aɪ", "hæv", "bˌɪn", "ðˈɛɹ"], ["aɪ", "hɐv", "bɪn", "ðˈɛɹ"]),
        ("lˈʊk æɾə mˈæp", ["lˈʊk", "æt", "ɐ", "mˈæp"], ["lˈʊk", "æɾ", "ə", "mˈæp"]),
        ("skˈoʊfɚɹ ɪnðə jˈɪɹ", ["skˈoʊfɚ", "ɪn", "ðə", "jˈɪɹ"], ["skˈoʊfɚɹ", "ɪn", "ðə", "jˈɪɹ"]),
        ("sˈɛd ðˌɐɾɪt", ["sˈɛd", "ðæt", "ɪt"], ["sˈɛd", "ðˌɐɾ", "ɪt"]),
        ("fˈɔːɹɾi tˈuː wˈʌn", ["fˈɔːɹɾi tˈuː", "wˈʌn"], ["fˈɔːɹɾi tˈuː", "wˈʌn"]),
    ],
)
def test_joins_that_espeak_makes(phonemes: str, words: list[str], expected: list[str]) -> None:
    assert owned(phonemes, word_ranges(phonemes, words)) == expected


def test_long_runs_are_divided_without_a_large_table() -> None:
    words = [SOUNDS[k % 26] * 40 for k in range(60)]
    phonemes = "x" * 2000
    ranges = word_ranges(phonemes, words)
    check_laws(phonemes, words, ranges)
    assert all(start < end for start, end in ranges)


def test_single_words_are_remembered() -> None:
    phonemize.single("remembered", "en-us")
    before = phonemize.single.cache_info().hits
    phonemize.single("remembered", "en-us")
    assert phonemize.single.cache_info().hits == before + 1
