"""Laws of :mod:`glottis.evaluation.recognition`."""

import sys

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from glottis.errors import InputError
from glottis.evaluation.recognition import (
    Recogniser,
    count_errors,
    error_rates,
    letters,
    listening_copy,
)

words = st.lists(
    st.sampled_from(["a", "cat", "sat", "on", "the", "mat", "again"]), min_size=1, max_size=8
)


@pytest.fixture(scope="module")
def recogniser():
    return Recogniser()


def distance(first, second):
    """Levenshtein distance, by its recursion."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]


@given(words, words)
def test_errors_are_levenshtein_distances(said, heard):
    errors = count_errors(" ".join(said), " ".join(heard))
    assert errors.word_errors == distance(said, heard)
    assert errors.words == len(said)
    assert errors.character_errors == distance(" ".join(said), " ".join(heard))
    assert errors.characters == len(" ".join(said))


@given(words)
def test_what_is_heard_right_has_no_errors_and_silence_misses_every_word(said):
    text = " ".join(said)
    right, nothing = count_errors(text, text), count_errors(text, "")
    assert (right.word_errors, right.character_errors) == (0, 0)
    assert error_rates([nothing]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("The cat sat.", "the cat sat"),
        ("THE   cat,\tsat!", "the cat sat"),
        ("“The—cat” (sat); …", "the cat sat"),
        ("Don't", "dont"),
        ("Don’t", "dont"),
        ("twenty-one", "twenty one"),
        ("Café Zoë", "cafe zoe"),
        ("42 ?!", ""),
    ],
)
def test_only_lower_case_letters_remain(written, plain):
    assert letters(written) == plain
    assert letters(plain) == plain


def test_case_and_punctuation_do_not_matter():
    expected = count_errors("the cat sat on a mat", "the bat sat on mat")
    assert count_errors("The cat: sat -- on a MAT!", "THE BAT sat, on mat.") == expected
    assert (expected.word_errors, expected.words) == (2, 6)


def test_rates_are_over_all_words_not_over_sentences():
    long = count_errors("a b c d e f g h i", "a b c d e f g h i")
    short = count_errors("a", "b")
    assert error_rates([long, short])[0] == pytest.approx(0.1)
    with pytest.raises(InputError, match="no sentence"):
        error_rates([])


def test_a_text_without_letters_has_no_rate():
    with pytest.raises(InputError, match=r"'1984!'.*write numbers out"):
        count_errors("1984!", "x")


def test_a_sentence_is_closer_to_itself_than_to_another(recogniser, speech):
    heard = [recogniser.transcribe(samples, rate) for _, samples, rate in speech]
    for mine, (text, _, _) in enumerate(speech):
        own = count_errors(text, heard[mine]).character_errors
        others = [count_errors(text, h).character_errors for i, h in enumerate(heard) if i != mine]
        assert own < min(others)
    assert error_rates([count_errors(s[0], h) for s, h in zip(speech, heard, strict=True)])[0] < 0.9


def test_what_is_heard_does_not_depend_on_what_was_heard_before(recogniser, speech):
    _, samples, rate = speech[0]
    alone = Recogniser().transcribe(samples, rate)
    recogniser.transcribe(*speech[1][1:])
    assert recogniser.transcribe(samples, rate) == alone


# Powers of two scale exactly; the decoder hears even the last bit.
@pytest.mark.parametrize("gain", [0.25, 2.0])
def test_level_and_polarity_do_not_matter(recogniser, speech, gain):
    _, samples, rate = speech[0]
    expected = recogniser.transcribe(samples, rate)
    assert recogniser.transcribe(gain * samples, rate) == expected
    assert recogniser.transcribe(-samples, rate) == expected


def test_the_sample_rate_does_not_matter(recogniser, speech):
    text, samples, rate = speech[0]
    expected = count_errors(text, recogniser.transcribe(samples, rate)).word_errors
    for other in (16000, 44100):
        heard = recogniser.transcribe(soxr.resample(samples, rate, other), other)
        assert abs(count_errors(text, heard).word_errors - expected) <= 1


@pytest.mark.parametrize("samples", [1, 100, 16000])
def test_silence_of_any_length_is_heard_as_little(recogniser, samples):
    assert len(recogniser.transcribe(np.zeros(samples, np.float32), 16000).split()) <= 1


@pytest.mark.parametrize(("rate", "samples"), [(16000, 1000), (22050, 4410), (48000, 9600)])
def test_the_listening_copy_is_16_khz_with_peak_07(rate, samples):
    audio = np.sin(np.arange(samples) * 0.05).astype(np.float32) * 0.01
    before = audio.copy()
    copy = listening_copy(audio, rate)
    assert abs(len(copy) - samples * 16000 / rate) <= 1
    assert np.abs(copy).max() == pytest.approx(0.7, abs=1e-6)
    assert (audio == before).all()


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(0, np.float32), "empty"),
        (np.zeros((2, 100), np.float32), "mono"),
        (np.full(100, np.nan, np.float32), "NaN"),
    ],
)
def test_audio_that_cannot_be_heard_is_refused(audio, message):
    with pytest.raises(InputError, match=message):
        listening_copy(audio, 16000)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(InputError, match=r"'pocketsphinx'.*pip install 'glottis\[evaluate\]'"):
        Recogniser()
