"""Trajectories by dense linear algebra: what every other form is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError

Window = tuple[int, int, tuple[float, ...]]


def unusable(frame: int) -> str:
    """What to say about precisions with which the trajectory is not defined."""
    return (
        f"the variances around frame {frame} are not all positive (or so large that nothing "
        "decides the frame); take the exponential of what a network gives, or clamp it"
    )


def precisions(
    mean: NDArray[np.floating],
    variance: NDArray[np.floating],
    windows: Sequence[Window],
    lengths: NDArray[np.int64] | None,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """``-> (mean, precision)``, all ``[items, frames, windows * static]``.

    Precisions are zero for dynamic windows near the ends of an item. Beyond its length they are one
    for the static window and zero for the others, and the means zero: padding decouples.
    """
    items, frames, width = mean.shape
    reach = max(max(left, right) for left, right, _ in windows)
    count = np.full(items, frames) if lengths is None else lengths
    place = np.arange(frames)
    inside = (place < count[:, None])[:, :, None]
    middle = ((place >= reach) & (place < count[:, None] - reach))[:, :, None]
    static = np.arange(width) < width // len(windows)
    used = inside & (middle | static)
    with np.errstate(divide="ignore"):  # a zero variance is refused later, by name
        weight = 1 / np.where(used, variance, 1)
    precision = np.where(used, weight, np.where(static & ~inside, 1, 0))
    return np.where(inside, mean, 0).astype(mean.dtype), precision.astype(mean.dtype)


def check(precision: NDArray[np.floating], matrices: NDArray[np.float64]) -> None:
    """Raise unless precisions are numbers from zero up and their ``R`` is positive definite."""
    for frame in np.flatnonzero(~((precision >= 0) & (precision < np.inf)).all((0, 2)))[:1]:
        raise InputError(unusable(frame))
    for frames in range(matrices.shape[-1], 0, -1):
        try:
            np.linalg.cholesky(matrices[..., :frames, :frames])
        except np.linalg.LinAlgError as error:
            if frames == 1:
                raise InputError(unusable(0)) from error
        else:
            if frames < matrices.shape[-1]:
                raise InputError(unusable(frames))
            break


def window_matrix(window: Window, frames: int) -> NDArray[np.float64]:
    """``[frames, frames]``: row ``t`` holds the coefficients around ``t``, cut at both ends."""
    left, right, coefficients = window
    matrix = np.zeros((frames, frames))
    for shift, coefficient in zip(range(-left, right + 1), coefficients, strict=True):
        matrix += coefficient * np.eye(frames, k=shift)
    return matrix


def precision_matrices(
    precision: NDArray[np.floating], windows: Sequence[Window]
) -> NDArray[np.float64]:
    """``[items, frames, windows * static] -> R [items, static, frames, frames]``.

    ``R = sum_w W_w' diag(p_w) W_w``.
    """
    items, frames, width = precision.shape
    blocks = precision.astype(np.float64).reshape(
        items, frames, len(windows), width // len(windows)
    )
    matrices = np.zeros((items, width // len(windows), frames, frames))
    for index, window in enumerate(windows):
        dense = window_matrix(window, frames)
        weight = blocks[:, :, index].transpose(0, 2, 1)
        matrices += np.einsum("ti,nst,tj->nsij", dense, weight, dense)
    return matrices


def solve(
    mean: NDArray[np.floating],
    precision: NDArray[np.floating],
    windows: Sequence[Window],
    weighted: bool,
) -> NDArray[np.float64]:
    """``R y = r -> y [items, frames, static]``.

    With ``weighted``, ``mean`` is like ``precision`` and ``r = sum_w W_w' (p_w mean_w)``; otherwise
    ``mean`` is ``r`` itself, ``[items, frames, static]``.
    """
    matrices = precision_matrices(precision, windows)
    check(precision, matrices)
    right: NDArray[Any] = mean.astype(np.float64)
    if weighted:
        items, frames, width = precision.shape
        blocks = (right * precision).reshape(items, frames, len(windows), width // len(windows))
        right = np.zeros_like(blocks[:, :, 0])
        for index, window in enumerate(windows):
            right += np.einsum("ti,nts->nis", window_matrix(window, frames), blocks[:, :, index])
    columns = right.transpose(0, 2, 1)[..., None]
    solved: NDArray[Any] = np.linalg.solve(matrices, columns)
    return solved[..., 0].transpose(0, 2, 1)


def log_determinant(
    precision: NDArray[np.floating], windows: Sequence[Window]
) -> NDArray[np.float64]:
    """``[items, frames, windows * static] -> log det R [items, static]``."""
    total: NDArray[np.float64] = np.linalg.slogdet(precision_matrices(precision, windows))[1]
    return total
