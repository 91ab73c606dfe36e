"""Monotonic alignment search: argument checks and the choice of a form.

The forms live in files of their own and are imported when they are first used, so this module
needs neither torch nor numba.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError
from glottis.kernels.choice import choose, has_numba, with_triton

if TYPE_CHECKING:
    import torch

    Lattice = TypeVar("Lattice", NDArray[Any], torch.Tensor)
else:
    Lattice = TypeVar("Lattice")

KINDS = ("triton", "numba", "reference")


@lru_cache(maxsize=1)
def available() -> tuple[str, ...]:
    """The kinds that can run here on memory of the CPU, fastest first."""
    return ("numba", "reference") if has_numba() else ("reference",)


def _forms(log_prob: Any, optional: Any) -> tuple[str, ...]:
    """The kinds of ``mas`` for this input: Triton's wants a tensor and no optional tokens."""
    forms = available()
    return with_triton(forms, log_prob) if is_torch(log_prob) and optional is None else forms


def mas(
    log_prob: Lattice,
    text_lengths: Any = None,
    frame_lengths: Any = None,
    *,
    optional: Any = None,
    kind: str = "auto",
) -> Lattice:
    """``[batch, text, frames] -> durations int64 [batch, text]``: the most likely alignment.

    Finds, for every batch item, the path that gives each frame to one token, starts at the first
    token, ends at the last, never goes back and skips none, with the largest sum of ``log_prob``
    (Kim et al. 2020, Glow-TTS, algorithm 1). The durations, in frames, sum to the frame length and
    are zero in padding. A tie stays on the current token.

    Args:
        log_prob: ``[batch, text, frames]``, numpy or torch, any floating type, device and strides.
            It is never modified and takes no part in gradients. -inf forbids a cell. What lies
            outside the lengths, NaN included, is not looked at. Fastest when contiguous; a
            transposed view of ``[batch, frames, text]`` is read as it is, too, any other copied.
        text_lengths: integers ``[batch]``, tokens in each item; all of them when None.
        frame_lengths: integers ``[batch]``, frames in each item; all of them when None.
        optional: bool ``[batch, text]``, true where a token may be left out with duration zero
            (silences between words); none may when None.
        kind: ``"auto"`` (the first that can run of ``triton``, for tensors on a GPU and without
            optional tokens, ``numba`` and ``reference``), or one of these by name. All give the
            same durations.

    Returns:
        int64 ``[batch, text]``, of the library and on the device of ``log_prob``.

    Raises:
        InputError: (a ValueError; it names the batch item) more tokens than frames, a length that
            is zero or beyond the array, a NaN or +inf inside the lengths, or no path with a finite
            score; also for a ``kind`` that cannot run here.
    """
    return mas_with_score(log_prob, text_lengths, frame_lengths, optional=optional, kind=kind)[0]


def mas_with_score(
    log_prob: Lattice,
    text_lengths: Any = None,
    frame_lengths: Any = None,
    *,
    optional: Any = None,
    kind: str = "auto",
) -> tuple[Lattice, Lattice]:
    """As :func:`mas`, ``-> (durations [batch, text], score float64 [batch])``.

    The score is the sum of ``log_prob`` along the path, in nats.
    """
    tokens, frames = _checked(log_prob, text_lengths, frame_lengths, optional)
    chosen = choose("mas", kind, KINDS, _forms(log_prob, optional))
    if chosen == "triton":
        from glottis.kernels import mas_triton

        cells: Any = log_prob
        made: Any = mas_triton.search(cells.detach(), _like(tokens, cells), _like(frames, cells))
        _check_scores(to_numpy(made[1]))
        return made
    cells = to_numpy(log_prob)
    skips = None if optional is None else to_numpy(optional)
    if chosen == "numba":
        from glottis.kernels import mas_numba

        durations, score = mas_numba.search(cells, tokens, frames, skips, thread_count())
    else:
        from glottis.kernels import mas_reference

        durations, score = mas_reference.search(cells, tokens, frames, skips)
    _check_scores(score)
    return _like(durations, log_prob), _like(score, log_prob)


