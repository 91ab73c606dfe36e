"""Monotonic alignment, the obvious way: what every other form is compared with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from glottis.kernels.band import allowed


def search(
    log_prob: NDArray[np.floating],
    text_lengths: NDArray[np.int64],
    frame_lengths: NDArray[np.int64],
    optional: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """``([batch, text, frames], [batch], [batch]) -> (durations [batch, text], score [batch])``.

    Kim et al. 2020 (Glow-TTS), algorithm 1: ``Q[i, j] = log_prob[i, j] + max(Q[i, j - 1],
    Q[i - 1, j - 1])``, in float64, then the way back from the last token at the last frame. A tie
    stays on the current token. With ``optional`` a token may also be entered from further back,
    over tokens that are all optional; of equal ones the nearest is taken, and the path may start
    and end so that only optional tokens are left out.

    The score is ``Q`` at the end: -inf when no path has a finite score, NaN when a NaN or +inf lies
    inside the lengths. Lengths must fit the array and give each token that is not optional a
    frame.
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
        skippable = np.zeros(tokens, bool) if optional is None else optional[item, :tokens]
        best = np.full((tokens, frames), -np.inf)
        came = np.zeros((tokens, frames), dtype=np.int64)
        for frame in range(frames):
            for token in range(tokens):
                choices = _previous(token, frame, skippable)
                scores = [best[i, frame - 1] if frame else 0.0 for i in choices]
                if scores:
                    chosen = int(np.argmax(scores))  # the first of equal ones
                    came[token, frame] = choices[chosen]
                    best[token, frame] = inside[token, frame] + scores[chosen]
        ends = [i for i in reversed(range(tokens)) if skippable[i + 1 :].all()]
        token = ends[int(np.argmax([best[i, -1] for i in ends]))]
        score[item] = best[token, -1]
        if np.isneginf(score[item]):
            continue
        for frame in range(frames - 1, -1, -1):
            durations[item, token] += 1
            token = came[token, frame]
    return durations, score


