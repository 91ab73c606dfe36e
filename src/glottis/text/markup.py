"""SSML to spans that a voice can speak one after another.

:func:`parse` turns text into a list of spans: :class:`Text` to be split into sentences and spoken
at a rate, :class:`Break` for silence, :class:`Mark` for a place whose time is asked for. Text that
does not begin with ``<speak`` is one :class:`Text` as it stands, whatever signs it holds.

A runtime needs four lines::

    for span in parse(text, front_end.language):
        match span:
            case Text(text=words, rate=rate): speak(front_end.sentences(words), rate)
            case Break(seconds=seconds): silence(seconds)  # instead of the pause of a sentence
            case Mark(name=name): remember(name)

Pronunciations need no span: the front end reads ``[[dʒˈɪf]]``, or ``[[dʒˈɪf|GIF]]`` with the word
it stands for, in any text, and ``<phoneme>`` becomes that.

Understood of SSML 1.1 (W3C 2010): speak, p, s, break (time, strength), say-as (characters,
spell-out, digits, cardinal, number, ordinal, date, telephone, time), sub, phoneme (IPA), prosody
(rate), lang and mark; ``xml:lang`` counts on any element. The words of any other element are
spoken; metadata is not.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glottis.errors import InputError

if TYPE_CHECKING:
    from xml.parsers.expat import XMLParserType

_log = logging.getLogger(__name__)

RATES = (0.25, 4.0)
"""Slowest and fastest rate of speaking that prosody can reach; beyond it is cut to it."""
LONGEST_BREAK = 60.0
"""Seconds; a longer break is an error, most likely of units."""


@dataclass(frozen=True)
class Text:
    """Words to speak, ``rate`` times as fast as usual. Blank lines separate paragraphs.

    ``language`` is the ``xml:lang`` that they stand in, as written; None where none is said.
    """

    text: str
    rate: float = 1.0
    language: str | None = None


@dataclass(frozen=True)
class Break:
    """Silence of so many seconds; 0 asks for none where a pause would be."""

    seconds: float


@dataclass(frozen=True)
class Mark:
    """A named place between what comes before and what comes after."""

    name: str


Span = Text | Break | Mark

_SSML = re.compile(
    r"\ufeff?\s*(?:<\?xml[^>]*\?>\s*)?"
    r"(?:<!--.*?-->\s*|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>\s*)*<speak(?=[\s/>])",
    re.S,
)

_STRENGTHS = {
    "none": 0.0, "x-weak": 0.1, "weak": 0.25, "medium": 0.5, "strong": 0.75, "x-strong": 1.0,
}  # fmt: skip
_RATES = {
    "x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.25, "x-fast": 1.6,
}  # fmt: skip
_SILENT = ("metadata", "meta", "lexicon", "desc", "title")
_PLAIN = frozenset("speak lang p s sentence paragraph emphasis w token lookup audio".split())


def is_ssml(text: str) -> bool:
    """Whether ``text`` begins with a ``speak`` element (after an XML declaration, if any)."""
    return _SSML.match(text) is not None


def parse(text: str, language: str = "en-us") -> list[Span]:
    """Spans of a text, in order; a text that is not SSML is one :class:`Text`.

    ``language`` is what the words are in: say-as spells by it.

    Raises:
        InputError: the text begins with ``<speak`` but is not well formed, or an attribute cannot
            be understood; the message has line and column, from 1.
    """
    if not is_ssml(text):
        return [Text(text)]
    # Expat knows neither lone surrogates nor most control characters; nobody can speak them.
    text = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", " ", text)
    return _Reader(text.lstrip("\ufeff \t\r\n"), language).spans


class _Reader:
    """Collects spans while expat walks through the document."""

    def __init__(self, text: str, language: str) -> None:
        from xml.parsers import expat

        self.spans: list[Span] = []
        self._language = language
        self._words: list[str] = []
        self._rates = [1.0]
        # Of each open element, outermost first.
        self._languages: list[str | None] = [None]
        self._silent = 0
        # Innermost element whose text is replaced: how, its attributes, and its text so far.
        self._replaced: list[tuple[str, dict[str, str], list[str]]] = []
        self._parser: XMLParserType = expat.ParserCreate("utf-8")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype
        try:
            self._parser.Parse(re.sub(r"^<\?xml[^>]*\?>", "", text).encode(), True)
        except expat.ExpatError as error:
            reason = expat.errors.messages.get(error.code, str(error))
            raise InputError(
                f"SSML, line {error.lineno}, column {error.offset + 1}: {reason}; "
                "close every tag, write & as &amp; and < as &lt;"
            ) from None
        self._flush()

    def _fail(self, problem: str) -> InputError:
        line, column = self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber + 1
        return InputError(f"SSML, line {line}, column {column}: {problem}")

    def _doctype(self, *_: object) -> None:
        raise self._fail("a DOCTYPE is not allowed; remove it")

    def _flush(self) -> None:
        words = re.sub(" {2,}", " ", "".join(self._words))
        self._words = []
        if words.strip():
            self.spans.append(Text(words, self._rates[-1], self._languages[-1]))

    def _characters(self, text: str) -> None:
        if self._silent:
            return
        # A blank line of the file is layout; paragraphs are marked by <p>.
        (self._replaced[-1][2] if self._replaced else self._words).append(re.sub(r"\s+", " ", text))

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2].lower()
        if self._silent or name in _SILENT:
            self._silent += 1
            return
        language = attributes.get("xml:lang", "").strip() or self._languages[-1]
        if language != self._languages[-1]:
            self._flush()
        self._languages.append(language)
        if name == "break":
            self._flush()
            self.spans.append(Break(self._break(attributes)))
        elif name == "mark":
            self._flush()
            self.spans.append(Mark(attributes.get("name", "")))
        elif name == "prosody":
            self._flush()
            self._rates.append(self._rate(attributes))
        elif name in ("say-as", "sub", "phoneme"):
            if name == "phoneme" and not attributes.get("ph", "").strip():
                raise self._fail('<phoneme> has no ph; write <phoneme ph="dʒˈɪf">GIF</phoneme>')
            if name == "sub" and "alias" not in attributes:
                raise self._fail('<sub> has no alias; write <sub alias="doctor">Dr</sub>')
            self._replaced.append((name, attributes, []))
        elif name in ("p", "paragraph"):
            self._words.append("\n\n")
        elif name in ("s", "sentence"):
            self._words.append("\u2028")
        elif name not in _PLAIN:
            _report(f"<{name}> is not supported; its words are spoken")

    def _end(self, tag: str) -> None:
        name = tag.rpartition(":")[2].lower()
        if self._silent:
            self._silent -= 1
            return
        if name == "prosody":
            self._flush()
            self._rates.pop()
        elif name in ("say-as", "sub", "phoneme"):
            kind, attributes, pieces = self._replaced.pop()
            words = "".join(pieces).strip()
            if kind == "sub":
                words = attributes["alias"]
            elif kind == "phoneme":
                words = self._phonemes(words, attributes)
            else:
                words = self._say_as(words, attributes)
            self._characters(words)
        elif name in ("p", "paragraph"):
            self._words.append("\n\n")
        elif name in ("s", "sentence"):
            self._words.append("\u2028")
        if self._languages[-1] != self._languages[-2]:
            self._flush()
        self._languages.pop()

    def _break(self, attributes: dict[str, str]) -> float:
        if "time" in attributes:
            written = attributes["time"].strip()
            amount = re.fullmatch(r"\+?([0-9]*\.?[0-9]+|[0-9]+\.)\s*(ms|s)", written)
            if amount is None:
                raise self._fail(f"break time {written!r} is no time; write 500ms or 1.5s")
            seconds = float(amount[1]) / (1000 if amount[2] == "ms" else 1)
            if seconds > LONGEST_BREAK:
                raise self._fail(f"a break of {written} is longer than {LONGEST_BREAK:g}s")
            return seconds
        strength = attributes.get("strength", "medium").strip()
        if strength not in _STRENGTHS:
            raise self._fail(
                f"break strength {strength!r} is unknown; choose from {', '.join(_STRENGTHS)}"
            )
        return _STRENGTHS[strength]

    def _rate(self, attributes: dict[str, str]) -> float:
        for other in attributes.keys() - {"rate"}:
            _report(f"prosody {other} is not supported; it is ignored")
        written = attributes.get("rate", "medium").strip()
        amount = re.fullmatch(r"([+-]?)([0-9]*\.?[0-9]+)(%?)", written)
        if written in _RATES:
            rate = _RATES[written]
        elif amount is None:
            raise self._fail(
                f"prosody rate {written!r} is unknown; choose from {', '.join(_RATES)}, "
                "or write 80% or +20% or 1.2"
            )
        else:
            sign, digits, percent = amount.groups()
            rate = float(digits) / (100 if percent else 1)
            if sign:
                rate = 1 + rate if sign == "+" else 1 - rate
        slowest, fastest = RATES
        return min(max(self._rates[-1] * rate, slowest), fastest)

    def _phonemes(self, words: str, attributes: dict[str, str]) -> str:
        alphabet = attributes.get("alphabet", "ipa").lower()
        if alphabet != "ipa":
            _report(f"phoneme alphabet {alphabet!r} is not supported; the word is spoken as usual")
            return words
        # Syllable dots and ties are no sounds; brackets would end the notation.
        ipa = re.sub(r"[.\[\]|‿\u0361]", "", attributes["ph"]).strip()
        word = re.sub(r"[|\[\]]", "", words)
        return f"[[{ipa}|{word}]]"

    def _say_as(self, words: str, attributes: dict[str, str]) -> str:
        kind = attributes.get("interpret-as", "").strip().lower()
        language = self._languages[-1] or self._language
        english = language.replace("_", "-").lower().split("-")[0] == "en"
        if kind in ("characters", "spell-out", "verbatim", "digits"):
            return _spell(words, english)
        if kind == "telephone":
            return (
                words if re.search(r"[0-9]{3}[-. ][0-9]{4}|^\+", words) else _spell(words, english)
            )
        if kind == "date":
            return self._date(words, attributes.get("format", "").lower(), english)
        digits = words.replace(",", "").replace(" ", "")
        if kind in ("ordinal", "cardinal", "number") and english and digits.isdecimal():
            from glottis.text.english import numbers

            british = self._language == "en-gb"
            if len(digits) > 36:
                return numbers.digits(digits)
            say = numbers.ordinal if kind == "ordinal" else numbers.cardinal
            return say(int(digits), british)
        return words

    def _date(self, words: str, order: str, english: bool) -> str:
        """Numbers in a stated order become an ISO date, which the front end reads."""
        fields = re.findall(r"[0-9]+", words)
        if not english or len(fields) != len(order) or sorted(order) != sorted("ymd"):
            return words
        given = dict(zip(order, fields, strict=True))
        year = given["y"] if len(given["y"]) == 4 else f"20{given['y']:0>2}"
        return f"{year}-{given['m']:0>2}-{given['d']:0>2}"


def _spell(words: str, english: bool) -> str:
    """Characters one by one: letters dotted as an abbreviation (English), digits, signs by name."""
    if not english:
        return " ".join(words.replace(" ", ""))
    from glottis.text.english import numbers
    from glottis.text.english.words import ADDRESS_SIGNS

    spelled = []
    for run in re.findall(r"[^\W\d_]+|[0-9]|\S", words):
        if run.isalpha():
            spelled.append("".join(f"{letter}." for letter in run.upper()))
        else:
            spelled.append(numbers.digits(run) or ADDRESS_SIGNS.get(run, run))
    return " ".join(spelled)


_reported: set[str] = set()


def _report(message: str) -> None:
    if message not in _reported:
        _reported.add(message)
        _log.warning("SSML: %s", message)