def mas_path(
    log_prob: Lattice,
    text_lengths: Any = None,
    frame_lengths: Any = None,
    *,
    optional: Any = None,
    kind: str = "auto",
) -> Lattice:
    """As :func:`mas`, but the dense path ``[batch, text, frames]`` that other toolkits return.

    One where a frame belongs to a token, else zero, in the type of ``log_prob``. Durations say the
    same in a hundredth of the memory; ``glottis.alignment`` has what uses them.
    """
    durations = to_numpy(mas(log_prob, text_lengths, frame_lengths, optional=optional, kind=kind))
    batch, text, frames = log_prob.shape
    path = np.zeros((batch, text, frames), dtype=bool)
    for item, row in enumerate(durations):
        path[item, np.repeat(np.arange(text), row), np.arange(row.sum())] = True
    if is_torch(log_prob):
        return _like(path, log_prob).to(log_prob.dtype)
    return _like(path.astype(to_numpy(log_prob).dtype), log_prob)


def mas_blocks(
    blocks: Iterable[tuple[int, NDArray[Any]]], tokens: int, frames: int, *, kind: str = "auto"
) -> tuple[NDArray[np.int64], float]:
    """One item whose lattice is made while it is searched: ``-> (durations [tokens], score)``.

    Args:
        blocks: in order, ``(low, cells)`` with ``cells`` floating ``[block, width]``: the scores of
            the next ``block`` frames under the tokens from ``low`` on. A block needs the tokens
            within reach only: from ``max(0, tokens - frames + j)`` at its first frame ``j`` up to
            ``min(j, tokens - 1)`` at its last.
        tokens, frames: the lengths; the blocks hold ``frames`` frames in all.
        kind: as for :func:`mas`. Beside the blocks ``numba`` keeps one bit a token and frame.

    Raises:
        InputError: as :func:`mas`, naming batch item 0.
    """
    _check_room(_lengths([tokens], 1, tokens, "text"), np.array([frames]))
    if choose("mas_blocks", kind, KINDS, available()) == "numba":
        from glottis.kernels import mas_numba

        durations, score = mas_numba.search_blocks(blocks, tokens, frames)
    else:
        from glottis.kernels import mas_reference

        durations, score = mas_reference.search_blocks(blocks, tokens, frames)
    _check_scores(np.array([score]))
    return durations, score


