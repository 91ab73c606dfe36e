"""Written text to phonemes: the front end of every voice."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glottis.errors import InputError
from glottis.text import normalize, phonemize
from glottis.text.normalize import Token

# espeak cuts clauses at about 800 bytes by itself, anywhere; cutting earlier, at words, keeps the
# work for a clause bounded and the result ours.
_MAX_CLAUSE = 60
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Word:
    """A word as written, and the half-open range ``start:end`` of phonemes that say it."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Utterance:
    """What one sentence sounds like.

    ``text`` as written; ``spoken`` the same in words; ``phonemes`` single code points (IPA with
    stress, a space between words, the marks ``, . ? ! ; :``); ``words`` ordered ranges into
    ``phonemes``, which do not overlap and leave out only spaces and marks.
    """

    text: str
    spoken: str
    phonemes: tuple[str, ...]
    words: tuple[Word, ...]


class FrontEnd:
    """Text to phonemes for one language; needs no torch, and may be used from several threads.

    Args:
        language: an espeak-ng language: en-us, en-gb, de, nl, fr, ...
        lexicon: a file of pronunciations that win over espeak's, see :func:`phonemize.read_lexicon`.
        phonemes: "espeak" for IPA, or "text" for plain characters (no espeak-ng needed).

    Raises:
        InputError: no such language, an unreadable lexicon, or espeak-ng is not installed.
    """

    def __init__(
        self, language: str = "en-us", lexicon: Path | None = None, phonemes: str = "espeak"
    ) -> None:
        if phonemes not in ("espeak", "text"):
            raise InputError(f'phonemes={phonemes!r} is unknown; choose "espeak" or "text"')
        self.language = language
        self.kind = phonemes
        self._lexicon = phonemize.read_lexicon(lexicon) if lexicon is not None else {}
        if phonemes == "espeak":
            phonemize.espeak().check(language)

    def sentences(self, text: str) -> list[str]:
        return [text]

    def analyse(self, sentence: str) -> Utterance:
        """Phonemes of a sentence, or of a whole transcript as one utterance."""
        tokens = normalize.tokens(sentence, self.language)
        phonemes: list[str] = []
        words: list[Word] = []
        for clause, mark in _clauses(tokens):
            ipa, ranges = self._clause(clause, mark)
            if not ipa:
                continue
            if phonemes:
                phonemes.append(" ")
            offset = len(phonemes)
            phonemes += ipa
            phonemes += mark
            words += [
                Word(token.written, offset + start, offset + end)
                for token, (start, end) in zip(clause, ranges, strict=True)
            ]
        return Utterance(sentence, normalize.join(tokens), tuple(phonemes), tuple(words))

    def _clause(self, clause: list[Token], mark: str) -> tuple[str, list[tuple[int, int]]]:
        """Phonemes of the words of one clause, and each word's range in them."""
        if self.kind == "text":
            singles = [unicodedata.normalize("NFD", token.spoken.lower()) for token in clause]
            ipa = " ".join(singles)
        else:
            said = [_for_espeak(token) for token in clause]
            ipa = phonemize.espeak().phonemes(" ".join(said) + mark, self.language)
            singles = [phonemize.single(words, self.language) for words in said]
        return ipa, phonemize.word_ranges(ipa, singles)


def _for_espeak(token: Token) -> str:
    # espeak gives letters joined by dots the stress of an abbreviation: B.B.C, not B B C.
    return token.spoken.replace(" ", ".") if token.kind == "letters" else token.spoken


def _clauses(tokens: list[Token]) -> Iterator[tuple[list[Token], str]]:
    """Group words into clauses, each with the mark that ends it ("" at the end or a forced cut)."""
    clause: list[Token] = []
    for token in tokens:
        if token.kind != "pause":
            if len(clause) == _MAX_CLAUSE:
                yield clause, ""
                clause = []
            clause.append(token)
        elif clause:
            yield clause, token.spoken
            clause = []
    if clause:
        yield clause, ""
