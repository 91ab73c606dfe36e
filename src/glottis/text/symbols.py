"""Phonemes to the integers a model reads, in Piper's layout.

A sentence of phonemes ``p1 p2 ...`` becomes ``^ _ p1 _ p2 _ ... $``: begin, pad, then each phoneme
followed by a pad, then end. The pads give an aligner somewhere to put silence and transitions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from glottis.errors import InputError

PAD, BEGIN, END = "_", "^", "$"
NUM_SYMBOLS = 256
"""Size of the embedding table of a voice with the default map; ids above the map are spare."""

_log = logging.getLogger(__name__)

# The order is Piper's and is what makes files interchangeable: position in this string is the id.
_ORDER = (
    "_^$ !'(),-.:;?"
    "abcdefhijklmnopqrstuvwxyz"
    "æçðøħŋœǀǁǂǃɐɑɒɓɔɕɖɗɘəɚɛɜɞɟɠɡɢɣɤɥɦɧɨɪɫɬɭɮɯɰɱɲɳɴɵɶɸɹɺɻɽɾ"
    "ʀʁʂʃʄʈʉʊʋʌʍʎʏʐʑʒʔʕʘʙʛʜʝʟʡʢʲˈˌːˑ˞βθχᵻⱱ"
    "0123456789"
    "\u0327\u0303\u032a\u032f\u0329"
    'ʰˤε↓#"↑'
    "\u033a\u033b"
    "gʦX"
    "\u031d\u030a"
    "ɝʷ"
)


class Symbols:
    """A map from phonemes to ids, as the ``phoneme_id_map`` of a Piper voice file.

    Args:
        phoneme_id_map: phoneme -> one or more ids; must hold ``_``, ``^`` and ``$``.

    Raises:
        InputError: a special symbol is missing, or an entry is not a list of non-negative integers.
    """

    def __init__(self, phoneme_id_map: Mapping[str, Sequence[int]]) -> None:
        for symbol in (PAD, BEGIN, END):
            if not phoneme_id_map.get(symbol):
                raise InputError(
                    f"phoneme_id_map has no {symbol!r}; a Piper voice needs '_' (pad), "
                    "'^' (begin) and '$' (end)"
                )
        for phoneme, ids in phoneme_id_map.items():
            whole = isinstance(ids, Sequence) and not isinstance(ids, str) and len(ids) > 0
            if not whole or not all(type(i) is int and i >= 0 for i in ids):
                raise InputError(
                    f"phoneme_id_map[{phoneme!r}] is {ids!r}; expected a list of ids, such as [14]"
                )
        self.phoneme_id_map = {phoneme: list(ids) for phoneme, ids in phoneme_id_map.items()}
        self._reported: set[str] = set()

    def __len__(self) -> int:
        """One more than the largest id: the least size of an embedding table."""
        return 1 + max(max(ids) for ids in self.phoneme_id_map.values())

    def __contains__(self, phoneme: str) -> bool:
        return phoneme in self.phoneme_id_map

    def ids(self, phonemes: Sequence[str]) -> list[int]:
        """Phonemes to ids, ``^ _ p1 _ p2 _ ... $``.

        Phonemes that the map lacks are skipped; each is reported once through ``logging``.
        """
        pad = self.phoneme_id_map[PAD]
        ids = self.phoneme_id_map[BEGIN] + pad
        for phoneme in phonemes:
            known = self.phoneme_id_map.get(phoneme)
            if known is None:
                self._report(phoneme)
                continue
            ids += known
            ids += pad
        return ids + self.phoneme_id_map[END]

    def spans(self, phonemes: Sequence[str]) -> list[tuple[int, int]]:
        """For each phoneme the half-open range of :meth:`ids` that stands for it, its pad included.

        Ranges tile the ids between the first pad and the end symbol; the range of a phoneme that
        the map lacks is empty. Summing durations over a range gives the phoneme's duration.
        """
        pad = len(self.phoneme_id_map[PAD])
        position = len(self.phoneme_id_map[BEGIN]) + pad
        spans = []
        for phoneme in phonemes:
            known = self.phoneme_id_map.get(phoneme)
            end = position if known is None else position + len(known) + pad
            spans.append((position, end))
            position = end
        return spans

    def positions(self, phonemes: Sequence[str]) -> list[int]:
        """For each phoneme the position of its (first) id in :meth:`ids`; -1 if it was skipped."""
        return [start if start < end else -1 for start, end in self.spans(phonemes)]

    def _report(self, phoneme: str) -> None:
        if phoneme not in self._reported:
            self._reported.add(phoneme)
            names = " ".join(f"U+{ord(character):04X}" for character in phoneme)
            _log.warning("this voice has no phoneme %r (%s); it is skipped", phoneme, names)


DEFAULT = Symbols({symbol: [number] for number, symbol in enumerate(_ORDER)})
"""Piper's default map for espeak-ng phonemes: 161 symbols, ids 0 to 160."""


def with_characters(characters: Iterable[str]) -> Symbols:
    """The default map, and those of ``characters`` that it lacks, sorted, at its spare ids.

    Raises:
        InputError: there are more of them than spare ids.
    """
    further = sorted({*characters} - DEFAULT.phoneme_id_map.keys())
    spare = range(len(DEFAULT), NUM_SYMBOLS)
    if len(further) > len(spare):
        raise InputError(
            f"the transcripts have {len(further)} characters beside the {len(DEFAULT)} that every "
            f"voice knows, and there is room for {len(spare)}: "
            f"{' '.join(further[:20])} ...; spell the rare ones with others, or prepare with "
            "phonemes=espeak"
        )
    return Symbols(DEFAULT.phoneme_id_map | {c: [i] for c, i in zip(further, spare, strict=False)})
