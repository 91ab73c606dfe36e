"""Maximum-likelihood parameter generation: argument checks and the choice of a form.

The most likely smooth trajectory under Gaussians over static and dynamic features (Tokuda et al.
2000). The forms live in files of their own and are imported when they are first used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError
from glottis.kernels import trajectory_reference
from glottis.kernels.choice import choose, with_triton
from glottis.kernels.search import available as compiled_forms
from glottis.kernels.search import is_torch, thread_count, to_numpy
from glottis.kernels.trajectory_reference import Window, unusable

if TYPE_CHECKING:
    import torch

KINDS = ("triton", "numba", "torch", "reference")

STATIC: Window = (0, 0, (1.0,))
#: Static, first and second difference, as HTS and nnmnkwii use them.
WINDOWS: tuple[Window, ...] = (STATIC, (1, 1, (-0.5, 0.0, 0.5)), (1, 1, (1.0, -2.0, 1.0)))


def mlpg(
    mean: Any,
    variance: Any,
    windows: Sequence[Any] = WINDOWS,
    lengths: Any = None,
    *,
    kind: str = "auto",
) -> Any:
    """``[..., frames, windows * static] -> [..., frames, static]``: the most likely trajectory.

    Given the mean and variance of each static and dynamic feature in each frame, finds the static
    trajectory ``y`` that is most likely together with the dynamic features it implies (Tokuda et
    al. 2000, eq. 10): ``R y = sum_w W_w' U_w^-1 mu_w`` with ``R = sum_w W_w' U_w^-1 W_w``, where
    row ``t`` of ``W_w`` holds window ``w``'s coefficients around frame ``t`` and ``U_w`` the
    variances. As in nnmnkwii, every dynamic window has zero precision on the first and last frames,
    as many as the widest window reaches to one side, so very short inputs give the static means.

    A mean that is NaN makes NaN of its dimension of its item, and of no other, so that a loss shows
    it.

    Linear in frames; solved in float64, returned in the type of ``mean`` (float16 and bfloat16 pass
    through float32). In torch differentiable in mean and variance, any number of times, under
    ``torch.compile`` and ``torch.func.vmap`` too; the backward pass is one more banded solve.

    Args:
        mean: numpy or torch, floating; blocks of all static dimensions, one block a window.
        variance: of the shape of ``mean``, or one that broadcasts to it, as ``[windows * static]``.
        windows: ``(left, right, coefficients)`` each, how far it reaches to both sides and ``left +
            right + 1`` numbers; the first must be static, ``(0, 0, [1.0])``.
        lengths: integers ``[...]``, frames in each item; what lies beyond them, NaN included, is
            not looked at and the result there is zero. All frames when None.
        kind: ``"auto"`` (the first that can run of ``triton``, for tensors on a GPU, ``numba``, on
            the CPU, and ``torch``, any device, a step a frame), or a name, ``"reference"`` (dense,
            numpy) among them.

    Raises:
        InputError: (a ValueError) a width that the windows do not divide, wrong windows or lengths,
            or a variance inside the lengths that is not positive. An infinite one says nothing
            about its feature, and is refused only where nothing else does.
    """
    windows = checked_windows(windows)
    if mean.ndim < 2 or mean.shape[-1] % len(windows) or not mean.shape[-1]:
        raise InputError(
            f"mean must be [..., frames, {len(windows)} windows * static], "
            f"not {list(mean.shape)}: its width is not divisible by the number of windows"
        )
    if is_torch(mean):
        return _mlpg_torch(mean, variance, windows, lengths, kind)
    mean, variance = np.asarray(mean), np.asarray(variance)
    if not np.issubdtype(mean.dtype, np.floating):
        raise InputError(f"mean must be of a floating type, not {mean.dtype}")
    forms = tuple(form for form in available() if form != "torch")
    chosen = choose("mlpg", kind, KINDS, forms)
    wide = np.float64 if mean.dtype.itemsize > 4 else np.float32
    flat, variance = flattened(mean.astype(wide), variance.astype(wide), np.broadcast_to)
    counts = _checked_lengths(lengths, mean.shape[:-2], mean.shape[-2])
    flat, precision = trajectory_reference.precisions(flat, variance, windows, counts)
    found: NDArray[Any]
    if chosen == "numba":
        from glottis.kernels import trajectory_numba

        try:
            found = trajectory_numba.solve(flat, precision, windows, True, thread_count())
        except trajectory_numba.Unusable as error:
            raise InputError(unusable(error.frame)) from error
    else:
        found = trajectory_reference.solve(flat, precision, windows, True)
    return found.reshape(*mean.shape[:-1], found.shape[-1]).astype(mean.dtype)


def _mlpg_torch(
    mean: torch.Tensor, variance: torch.Tensor, windows: tuple[Window, ...], lengths: Any, kind: str
) -> torch.Tensor:
    from glottis.kernels import trajectory_torch

    if not mean.is_floating_point():
        raise InputError(f"mean must be of a floating type, not {mean.dtype}")
    flat, precision = mlpg_precisions(mean, variance, windows, lengths)
    found = trajectory_torch.trajectory(
        flat, precision, *trajectory_torch.packed(windows), True, kind
    )
    return found.reshape(*mean.shape[:-1], found.shape[-1]).to(mean.dtype)


def mlpg_precisions(
    mean: torch.Tensor, variance: torch.Tensor, windows: tuple[Window, ...], lengths: Any = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """``-> (mean, precision)``, both ``[items, frames, windows * static]``, float32 at least.

    What :func:`mlpg` solves with: dynamic precisions are zero near the ends, padding decouples.
    """
    import torch

    from glottis.kernels import trajectory_torch

    wide = torch.promote_types(mean.dtype, torch.float32)
    flat, variance = flattened(mean.to(wide), variance.to(wide), torch.broadcast_to)
    counts = None
    if lengths is not None:
        counts = torch.from_numpy(_checked_lengths(lengths, mean.shape[:-2], mean.shape[-2]))
    return trajectory_torch.precisions(flat, variance, windows, counts)


def mlpg_solve(
    right_side: torch.Tensor, precision: torch.Tensor, windows: Sequence[Window]
) -> torch.Tensor:
    """``R x = right_side`` for ``[items, frames, static]``; differentiable."""
    from glottis.kernels import trajectory_torch

    packed = trajectory_torch.packed(windows)
    return trajectory_torch.trajectory(right_side, precision, *packed, False, "auto")


def mlpg_log_determinant(precision: torch.Tensor, windows: Sequence[Window]) -> torch.Tensor:
    """``[items, frames, windows * static] -> log det R [items, static]``, nats; differentiable."""
    from glottis.kernels.trajectory_torch import LogDeterminant

    return LogDeterminant.apply(precision, windows, thread_count())


def mlpg_colour(
    noise: torch.Tensor, precision: torch.Tensor, windows: Sequence[Window]
) -> torch.Tensor:
    """White ``noise [items, frames, static]`` -> noise of covariance ``R^-1``; no gradients."""
    import torch

    from glottis.kernels import trajectory_numba

    arrays = noise.detach().cpu().numpy(), precision.detach().cpu().numpy()
    try:
        made = trajectory_numba.colour(*arrays, windows, thread_count())
    except trajectory_numba.Unusable as error:
        raise InputError(unusable(error.frame)) from error
    return torch.from_numpy(made).to(noise.device)


def mlpg_windowed(values: torch.Tensor, windows: Sequence[Window]) -> torch.Tensor:
    """``[items, frames, static] -> [items, frames, windows * static]``, zero beyond the ends."""
    import torch

    from glottis.kernels.trajectory_torch import apply_window

    return torch.cat([apply_window(values, window) for window in windows], dim=2)


@lru_cache(maxsize=1)
def available() -> tuple[str, ...]:
    """The kinds that can run here on memory of the CPU, fastest first."""
    import importlib.util

    forms = {*compiled_forms(), *(["torch"] if importlib.util.find_spec("torch") else [])}
    return tuple(kind for kind in KINDS if kind in forms)


def form_for(tensor: torch.Tensor, kernel: str, kind: str) -> str:
    """The form for a tensor: by default numba on the CPU, Triton's on a GPU, torch elsewhere."""
    forms = available()
    if tensor.device.type != "cpu":
        forms = tuple(sorted(forms, key=lambda form: form != "torch"))
    return choose(kernel, kind, KINDS, with_triton(forms, tensor))