def search_gaussian(
    mean: NDArray[np.floating],
    log_scale: NDArray[np.floating] | None,
    latent: NDArray[np.floating],
    text_lengths: NDArray[np.int64],
    frame_lengths: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """``[batch, channels, text]`` twice, ``[batch, channels, frames]``: as :func:`search`.

    The cells are ``sum_d log N(latent[b, d, j]; mean[b, d, i], exp(log_scale[b, d, i]))``, made in
    float64 from differences, one channel after another; unit variance without ``log_scale``.
    """
    batch, channels, text = mean.shape
    cells = np.zeros((batch, text, latent.shape[2]))
    with np.errstate(all="ignore"):  # what lies outside the lengths may be anything
        for c in range(channels):
            scale = 0.0 if log_scale is None else log_scale[:, c, :, None].astype(np.float64)
            difference = latent[:, c, None, :].astype(np.float64) - mean[:, c, :, None]
            cells -= 0.5 * (difference * np.exp(-scale)) ** 2 + scale + 0.5 * np.log(2 * np.pi)
    return search(cells, text_lengths, frame_lengths)


def search_blocks(
    blocks: Iterable[tuple[int, NDArray[np.floating]]], tokens: int, frames: int
) -> tuple[NDArray[np.int64], float]:
    """``-> (durations [tokens], score)`` of one item whose lattice arrives in blocks of frames.

    Each block is ``(low, cells)`` with ``cells[i, k]`` the score of its frame ``i`` under token
    ``low + k``; it holds every token from which both ends can be reached in its frames.
    """
    whole = np.full((1, tokens, frames), -np.inf)
    done = 0
    for low, cells in blocks:
        whole[0, low : low + cells.shape[1], done : done + len(cells)] = cells.T
        done += len(cells)
    durations, score = search(whole, np.array([tokens]), np.array([frames]))
    return durations[0], float(score[0])


def _previous(token: int, frame: int, skippable: NDArray[np.bool_]) -> list[int]:
    """From where ``token`` may be entered at ``frame``: itself first, then the nearest."""
    if frame == 0:
        return [token] if skippable[:token].all() else []
    choices = [token]
    for earlier in reversed(range(token)):
        choices.append(earlier)
        if not skippable[earlier]:
            break
    return choices


def soft(
    log_prob: NDArray[np.floating],
    text_lengths: NDArray[np.int64],
    frame_lengths: NDArray[np.int64],
    optional: NDArray[np.bool_] | None = None,
    band: float | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``-> (total [batch], posterior [batch, text, frames])``: the sum over all alignments.

    The search's recursion with ``max`` replaced by ``log sum exp``, forwards and backwards
    (Rabiner 1989, eq. 19 to 27). Zero outside the lengths. NaN and -inf totals as in ``search``.
    """
    batch = log_prob.shape[0]
    total = np.empty(batch, dtype=np.float64)
    posterior = np.zeros(log_prob.shape, dtype=np.float64)
    for item in range(batch):
        size = int(text_lengths[item]), int(frame_lengths[item])
        inside = log_prob[item, : size[0], : size[1]].astype(np.float64)
        if not (inside < np.inf).all():
            total[item] = np.nan
            continue
        skips = None if optional is None else optional[item, : size[0]]
        total[item], posterior[item, : size[0], : size[1]] = _sums(inside, skips, band)[:2]
    return total, posterior


def covariance(
    log_prob: NDArray[np.floating],
    direction: NDArray[np.floating],
    text_lengths: NDArray[np.int64],
    frame_lengths: NDArray[np.int64],
    optional: NDArray[np.bool_] | None = None,
    band: float | None = None,
) -> NDArray[np.float64]:
    """``[batch, text, frames]``: how each cell of ``soft``'s posterior changes along ``direction``.

    An alignment is drawn from the posterior; the result is the covariance of "it visits this cell"
    with the sum of ``direction`` along it. That is the second derivative of the total in one
    direction, and, being symmetric, also what a gradient of the posterior turns into.
    """
    found = np.zeros(log_prob.shape, dtype=np.float64)
    for item in range(len(found)):
        size = int(text_lengths[item]), int(frame_lengths[item])
        inside = log_prob[item, : size[0], : size[1]].astype(np.float64)
        along = direction[item, : size[0], : size[1]].astype(np.float64)
        skips = None if optional is None else optional[item, : size[0]]
        _, posterior, ways = _sums(inside, skips, band)
        # The mean sum up to a cell over the ways that lead to it, and from it on.
        before, after = along.copy(), np.zeros_like(along)
        for token, frame, source, share in ways:
            before[token, frame] += share * before[source, frame - 1]
        for token, frame, source, share in reversed(ways):
            # Of what leaves the source, the part that goes to this token.
            part = share * posterior[token, frame] / max(posterior[source, frame - 1], 1e-300)
            after[source, frame - 1] += part * (along[token, frame] + after[token, frame])
        mean = (posterior * along).sum()
        found[item, : size[0], : size[1]] = posterior * (before + after - mean)
    return found


def _sums(
    inside: NDArray[np.float64], optional: NDArray[np.bool_] | None, band: float | None
) -> tuple[float, NDArray[np.float64], list[tuple[int, int, int, float]]]:
    """One item's total, posterior, and every step ``(token, frame, source, share)`` into a cell.

    ``share`` is the probability that an alignment that visits the cell came from ``source``.
    """
    tokens, frames = inside.shape
    skips = np.zeros(tokens, bool) if optional is None else optional
    low, high = allowed(tokens, frames, band, optional is not None)
    token = np.arange(tokens)[:, None]
    inside = np.where((token >= low) & (token < high), inside, -np.inf)
    forward = np.full((tokens, frames), -np.inf)
    steps = []
    for j in range(frames):
        for i in range(tokens):
            sources = _previous(i, j, skips)
            scores = np.array([forward[k, j - 1] if j else 0.0 for k in sources])
            if len(scores) and scores.max() > -np.inf and inside[i, j] > -np.inf:
                into = np.logaddexp.reduce(scores)
                forward[i, j] = inside[i, j] + into
                for k, score in zip(sources, scores, strict=True):
                    if j and score > -np.inf:
                        steps.append((i, j, k, float(np.exp(score - into))))
    backward = np.full((tokens, frames), -np.inf)
    ends = [i for i in range(tokens) if skips[i + 1 :].all()]
    backward[ends, -1] = 0.0
    for i, j, k, _ in reversed(steps):
        onward = backward[i, j] + inside[i, j]
        backward[k, j - 1] = np.logaddexp(backward[k, j - 1], onward)
    total = float(np.logaddexp.reduce(forward[ends, -1]))
    if total == -np.inf:
        return total, np.zeros_like(inside), []
    return total, np.exp(forward + backward - total), steps
