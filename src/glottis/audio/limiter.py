"""Keeping peaks below full scale without distortion."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float32]


def limit(samples: Array, sample_rate: int, ceiling: float = 0.99, attack: float = 0.005) -> Array:
    """Turn down the moments in which ``[samples]`` leaves [-1, 1]; leave everything else alone.

    Audio that stays within [-1, 1] is returned unchanged. Otherwise a smooth gain that looks
    ``attack`` seconds ahead keeps every sample within ``ceiling``: the needed gain reduction in
    logarithms is spread by a sliding maximum and then averaged over the same window, and the
    average of values that are each at least the needed one is at least the needed one.
    """
    if len(samples) == 0 or np.abs(samples).max() <= 1.0:
        return samples
    reach = max(1, round(attack * sample_rate))
    needed = np.maximum(0.0, np.log(np.maximum(np.abs(samples), 1e-30) / ceiling))
    # The average below reaches as far back as ahead, so the maximum has to cover both sides.
    spread = sliding_window_view(np.pad(needed, 2 * reach), 2 * reach + 1).max(axis=-1)
    total = np.cumsum(np.concatenate([[0.0], spread]))
    width = 2 * reach + 1
    reduction = (total[width:] - total[:-width]) / width
    return np.asarray(samples * np.exp(-reduction), dtype=np.float32)
