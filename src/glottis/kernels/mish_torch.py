"""Mish by its compiled form, differentiable."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from glottis.kernels import mish_numba
from glottis.kernels.tensors import array_of


def fused(x: Tensor) -> Tensor:
    """As torch's ``mish``; float32 on the CPU."""
    result: Tensor = _Fused.apply(x)
    return result


class _Fused(torch.autograd.Function):
    """The compiled form and its gradient; a second derivative goes through torch's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.from_numpy(mish_numba.apply(array_of(x), torch.get_num_threads()))

    @staticmethod
    def backward(ctx: Any, of_y: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            y = torch.nn.functional.mish(x)
            (of_x,) = torch.autograd.grad(y, x, of_y, create_graph=True)
            return of_x
        threads = torch.get_num_threads()
        return torch.from_numpy(mish_numba.differentiate(array_of(x), array_of(of_y), threads))
