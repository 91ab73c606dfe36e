"""The language of transcripts is told when it is plain, and not otherwise."""

import numpy as np
import pytest

from glottis.text.guess import COMMON, common_words, other_language

SAID = {
    "en": "He was not at the house by the river which they had from his father and it was for her.",
    "de": "Er ist nicht mit dem Zug zu den anderen und sie wird auch für das Haus von der Stadt.",
    "nl": "Hij heeft het boek van de school niet voor een ander met zijn naam, maar ook er bij.",
    "fr": "Il est dans la maison qui ne se vend pas et elle a une table pour les enfants du port.",
}


@pytest.mark.parametrize("language", sorted(SAID))
def test_it_is_told_from_all_others(language: str) -> None:
    counts = np.sum([common_words(SAID[language])] * 10, axis=0)
    assert other_language(counts, language) is None
    for other in COMMON:
        if other != language:
            assert other_language(counts, other) == language
    # A region is no other language.
    assert other_language(counts, f"{language}-XY") is None


def test_little_is_not_enough_and_what_is_unknown_is_not_judged() -> None:
    once = common_words(SAID["de"])
    assert once[0] == len(SAID["de"].split())
    assert other_language(once, "en-us") is None
    many = np.multiply(once, 10)
    assert other_language(many, "cmn") is None
    names = np.multiply(common_words("Anna Berlin Karl Leipzig Otto Fritz"), 50)
    assert other_language(names, "en-us") is None
