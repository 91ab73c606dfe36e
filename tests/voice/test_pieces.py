import time

from hypothesis import given
from hypothesis import strategies as st

from glottis.voice.pieces import cut_phonemes, cut_text, paragraphs


@given(st.text(alphabet="ab ,.\n", max_size=300), st.integers(1, 40))
def test_cut_text_tiles_the_text_within_the_limit(text, limit):
    parts = list(cut_text(text, limit))
    assert "".join(parts) == text
    assert all(0 < len(part) <= limit for part in parts)


@given(st.lists(st.sampled_from("ab ,."), max_size=300), st.integers(2, 40))
def test_cut_phonemes_tiles_the_sequence_within_the_limit(phonemes, limit):
    ranges = list(cut_phonemes(phonemes, limit))
    assert [i for start, end in ranges for i in range(start, end)] == list(range(len(phonemes)))
    assert all(0 < end - start <= limit for start, end in ranges)


def test_cuts_fall_after_clauses_then_spaces_then_anywhere():
    assert list(cut_text("one two, three four", 12)) == ["one two, ", "three four"]
    assert list(cut_text("one two three four", 12)) == ["one two ", "three four"]
    assert list(cut_text("onetwothreefour", 12)) == ["onetwothreef", "our"]
    # A clause that ends early would leave a stump.
    assert list(cut_text("a, two three four", 12)) == ["a, two ", "three four"]


def test_blank_lines_separate_paragraphs():
    assert paragraphs("one\ntwo\n \n\n three\n\n\n") == ["one\ntwo", "three"]
    assert paragraphs(" \n \n") == []


def test_cutting_takes_linear_time():
    start = time.perf_counter()
    assert sum(1 for _ in cut_text("a" * 300_000)) == 500
    assert sum(1 for _ in cut_text("\n" * 300_000)) > 1
    assert paragraphs("\n" * 300_000) == []
    assert time.perf_counter() - start < 5
