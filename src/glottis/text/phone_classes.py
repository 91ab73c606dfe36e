"""Classes of phones that languages share, by what is alike in them to the ear."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

from glottis.text.phonemize import STRESS
from glottis.text.symbols import BEGIN, END

CLASSES = tuple(
    str.split(
        # Vowels; diphthongs are two of them.
        "iy ɪʏᵻɨ e ɛ æ a ɑɒ əɐɘ ʌ ɜɚɝɞøœ ɔ oɤ ʊ uɯʉ "
        # Consonants; affricates are two of them.
        "pɸ bβ tʔʈc dɾɖɟ kq gɡɢ f vʋ θ ð s z ʃɕʂ ʒʑʐ hɦʕħ mɱ nɳɲ ŋɴ lɫɭʎɬ rɹʁʀɻɺɽ jɥ wʍ xχɣçʝ"
    )
)
"""The letters of each class; the class after the last is the pause."""
PAUSE = len(CLASSES)
UNKNOWN, BEFORE, AFTER = -1, -2, -3
"""Of a symbol in place of a class: none, that of the symbol before it, that of the one after."""


def classes_of(phoneme_id_map: Mapping[str, Sequence[int]], size: int) -> list[int]:
    """The class of each of ``size`` ids, or what stands in its place.

    Sounds that one language tells apart and another does not are one class where a listener of the
    second would hear them so, so that a class says little of who speaks. Marks of length and the
    like belong to the letter before, stress to the one after; spaces and punctuation are pauses.
    """
    letters = {letter: number for number, row in enumerate(CLASSES) for letter in row}
    found = [UNKNOWN] * size
    for symbol, ids in phoneme_id_map.items():
        if symbol in letters:
            number = letters[symbol]
        elif symbol in STRESS:
            number = AFTER
        elif symbol in (BEGIN, END) or unicodedata.category(symbol[0])[0] in "PZ":
            number = PAUSE
        elif unicodedata.category(symbol[0]) in ("Mn", "Lm"):
            number = BEFORE
        else:
            continue
        for i in ids:
            if i < size:
                found[i] = number
    return found
