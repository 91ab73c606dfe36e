"""Which frames of two speakers belong together: by the words they share, or by phones alone.

Recordings of the same words are paired by dynamic time warping. Where two speakers never say the
same, a phone of one is paired with a phone of the other of the same name, between the same
neighbours as far as there are any, and of these with the one that sounds most alike (in the spirit
of Erro, Moreno & Bonafonte 2010, "INCA algorithm for training voice conversion systems from
nonparallel corpora", whose nearest neighbours know no phones).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glottis.audio.vocoder import Parameters
from glottis.audio.warping import warp

Float = NDArray[np.float64]
Index = NDArray[np.int64]

_CANDIDATES = 12
"""Phones that are compared, chosen by chance among those between the same neighbours."""


@dataclass(frozen=True)
class Spoken:
    """An utterance to learn from.

    Attributes:
        parameters: the recording's.
        words: what is said; utterances with equal words are parallel. Empty: never.
        phones: the names of its phones in order; ``starts`` and ``ends`` ``[phones]`` in frames.
    """

    parameters: Parameters
    words: str = ""
    phones: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()


@dataclass(frozen=True)
class Pairs:
    """For utterance ``source`` of one speaker: its ``frames`` ``[pairs]``, and where the other says
    the same, ``others`` ``[pairs]`` (numbers of utterances) and ``places`` ``[pairs]`` (frames)."""

    source: int
    frames: Index
    others: Index
    places: Index


def by_words(
    sources: Sequence[Spoken],
    targets: Sequence[Spoken],
    near: Sequence[Float],
    far: Sequence[Float],
    loud: tuple[Sequence[NDArray[np.bool_]], Sequence[NDArray[np.bool_]]],
) -> list[Pairs]:
    """Pair utterances of equal words by dynamic time warping.

    Args:
        sources, targets: the two speakers' utterances; a source with several targets takes them in
            turn.
        near: ``[frames, features]`` for each source, as close to the target's voice as is known.
        far: the same of each target.
        loud: of sources and targets, ``[frames]`` each: which frames take part.
    """
    same: dict[str, list[int]] = defaultdict(list)
    for number, spoken in enumerate(targets):
        if spoken.words and loud[1][number].any():
            same[spoken.words].append(number)
    found, turn = [], dict.fromkeys(same, 0)
    for number, spoken in enumerate(sources):
        others = same.get(spoken.words)
        if not others or not loud[0][number].any():
            continue
        other = others[turn[spoken.words] % len(others)]
        turn[spoken.words] += 1
        places = np.flatnonzero(loud[0][number]), np.flatnonzero(loud[1][other])
        first, second = warp(near[number][places[0]].T, far[other][places[1]].T)
        whose = np.full(len(first), other)
        found.append(Pairs(number, places[0][first], whose, places[1][second]))
    return found


def by_phones(
    sources: Sequence[Spoken],
    targets: Sequence[Spoken],
    near: Sequence[Float],
    far: Sequence[Float],
    seed: int = 0,
) -> list[Pairs]:
    """Pair phones of equal names; frames by their place within the phone.

    Arguments as :func:`by_words`. Phones that the target never says remain without a pair.
    """
    random = np.random.default_rng(seed)
    known: dict[tuple[str, ...], list[tuple[int, int, int]]] = defaultdict(list)
    for number, spoken in enumerate(targets):
        for phone, (name, left, right) in enumerate(_surroundings(spoken.phones)):
            place = (number, spoken.starts[phone], spoken.ends[phone])
            for key in ((name, left, right), (name, left, ""), (name, "", right), (name,)):
                known[key].append(place)
    found = []
    for number, spoken in enumerate(sources):
        frames, others, places = [], [], []
        for phone, (name, left, right) in enumerate(_surroundings(spoken.phones)):
            begin, end = spoken.starts[phone], min(spoken.ends[phone], len(near[number]))
            keys = (name, left, right), (name, left, ""), (name, "", right), (name,)
            candidates = next((known[key] for key in keys if key in known), [])
            if not candidates or begin >= end:
                continue
            if len(candidates) > _CANDIDATES:
                chosen = random.choice(len(candidates), _CANDIDATES, replace=False)
                candidates = [candidates[at] for at in chosen]
            # The share of the phone that lies before the middle of each frame.
            share = (np.arange(end - begin) + 0.5) / (end - begin)
            best, least = None, np.inf
            for other, start, stop in candidates:
                stop = min(stop, len(far[other]))
                if start >= stop:
                    continue
                rows = start + (share * (stop - start)).astype(np.int64)
                distance = float(((near[number][begin:end] - far[other][rows]) ** 2).mean())
                if distance < least:
                    best, least = (other, rows), distance
            if best is not None:
                frames.append(np.arange(begin, end))
                others.append(np.full(end - begin, best[0]))
                places.append(best[1])
        if frames:
            found.append(Pairs(number, *(np.concatenate(row) for row in (frames, others, places))))
    return found


def _surroundings(phones: Sequence[str]) -> list[tuple[str, str, str]]:
    """Each phone with its neighbours; the ends have neighbours of their own name."""
    row = ("^", *phones, "$")
    return list(zip(row[1:-1], row[:-2], row[2:], strict=True))
