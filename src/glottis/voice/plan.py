"""From a text, plain or SSML, to what is spoken in which order: sentences and silences."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from glottis.text import FrontEnd, markup, sentences
from glottis.text.languages import find_language

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_log = logging.getLogger(__name__)
_ENDED = re.compile(r"[.?!:;…。？！]\W*$")


@dataclass(frozen=True)
class Say:
    """Words to speak at once.

    ``language`` is one of the voice's. ``rate`` multiplies the rate of the whole; ``pause`` is the
    silence in seconds before whatever is said next. ``ended`` is false when the sentence goes on
    after what follows. ``marks`` are names with the number of characters of ``text``, white space
    left out, that come before each.
    """

    text: str
    language: str
    rate: float = 1.0
    pause: float = 0.0
    ended: bool = True
    marks: tuple[tuple[str, int], ...] = ()

    def before(self, characters: int) -> str:
        """The beginning of the text that holds so many characters, white space left out."""
        seen = 0
        for position, character in enumerate(self.text):
            if seen == characters:
                return self.text[:position]
            seen += not character.isspace()
        return self.text


@dataclass(frozen=True)
class Silence:
    """A break that the text asks for, in seconds; it replaces the pause of a sentence."""

    seconds: float


Part = Say | Silence


def plan(
    text: str,
    front_ends: Mapping[str, FrontEnd],
    language: str,
    *,
    ssml: bool | None,
    pause: float,
    paragraph_pause: float,
) -> list[Part]:
    """Split a text into what is spoken at once.

    Args:
        front_ends: of each language.
        language: what the text is in, as far as SSML does not say otherwise; a language that is not
            there is reported and read as this one.
        ssml: whether the text is SSML; when None, it is if it begins with ``<speak``.
        pause: seconds between sentences.
        paragraph_pause: seconds between paragraphs.

    Returns:
        Sentences and silences in order; no :class:`Say` among them when the text has no words.

    Raises:
        InputError: SSML that is not well formed.
    """
    parts: list[Part] = []
    spans = _spans(text, language, ssml)
    for span in _joined(spans, lambda written: _language(written, front_ends, language)):
        if isinstance(span, Silence):
            parts.append(span)
        else:
            parts += _sentences(span, front_ends[span.language], pause, paragraph_pause)
    return parts


def paragraphs(text: str) -> list[str]:
    """Split at blank lines; empty paragraphs are left out."""
    return [part for part in _PARAGRAPH.split(text) if part.strip()]


def _spans(text: str, language: str, ssml: bool | None) -> Sequence[markup.Span]:
    if ssml is False:
        return [markup.Text(text)]
    if ssml and not markup.is_ssml(text):
        text = f"<speak>{text}</speak>"
    return markup.parse(text, language)


def _language(written: str | None, known: Collection[str], otherwise: str) -> str:
    if written is None:
        return otherwise
    found = find_language(written, known)
    if found is None:
        _report(f"the voice does not speak {written!r}, but {', '.join(known)}")
    return found or otherwise


@cache
def _report(message: str) -> None:
    _log.warning("%s; its words are read as the rest", message)


def _joined(spans: Sequence[markup.Span], language: Callable[[str | None], str]) -> Iterator[Part]:
    """Join texts that only a mark divides, so that a mark does not cut a sentence in two."""
    text: Say | None = None
    for span in spans:
        if isinstance(span, markup.Break):
            if text is not None:
                yield text
                text = None
            yield Silence(span.seconds)
        elif isinstance(span, markup.Mark):
            text = text or Say("", language(None))
            text = replace(text, marks=(*text.marks, (span.name, _characters(text.text))))
            continue
        else:
            said = Say(span.text, language(span.language), span.rate)
            alike = text is not None and (text.rate, text.language) == (said.rate, said.language)
            if text is not None and (alike or not text.text):
                said = replace(said, text=text.text + said.text, marks=text.marks)
            elif text is not None:
                yield text
            text = said
    if text is not None:
        yield text


def _sentences(
    span: Say, front_end: FrontEnd, pause: float, paragraph_pause: float
) -> Iterator[Say]:
    says: list[Say] = []
    for paragraph in paragraphs(span.text):
        found = [s for s in front_end.sentences(paragraph) if s.strip()]
        says += [Say(text, span.language, span.rate, pause) for text in found]
        # The front end cuts what is too long for a sentence; there the voice goes on.
        for number in range(len(says) - len(found), len(says) - 1):
            text = says[number].text
            if len(text) > sentences.MAX_SENTENCE // 2 and _ENDED.search(text) is None:
                says[number] = replace(says[number], ended=False, pause=0.0)
        if found:
            says[-1] = replace(says[-1], pause=paragraph_pause)
    if says:
        # Markup, not a stop, ends the last one: the voice should not fall, nor wait.
        if _ENDED.search(says[-1].text) is None and not span.text.endswith(("\n", "\u2028")):
            says[-1] = replace(says[-1], ended=False, pause=0.0)
    elif span.marks:
        says = [Say("", span.language)]
    start = 0
    for number, say in enumerate(says):
        end = start + _characters(say.text)
        last_one = number == len(says) - 1
        marks = tuple(
            (name, min(place - start, end - start))
            for name, place in span.marks
            if start <= place < end or (last_one and place >= end)
        )
        yield replace(say, marks=marks)
        start = end


def _characters(text: str) -> int:
    return sum(not character.isspace() for character in text)
