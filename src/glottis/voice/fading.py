"""Fading in and out, so that speech meets silence without a click."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def faded_whole(samples: Array, length: int) -> Array:
    """Fade the first and last ``length`` of ``[samples]`` linearly."""
    length = min(length, len(samples) // 2)
    if length > 0:
        ramp = np.linspace(0.0, 1.0, length, endpoint=False, dtype=np.float32)
        samples = samples.copy()
        samples[:length] *= ramp
        samples[-length:] *= ramp[::-1]
    return samples


def faded(pieces: Iterator[Array], length: int) -> Iterator[Array]:
    """The same for ``[samples]`` that come in pieces: the last ``length`` wait for what follows.

    Joined, the pieces are what :func:`faded_whole` gives for all of them.
    """
    held = np.zeros(0, np.float32)
    begun = False
    for piece in pieces:
        held = np.concatenate([held, piece])
        if len(held) < 2 * length:
            continue
        given, held = held[:-length], held[-length:]
        if not begun:
            given, begun = faded_in(given, length), True
        if len(given):
            yield given
    if begun:
        yield faded_in(held[::-1], length)[::-1]
    elif len(held):
        yield faded_whole(held, length)


def faded_in(samples: Array, length: int) -> Array:
    """Fade the first ``length`` of ``[samples]`` linearly."""
    faded = samples.copy()
    if length:
        faded[:length] *= np.linspace(0.0, 1.0, length, endpoint=False, dtype=np.float32)
    return faded
