"""Monotonic rational-quadratic splines (Durkan, Bekasov, Murray & Papamakarios 2019).

A spline maps ``[-bound, bound]`` to itself through ``bins`` bins and leaves the tails alone. Within
the bin of width ``w`` and height ``h`` that begins at ``(x_k, y_k)``, with mean slope
``s = h / w``, end slopes ``d0`` and ``d1``, ``theta = (x - x_k) / w`` and ``xi = (y - y_k) / h`` (the paper's
eqs. 4 and 5, with its ``delta`` left, right written as ``d0``, ``d1``)::

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

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.nn.functional import pad, softplus

from glottis.errors import InputError
from glottis.kernels.choice import choose

KINDS = ("numba", "torch")


class RationalQuadraticSpline(Transform):
    """An element-wise, increasing map of the real line whose shape is given bin by bin.

    Args:
        widths: raw sizes of the bins along x, ``[..., bins]``; their softmax shares out the
            interval, of which each bin gets at least ``minimum_bin`` (a share, not a length).
        heights: the same along y, ``[..., bins]``.
        derivatives: raw slopes at the inner knots, ``[..., bins - 1]``; the slope is
            ``minimum_derivative + softplus(raw)``. It is 1 at the bounds, where the tails begin.
        bound: half the length of the interval; outside it, and exactly at it, ``y = x``.
        minimum_bin: smallest share of a bin; None for ``0.6 / bins``.
        minimum_derivative: smallest slope at an inner knot.
        kind: ``"auto"`` takes ``"numba"`` (one compiled pass on the CPU; float32, contiguous or
            copied) where it can, else ``"torch"`` (any device and type, differentiable twice,
            traceable, no data-dependent branch). Under torch.compile it is always ``"torch"``.

    With ten bins the defaults keep the slope between about 1/300 and 15, and a float32 round trip
    over [-5, 5] under 1e-4 for raw parameters of scale 3. That is a matter of conditioning and not
    of the formula: where the slope is 1e-6, neighbouring floats of y near 5 lie half a unit apart
    in x. Durkan et al. and VITS use 1e-3 for both minima and get such slopes; pass these two to
    load their weights.

    Shapes follow torch: an argument broadcasts against the parameters' leading axes.

    Raises:
        InputError: shapes that do not fit, a bound that is not positive, minima that do not leave
            room, a kind that cannot run.
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(
        self,
        widths: Tensor,
        heights: Tensor,
        derivatives: Tensor,
        bound: float = 5.0,
        *,
        minimum_bin: float | None = None,
        minimum_derivative: float = 0.1,
        kind: str = "auto",
        cache_size: int = 0,
    ) -> None:
        super().__init__(cache_size=cache_size)
        bins = widths.shape[-1] if widths.dim() else 0
        if not bins or heights.shape[-1:] != (bins,) or derivatives.shape[-1:] != (bins - 1,):
            raise InputError(
                "a spline takes widths and heights [..., bins] and derivatives [..., bins - 1], "
                f"not {list(widths.shape)}, {list(heights.shape)} and {list(derivatives.shape)}"
            )
        minimum_bin = 0.6 / bins if minimum_bin is None else minimum_bin
        if not 0 <= minimum_bin * bins < 1:
            raise InputError(f"minimum_bin {minimum_bin} leaves no room for {bins} bins")
        if not 0 <= minimum_derivative < 1:
            raise InputError(f"minimum_derivative must be in [0, 1), not {minimum_derivative}")
        if not bound > 0:
            raise InputError(f"bound must be positive, not {bound}")
        if kind not in ("auto", *KINDS):
            raise InputError(f"a spline has no kind {kind!r}; it has auto, {', '.join(KINDS)}")
        self.widths, self.heights, self.derivatives = widths, heights, derivatives
        self.bound, self.kind = float(bound), kind
        self.minimum_bin, self.minimum_derivative = float(minimum_bin), float(minimum_derivative)

    def with_cache(self, cache_size: int = 1) -> RationalQuadraticSpline:
        if self._cache_size == cache_size:
            return self
        return RationalQuadraticSpline(
            self.widths,
            self.heights,
            self.derivatives,
            self.bound,
            minimum_bin=self.minimum_bin,
            minimum_derivative=self.minimum_derivative,
            kind=self.kind,
            cache_size=cache_size,
        )

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``x -> (y, log dy/dx)``, both of the broadcast shape, in one pass."""
        return self._both(x, inverse=False)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """``y -> (x, log dx/dy)``, both of the broadcast shape, in one pass."""
        return self._both(y, inverse=True)

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self.inverse_and_ladj(y)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        return torch.broadcast_shapes(shape, self.widths.shape[:-1])

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        return self.forward_shape(shape)

    def _both(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        constants = (self.bound, self.minimum_bin, self.minimum_derivative, inverse)
        tensors = (x, self.widths, self.heights, self.derivatives)
        if torch.compiler.is_compiling():
            kind = "torch" if self.kind == "auto" else self.kind
        else:
            kind = choose("spline", self.kind, KINDS, _available(tensors))
        if kind == "torch":
            return _spline(*tensors, *constants)
        shape = torch.broadcast_shapes(*(t.shape[:-1] for t in tensors[1:]), x.shape)
        flat = [t.expand(*shape, -1).reshape(shape.numel(), t.shape[-1]) for t in tensors[1:]]
        y, ladj = _Fused.apply(x.expand(shape).reshape(shape.numel()), *flat, constants)
        return y.view(shape), ladj.view(shape)


@lru_cache(maxsize=1)
def _numba_is_here() -> bool:
    return importlib.util.find_spec("numba") is not None


def _available(tensors: Sequence[Tensor]) -> tuple[str, ...]:
    """The kinds that can run on these tensors, fastest first."""
    plain = (
        all(type(t) in (Tensor, torch.nn.Parameter) for t in tensors)
        and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
        and not torch.jit.is_tracing()
        # Inside vmap, jvp and their kin a tensor has no memory of its own to hand out.
        and not any(torch._C._functorch.is_functorch_wrapped_tensor(t) for t in tensors)
        and torch.autograd.forward_ad._current_level < 0
    )
    return KINDS if plain and _numba_is_here() else ("torch",)


def _spline(
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
    searched = y_edges if inverse else x_edges
    shape = torch.broadcast_shapes(value.shape, searched.shape[:-1], derivatives.shape[:-1])
    value = value.expand(shape)
    bin_at = (value[..., None] >= searched[..., 1:-1]).sum(-1, keepdim=True)

    def pick(table: Tensor, shift: int) -> Tensor:
        return table.expand(*shape, table.shape[-1]).gather(-1, bin_at + shift).squeeze(-1)

    slopes = pad(minimum_derivative + softplus(derivatives), (1, 1), value=1.0)
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


class _Fused(torch.autograd.Function):
    """The compiled form and its gradient; a second derivative goes through the torch form."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        from glottis.kernels import spline_numba

        *parameters, constants = rest
        ctx.save_for_backward(x, *parameters)
        ctx.constants = constants
        arrays = [_array(t) for t in parameters]
        y, ladj = spline_numba.apply(_array(x), arrays, constants, torch.get_num_threads())
        return torch.from_numpy(y), torch.from_numpy(ladj)

    @staticmethod
    def backward(ctx: Any, of_y: Tensor, of_ladj: Tensor) -> tuple[Tensor | None, ...]:
        from glottis.kernels import spline_numba

        saved = ctx.saved_tensors
        if torch.is_grad_enabled():
            wanted = [t for t, needed in zip(saved, ctx.needs_input_grad, strict=False) if needed]
            outs = _spline(*saved, *ctx.constants)
            found = iter(
                torch.autograd.grad(
                    outs, wanted, (of_y, of_ladj), create_graph=True, materialize_grads=True
                )
            )
            return *(next(found) if needed else None for needed in ctx.needs_input_grad[:4]), None
        x, *parameters = (_array(t) for t in saved)
        gradients = spline_numba.differentiate(
            x,
            parameters,
            _array(of_y),
            _array(of_ladj),
            ctx.constants,
            torch.get_num_threads(),
        )
        return *(torch.from_numpy(g) for g in gradients), None


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()
