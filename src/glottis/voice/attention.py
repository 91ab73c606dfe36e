"""What a model's attention says about how a text was spoken: where it failed, and durations."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Attention = NDArray[Any]


class Failure(NamedTuple):
    """What went wrong with symbols ``first`` to ``last`` (inclusive) of an utterance.

    ``kind``: ``never stops`` (the bound of the length was reached), ``skips`` (symbols that were
    hardly looked at) or ``repeats`` (attention went back to symbols it had left).
    """

    kind: Literal["never stops", "skips", "repeats"]
    first: int
    last: int


def find_failures(
    attention: Attention, stopped: bool, *, patience: int = 3, least: float = 0.3
) -> list[Failure]:
    """What attention ``[text, steps]`` of one utterance says about how it was spoken.

    A symbol is covered by the sum of what it was given over time, in steps. ``skips``: ``patience``
    or more neighbours (or any number that reaches the end of the text) with less than ``least``
    each; ``repeats``: the place of attention falls back by ``patience`` or more; ``never stops``:
    from where it last stood to the end of the text.
    """
    symbols, found = len(attention), []
    places = attention.argmax(0).tolist()
    if not stopped:
        found.append(Failure("never stops", places[-1] if places else 0, symbols - 1))
    missed = [*(attention.sum(1) < least).tolist(), False]
    first = 0
    for symbol, miss in enumerate(missed):
        if miss:
            continue
        at_end = symbol == symbols and first < symbols
        if symbol - first >= patience or (at_end and stopped):
            found.append(Failure("skips", first, min(symbol, symbols) - 1))
        first = symbol + 1
    furthest, back = 0, None
    for place in [*places, symbols + patience]:
        if place <= furthest - patience:
            back = place if back is None else min(back, place)
        elif back is not None and place >= furthest:
            found.append(Failure("repeats", back, furthest))
            back = None
        furthest = max(furthest, min(place, symbols - 1))
    return found


def durations_of(attention: Attention) -> NDArray[np.int64]:
    """Steps of each symbol, by where attention ``[text, steps]`` has got to: int64 ``[text]``.

    A step belongs to the furthest symbol that was looked at most so far, so that times never run
    backwards; they sum to the number of steps.
    """
    reached = np.maximum.accumulate(attention.argmax(0))
    return np.bincount(reached, minlength=len(attention)).astype(np.int64)
