"""Which tokens a frame may belong to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def allowed(
    tokens: int, frames: int, band: float | None, skips: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``-> (low [frames], high [frames])``: frame ``j`` may belong to ``low[j] <= i < high[j]``.

    Both ends must be within reach, one token a frame at most (unless ``skips`` says that tokens may
    be left out); and with ``band``, ``(i + 1/2) / I``
    may lie no further than ``band`` from ``(j + 1/2) / J`` (Sakoe & Chiba 1978, in fractions of the
    utterance), where the ends always stay in.
    """
    frame = np.arange(frames)
    low = np.maximum(0, tokens - frames + frame)
    high = np.minimum(tokens, frame + 1)
    if skips:
        low, high = np.zeros_like(frame), np.full_like(frame, tokens)
    if band is not None:
        place = (frame + 0.5) / frames
        # Rounded, so that a distance of exactly the band counts as within it.
        nearest = np.ceil(np.round(tokens * (place - band) - 0.5, 9)).astype(np.int64)
        furthest = np.floor(np.round(tokens * (place + band) - 0.5, 9)).astype(np.int64) + 1
        low = np.maximum(low, np.minimum(nearest, tokens - 1))
        high = np.minimum(high, np.maximum(furthest, 1))
        low[0], high[-1] = 0, tokens
    return low, high
