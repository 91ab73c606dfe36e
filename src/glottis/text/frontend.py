"""Written text to phonemes: the front end of every voice."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glottis.errors import InputError
from glottis.text import normalize, phonemize, sentences
from glottis.text.tokens import Token

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
        lexicon: a file of pronunciations that win over espeak's, one ``word<TAB>IPA`` a line; see
            :func:`glottis.text.phonemize.read_lexicon`.
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
        self._english = language.split("-")[0] == "en"
        self._reported: set[str] = set()
        self._lexicon = phonemize.read_lexicon(lexicon) if lexicon is not None else {}
        if phonemes == "espeak":
            phonemize.espeak().check(language)

    def sentences(self, text: str) -> list[str]:
        """Sentences of ``text``, in order, at most :data:`sentences.MAX_SENTENCE` characters each.

        Together they hold every character but white space; one may have nothing to say ("...").
        """
        return sentences.split(text, self.language)

    def analyse(self, sentence: str) -> Utterance:
        """Phonemes of a sentence, or of a whole transcript as one utterance.

        Characters that cannot be said are left out, each reported once through ``logging``. A text
        with nothing to say gives no phonemes and no words.
        """
        tokens = self._tokens(sentence)
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

    def unsayable(self, text: str) -> set[str]:
        """The characters of ``text`` that would be left out: emoji, letters of other scripts."""
        found: set[str] = set()
        normalize.tokens(text, self.language, unsayable=found.add)
        return found

    def _tokens(self, text: str) -> list[Token]:
        return normalize.tokens(text, self.language, lexicon=self._lexicon, unsayable=self._report)

    def _report(self, character: str) -> None:
        if character not in self._reported:
            self._reported.add(character)
            name = unicodedata.name(character, "unnamed")
            _log.warning(
                "%r (U+%04X %s) cannot be said in %s; it is skipped",
                character,
                ord(character),
                name,
                self.language,
            )

    def _clause(self, clause: list[Token], mark: str) -> tuple[str, list[tuple[int, int]]]:
        """Phonemes of the words of one clause, and each word's range in them."""
        if self.kind == "text":
            singles = [_characters(token) for token in clause]
            ipa = " ".join(singles)
            return ipa, phonemize.word_ranges(ipa, singles)
        said = [_for_espeak(clause, k) if self._english else t.spoken for k, t in enumerate(clause)]
        ipa = phonemize.espeak().phonemes(" ".join(said) + mark, self.language)
        singles = [phonemize.single(word, self.language) for word in said]
        ranges = phonemize.word_ranges(ipa, singles)
        if any(token.ipa for token in clause):
            return _with_given(ipa, ranges, clause)
        return ipa, ranges


def _characters(token: Token) -> str:
    return token.ipa or " ".join(unicodedata.normalize("NFD", token.spoken.lower()).split())


def _with_given(
    ipa: str, ranges: list[tuple[int, int]], clause: list[Token]
) -> tuple[str, list[tuple[int, int]]]:
    """Put given pronunciations in the places of the words they belong to.

    The rest of the clause keeps what espeak says in its context.
    """
    parts: list[str] = []
    moved = []
    length = position = 0
    for (start, end), token in zip(ranges, clause, strict=True):
        between = ipa[position:start] if start > position else ""
        if token.ipa and length and not between:
            between = " "  # espeak had joined this word to the one before
        said = token.ipa or ipa[start:end]
        moved.append((length + len(between), length + len(between) + len(said)))
        parts += (between, said)
        length += len(between) + len(said)
        position = max(position, end)
    return "".join(parts), moved


_LETTERS = re.compile(r"(?<![\w'])[A-Z](?: [A-Z])+(?![\w'])")
_LETTERS_OF = re.compile(r"(?<![\w'])[A-Z](?: [A-Z])+(?= [A-Z]'s)")
_LETTER_A = re.compile(r"(?<![\w.'])A(?![\w.'])")
_LETTERED = frozenset(
    str.split(
        "vitamin grade plan type group class section option letter hepatitis point series list "
        "level team exhibit schedule appendix figure unit part side"
    )
)


def _for_espeak(clause: list[Token], k: int) -> str:
    """A word of English in the spelling that makes espeak say it right.

    Letters joined by dots get the stress of an abbreviation (B.B.C), and a lone A would be read as
    the article; "eh" is said as the letter.
    """
    spoken = clause[k].spoken
    if " " in spoken:
        spoken = _LETTERS.sub(lambda found: found[0].replace(" ", "."), spoken)
        spoken = _LETTERS_OF.sub(lambda found: found[0].replace(" ", "."), spoken)
        return _LETTER_A.sub("eh", spoken)
    if spoken == "A" and k > 0:
        before = clause[k - 1].spoken
        if before.casefold() in _LETTERED:
            return "eh"
    return spoken


def _clauses(tokens: list[Token]) -> Iterator[tuple[list[Token], str]]:
    """Group words into clauses, each with the mark that ends it ("" at the end or a forced cut)."""
    clause: list[Token] = []
    for token in tokens:
        if not token.pause:
            if len(clause) == _MAX_CLAUSE:
                yield clause, ""
                clause = []
            clause.append(token)
        elif clause:
            yield clause, token.spoken
            clause = []
    if clause:
        yield clause, ""
