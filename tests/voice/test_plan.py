import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glottis.errors import InputError
from glottis.text import FrontEnd
from glottis.voice.plan import Say, Silence, paragraphs, plan

FRONT_ENDS = {language: FrontEnd(language) for language in ("en-us", "de")}


def planned(text, ssml=None):
    return plan(text, FRONT_ENDS, "en-us", ssml=ssml, pause=0.2, paragraph_pause=0.6)


def letters(text):
    return "".join(text.split())


@given(st.text(alphabet="ab. ,?\n", max_size=200))
def test_a_plan_says_the_text_and_nothing_else(text):
    parts = planned(text)
    assert all(isinstance(part, Say) for part in parts)
    assert letters("".join(part.text for part in parts)) == letters(text)


def test_sentences_and_paragraphs_have_their_pauses():
    parts = planned("One. Two?\n\nThree.\n\n\nFour")
    assert [(part.text.strip(), part.pause) for part in parts] == [
        ("One.", 0.2),
        ("Two?", 0.6),
        ("Three.", 0.6),
        ("Four", 0.0),
    ]


def test_what_was_cut_for_its_length_goes_on():
    parts = planned("word " * 300 + "end.")
    assert len(parts) > 2
    assert all(not part.ended and part.pause == 0 for part in parts[:-1])
    assert parts[-1].ended


def test_breaks_divide_and_a_sentence_goes_on_after_them():
    parts = planned('<speak>One and <break time="300ms"/> two. Three.<break/></speak>')
    assert [type(part) for part in parts] == [Say, Silence, Say, Say, Silence]
    assert [parts[1].seconds, parts[4].seconds] == [0.3, 0.5]
    assert [part.ended for part in parts if isinstance(part, Say)] == [False, True, True]


def test_a_change_of_rate_does_not_pause():
    slow, rest = planned('<speak><prosody rate="50%">Slow and</prosody> quick.</speak>')
    assert (slow.rate, rest.rate) == (0.5, 1.0)
    assert (slow.pause, slow.ended) == (0.0, False)


def test_marks_do_not_cut_sentences():
    parts = planned(
        '<speak><mark name="a"/>One <mark name="b"/>two. <mark name="c"/>Three<mark name="d"/>'
        "</speak>"
    )
    assert [part.text.strip() for part in parts] == ["One two.", "Three"]
    assert [part.marks for part in parts] == [(("a", 0), ("b", 3)), (("c", 0), ("d", 5))]
    assert parts[0].before(3).strip() == "One"
    assert letters(parts[0].before(7)) == "Onetwo."


def test_ssml_is_recognised_forced_or_refused():
    tag = "One <break/> two."
    assert [type(part) for part in planned(tag)] == [Say]
    assert [type(part) for part in planned(tag, ssml=True)] == [Say, Silence, Say]
    assert [type(part) for part in planned(f"<speak>{tag}</speak>", ssml=False)] == [Say]
    with pytest.raises(InputError, match="line 1, column"):
        planned("<speak>One <break> two.</speak>")
    with pytest.raises(InputError, match="line 1, column"):
        planned("a < b", ssml=True)


def test_blank_lines_separate_paragraphs():
    assert paragraphs("one\ntwo\n \n\n three\n\n\n") == ["one\ntwo", "three"]
    assert paragraphs(" \n \n") == []


@pytest.mark.parametrize("text", ["a" * 200_000, "\n" * 200_000, "a b " * 50_000, "." * 200_000])
def test_planning_takes_linear_time(text):
    start = time.process_time()
    planned(text)
    assert time.process_time() - start < 5
