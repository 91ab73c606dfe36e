"""Convolutions by minimal filters, differentiable: transforms around one matrix product a point.

What the transforms are is told in :mod:`glottis.kernels.winograd_filters`. The gradients are the
adjoints of the same three steps, so they need as few multiplications. A filter longer than a form's
taps is cut into pieces; with pieces as long as a tile is wide, the values that one piece needs are
the next tile's of the piece before.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glottis.kernels import winograd_numba
from glottis.kernels.tensors import array_of
from glottis.kernels.winograd_filters import minimal_filter

Array = NDArray[np.float32]

#: Outputs a tile and taps a piece, by the length of the filter.
SIGNAL_FORMS = {3: (6, 3), 5: (6, 5), 7: (4, 7), 11: (6, 6)}
PICTURE_FORM = (4, 3)
#: What a transformed value and a transformed weight cost, in multiplications of a product
#: (measured with one thread on AVX2).
VALUE, WEIGHT = 50, 30
#: Transformed values of so many items are kept at once, in bytes: what the caches hold.
ROOM = 2**24


def plain(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int) -> Tensor:
    """The same convolution by torch, and the definition of all others."""
    convolve = functional.conv2d if weight.dim() == 4 else functional.conv1d
    return convolve(x, weight, bias, padding=padding, dilation=dilation)


def fits(weight: Tensor, dilation: int) -> bool:
    """Whether there is a form for these shapes."""
    if weight.dim() == 4:
        return weight.shape[2:] == (3, 3) and dilation == 1
    return weight.shape[2] in SIGNAL_FORMS


def pays(x: Tensor, weight: Tensor, padding: int, dilation: int) -> bool:
    """Whether the form is the quicker one, by a count of what each has to do."""
    plan = _plan(x.shape, weight.shape, padding, dilation)
    if min(plan.size) < 1:
        return False
    out, given = weight.shape[:2]
    direct = out * weight[0].numel() * len(x) * math.prod(plan.size)
    values = len(plan.taps) * plan.width
    product = values * plan.pieces * out * given
    weights = len(plan.taps) * plan.pieces * out * given
    return product + VALUE * values * (out + given) + WEIGHT * weights < 0.9 * direct


class _Plan(NamedTuple):
    """How a convolution is done.

    ``size`` of the result; ``columns``, the tiles of all items, and ``width``, as many as products
    are made of: of a number that registers divide they are quicker; ``pieces`` of the filter; the
    three matrices, that of the taps for all dimensions at once; where tiles lie, and how far before
    the first output the inputs begin.
    """

    size: tuple[int, ...]
    columns: int
    width: int
    pieces: int
    outputs: Tensor
    taps: Tensor
    inputs: Tensor
    layout: dict[str, Any]
    padding: int


@lru_cache(maxsize=1024)
def _plan(x: tuple[int, ...], weight: tuple[int, ...], padding: int, dilation: int) -> _Plan:
    size = tuple(
        n + 2 * padding - dilation * (k - 1) for n, k in zip(x[2:], weight[2:], strict=True)
    )
    if len(size) == 2:
        (step, length), pieces = PICTURE_FORM, 1
        tiles = tuple(-(-n // step) for n in size)
    else:
        step, length = SIGNAL_FORMS[weight[2]]
        pieces = -(-weight[2] // length)
        # And those after the last that the later pieces look at.
        tiles = (-(-size[0] // (dilation * step)) + pieces - 1,)
    form = minimal_filter(step, length)
    outputs, taps, inputs = (torch.from_numpy(m.astype(np.float32)) for m in form)
    if len(size) == 2:
        taps = torch.kron(taps, taps)
    columns = x[0] * dilation * math.prod(tiles)
    layout = {"step": step, "tiles": tiles, "dilation": dilation}
    width = -(-columns // 8) * 8
    return _Plan(size, columns, width, pieces, outputs, taps, inputs, layout, padding)


def minimal(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int) -> Tensor:
    """As :func:`plain`, by a minimal filter; float32 on the CPU, of a form that there is."""
    result: Tensor = _Minimal.apply(x, weight, bias, padding, dilation)
    return result


class _Minimal(torch.autograd.Function):
    """The form and its gradient; a second derivative goes through torch's convolution."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.rest = padding, dilation
        size = _plan(x.shape, weight.shape, padding, dilation).size
        y = x.new_empty(len(x), len(weight), *size)
        taps = None
        for plan, some, some_y in _parts(weight, padding, dilation, x.contiguous(), y):
            if taps is None:
                taps = _taps(weight, plan)
            values = _values(some, plan)
            product = _scratch("products", len(plan.taps), len(weight), plan.width)
            torch.bmm(taps[:, 0], values[..., : plan.width], out=product)
            for piece in range(1, plan.pieces):
                product.baddbmm_(taps[:, piece], values[..., piece : piece + plan.width])
            _gather(product, plan.outputs, plan, 0, some_y, bias)
        return y

    @staticmethod
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
        saved = x, weight, bias = ctx.saved_tensors
        padding, dilation = ctx.rest
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():
            needed = [t for t, wanted in zip(saved, ctx.needs_input_grad, strict=False) if wanted]
            y = plain(x, weight, bias, padding, dilation)
            found = iter(torch.autograd.grad(y, needed, of_y, create_graph=True))
            wanted = (for_x, for_weight, for_bias)
            return *(next(found) if each else None for each in wanted), None, None
        # The same shape as the input, which stands in where no gradient is wanted.
        of_x = x.new_empty(x.shape) if for_x else x
        taps = of_taps = None
        whole = x.contiguous(), of_y.contiguous(), of_x
        for plan, some, some_y, some_of_x in _parts(weight, padding, dilation, *whole):
            of_product = _scratch("products", len(plan.taps), len(weight), plan.width)
            _spread(some_y, plan.outputs, plan, 0, of_product)
            if for_x:
                if taps is None:
                    taps = _taps(weight, plan)
                of_values = _scratch(
                    "values", len(plan.taps), x.shape[1], plan.width + plan.pieces - 1
                )
                of_values[..., plan.width :] = 0.0
                torch.bmm(taps[:, 0].mT, of_product, out=of_values[..., : plan.width])
                for piece in range(1, plan.pieces):
                    held = of_values[..., piece : piece + plan.width]
                    held.baddbmm_(taps[:, piece].mT, of_product)
                _gather(of_values, plan.inputs, plan, plan.padding, some_of_x)
            if for_weight:
                if of_taps is None:
                    of_taps = x.new_zeros(len(plan.taps), plan.pieces, len(weight), x.shape[1])
                values = _values(some, plan)
                for piece in range(plan.pieces):
                    seen = values[..., piece : piece + plan.width]
                    of_taps[:, piece].baddbmm_(of_product, seen.mT)
        of_weight = None if of_taps is None else _of_taps(of_taps, weight, plan)
        of_bias = of_y.sum((0, *range(2, of_y.dim()))) if for_bias else None
        return of_x if for_x else None, of_weight, of_bias, None, None


