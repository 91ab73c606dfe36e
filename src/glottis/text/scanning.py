"""Reading a text from left to right by rules, the way every language with rules is read.

At each place the first rule whose pattern matches and whose reader accepts says what is spoken
there; a reader returns None to decline. No rule ever sees what another produced, so rules cannot
interfere, and every spoken word knows the text it came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from glottis.text.sentences import starts_sentence, stop_ends_sentence
from glottis.text.tokens import Token


@dataclass(frozen=True)
class Scene:
    """The text around a match, and the language that it is read in."""

    text: str
    language: str

    def before(self, place: int, reach: int = 40) -> str:
        """At most ``reach`` characters before ``place``: readers cost the same in any text."""
        return self.text[max(0, place - reach) : place]

    def after(self, place: int, reach: int = 40) -> str:
        """At most ``reach`` characters from ``place`` on."""
        return self.text[place : place + reach]


Spoken = str | list[Token] | None
"""Words for the whole match, or tokens, none if it is silent; or None: not mine, ask the next."""

Reader = Callable[[re.Match[str], Any], Spoken]
"""What is said for a match in a :class:`Scene`."""

Rule = tuple[str, str, Reader]
"""Where it can start (a letter ``a``, a digit ``0``, ``+`` anything else), a pattern, a reader."""


class Scanner:
    """Rules in order: the first that accepts wins."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._starting = {
            kind: [(pattern, reader) for starts, pattern, reader in rules if kind in starts]
            for kind in "a0+"
        }

    def read(self, scene: Scene, start: int, end: int) -> Iterator[Token | str]:
        """What is said for ``scene.text[start:end]``: tokens, and characters nobody can say.

        What stands around that stretch is context. Linear in the length of the text.
        """
        text, position = scene.text, start
        while position < end:
            first = text[position]
            if first == " ":
                position += 1
                continue
            kind = "a" if first.isalpha() else "0" if first in "0123456789" else "+"
            for pattern, reader in self._starting[kind]:
                m = _compiled(pattern).match(text, position, end)
                if m is None or m.end() == position:
                    continue
                spoken = reader(m, scene)
                if spoken is not None:
                    if isinstance(spoken, list):
                        yield from spoken
                    elif spoken:
                        yield Token(m[0], spoken)
                    position = m.end()
                    break
            else:
                # No rule: a letter of another script, an emoji, a sign without a name.
                yield first
                position += 1


# Each when it is first asked: most texts need few of them, and compiling all takes 30 ms.
_compiled = cache(re.compile)


def closing_stop(m: re.Match[str], written: str, scene: Scene) -> list[Token]:
    """The full stop that ends ``written`` is also a pause where it ends a sentence."""
    if not written.endswith("."):
        return []
    rest = re.match(r"[\"')\]]*", scene.after(m.end()))
    closed = m.end() + (rest.end() if rest else 0)
    if scene.after(closed, 8).strip():
        spaced = scene.after(closed, 1).isspace()
        if not spaced or not starts_sentence(scene.text, closed):
            return []
        if not stop_ends_sentence(scene.text, m.end() - 1, closed, ".", scene.language):
            return []
    return [Token("", ".")]


def either(words: Iterable[str]) -> str:
    """An alternation of literal strings, the longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=lambda w: (-len(w), w)))


def pause(m: re.Match[str], scene: Scene) -> Spoken:
    """Marks of punctuation, of which one counts; three dots go on where the sentence does."""
    marks = m[0]
    if marks[0] in ".?!" and len(marks) > 1:
        if "?" in marks or "!" in marks:
            return [Token(marks, next(mark for mark in marks if mark in "?!"))]
        going_on = re.match(r"[\"')\]]*\s*[a-zà-ÿ,;]", scene.after(m.end()))
        return [Token(marks, ";" if going_on and len(marks) > 2 else ".")]
    return [Token(marks, marks[0])]


def saying(spoken: str) -> Reader:
    """A reader that always says ``spoken``; nothing for an empty string."""
    return lambda m, scene: [Token(m[0], spoken)] if spoken else []


def roman_value(written: str) -> int:
    """0 if this is not a roman numeral in its usual form."""
    if not re.fullmatch("M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})", written):
        return 0
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}[c] for c in written]
    return sum(-v if v < max(values[k:]) else v for k, v in enumerate(values))
