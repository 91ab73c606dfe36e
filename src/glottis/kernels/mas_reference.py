"""Monotonic alignment search, the obvious way: what every other form is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def search(
    log_prob: NDArray[np.floating],
    text_lengths: NDArray[np.int64],
    frame_lengths: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """``([batch, text, frames], [batch], [batch]) -> (durations [batch, text], score [batch])``.

    Kim et al. 2020 (Glow-TTS), algorithm 1: ``Q[i, j] = log_prob[i, j] + max(Q[i, j - 1],
    Q[i - 1, j - 1])``, in float64, then the way back from the last token at the last frame. A tie
    stays on the current token. The score is ``Q`` at that end: -inf when no path has a finite
    score, NaN when a NaN or +inf lies inside the lengths. Lengths must fit the array and
    ``text <= frames`` must hold.
    """
    batch, text, _ = log_prob.shape
    durations = np.zeros((batch, text), dtype=np.int64)
    score = np.empty(batch, dtype=np.float64)
    for item in range(batch):
        tokens, frames = int(text_lengths[item]), int(frame_lengths[item])
        inside = log_prob[item, :tokens, :frames].astype(np.float64)
        if not (inside < np.inf).all():
            score[item] = np.nan
            continue
        best = np.full((tokens, frames), -np.inf)
        best[0, 0] = inside[0, 0]
        for frame in range(1, frames):
            stay = best[:, frame - 1]
            move = np.concatenate([[-np.inf], stay[:-1]])
            best[:, frame] = inside[:, frame] + np.maximum(stay, move)
        score[item] = best[-1, -1]
        if np.isneginf(score[item]):
            continue
        token = tokens - 1
        for frame in range(frames - 1, 0, -1):
            durations[item, token] += 1
            if token > 0 and best[token - 1, frame - 1] > best[token, frame - 1]:
                token -= 1
        durations[item, token] += 1
    return durations, score
