"""Monotonic rational-quadratic splines (Durkan, Bekasov, Murray & Papamakarios 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Transform, constraints

from glottis.errors import InputError
from glottis.kernels import spline


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
        return spline.rational_quadratic(
            x,
            self.widths,
            self.heights,
            self.derivatives,
            bound=self.bound,
            minimum_bin=self.minimum_bin,
            minimum_derivative=self.minimum_derivative,
            inverse=inverse,
            kind=self.kind,
        )
