"""Where sentences end, and what splitting never does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glottis.text.normalize import tokens
from glottis.text.sentences import MAX_SENTENCE, split

# "|" stands where a sentence ends.
CASES = [
    "Dr. Smith went home.| He slept.",
    "The U.S. Army won.| It did.",
    "He lives in the U.S.| He likes it.",
    "It costs 3.5 million.| Yes!",
    "See e.g. this one.| Or not.",
    "That is i.e. this.| Good.",
    "J. R. R. Tolkien wrote it.| He did.",
    "Mr. and Mrs. Smith came.| They left.",
    "I came at 5 p.m.| Then I left at 6 a.m. on Monday.",
    "Acme Inc. shares rose.| Then Acme Inc.| The company fell.",
    "No. 5 is alive.| No.| It is not.",
    "Prof. X met Gen. Lee vs. Col. Y.| Then he left.",
    "apples, etc. and pears, etc.| The end.",
    "Born Jan. 5, 1990.| Died.",
    "See fig. 3 on p. 5.| And vol. II there.",
    "Section 3.2 is it.| Overview follows.",
    "St. Paul's is near Elm St. in town.| On Elm St.| The house stands.",
    "Plan B.| Then plan C.",
    "Wait... what?| OK...| Then go.",
    "She left…| He stayed.",
    "What?!| No way!!| Really.",
    '"Really?" he asked.| "Yes."| She left.',
    "“Go.”| He went.",
    "(This is it.)| And that.",
    'He said "no!" and left.',
    "1. First item here.| 2. Second item here.",
    "Heading without stop|\n\nA paragraph.| And more",
    "wrapped\nat the margin.| Next",
    "- one|\n- two|\n- three",
    "你好。|世界！|好",
]


@pytest.mark.parametrize("marked", CASES)
def test_sentences_end_where_they_end(marked: str) -> None:
    expected = [" ".join(part.split()) for part in marked.split("|")]
    found = [" ".join(part.split()) for part in split(marked.replace("|", ""))]
    assert found == expected


OTHER = [
    ("de", "Das ist z.B. Herr Dr. Müller.| Er kommt am 3. Mai.| Gut."),
    ("de", "Es kostet ca. 5 Euro.| Das ist viel."),
    ("nl", "Dhr. Jansen en mevr. De Vries zijn er.| Ze komen o.a. uit Gent."),
    ("fr", "M. Dupont est là.| Il part."),
]


@pytest.mark.parametrize(("language", "marked"), OTHER)
def test_abbreviations_of_other_languages(language: str, marked: str) -> None:
    expected = [part.strip() for part in marked.split("|")]
    assert split(marked.replace("|", ""), language) == expected


TEXT = st.one_of(
    st.text(),
    st.text(alphabet=" .,!?;:\"'()\n\u2028ABcd1e…。", max_size=200),
    st.lists(st.sampled_from([*" ".join(CASES).split(), "\n", "\n\n"])).map(" ".join),
)


@given(TEXT, st.sampled_from([5, 40, MAX_SENTENCE]))
@example(".", MAX_SENTENCE)
@example("a" * 1000, MAX_SENTENCE)
def test_sentences_keep_every_character_and_stay_short(text: str, maximum: int) -> None:
    sentences = split(text, maximum=maximum)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(0 < len(sentence) <= maximum for sentence in sentences)
    assert all(sentence == sentence.strip() for sentence in sentences)


def test_long_sentences_are_cut_where_it_hurts_least() -> None:
    clause = "some words that go on and on"
    at_commas = split(", ".join([clause] * 100))
    assert all(part.endswith(",") for part in at_commas[:-1])
    at_spaces = split(" ".join([clause] * 100))
    assert all(" " not in (part[0], part[-1]) for part in at_spaces)
    assert {word for part in at_spaces for word in part.split()} == set(clause.split())
    assert [len(part) for part in split("x" * 1000)] == [MAX_SENTENCE, MAX_SENTENCE, 200]


def _work(run: Callable[[], object]) -> int:
    """How many lines and calls of Python ``run`` executes: time, without a clock."""
    steps = 0

    def count(*_: object) -> Callable[..., object]:
        nonlocal steps
        steps += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        run()
    finally:
        sys.settrace(before)
    return steps


UNITS = [
    " ",
    "\n ",
    "word ",
    "word, ",
    "A. ",
    "a.b.",
    "e.g. ",
    "x",
    "1",
    "1.",
    "1,",
    "1-",
    "!",
    "\n",
    "(",
    "a@",
    "$",
    "[[",
    "<",
    "'",
    "Dr. Smith paid $3.50 on 3/4/2021. ",
]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("job", [split, lambda text: list(tokens(text))], ids=["split", "tokens"])
def test_work_grows_linearly(unit: str, job: Callable[[str], object]) -> None:
    job(unit * 10)  # patterns are compiled when they are first used
    small = _work(lambda: job(unit * 300))
    large = _work(lambda: job(unit * 1200))
    assert large <= 4.4 * small + 500


@pytest.mark.parametrize("unit", UNITS)
def test_patterns_do_not_backtrack_over_the_whole_text(unit: str) -> None:
    """Steps inside a pattern are invisible to a trace; time on the processor shows them."""

    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        before = time.process_time()
        split(text)
        tokens(text)
        return time.process_time() - before

    seconds(100)
    # Sixteen times the text: 256 times the work if quadratic. The least of three, because a busy
    # machine charges waiting for memory to whoever waits.
    small, large = (min(seconds(length) for _ in range(3)) for length in (2_000, 32_000))
    assert large < 100 * small + 0.1