def mas_gaussian(
    mean: Lattice,
    log_scale: Lattice | None,
    latent: Lattice,
    text_lengths: Any = None,
    frame_lengths: Any = None,
    *,
    block: int = 256,
    kind: str = "auto",
) -> tuple[Lattice, Lattice]:
    """Lattice and search in one: ``-> (durations int64 [batch, text], score float64 [batch])``.

    As :func:`mas_with_score` of ``sum_d log N(latent[b, d, j]; mean[b, d, i], exp(log_scale[b, d,
    i]))``, the ``log_prob`` of :class:`glottis.likelihood.lattice.GaussianLattice`, of which only
    what a path can pass is made, some cells at a time. ``numba`` makes them in float32, or in
    float64 when an argument is, with the average of each channel's means taken off means and
    latents first; the sums of a cell come in an order of their own, so that durations and
    scores are those of :func:`mas` but for the rounding of cells.

    Args:
        mean: ``[batch, channels, text]``, numpy or torch, any floating type; with memory on a GPU
            it is copied from there, so make the lattice in torch instead.
        log_scale: natural logarithm of the standard deviation, of the mean's shape; None for unit
            variance.
        latent: ``[batch, channels, frames]``.
        text_lengths, frame_lengths: as for :func:`mas`. What lies beyond them is not looked at.
        block: frames of which ``numba`` holds the factors of the product at once.
        kind: ``"auto"`` (the first that can run of ``numba`` and ``reference``), or one of these.

    Raises:
        InputError: as :func:`mas`, and for shapes that do not fit each other. A NaN or +inf is
            found in every cell that a path can pass: any in a mean or a latent.
    """
    own, frames_of = to_numpy(mean), to_numpy(latent)
    scales = None if log_scale is None else to_numpy(log_scale)
    arrays = [own, frames_of] if scales is None else [own, frames_of, scales]
    if (
        own.ndim != 3
        or frames_of.ndim != 3
        or own.shape[:2] != frames_of.shape[:2]
        or not own.shape[1]
    ):
        raise InputError(
            "mean and latent must be [batch, channels, text] and [batch, channels, frames] with "
            f"the same batch and channels, one or more, not {list(own.shape)} and "
            f"{list(frames_of.shape)}"
        )
    if scales is not None and scales.shape != own.shape:
        raise InputError(
            f"log_scale must have the mean's shape {list(own.shape)}, not {list(scales.shape)}"
        )
    if not all(np.issubdtype(each.dtype, np.floating) for each in arrays):
        raise InputError(
            "mean, log_scale and latent must be of floating types, not "
            + ", ".join(str(each.dtype) for each in arrays)
        )
    if block < 1:
        raise InputError(f"block must be one frame or more, not {block}")
    batch, _, text = own.shape
    tokens = _lengths(text_lengths, batch, text, "text")
    frames = _lengths(frame_lengths, batch, frames_of.shape[2], "frame")
    _check_room(tokens, frames)
    wide = np.float64 if any(each.dtype.itemsize > 4 for each in arrays) else np.float32
    own, frames_of = own.astype(wide, copy=False), frames_of.astype(wide, copy=False)
    scales = None if scales is None else scales.astype(wide, copy=False)
    if choose("mas_gaussian", kind, KINDS, available()) == "numba":
        from glottis.kernels import mas_gaussian_numba

        durations, score = mas_gaussian_numba.search(
            own, scales, frames_of, tokens, frames, block, thread_count()
        )
    else:
        from glottis.kernels import mas_reference

        durations, score = mas_reference.search_gaussian(own, scales, frames_of, tokens, frames)
    _check_scores(score)
    return _like(durations, mean), _like(score, mean)


