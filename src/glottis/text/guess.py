"""Which language transcripts are in, roughly: by the words that every text of one is full of."""

from __future__ import annotations

import re
from collections.abc import Sequence

COMMON = {
    "en": "the of and to that was he his with as for had it at by which be not from this were have",
    "de": "der die und das den von zu mit sich des auf für ist dem nicht ein eine auch er sie wird",
    "nl": "de van het een en dat op te zijn met voor niet aan er ook als maar bij hij naar heeft",
    "fr": "le les et des du une que est pour qui dans par pas au sur ne se ce il elle avec",
    "es": "el que los del se las por un para con una su al lo como más pero sus y está",
    "it": "di che il un è una sono non con del si della i gli da nel ha più alla anche",
    "pt": "que não uma os do da em um para com se na por mais as dos como mas foi ao",
    "pl": "i w na się nie z do że to jest jak od po ale o przez za był tym już",
    "sv": "och att det som en på är av för med till den har inte om ett han men var jag",
}
"""Common words by language; what others share, such as ``in`` and ``is``, says little."""
WORDS = 100
"""As many are needed to say anything."""
CLEARLY = 2.0
"""How many times more of its common words the other language must have."""

_SETS = [frozenset(words.split()) for words in COMMON.values()]


def common_words(text: str) -> tuple[int, ...]:
    """How many words ``text`` has, and how many of them are common in each of ``COMMON``."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return (len(words), *(sum(word in common for word in words) for common in _SETS))


def other_language(counts: Sequence[int], language: str) -> str | None:
    """The language that transcripts look like, if that is clearly not ``language``.

    ``counts`` are sums of what :func:`common_words` says. Nothing is said of few words, of
    languages that are not in ``COMMON``, and of transcripts that look like neither.
    """
    own = language.replace("_", "-").partition("-")[0].lower()
    total, *found = counts
    shares = dict(zip(COMMON, found, strict=True))
    if own not in shares or total < WORDS:
        return None
    likely = max(shares, key=shares.__getitem__)
    # A tenth of a text's words at least are among the commonest twenty.
    clear = shares[likely] > 0.1 * total and shares[likely] > CLEARLY * shares[own]
    return likely if clear else None
