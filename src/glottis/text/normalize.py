"""Written text to spoken words.

English is read by :mod:`glottis.text.english`, German and Dutch by
:mod:`glottis.text.germanic`. For other languages words, numbers and signs pass as
they are to espeak-ng, which has rules of its own; pauses are found here for every language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import cache

from glottis.text.sentences import never
from glottis.text.symbols import DEFAULT
from glottis.text.tokens import MARKS, Token, clean, join, tidy

# Languages in Latin letters: a letter of another script cannot be said in them.
_LATIN = frozenset(
    """af an az bs ca cs cy da de en eo es et eu fi fr ga gd hr ht hu ia id is it ku la lb lt lv mi
    ms mt nb nl no pap pl pt qu ro sk sl sq sv sw tk tn tr uz vi""".split()
)
_LETTERS = r"A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿ\u0300-\u036f"
# Vowel signs and the like are no word characters to Python; words of other scripts need them.
_ANY_LETTERS = (
    r"\w\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff\u0e00-\u0fff"
    r"\u1000-\u109f"
)
_SILENT = frozenset("\"'()[]{}*_~`|\\/•▪●·-–¿¡†‡←↑↓⇒#<>^")


def tokens(
    text: str,
    language: str = "en-us",
    *,
    lexicon: Mapping[str, str] | None = None,
    unsayable: Callable[[str], object] | None = None,
) -> list[Token]:
    """The words and pauses of ``text`` in order; empty if nothing can be said.

    ``lexicon`` maps words, as written or in lower case, to IPA; it goes before every rule.
    ``unsayable`` is called with each character that is left out because nothing is said for it.
    """
    text = clean(text)
    reader = _reader(language)
    found: list[Token] = []

    def scan(start: int, end: int) -> None:
        for item in reader(text, language, start, end):
            if isinstance(item, Token):
                found.append(item)
            elif unsayable is not None and not item.isspace():
                unsayable(item)

    position = 0
    for start, end, token in _given(text, lexicon or {}):
        scan(position, start)
        found.append(token)
        position = end
    scan(position, len(text))
    return tidy(found)


def normalize(text: str, language: str = "en-us") -> str:
    """``text`` in words, the way a careful reader says it; normalising twice changes nothing.

    Only words and the marks ``, . ? ! ; :`` remain. Characters that cannot be said are left out.
    """
    for _ in range(_PASSES):
        before, text = text, join(tokens(text, language))
        if text == before:
            break
    return text


# One reading is final for sensible text. "Jan.NASA" and the like, run together without spaces, can
# become readable only once they have been taken apart.
_PASSES = 5


_INLINE = r"\[\[(?P<ipa>[^\[\]|]+)(?:\|(?P<word>[^\[\]|]*))?\]\]"
_CHUNK = re.compile(rf"{_INLINE}|[^\s,;:!?\"()\[\]{{}}<>—–/]+")


def _given(text: str, lexicon: Mapping[str, str]) -> Iterator[tuple[int, int, Token]]:
    """Words with a given pronunciation: ``[[ipa]]``, ``[[ipa|word]]``, and those in the lexicon."""
    if not lexicon and "[[" not in text:
        return
    for chunk in _CHUNK.finditer(text):
        start, written = chunk.start(), chunk[0]
        if chunk["ipa"]:
            ipa = " ".join(unicodedata.normalize("NFD", chunk["ipa"]).split())
            # Double brackets around anything but phonemes are only brackets.
            if ipa and (chunk["word"] is not None or all(sound in DEFAULT for sound in ipa)):
                word = (chunk["word"] or "").strip() or ipa
                yield start, chunk.end(), Token(word, word, ipa)
            continue
        for candidate in dict.fromkeys((written, written.strip("'*_"), written.strip(".'*_"))):
            found = lexicon.get(candidate) or lexicon.get(candidate.lower())
            if candidate and found:
                start += written.index(candidate)
                yield start, start + len(candidate), Token(candidate, candidate, found)
                break


def _reader(language: str) -> Callable[..., Iterator[Token | str]]:
    base = language.replace("_", "-").lower().split("-")[0]
    if base == "en":
        from glottis.text.english import read

        return read
    if base in ("de", "nl"):
        from glottis.text import germanic

        return germanic.read
    return _pass_through


def _pass_through(text: str, language: str, start: int, end: int) -> Iterator[Token | str]:
    """Words as written, with the punctuation that belongs to them, and pauses."""
    position = start
    pattern = _pattern(_LETTERS if language.split("-")[0] in _LATIN else _ANY_LETTERS)
    abbreviations = never(language)
    while found := pattern.search(text, position, end):
        kind, written = found.lastgroup, found[0]
        position = found.end()
        if kind == "word":
            yield Token(written, written)
            if text[position : position + 1] == "." and written.casefold() in abbreviations:
                position += 1
        elif kind == "sign":
            yield Token(written, written)
        elif kind == "pause":
            yield Token(written, _mark(written, text[position : position + 3]))
        elif kind == "dash":
            yield Token(written, ";")
        elif kind == "bracket":
            yield Token(written, ",")
        elif written not in _SILENT:
            yield written


def _mark(marks: str, following: str) -> str:
    for mark in marks:
        if mark in "?!":
            return mark
    if len(marks) > 2 and marks[0] == "." and following.lstrip(" \"')")[:1].islower():
        return ";"
    return {"。": ".", "，": ",", "、": ",", "؟": "?", "،": ",", "।": "."}.get(marks[0], marks[0])


@cache
def _pattern(letters: str) -> re.Pattern[str]:
    return re.compile(
        # Inner punctuation stays: 3,5 and z.B. and l'homme and 15:45 and km/h are single words.
        rf"(?P<word>(?:(?<![\w.])[-+−](?=[0-9]))?(?:[{letters}0-9]|[$€£](?=[0-9]))[{letters}0-9]*"
        rf"(?:(?:[.,:'’/-]|(?<=[0-9])[%°])(?=[{letters}0-9])[{letters}0-9]+)*(?:[²³]|(?<=[0-9])[%°€£$])?)"
        r"|(?P<sign>[%€£$&+=@°§©®™¢])"
        r"|(?P<pause>[.?!]+|[,;:]+|[。，、？！；：؟،؛।]|\n[^\S\n]*\n\s*)"
        r"|(?P<dash>--+|—+|(?<=\s)[-–]+(?=\s)|–)"
        r"|(?P<bracket>(?<!\w)[(\[{]|[)\]}](?!\w))"
        r"|(?P<other>\S)"
    )


__all__ = ["MARKS", "Token", "join", "normalize", "tokens"]