def soft(
    log_prob: Lattice,
    text_lengths: Any = None,
    frame_lengths: Any = None,
    *,
    optional: Any = None,
    band: float | None = None,
    kind: str = "auto",
) -> tuple[Lattice, Lattice]:
    """``-> (total [batch], posterior [batch, text, frames])``: all alignments at once.

    ``total`` is the logarithm of the sum over all monotonic alignments of ``exp`` of their score,
    and ``posterior[b, i, j]`` the probability that frame ``j`` belongs to token ``i``: zero outside
    the lengths, summing to one over the text of each frame (the forward-backward algorithm,
    Rabiner 1989). In torch both are differentiable in ``log_prob``, the total twice and the
    posterior once; the total's gradient is the posterior, so ``-total.mean()`` trains without
    choosing an alignment. Computed in float64, returned in the type of ``log_prob``, float32 at
    least.

    Args:
        log_prob, text_lengths, frame_lengths, optional, kind: as for :func:`mas`.
        band: keep ``|(i + 1/2) / text - (j + 1/2) / frames|`` within this; no limit when None.

    Raises:
        InputError: as :func:`mas`; with a band also when no alignment stays inside it.
    """
    if band is not None and not band > 0:
        raise InputError(f"the band must be above 0 (a fraction of the utterance), not {band}")
    tokens, frames = _checked(log_prob, text_lengths, frame_lengths, optional)
    skips = None if optional is None else to_numpy(optional)
    form: Any
    threads: tuple[int, ...] = ()
    if choose("soft", kind, KINDS, available()) == "numba":
        from glottis.kernels import mas_numba

        form, threads = mas_numba, (thread_count(),)
    else:
        from glottis.kernels import mas_reference

        form = mas_reference

    def sums(cells: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        total, posterior = form.soft(to_numpy(cells), tokens, frames, skips, band, *threads)
        _check_scores(total, "" if band is None else f" within the band of {band}; widen it")
        return total, posterior

    def covariance(cells: Any, direction: Any) -> Any:
        rest = tokens, frames, skips, band, *threads
        return _like(form.covariance(to_numpy(cells), to_numpy(direction), *rest), cells).to(
            cells.dtype
        )

    if is_torch(log_prob):
        from glottis.kernels.soft_torch import Total

        double = sys.modules["torch"].float64
        kept = log_prob.dtype if log_prob.dtype == double else sys.modules["torch"].float32
        return Total.apply(
            log_prob,
            lambda cells: tuple(_like(each, cells).to(kept) for each in sums(cells)),
            covariance,
        )
    total, posterior = sums(log_prob)
    wide = np.result_type(to_numpy(log_prob).dtype, np.float32)
    return _like(total.astype(wide), log_prob), _like(posterior.astype(wide), log_prob)


def thread_count() -> int:
    """As many threads as torch would use when it is there, else as many as we may run on."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_torch(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def to_numpy(array: Any) -> NDArray[Any]:
    if is_torch(array):
        array = array.detach().cpu()
        if array.dtype == sys.modules["torch"].bfloat16:
            array = array.float()  # numpy has no bfloat16
        return array.numpy()
    return np.asarray(array)


def _like(array: NDArray[Any], model: Any) -> Any:
    if is_torch(model):
        return sys.modules["torch"].from_numpy(array).to(model.device)
    return array


def _checked(
    log_prob: Any, text_lengths: Any, frame_lengths: Any, optional: Any = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The lengths as arrays, after everything but the cells themselves was looked at."""
    cells: Any = log_prob if is_torch(log_prob) else np.asarray(log_prob)
    if cells.ndim != 3:
        raise InputError(f"log_prob must be [batch, text, frames], not {list(cells.shape)}")
    is_floating = (
        cells.is_floating_point() if is_torch(cells) else np.issubdtype(cells.dtype, np.floating)
    )
    if not is_floating:
        raise InputError(f"log_prob must be of a floating type, not {cells.dtype}")
    batch, text, width = cells.shape
    tokens = _lengths(text_lengths, batch, text, "text")
    frames = _lengths(frame_lengths, batch, width, "frame")
    needed = tokens
    if optional is not None:
        skips = to_numpy(optional)
        if skips.dtype != bool or skips.shape != (batch, text):
            raise InputError(
                f"optional must be bool [{batch}, {text}], not {skips.dtype} {list(skips.shape)}"
            )
        needed = (~skips & (np.arange(text) < tokens[:, None])).sum(1)
    _check_room(needed, frames)
    return tokens, frames


def _check_room(tokens: NDArray[np.integer], frames: NDArray[np.integer]) -> None:
    for item in np.flatnonzero(tokens > frames)[:1]:
        raise InputError(
            f"batch item {item}: {tokens[item]} tokens cannot be aligned with {frames[item]} "
            "frames; each token needs at least one frame, so drop the item or use shorter frames"
        )


def _lengths(lengths: Any, batch: int, size: int, what: str) -> NDArray[np.int64]:
    if lengths is None:
        values = np.full(batch, size, dtype=np.int64)
    else:
        values = to_numpy(lengths)
        if values.shape != (batch,):
            raise InputError(
                f"{what}_lengths must have shape [{batch}], one length a batch item, "
                f"not {list(values.shape)}"
            )
        if values.size and not np.issubdtype(values.dtype, np.integer):
            raise InputError(f"{what}_lengths must be integers, not {values.dtype}")
        values = values.astype(np.int64)
    for item in np.flatnonzero((values < 1) | (values > size))[:1]:
        raise InputError(
            f"batch item {item}: {what} length {values[item]} is not between 1 and {size}, "
            "the size of that axis"
        )
    return values


def _check_scores(score: NDArray[np.float64], where: str = "") -> None:
    for item in np.flatnonzero(np.isnan(score))[:1]:
        raise InputError(
            f"batch item {item}: a NaN or +inf lies inside its lengths; the model that made these "
            "log-likelihoods has diverged, or the lengths are wrong"
        )
    for item in np.flatnonzero(np.isneginf(score))[:1]:
        raise InputError(
            f"batch item {item}: every path from the first to the last token has the score -inf"
            f"{where}"
        )
