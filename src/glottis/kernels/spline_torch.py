"""Rational-quadratic splines in torch: any device and type, and the way into the compiled form.

Durkan, Bekasov, Murray & Papamakarios 2019, section 3.1.

A spline maps ``[-bound, bound]`` to itself through ``bins`` bins and leaves the tails alone. Within
the bin of width ``w`` and height ``h`` that begins at ``(x_k, y_k)``, with mean slope
``s = h / w``, end slopes ``d0`` and ``d1``, ``theta = (x - x_k) / w`` and ``xi = (y - y_k) / h``
(the paper's eqs. 4 and 5, with its two ``delta`` written as ``d0`` and ``d1``)::

    xi    = theta (s theta + d0 (1 - theta)) / below
    below = s (1 - 2 theta (1 - theta)) + (d0 + d1) theta (1 - theta)
    dy/dx = (s / below)^2 (d1 theta^2 + 2 s theta (1 - theta) + d0 (1 - theta)^2)

which are sums of positive terms, so that nothing cancels. The inverse solves a quadratic equation
whose discriminant, written out, is a sum of squares::

    r^2 + 4 s^2 xi (1 - xi),    r = d0 (1 - xi) - d1 xi

It cannot be negative in any precision, and with ``q = |r| + sqrt(discriminant)`` the root is
``theta = 2 s xi / (2 s xi + q)`` when ``r >= 0``, otherwise
``1 - theta = 2 s (1 - xi) / (2 s (1 - xi) + q)``: again only positive terms.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from glottis.kernels.tensors import array_of


def spline(
    x: Tensor,
    widths: Tensor,
    heights: Tensor,
    derivatives: Tensor,
    bound: float,
    minimum_bin: float,
    minimum_derivative: float,
    inverse: bool,
) -> tuple[Tensor, Tensor]:
    """The torch form; see the module's docstring for the letters."""
    inside = (x > -bound) & (x < bound)
    # Values in the tails take the way through the middle too, and are put back at the end: NaN and
    # infinities must not reach the formula, or its gradient would be NaN even where it is not used.
    value = torch.where(inside, x, 0.0)
    x_edges = _edges(widths, bound, minimum_bin)
    y_edges = _edges(heights, bound, minimum_bin)
    slopes = pad(minimum_derivative + softplus(derivatives), (1, 1), value=1.0)
    shape = torch.broadcast_shapes(x.shape, *(t.shape[:-1] for t in (x_edges, y_edges, slopes)))
    # Only where it is needed: an exported graph would compute every shape.
    x_edges, y_edges, slopes = (
        t if t.shape[:-1] == shape else t.expand(*shape, -1) for t in (x_edges, y_edges, slopes)
    )
    value = value if value.shape == shape else value.expand(shape)
    searched = y_edges if inverse else x_edges
    bin_at = (value[..., None] >= searched[..., 1:-1]).sum(-1, keepdim=True)

    def pick(table: Tensor, shift: int) -> Tensor:
        return table.gather(-1, bin_at + shift).squeeze(-1)

    x_low, y_low = pick(x_edges, 0), pick(y_edges, 0)
    width, height = pick(x_edges, 1) - x_low, pick(y_edges, 1) - y_low
    d0, d1, s = pick(slopes, 0), pick(slopes, 1), height / width
    if inverse:
        xi = ((value - y_low) / height).clamp(0, 1)
        r = d0 * (1 - xi) - d1 * xi
        root = torch.sqrt(r.square() + 4 * s.square() * xi * (1 - xi))
        rising = r >= 0
        side = 2 * s * torch.where(rising, xi, 1 - xi)
        part = side / (side + r.abs() + root)
        theta = torch.where(rising, part, 1 - part)
        rest = torch.where(rising, 1 - part, part)
    else:
        theta = ((value - x_low) / width).clamp(0, 1)
        rest = 1 - theta
    both = theta * rest
    below = s * (1 - 2 * both) + (d0 + d1) * both
    speed = d1 * theta.square() + 2 * s * both + d0 * rest.square()
    ladj = 2 * torch.log(s / below) + torch.log(speed)
    if inverse:
        moved, ladj = x_low + width * theta, -ladj
    else:
        moved = y_low + height * (theta * (s * theta + d0 * rest) / below)
    return torch.where(inside, moved, x), torch.where(inside, ladj, 0.0)


def _edges(raw: Tensor, bound: float, minimum: float) -> Tensor:
    """Raw sizes ``[..., bins]`` to edges ``[..., bins + 1]`` that begin and end at the bounds."""
    bins = raw.shape[-1]
    shares = minimum + (1 - bins * minimum) * torch.softmax(raw, -1)
    inner = bound * (2 * shares.cumsum(-1)[..., :-1] - 1)
    ends = torch.full_like(raw[..., :1], bound)
    return torch.cat([-ends, inner, ends], -1)


def fused(
    x: Tensor,
    widths: Tensor,
    heights: Tensor,
    derivatives: Tensor,
    *constants: Any,
) -> tuple[Tensor, Tensor]:
    """As :func:`spline`, by the compiled form; float32 on the CPU."""
    tensors = (widths, heights, derivatives)
    shape = torch.broadcast_shapes(x.shape, *(t.shape[:-1] for t in tensors))
    flat = [t.expand(*shape, -1).reshape(shape.numel(), t.shape[-1]) for t in tensors]
    y, ladj = _Fused.apply(x.expand(shape).reshape(shape.numel()), *flat, constants)
    return y.view(shape), ladj.view(shape)


class _Fused(torch.autograd.Function):
    """The compiled form and its gradient; a second derivative goes through the torch form."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        from glottis.kernels import spline_numba

        *parameters, constants = rest
        ctx.save_for_backward(x, *parameters)
        ctx.constants = constants
        arrays = [array_of(t) for t in parameters]
        y, ladj = spline_numba.apply(array_of(x), arrays, constants, torch.get_num_threads())
        return torch.from_numpy(y), torch.from_numpy(ladj)

    @staticmethod
    def backward(ctx: Any, of_y: Tensor, of_ladj: Tensor) -> tuple[Tensor | None, ...]:
        from glottis.kernels import spline_numba

        saved = ctx.saved_tensors
        if torch.is_grad_enabled():
            wanted = [t for t, needed in zip(saved, ctx.needs_input_grad, strict=False) if needed]
            outs = spline(*saved, *ctx.constants)
            found = iter(
                torch.autograd.grad(
                    outs, wanted, (of_y, of_ladj), create_graph=True, materialize_grads=True
                )
            )
            return *(next(found) if needed else None for needed in ctx.needs_input_grad[:4]), None
        x, *parameters = (array_of(t) for t in saved)
        gradients = spline_numba.differentiate(
            x,
            parameters,
            array_of(of_y),
            array_of(of_ladj),
            ctx.constants,
            torch.get_num_threads(),
        )
        return *(torch.from_numpy(g) for g in gradients), None
