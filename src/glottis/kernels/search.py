"""Monotonic alignment search: argument checks and the choice of a form.

The forms live in files of their own and are imported when they are first used, so this module
needs neither torch nor numba.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError
from glottis.kernels.choice import choose

if TYPE_CHECKING:
    import torch

    Lattice = TypeVar("Lattice", NDArray[Any], torch.Tensor)
else:
    Lattice = TypeVar("Lattice")

KINDS = ("numba", "reference")


@lru_cache(maxsize=1)
def available() -> tuple[str, ...]:
    """The kinds that can run here, fastest first."""
    return tuple(kind for kind in KINDS if kind == "reference" or importlib.util.find_spec("numba"))


def mas(
    log_prob: Lattice,
    text_lengths: Any = None,
    frame_lengths: Any = None,
    *,
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
            outside the lengths, NaN included, is not looked at. The search is fastest when the text
            axis lies next to itself in memory (a transposed view of ``[batch, frames, text]``).
        text_lengths: integers ``[batch]``, tokens in each item; all of them when None.
        frame_lengths: integers ``[batch]``, frames in each item; all of them when None.
        kind: ``"auto"`` (the first of ``numba``, ``reference`` that can run), or one of these by
            name. All give the same durations.

    Returns:
        int64 ``[batch, text]``, of the library and on the device of ``log_prob``.

    Raises:
        InputError: (a ValueError; it names the batch item) more tokens than frames, a length that
            is zero or beyond the array, a NaN or +inf inside the lengths, or no path with a finite
            score; also for a ``kind`` that cannot run here.
    """
    cells, tokens, frames = _checked(log_prob, text_lengths, frame_lengths)
    durations, score = _search(cells, tokens, frames, kind)
    _check_scores(score)
    return _like(durations, log_prob)


def _search(
    cells: NDArray[Any], tokens: NDArray[np.int64], frames: NDArray[np.int64], kind: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    kind = choose("mas", kind, KINDS, available())
    if kind == "numba":
        from glottis.kernels import mas_numba

        return mas_numba.search(cells, tokens, frames, _threads())
    from glottis.kernels import mas_reference

    return mas_reference.search(cells, tokens, frames)


def _threads() -> int:
    """As many threads as torch would use when it is there, else as many as we may run on."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_torch(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _to_numpy(array: Any) -> NDArray[Any]:
    if _is_torch(array):
        array = array.detach().cpu()
        if array.dtype == sys.modules["torch"].bfloat16:
            array = array.float()  # numpy has no bfloat16
        return array.numpy()
    return np.asarray(array)


def _like(array: NDArray[Any], model: Any) -> Any:
    if _is_torch(model):
        return sys.modules["torch"].from_numpy(array).to(model.device)
    return array


def _checked(
    log_prob: Any, text_lengths: Any, frame_lengths: Any
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    cells = _to_numpy(log_prob)
    if cells.ndim != 3:
        raise InputError(f"log_prob must be [batch, text, frames], not of shape {cells.shape}")
    if not np.issubdtype(cells.dtype, np.floating):
        raise InputError(f"log_prob must be of a floating type, not {cells.dtype}")
    batch, text, width = cells.shape
    tokens = _lengths(text_lengths, batch, text, "text")
    frames = _lengths(frame_lengths, batch, width, "frame")
    for item in np.flatnonzero(tokens > frames)[:1]:
        raise InputError(
            f"batch item {item}: {tokens[item]} tokens cannot be aligned with {frames[item]} "
            "frames; each token needs at least one frame, so drop the item or use shorter frames"
        )
    return cells, tokens, frames


def _lengths(lengths: Any, batch: int, size: int, what: str) -> NDArray[np.int64]:
    if lengths is None:
        values = np.full(batch, size, dtype=np.int64)
    else:
        values = _to_numpy(lengths)
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


def _check_scores(score: NDArray[np.float64]) -> None:
    for item in np.flatnonzero(np.isnan(score))[:1]:
        raise InputError(
            f"batch item {item}: a NaN or +inf lies inside its lengths; the model that made these "
            "log-likelihoods has diverged, or the lengths are wrong"
        )
    for item in np.flatnonzero(np.isneginf(score))[:1]:
        raise InputError(
            f"batch item {item}: every path from the first to the last token has the score -inf"
        )
