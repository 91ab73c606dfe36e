"""What a text is made of once it is read: words and pauses; and the cleaning that comes first."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

MARKS = ",.?!;:"
"""The punctuation that reaches the phonemes."""


@dataclass(frozen=True)
class Token:
    """A stretch of text and what is said for it.

    ``written`` is the (cleaned) text, ``spoken`` its words separated by spaces. A pause has one of
    :data:`MARKS` as ``spoken``; it may stand for something else, as a bracket. ``ipa`` holds a
    pronunciation that was given (lexicon, markup) and wins over any other.
    """

    written: str
    spoken: str
    ipa: str = ""

    @property
    def pause(self) -> bool:
        """Whether this is punctuation, not a word."""
        return self.spoken in MARKS


_QUOTES = {
    **dict.fromkeys("‘’‚‛′´`ʹʻʼʽ＇", "'"),
    **dict.fromkeys("“”„‟«»″＂", '"'),
    **dict.fromkeys("‐‑⁃", "-"),
    **dict.fromkeys("―⸺⸻﹘", "—"),
    **dict.fromkeys("‒", "–"),
    "−": "−",
    "…": "...",
    "⁄": "/",
    "∕": "/",
    "×": "×",
    "\u0130": "I",  # lower-casing it would leave a loose dot
}
_TRANSLATION = str.maketrans(_QUOTES)
# Forms that only look different: subscripts, full width, ligatures, mathematical letters.
_LOOKALIKE = re.compile("[\u2080-\u2089\uff01-\uff5e\ufb00-\ufb06\U0001d400-\U0001d7ff]+")
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_SPACE = re.compile(r"[^\S\n\f\u2028\u2029]+")


def clean(text: str) -> str:
    """One form for signs that look alike: quotes, dashes, spaces, widths; nothing invisible.

    Typographic quotes become straight, control characters become spaces, zero-width characters,
    lone surrogates and soft hyphens go, digits of other scripts become ASCII. Idempotent.
    """
    if text.isascii() and text.isprintable():
        return text
    text = unicodedata.normalize("NFC", text)
    text = _LOOKALIKE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    text = _FOREIGN_DIGIT.sub(lambda found: str(unicodedata.digit(found[0])), text)
    text = _CONTROL.sub(" ", text.translate(_TRANSLATION))
    if not text.isprintable():
        # Format characters (zero-width space, joiners, direction marks, soft hyphen), surrogates.
        text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cs", "Cn", "Co"))
    return _SPACE.sub(" ", unicodedata.normalize("NFC", text))


def tidy(tokens: Iterable[Token]) -> list[Token]:
    """Merge neighbouring pauses into the strongest, and drop those before the first word."""
    merged: list[Token] = []
    for token in tokens:
        if token.pause and merged and merged[-1].pause:
            if _STRENGTH[token.spoken] > _STRENGTH[merged[-1].spoken]:
                merged[-1] = token
        elif merged or not token.pause:
            merged.append(token)
    return merged


# Of "?!" the first counts; a stop ends more than a comma.
_STRENGTH = {",": 0, ":": 1, ";": 2, ".": 3, "?": 4, "!": 4}


def join(tokens: Iterable[Token]) -> str:
    """The spoken words, with each pause behind the word that it follows."""
    parts: list[str] = []
    for token in tokens:
        if not token.pause and parts:
            parts.append(" ")
        parts.append(token.spoken)
    return "".join(parts)
