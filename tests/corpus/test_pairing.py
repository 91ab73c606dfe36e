"""Frames of two speakers: the same words in step, or the same phones wherever they are."""

from __future__ import annotations

import numpy as np

from glottis.audio.vocoder import Parameters
from glottis.corpus.pairing import Pairs, Spoken, by_phones, by_words

SOUNDS = dict(zip("abcd", np.eye(4), strict=True))


def said(phones: str, length: int, words: str = "") -> tuple[Spoken, np.ndarray]:
    """Phones of equal length, and a track that shows which one it is and how far it is."""
    ends = tuple(length * (at + 1) for at in range(len(phones)))
    frames = len(phones) * length
    ramp = (np.arange(frames) % length + 0.5) / length
    track = np.stack([SOUNDS[phone] for phone in phones]).repeat(length, axis=0)
    empty = Parameters(
        np.zeros(frames, np.float32), np.zeros((2, frames), np.float32), np.zeros((1, frames))
    )
    spoken = Spoken(empty, words, tuple(phones), (0, *ends[:-1]), ends)
    return spoken, np.concatenate([3 * track, ramp[:, None]], axis=1)


def _names(spoken: list[Spoken], utterances: np.ndarray, frames: np.ndarray) -> list[str]:
    return [
        spoken[u].phones[int(np.searchsorted(spoken[u].ends, frame, side="right"))]
        for u, frame in zip(utterances, frames, strict=True)
    ]


def _paired(pairs: list[Pairs], sources: list[Spoken], targets: list[Spoken]) -> None:
    for each in pairs:
        here = _names(sources, np.full(len(each.frames), each.source), each.frames)
        assert here == _names(targets, each.others, each.places)


def test_phones_meet_phones_of_their_name_at_the_same_place_within() -> None:
    sources, near = zip(said("abca", 6), said("dab", 9), strict=True)
    targets, far = zip(said("cab", 12), said("bcaa", 3), strict=True)
    pairs = by_phones(sources, targets, near, far)
    _paired(pairs, sources, targets)
    for each in pairs:
        ramps = (
            near[each.source][each.frames, -1],
            np.array(
                [far[u][frame, -1] for u, frame in zip(each.others, each.places, strict=True)]
            ),
        )
        assert np.abs(ramps[0] - ramps[1]).max() <= 0.5 / 3 + 0.5 / 6
    # The target never says d: the first phone of the second utterance has no pair.
    assert pairs[0].frames.tolist() == list(range(24))
    assert pairs[1].frames.tolist() == list(range(9, 27))


def test_neighbours_count_more_than_likeness() -> None:
    source, near = said("abc", 4)
    alike, far = said("cbd", 4)
    same, other = said("abc", 4)
    other = other + 1.0  # sounds quite different, but stands between the same neighbours
    pairs = by_phones([source], [alike, same], [near], [far, other])
    assert set(pairs[0].others[4:8]) == {1}


def test_of_equal_neighbours_the_nearest_sound_is_chosen() -> None:
    source, near = said("abc", 4)
    targets = [said("abc", 4) for _ in range(5)]
    tracks = [track + 0.1 * (number != 3) for number, (_, track) in enumerate(targets)]
    pairs = by_phones([source], [spoken for spoken, _ in targets], [near], tracks)
    assert set(pairs[0].others) == {3}


def test_only_equal_words_are_warped_and_takes_take_turns() -> None:
    rows = [said("abcd", 5, "one"), said("dcba", 5, "two"), said("abcd", 6, "one"), said("ab", 4)]
    other = [said("dcba", 7, "two"), said("abcd", 8, "one"), said("abcd", 4, "one"), said("ab", 4)]
    sources, near = zip(*rows, strict=True)
    targets, far = zip(*other, strict=True)
    loud = [[np.ones(len(track), bool) for track in side] for side in (near, far)]
    loud[1][1][:8] = False  # the first phone is not heard there
    pairs = by_words(sources, targets, near, far, (loud[0], loud[1]))
    assert [(each.source, int(each.others[0])) for each in pairs] == [(0, 1), (1, 0), (2, 2)]
    for each in pairs:
        assert (np.diff(each.frames) >= 0).all()
        assert (np.diff(each.places) >= 0).all()
    assert pairs[0].places.min() == 8
    _paired(pairs[1:], sources, targets)
