"""Cutting phonemes into pieces that a graph can speak in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MAX_PHONEMES = 400
"""Most phonemes that go through the graph at once: about half a minute of speech."""


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
