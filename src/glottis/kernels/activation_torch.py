"""Activations as torch has them, and the compiled forms with their gradients.

A second derivative of a compiled form goes through torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from glottis.kernels.tensors import array_of


def mish(x: Tensor) -> Tensor:
    return torch.nn.functional.mish(x)


def gated(x: Tensor) -> Tensor:
    filtered, opened = x.chunk(2, dim=1)
    return torch.tanh(filtered) * torch.sigmoid(opened)


def widened(x: Tensor) -> Tensor:
    """bfloat16 on the CPU as float32, which the compiled forms read: the way there and back costs a
    fraction of what torch's exponentials do."""
    return x.float() if x.dtype == torch.bfloat16 and x.device.type == "cpu" else x


def fused_mish(x: Tensor) -> Tensor:
    result: Tensor = _FusedMish.apply(x)
    return result


def fused_gated(x: Tensor) -> Tensor:
    result: Tensor = _FusedGated.apply(x)
    return result


def _again(form: Callable[[Tensor], Tensor], x: Tensor, of_y: Tensor) -> Tensor:
    """The gradient by torch, which can be differentiated once more."""
    (of_x,) = torch.autograd.grad(form(x), x, of_y, create_graph=True)
    return of_x


class _FusedMish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        from glottis.kernels import activation_numba

        ctx.save_for_backward(x)
        return torch.from_numpy(activation_numba.mish(array_of(x), torch.get_num_threads()))

    @staticmethod
    def backward(ctx: Any, of_y: Tensor) -> Tensor:
        from glottis.kernels import activation_numba

        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _again(mish, x, of_y)
        given = array_of(x), array_of(of_y), torch.get_num_threads()
        return torch.from_numpy(activation_numba.differentiate_mish(*given))


class _FusedGated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        from glottis.kernels import activation_numba

        ctx.save_for_backward(x)
        return torch.from_numpy(activation_numba.gated(array_of(x), torch.get_num_threads()))

    @staticmethod
    def backward(ctx: Any, of_y: Tensor) -> Tensor:
        from glottis.kernels import activation_numba

        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _again(gated, x, of_y)
        given = array_of(x), array_of(of_y), torch.get_num_threads()
        return torch.from_numpy(activation_numba.differentiate_gated(*given))
