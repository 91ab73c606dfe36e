from hypothesis import given
from hypothesis import strategies as st

from glottis.voice.pieces import cut_phonemes


@given(st.lists(st.sampled_from("ab ,."), max_size=300), st.integers(2, 40))
def test_cut_phonemes_tiles_the_sequence_within_the_limit(phonemes, limit):
    ranges = list(cut_phonemes(phonemes, limit))
    assert [i for start, end in ranges for i in range(start, end)] == list(range(len(phonemes)))
    assert all(0 < end - start <= limit for start, end in ranges)


def test_cuts_fall_after_marks_then_spaces_then_anywhere():
    def pieces(text, limit):
        return [text[start:end] for start, end in cut_phonemes(list(text), limit)]

    def joined(text, limit):
        return ["".join(piece) for piece in pieces(text, limit)]

    assert joined("one two, three four", 12) == ["one two,", " three four"]
    assert joined("one two three four", 12) == ["one two ", "three four"]
    assert joined("onetwothreefour", 12) == ["onetwothreef", "our"]
    # A mark that comes early would leave a stump.
    assert joined("a, two three four", 12) == ["a, two ", "three four"]
