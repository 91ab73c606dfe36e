"""SSML to spans: what is understood, what is refused, and what is only text."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glottis.errors import InputError
from glottis.text import FrontEnd
from glottis.text.markup import RATES, Break, Mark, Span, Text, is_ssml, parse


def words(spans: list[Span]) -> str:
    return " ".join(span.text.strip() for span in spans if isinstance(span, Text))


@pytest.mark.parametrize(
    "text",
    ["", "a < b", "I <3 you", "<b>bold", "</speak>", "<speaker> says", "x <speak>y</speak>", "& ;"],
)
def test_text_that_does_not_begin_with_speak_is_text(text: str) -> None:
    assert not is_ssml(text)
    assert parse(text) == [Text(text)]


@given(st.text())
def test_any_text_is_spans_or_an_input_error(text: str) -> None:
    for form in (text, f"<speak>{text}", f"<speak>{text}</speak>"):
        if is_ssml(form):
            with suppress(InputError):
                parse(form)
        else:
            assert parse(form) == [Text(form)]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")))
def test_escaped_text_comes_through(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert words(parse(f"<speak>{escaped}</speak>")).split() == text.split()


@pytest.mark.parametrize(
    ("element", "seconds"),
    [
        ('<break time="500ms"/>', 0.5),
        ('<break time="1.5s"/>', 1.5),
        ('<break time="0s"/>', 0.0),
        ('<break time="2 s"/>', 2.0),
        ("<break/>", 0.5),
        ('<break strength="none"/>', 0.0),
        ('<break strength="x-strong"/>', 1.0),
    ],
)
def test_breaks(element: str, seconds: float) -> None:
    assert parse(f"<speak>a{element}b</speak>") == [Text("a"), Break(seconds), Text("b")]


@pytest.mark.parametrize(
    ("rate", "factor"),
    [("slow", 0.75), ("fast", 1.25), ("150%", 1.5), ("+20%", 1.2), ("-20%", 0.8), ("1.2", 1.2),
     ("medium", 1.0), ("9000%", RATES[1]), ("1%", RATES[0])],
)  # fmt: skip
def test_rates(rate: str, factor: float) -> None:
    (span,) = parse(f'<speak><prosody rate="{rate}">a</prosody></speak>')
    assert isinstance(span, Text)
    assert span.rate == pytest.approx(factor)


def test_rates_multiply_and_end_with_their_element() -> None:
    spans = parse(
        '<speak>a<prosody rate="50%">b<prosody rate="150%">c</prosody>d</prosody>e</speak>'
    )
    assert spans == [Text("a"), Text("b", 0.5), Text("c", 0.75), Text("d", 0.5), Text("e")]


@pytest.mark.parametrize(
    ("kind", "content", "spoken"),
    [
        ("characters", "BBC", "B B C"),
        ("spell-out", "ab1-c", "A B one dash C."),
        ("digits", "1990", "one nine nine zero"),
        ("cardinal", "1990", "one thousand nine hundred ninety"),
        ("number", "1,990", "one thousand nine hundred ninety"),
        ("ordinal", "3", "third"),
        ("telephone", "555-1234", "five five five, one two three four"),
        ("telephone", "112", "one one two"),
        ("time", "15:45", "fifteen forty-five"),
        ("unheard-of", "5 km", "five kilometers"),
    ],
)
def test_say_as(kind: str, content: str, spoken: str) -> None:
    spans = parse(f'<speak><say-as interpret-as="{kind}">{content}</say-as></speak>')
    assert FrontEnd(phonemes="text").analyse(words(spans)).spoken.rstrip(".") == spoken.rstrip(".")


@pytest.mark.parametrize(
    ("order", "spoken"),
    [
        ("dmy", "April third twenty twenty-one"),
        ("mdy", "March fourth twenty twenty-one"),
        ("", "March fourth twenty twenty-one"),
    ],
)
def test_say_as_date(order: str, spoken: str) -> None:
    document = f'<speak><say-as interpret-as="date" format="{order}">3/4/2021</say-as></speak>'
    assert FrontEnd(phonemes="text").analyse(words(parse(document))).spoken == spoken


def test_substitution_and_pronunciation() -> None:
    spans = parse(
        '<speak>the <sub alias="doctor">Dr</sub> likes <phoneme alphabet="ipa" ph="dʒˈɪf">GIF'
        "</phoneme> files</speak>"
    )
    assert words(spans) == "the doctor likes [[dʒˈɪf|GIF]] files"
    utterance = FrontEnd().analyse(words(spans))
    word = next(word for word in utterance.words if word.text == "GIF")
    assert "".join(utterance.phonemes[word.start : word.end]) == "dʒˈɪf"
    assert utterance.spoken == "the doctor likes GIF files"


def test_marks_paragraphs_and_sentences() -> None:
    spans = parse(
        '<speak>One <mark name="here"/>two.<p>three</p><p><s>four</s><s>five</s></p></speak>'
    )
    assert spans[:2] == [Text("One "), Mark("here")]
    assert isinstance(spans[2], Text)
    front_end = FrontEnd(phonemes="text")
    assert front_end.sentences(spans[2].text) == ["two.", "three", "four", "five"]
    assert spans[2].text.count("\n\n") >= 2


def test_layout_is_no_paragraph() -> None:
    assert parse("<speak>\n\n one\n\n two\n</speak>") == [Text(" one two ")]


def test_unknown_elements_are_spoken_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        spans = parse(
            "<speak><blink>a</blink> <blink>b</blink> <emphasis>c</emphasis>"
            "<metadata><x>no</x></metadata></speak>"
        )
    assert words(spans) == "a b c"
    assert len(caplog.records) <= 1


def test_namespaces_and_declarations() -> None:
    document = (
        '<?xml version="1.0" encoding="utf-16"?><!-- hi --><ssml:speak '
        'xmlns:ssml="http://www.w3.org/2001/10/synthesis" version="1.1">x</ssml:speak>'
    )
    assert not is_ssml(document.replace("ssml:speak", "ssml:other"))
    plain = document.replace("ssml:speak", "speak").replace("xmlns:ssml", "xmlns")
    assert parse(plain) == [Text("x")]


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("<speak>x", "line 1, column 9"),
        ("<speak>\n a & b</speak>", "line 2, column 5"),
        ("<speak><p>x</speak>", "line 1"),
        ("<speak>a</speak>b", "line 1"),
        ('<speak><break time="1h"/></speak>', "1h"),
        ('<speak><break time="900s"/></speak>', "60s"),
        ('<speak><break strength="huge"/></speak>', "x-strong"),
        ('<speak><prosody rate="quick">a</prosody></speak>', "x-fast"),
        ("<speak><phoneme>a</phoneme></speak>", "no ph"),
        ("<speak><sub>a</sub></speak>", "no alias"),
        ("<!DOCTYPE speak><speak>x</speak>", "DOCTYPE"),
        ('<!DOCTYPE s [<!ENTITY a "aaaa">]><speak>&a;</speak>', "DOCTYPE"),
    ],
)
def test_what_cannot_be_understood_is_named(document: str, place: str) -> None:
    with pytest.raises(InputError, match=r"SSML, line \d+, column \d+") as caught:
        parse(document)
    assert place in str(caught.value)
