"""Words to phonemes: libespeak-ng through ctypes, and a user's lexicon.

espeak-ng keeps its state in globals, so a process has one :class:`Espeak`; a lock serialises calls
and the voice is switched when the language changes (0.05 ms). It gives IPA, which is decomposed
(NFD) so that every phoneme is one code point, as in Piper.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import threading
import unicodedata
from bisect import bisect_left
from difflib import SequenceMatcher
from functools import cache, lru_cache
from itertools import accumulate
from pathlib import Path

from glottis.errors import InputError

STRESS = "ˈˌ"
_log = logging.getLogger(__name__)

# espeak marks a change of language inside a sentence with flags such as "(en)".
_FLAGS = re.compile(r"\([^()\s]*\)")
# Joiners between the letters of one phoneme; Piper's alphabet has no place for them.
_JOINERS = re.compile("[\u200b-\u200d\u2060\u0361\ufeff]")
_UTF8, _IPA = 1, 2
_INITIALIZE_DONT_EXIT = 0x8000
_RETRIEVAL = 1


class Espeak:
    """libespeak-ng for this process; get it with :func:`espeak`.

    Raises:
        InputError: the package ``espeakng_loader`` is missing or its library cannot be loaded.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader

            library, data = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
        except (ImportError, OSError, RuntimeError) as error:
            raise InputError(
                f"espeak-ng is not available ({error}); run 'pip install espeakng-loader', "
                'or choose plain characters with phonemes="text"'
            ) from error
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise InputError(
                f"cannot load {library}: {error}; reinstall it with "
                "'pip install --force-reinstall espeakng-loader'"
            ) from error
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_TextToPhonemes.argtypes = [
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.c_int,
            ctypes.c_int,
        ]
        rate = self._library.espeak_Initialize(
            _RETRIEVAL, 0, str(data).encode(), _INITIALIZE_DONT_EXIT
        )
        if rate <= 0:
            raise InputError(
                f"espeak-ng cannot read its data in {data}; reinstall it with "
                "'pip install --force-reinstall espeakng-loader'"
            )
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            # A child must not inherit the lock, or espeak's globals, in the middle of a call.
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._lock.release,
            )
        self._voice = ""
        self._aliases: dict[str, str] = {}

    def phonemes(self, text: str, language: str) -> str:
        """IPA of one clause (no inner punctuation), groups separated by single spaces, NFD.

        espeak groups some short words ("of the") and splits others; see :func:`word_ranges`.

        Raises:
            InputError: espeak-ng has no such language.
        """
        # A NUL would end the C string early; lone surrogates have no UTF-8.
        data = text.replace("\0", " ").encode("utf-8", "ignore")
        parts = []
        with self._lock:
            self._set_voice(language)
            buffer = ctypes.create_string_buffer(data)
            cursor = ctypes.c_void_p(ctypes.addressof(buffer))
            while cursor.value:
                part = self._library.espeak_TextToPhonemes(ctypes.byref(cursor), _UTF8, _IPA)
                parts.append((part or b"").decode("utf-8", "ignore"))
        joined = _JOINERS.sub("", _FLAGS.sub("", " ".join(parts)))
        return " ".join(unicodedata.normalize("NFD", joined).split())

    def check(self, language: str) -> None:
        """Raises InputError if espeak-ng has no voice for ``language``."""
        with self._lock:
            self._set_voice(language)

    def _set_voice(self, language: str) -> None:
        name = self._aliases.get(language, language)
        if name == self._voice:
            return
        base = language.split("-")[0]
        for candidate in dict.fromkeys((name, language.lower().replace("_", "-"), base)):
            if self._library.espeak_SetVoiceByName(candidate.encode()) == 0:
                if candidate == base != language and language not in self._aliases:
                    _log.info("espeak-ng has no voice %r; using %r", language, base)
                self._aliases[language] = self._voice = candidate
                return
        self._voice = ""
        raise InputError(
            f"espeak-ng has no language {language!r}; try a code such as en-us, en-gb, de, nl or fr"
        )


_creation = threading.Lock()


def espeak() -> Espeak:
    """The process's one :class:`Espeak`, made on first use (3 ms)."""
    with _creation:
        return _espeak()


