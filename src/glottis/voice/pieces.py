"""Cutting what is to be said into pieces that a graph can speak in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

MAX_CHARACTERS = 600
"""Longest text that is analysed at once; a sentence of a book is shorter."""
MAX_PHONEMES = 400
"""Most phonemes that go through the graph at once: about half a minute of speech."""

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_CLAUSE_END = re.compile(r"[,;:)\]}—–…。、，；：！？.!?]+[\"'”’]*\s")
_SPACE = re.compile(r"\s")


def paragraphs(text: str) -> list[str]:
    """Split at blank lines; empty paragraphs are left out."""
    return [part for part in _PARAGRAPH.split(text) if part.strip()]


def cut_text(text: str, limit: int = MAX_CHARACTERS) -> Iterator[str]:
    """Cut text into parts of at most ``limit`` characters that together are the text.

    A cut falls after the last clause within the limit, else at the last space, else anywhere.
    """
    start = 0
    while len(text) - start > limit:
        window = text[start : start + limit]
        # A clause end in the first half would leave pieces too short to be spoken naturally.
        end = max(_last(_CLAUSE_END, window, limit // 2), 0) or _last(_SPACE, window, 1) or limit
        yield text[start : start + end]
        start += end
    if start < len(text):
        yield text[start:]


def cut_phonemes(phonemes: Sequence[str], limit: int = MAX_PHONEMES) -> Iterator[tuple[int, int]]:
    """Cut into half-open ranges of at most ``limit`` phonemes that tile the sequence.

    A cut falls after the last punctuation mark in the window's second half, else after the last
    space, else anywhere.
    """
    start = 0
    while len(phonemes) - start > limit:
        window = phonemes[start : start + limit]
        marks = [i for i in range(limit // 2, limit) if window[i] in ",.;:?!"]
        spaces = [i for i in range(limit) if window[i] == " "]
        end = start + 1 + (marks or spaces or [limit - 1])[-1]
        yield start, end
        start = end
    if start < len(phonemes):
        yield start, len(phonemes)


def _last(pattern: re.Pattern[str], text: str, least: int) -> int:
    """The end of the last match that ends at ``least`` or later; 0 when there is none."""
    ends = [match.end() for match in pattern.finditer(text)]
    return ends[-1] if ends and ends[-1] >= least else 0