def _parts(weight: Tensor, padding: int, dilation: int, *tensors: Tensor) -> Iterator[Any]:
    """So many items of all tensors as fit into :data:`ROOM`, each time with their plan."""
    x = tensors[0]
    one = _plan((1, *x.shape[1:]), weight.shape, padding, dilation)
    room = len(one.taps) * one.width * (weight.shape[0] + weight.shape[1]) * x.element_size()
    for parts in zip(*(t.split(max(1, ROOM // room)) for t in tensors), strict=True):
        yield _plan(parts[0].shape, weight.shape, padding, dilation), *parts


def _scratch(name: str, *shape: int) -> Tensor:
    """Memory of this thread that stays: fresh pages would cost as much as what is written there."""
    size = math.prod(shape)
    held = getattr(_kept, name, None)
    if held is None or held.numel() < size:
        # Whoever asks first, training may write into it later.
        with torch.inference_mode(False):
            held = torch.empty(size)
        if size <= ROOM:
            setattr(_kept, name, held)
    return held[:size].view(shape)


_kept = threading.local()


@contextmanager
def same_weights() -> Iterator[None]:
    """Within, what this thread knows of a parameter's filters is kept: none may change."""
    before = getattr(_kept, "filters", None)
    _kept.filters = {} if before is None else before
    try:
        yield
    finally:
        _kept.filters = before


def _values(x: Tensor, plan: _Plan) -> Tensor:
    """Of the inputs, ``[points, channels, width + pieces - 1]``, 0 after the last."""
    values = _scratch("values", len(plan.taps), x.shape[1], plan.width + plan.pieces - 1)
    _spread(x, plan.inputs, plan, plan.padding, values)
    return values


def _spread(x: Tensor, matrix: Tensor, plan: _Plan, padding: int, planes: Tensor) -> None:
    """Tiles of ``x``, times the matrix in each dimension, into ``planes`` ``[points, ...]``."""
    columns = matrix.shape[1]
    rows = _scratch("rows", columns ** len(plan.size), *planes.shape[1:])
    rows[..., plan.columns :] = 0.0
    threads = torch.get_num_threads()
    winograd_numba.cut(x.numpy(), rows.numpy(), padding=padding, threads=threads, **plan.layout)
    _multiply(matrix, rows, planes)


def _gather(
    planes: Tensor, matrix: Tensor, plan: _Plan, padding: int, y: Tensor, bias: Tensor | None = None
) -> None:
    """The adjoint of :func:`_spread`, plus a bias."""
    rows = _scratch("rows", matrix.shape[1] ** len(plan.size), *planes.shape[1:])
    _multiply(matrix.T, planes, rows)
    winograd_numba.add(
        rows.numpy(),
        y.numpy(),
        padding=padding,
        bias=None if bias is None else array_of(bias),
        threads=torch.get_num_threads(),
        **plan.layout,
    )


def _multiply(matrix: Tensor, given: Tensor, out: Tensor) -> None:
    """``given`` ``[columns (squared), ...]`` times the matrix, in each dimension."""
    points, columns = matrix.shape
    if len(given) == columns:
        torch.mm(matrix, given.view(columns, -1), out=out.view(points, -1))
        return
    once = _scratch("once", columns, points, given[0].numel())
    torch.matmul(matrix, given.view(columns, columns, -1), out=once)
    torch.mm(matrix, once.view(columns, -1), out=out.view(points, -1))


def _taps(weight: Tensor, plan: _Plan) -> Tensor:
    """Values of the filter, ``[points, pieces, out, channels]``."""
    out, given = weight.shape[:2]
    points, length = plan.taps.shape
    filters: dict[int, tuple[Tensor, Tensor]] | None = getattr(_kept, "filters", None)
    if filters is not None and id(weight) in filters:
        return filters[id(weight)][1]
    keep = filters is not None and isinstance(weight, torch.nn.Parameter)
    size = points, plan.pieces * out * given
    values = weight.new_empty(size) if keep else _scratch("taps", *size)
    flat = weight.detach().reshape(out, given, -1)
    if flat.shape[2] != length:
        flat = functional.pad(flat, (0, plan.pieces * length - flat.shape[2]))
        flat = flat.view(out, given, plan.pieces, length).permute(2, 0, 1, 3)
    torch.mm(plan.taps, flat.reshape(-1, length).T, out=values)
    values = values.view(points, plan.pieces, out, given)
    if keep and filters is not None:
        # With the weight itself, so that no other takes its place in memory.
        filters[id(weight)] = weight, values
    return values


def _of_taps(values: Tensor, weight: Tensor, plan: _Plan) -> Tensor:
    """The adjoint of :func:`_taps`."""
    out, given = weight.shape[:2]
    points, length = plan.taps.shape
    flat = torch.mm(plan.taps.T, values.view(points, -1))
    flat = flat.view(length, plan.pieces, out, given).permute(2, 3, 1, 0)
    flat = flat.reshape(out, given, plan.pieces * length)
    return flat[..., : weight[0, 0].numel()].reshape(weight.shape)