@cache
def _espeak() -> Espeak:
    return Espeak()


@lru_cache(maxsize=20_000)
def single(word: str, language: str) -> str:
    """IPA of a word by itself; remembered, because it is asked for again and again."""
    return espeak().phonemes(word, language)


def read_lexicon(path: Path) -> dict[str, str]:
    """Read a lexicon: ``word<TAB>IPA`` a line, UTF-8; empty lines and lines from ``#`` are skipped.

    Returns word -> IPA (NFD). A word in lower case also covers its capitalised forms; a word
    written with capitals covers only itself.

    Raises:
        InputError: the file cannot be read, or a line is malformed (named as file:line).
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(
            f"cannot read lexicon {path}: {error.strerror or error}; check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"lexicon {path} is not UTF-8 ({error.reason}); save it as UTF-8"
        ) from None
    lexicon = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        word, tab, ipa = line.partition("\t")
        word, ipa = word.strip(), " ".join(unicodedata.normalize("NFD", ipa).split())
        if not (word and tab and ipa):
            raise InputError(
                f"{path}:{number}: {line.strip()!r} is not 'word<TAB>IPA'; write for example "
                "'gif<TAB>dʒˈɪf', with a tab between"
            )
        if any(character.isspace() for character in word):
            raise InputError(f"{path}:{number}: {word!r} has a space; give each word its own line")
        lexicon[word] = ipa
    return lexicon


def word_ranges(phonemes: str, singles: list[str]) -> list[tuple[int, int]]:
    """Which phonemes of a clause belong to which word.

    ``phonemes`` is the clause's IPA, groups separated by spaces; ``singles[k]`` is the IPA of word
    ``k`` by itself. Returns one half-open range a word: ordered, not overlapping, without spaces at
    its ends, together covering everything but spaces. A range is empty only if the word has no
    phonemes by itself or there are fewer phonemes than words.

    espeak joins words ("of the" is one group) and splits others (a number). Groups that equal a
    word's own phonemes anchor the match; between anchors phonemes are matched by edit distance.
    """
    groups = phonemes.split(" ")
    # A word may be several to espeak ("2021"); the parts are matched, and joined again at the end.
    parts = [part for own in singles for part in own.split()]
    found: list[tuple[int, int]] = []
    if parts and phonemes:
        ends = list(accumulate(len(group) + 1 for group in groups))
        starts = [0, *ends]
        for (first_part, last_part), (first_group, last_group) in _segments(groups, parts):
            start = starts[first_group]
            segment = phonemes[start : ends[last_group - 1] - 1]
            if last_part - first_part == 1:
                found.append((start, start + len(segment)))
            else:
                inner = _split(segment, parts[first_part:last_part])
                found += [(start + a, start + b) for a, b in inner]
    else:
        found = [(0, 0)] * len(parts)
    ranges = []
    taken = position = 0
    for own in singles:
        mine = found[taken : taken + len(own.split())]
        taken += len(mine)
        start, position = (mine[0][0], mine[-1][1]) if mine else (position, position)
        ranges.append((start, position))
    return ranges


_Range = tuple[int, int]


def _segments(groups: list[str], words: list[str]) -> list[tuple[_Range, _Range]]:
    """Pair runs of words with runs of groups; no run is empty, and most hold one of each."""
    if len(groups) == len(words):
        return [((k, k + 1), (k, k + 1)) for k in range(len(words))]
    # Compared without stress, which moves with context.
    bare_words = [_bare(word) for word in words]
    bare_groups = [_bare(group) for group in groups]
    matcher = SequenceMatcher(None, bare_words, bare_groups, autojunk=False)
    runs: list[tuple[_Range, _Range]] = []
    word = group = 0
    for block in matcher.get_matching_blocks():
        if word < block.a or group < block.b:
            runs.append(((word, block.a), (group, block.b)))
        runs += [
            ((block.a + k, block.a + k + 1), (block.b + k, block.b + k + 1))
            for k in range(block.size)
        ]
        word, group = block.a + block.size, block.b + block.size
    segments: list[tuple[_Range, _Range]] = []

    def poor(segment: tuple[_Range, _Range]) -> bool:
        """Groups of no word, or fewer sounds than words."""
        (word, word_end), (group, group_end) = segment
        sounds = sum(len(_sounds(bare)) for bare in bare_groups[group:group_end])
        return word == word_end or sounds < word_end - word

    for run in runs:
        segments.append(run)
        while len(segments) > 1 and (poor(segments[-1]) or poor(segments[-2])):
            (_, word_end), (_, group_end) = segments.pop()
            (word, _), (group, _) = segments.pop()
            segments.append(((word, word_end), (group, group_end)))
    return segments


def _bare(ipa: str) -> str:
    return ipa.replace(STRESS[0], "").replace(STRESS[1], "")


def _split(segment: str, words: list[str]) -> list[_Range]:
    """Divide ``segment`` among ``words`` by least edit distance to their own phonemes."""
    own = " ".join(words)
    if len(own) * len(segment) > 50_000:
        # Far beyond any real run between anchors; in proportion is enough there.
        cuts = [
            len(segment) * end // (len(own) + 1) for end in accumulate(len(w) + 1 for w in words)
        ]
    else:
        place = _edit_path(own, segment)
        cuts = [place[end - 1] for end in accumulate(len(word) + 1 for word in words)]
    sounds = _sounds(segment)
    ranges = []
    first = 0
    for k, cut in enumerate(cuts):
        after = len(cuts) - 1 - k
        last = len(sounds) if after == 0 else bisect_left(sounds, cut)
        # A stress mark goes with the sound that it stands before.
        while after and last > first + 1 and segment[sounds[last - 1]] in STRESS:
            last -= 1
        # One sound at least for this word and for each to come, while there are any.
        last = max(min(last, len(sounds) - after), min(first + 1, len(sounds)))
        if first == last:
            ranges.append((len(segment), len(segment)))
            continue
        end = sounds[last - 1] + 1
        while end < len(segment) and unicodedata.combining(segment[end]):
            end += 1
        ranges.append((sounds[first], end))
        first = last
    return ranges


def _sounds(ipa: str) -> list[int]:
    """Where sounds begin: a combining mark belongs to the letter before it, spaces to nobody."""
    return [k for k, sign in enumerate(ipa) if sign != " " and not unicodedata.combining(sign)]


def _edit_path(a: str, b: str) -> list[int]:
    """For each index of ``a``, and its end, its place in ``b`` by least edit distance."""
    rows = [[_cost(character, "") for character in b]]
    rows[0] = [0.0, *accumulate(rows[0])]
    for character in a:
        above = rows[-1]
        drop = _cost(character, "")
        row = [above[0] + drop]
        for j, other in enumerate(b):
            row.append(
                min(
                    above[j] + _cost(character, other),
                    above[j + 1] + drop,
                    row[j] + _cost(other, ""),
                )
            )
        rows.append(row)
    # What has no counterpart goes to the word before it, as linking sounds do (the r of "far off").
    place = [0] * (len(a) + 1)
    i, j = len(a), len(b)
    place[i] = j
    while i > 0:
        here, above = rows[i][j], rows[i - 1]
        if j > 0 and here == above[j - 1] + _cost(a[i - 1], b[j - 1]):
            i, j = i - 1, j - 1
            place[i] = j
        elif here == above[j] + _cost(a[i - 1], ""):
            i -= 1
            place[i] = j
        else:
            j -= 1
    return place


# Sounds that stand for each other in running speech: reduced vowels, flapped t and d.
_VOWELS = frozenset("aeiouyæøœɐɑɒɔɘəɚɛɜɝɞɤɨɪɯɵɶʉʊʌʏᵻ")
_FLAPS = frozenset("tdɾʔ")


def _cost(a: str, b: str) -> float:
    """Of replacing ``a`` by ``b``; an empty string is a gap. Stress and spaces come and go."""
    if a == b:
        return 0.0
    light = f" {STRESS}"
    if a == "" or b == "":
        return 0.5 if (a or b) in light else 1.0
    if (a in light) != (b in light):
        return 3.0
    alike = (a in _VOWELS) == (b in _VOWELS) if a in _VOWELS else {a, b} <= _FLAPS
    return 0.5 if alike else 1.0