def checked_windows(windows: Sequence[Any]) -> tuple[Window, ...]:
    """Windows as tuples of numbers.

    Raises:
        InputError: not ``(left, right, coefficients)``, a wrong count, or a first one not static.
    """
    checked = []
    for index, window in enumerate(windows):
        try:
            left, right, coefficients = window
            row = (int(left), int(right), tuple(float(value) for value in coefficients))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"window {index} must be (left, right, coefficients), not {window!r}"
            ) from error
        if row[0] < 0 or row[1] < 0 or len(row[2]) != row[0] + row[1] + 1:
            raise InputError(
                f"window {index} reaches {left} to the left and {right} to the right, which takes "
                f"{row[0] + row[1] + 1} coefficients, not {len(row[2])}"
            )
        checked.append(row)
    if not checked or checked[0] != STATIC:
        raise InputError("the first window must be the static one, (0, 0, [1.0])")
    return tuple(checked)


def flattened(mean: Any, variance: Any, broadcast: Callable[..., Any]) -> tuple[Any, Any]:
    """Both as ``[items, frames, windows * static]``, the variance broadcast to the mean."""
    try:
        variance = broadcast(variance, mean.shape)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"variance {list(variance.shape)} does not broadcast to the mean's {list(mean.shape)}"
        ) from error
    items = math.prod(mean.shape[:-2])
    shape = (items, *mean.shape[-2:])
    return mean.reshape(shape), variance.reshape(shape)


def _checked_lengths(lengths: Any, batch: tuple[int, ...], frames: int) -> NDArray[np.int64] | None:
    if lengths is None:
        return None
    values = to_numpy(lengths)
    if values.shape != tuple(batch) or (values.size and values.dtype.kind not in "iu"):
        raise InputError(
            f"lengths must be integers {list(batch)}, one an item, not {values.dtype} "
            f"{list(values.shape)}"
        )
    values = values.reshape(-1).astype(np.int64)
    for item in np.flatnonzero((values < 1) | (values > frames))[:1]:
        raise InputError(
            f"batch item {item}: length {values[item]} is not between 1 and {frames}, the frames"
        )
    return values
