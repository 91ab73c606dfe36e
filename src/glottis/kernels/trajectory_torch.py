"""Trajectories as one torch operator, closed under its own derivatives, and a form for any device.

With ``R = sum_w W_w' diag(p_w) W_w`` the operator ``trajectory`` solves ``R y = r`` (see the
reference). Let ``g`` be the gradient of ``y``: then ``a = R^-1 g`` is the gradient of ``r``, one
more call of the same operator, and that of ``p_w`` is ``(W_w a) (mean_w - W_w y)``, or ``-(W_w a)
(W_w y)`` when ``r`` was given itself. The windows are applied by torch's own slices and sums, so
the gradient can be differentiated again, as often as one likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from glottis.errors import InputError
from glottis.kernels.search import thread_count
from glottis.kernels.trajectory_reference import Window, unusable


def packed(windows: Sequence[Window]) -> tuple[list[int], list[int], list[float]]:
    """Windows as an operator takes them: left and right widths, coefficients in a row."""
    return (
        [left for left, _, _ in windows],
        [right for _, right, _ in windows],
        [value for _, _, values in windows for value in values],
    )


def unpacked(
    lefts: Sequence[int], rights: Sequence[int], coefficients: Sequence[float]
) -> list[Window]:
    """The inverse of :func:`packed`."""
    windows, at = [], 0
    for left, right in zip(lefts, rights, strict=True):
        windows.append((left, right, tuple(coefficients[at : at + left + right + 1])))
        at += left + right + 1
    return windows


def precisions(
    mean: Tensor, variance: Tensor, windows: Sequence[Window], lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As :func:`glottis.kernels.trajectory_reference.precisions`, differentiable."""
    _, frames, width = mean.shape
    reach = max(max(left, right) for left, right, _ in windows)
    if lengths is None:
        # Inside vmap and its kin a tensor does not say that it is differentiated.
        differentiated = (
            variance.requires_grad
            or torch.compiler.is_compiling()
            or torch._C._functorch.is_functorch_wrapped_tensor(variance)
        )
        if differentiated:
            weight = torch.ones(frames, width, dtype=mean.dtype, device=mean.device)
        else:  # in place: on short input fresh memory costs as much as the solution
            weight = variance.reciprocal()
        for end in (slice(None, reach), slice(max(0, frames - reach), None)):
            # Multiplied, so that what is no variance is found there too.
            weight[..., end, width // len(windows) :] *= 0
        return mean, weight / variance if differentiated else weight
    place = torch.arange(frames, device=mean.device)
    static = torch.arange(width, device=mean.device) < width // len(windows)
    count = lengths.to(mean.device)[:, None]
    inside = (place < count)[:, :, None]
    used = inside & (((place >= reach) & (place < count - reach))[:, :, None] | static)
    # Padding may hold anything: it must not even meet the division, whose gradient would be NaN.
    weight = 1 / torch.where(used, variance, 1.0)
    beyond = (static & ~inside).to(mean.dtype)
    return torch.where(inside, mean, 0.0), torch.where(used, weight, beyond)


def apply_window(values: Tensor, window: Window) -> Tensor:
    """``W_w y``: ``[items, frames, static]``, zero beyond the ends."""
    left, right, coefficients = window
    if (left, right) == (0, 0):
        return values if coefficients[0] == 1 else coefficients[0] * values
    frames = values.shape[1]
    padded = torch.nn.functional.pad(values, (0, 0, left, right))
    parts = [c * padded[:, k : k + frames] for k, c in enumerate(coefficients) if c]
    return sum(parts[1:], parts[0]) if parts else torch.zeros_like(values)


def _apply_transposed(values: Tensor, window: Window) -> Tensor:
    """``W_w' y``."""
    left, right, coefficients = window
    return apply_window(values, (right, left, coefficients[::-1]))


@torch.library.custom_op("glottis::trajectory", mutates_args=())
def trajectory(
    mean: Tensor,
    precision: Tensor,
    lefts: Sequence[int],
    rights: Sequence[int],
    coefficients: Sequence[float],
    weighted: bool,
    kind: str,
) -> Tensor:
    """``R y = r -> y [items, frames, static]``; the arguments as in the reference."""
    # Chosen here, so that a compiled graph holds one operator and no question about the machine.
    from glottis.kernels.trajectory import form_for

    windows = unpacked(lefts, rights, coefficients)
    kind = form_for(precision, "mlpg", kind)
    if kind == "torch":
        return _solve(mean, precision, windows, weighted).contiguous()
    if kind == "triton":
        from glottis.kernels import trajectory_triton

        return trajectory_triton.solve(mean.detach(), precision.detach(), windows, weighted)
    arrays = mean.detach().cpu().numpy(), precision.detach().cpu().numpy()
    if kind == "numba":
        from glottis.kernels import trajectory_numba

        try:
            result = trajectory_numba.solve(*arrays, windows, weighted, thread_count())
        except trajectory_numba.Unusable as error:
            raise InputError(unusable(error.frame)) from error
    else:
        from glottis.kernels import trajectory_reference

        result = trajectory_reference.solve(*arrays, windows, weighted)
    return torch.from_numpy(result).to(precision.device, precision.dtype)


@trajectory.register_fake
def _(
    mean: Tensor,
    precision: Tensor,
    lefts: Sequence[int],
    rights: Sequence[int],
    coefficients: Sequence[float],
    weighted: bool,
    kind: str,
) -> Tensor:
    items, frames, width = precision.shape
    return precision.new_empty(items, frames, width // len(lefts))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    mean, precision, *ctx.rest = inputs
    # The right side itself is not needed again, only what depends on the precision.
    ctx.save_for_backward(mean, precision, output)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    mean, precision, output = ctx.saved_tensors
    lefts, rights, coefficients, weighted, kind = ctx.rest
    windows = unpacked(lefts, rights, coefficients)
    adjoint = trajectory(gradient.contiguous(), precision, lefts, rights, coefficients, False, kind)
    static = output.shape[2]
    of_mean, of_precision = [], []
    for index, window in enumerate(windows):
        at = slice(index * static, (index + 1) * static)
        through, made = apply_window(adjoint, window), apply_window(output, window)
        if weighted:
            of_mean.append(precision[..., at] * through)
            made = made - mean[..., at]
        of_precision.append(-through * made)
    return (
        torch.cat(of_mean, dim=2) if weighted else adjoint,
        torch.cat(of_precision, dim=2),
        *[None] * 5,
    )


trajectory.register_autograd(_backward, setup_context=_setup)


@trajectory.register_vmap
def _(
    info: Any, in_dims: tuple[int | None, ...], mean: Tensor, precision: Tensor, *rest: Any
) -> Any:
    batch = info.batch_size

    def folded(array: Tensor, dim: int | None) -> Tensor:
        array = array.expand(batch, *array.shape) if dim is None else array.movedim(dim, 0)
        return array.reshape(-1, *array.shape[2:])

    result = trajectory(folded(mean, in_dims[0]), folded(precision, in_dims[1]), *rest)
    return result.reshape(batch, -1, *result.shape[1:]), 0


def _solve(mean: Tensor, precision: Tensor, windows: Sequence[Window], weighted: bool) -> Tensor:
    """Torch operations only, float64, a step a frame: slow on a CPU, but it runs on any device."""
    items, frames, width = precision.shape
    static = width // len(windows)
    band = max(left + right for left, right, _ in windows)
    weights = precision.double().reshape(items, frames, len(windows), static).unbind(2)
    # diagonals[k][:, t] is R[t, t - k].
    diagonals = [weights[0].new_zeros(items, frames, static) for _ in range(band + 1)]
    right_side = mean.double()
    if weighted:
        blocks = right_side.reshape(items, frames, len(windows), static).unbind(2)
        right_side = torch.zeros_like(blocks[0])
    for index, (left, right, coefficients) in enumerate(windows):
        window = (left, right, coefficients)
        if weighted:
            right_side = right_side + _apply_transposed(weights[index] * blocks[index], window)
        for k in range(left + right + 1):
            # Frame s gives R[s + o, s + o - k] its weight times the coefficients at o and o - k.
            for o in range(k - left, right + 1):
                scale = coefficients[o + left] * coefficients[o - k + left]
                at, to = max(0, -o, k - o), min(frames, frames - o)
                if scale and at < to:
                    diagonals[k][:, at + o : to + o] += scale * weights[index][:, at:to]
    lower = [diagonal.clone() for diagonal in diagonals]
    pivot = torch.empty_like(right_side)
    solution = right_side.clone()
    for t in range(frames):
        reach = min(band, t)
        for k in range(reach, 0, -1):
            entry = lower[k][:, t].clone()
            for m in range(k + 1, reach + 1):
                entry -= lower[m][:, t] * lower[m - k][:, t - k] * pivot[:, t - m]
            lower[k][:, t] = entry / pivot[:, t - k]
        now = diagonals[0][:, t].clone()
        for k in range(1, reach + 1):
            now -= lower[k][:, t].square() * pivot[:, t - k]
            solution[:, t] -= lower[k][:, t] * solution[:, t - k]
        pivot[:, t] = now
    good = ((pivot > 0) & pivot.isfinite()).all(2) & ((precision >= 0) & precision.isfinite()).all(
        2
    )
    wrong = ~good.all(0)
    if bool(wrong.any()):
        raise InputError(unusable(int(wrong.int().argmax())))
    solution /= pivot
    for t in range(frames - 1, -1, -1):
        for k in range(1, min(band, frames - 1 - t) + 1):
            solution[:, t] -= lower[k][:, t + k] * solution[:, t + k]
    return solution.to(precision.dtype)


class LogDeterminant(torch.autograd.Function):
    """``precision -> log det R [items, static]``; its gradient: the diagonal of ``W_w R^-1 W_w'``.

    Only the band of ``R^-1`` is needed for that, and only the band is computed.
    """

    @staticmethod
    def forward(ctx: Any, precision: Tensor, windows: Sequence[Window], threads: int) -> Tensor:
        from glottis.kernels import trajectory_numba

        try:
            total, inverse = trajectory_numba.log_determinant(
                precision.detach().cpu().numpy(), windows, threads
            )
        except trajectory_numba.Unusable as error:
            raise InputError(unusable(error.frame)) from error
        ctx.windows = windows
        ctx.save_for_backward(torch.from_numpy(inverse))
        ctx.device, ctx.dtype = precision.device, precision.dtype
        return torch.from_numpy(total).to(precision.device, precision.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        items, frames, width = inverse.shape
        static = gradient.shape[1]
        bands = inverse.reshape(items, frames, width // static, static)
        parts = []
        for left, right, coefficients in ctx.windows:
            # Entry (t, t): sum over o, q of c_o c_q (R^-1)[t + o, t + q].
            part = torch.zeros(items, frames, static, dtype=inverse.dtype)
            for o in range(-left, right + 1):
                for q in range(-left, o + 1):
                    scale = coefficients[o + left] * coefficients[q + left] * (1 if o == q else 2)
                    at, to = max(0, -q), min(frames, frames - o)
                    if scale and at < to:
                        part[:, at:to] += scale * bands[:, at + o : to + o, o - q]
            parts.append(part)
        found = torch.cat(parts, dim=2).to(ctx.device, ctx.dtype)
        return found * gradient[:, None, :].repeat(1, 1, len(parts)), None, None
