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


def fused(x: Tensor, name: str) -> Tensor:
    """``name`` is one of ``FORMS``."""
    result: Tensor = _Fused.apply(x, name)
    return result


def _again(form: Callable[[Tensor], Tensor], x: Tensor, of_y: Tensor) -> Tensor:
    """The gradient by torch, which can be differentiated once more."""
    (of_x,) = torch.autograd.grad(form(x), x, of_y, create_graph=True)
    return of_x


class _Fused(torch.autograd.Function):
    """The compiled form of this name, in ``FORMS`` and in ``activation_numba``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str) -> Tensor:
        from glottis.kernels import activation_numba

        ctx.save_for_backward(x)
        ctx.name = name
        compute = getattr(activation_numba, name)
        return torch.from_numpy(compute(array_of(x), torch.get_num_threads()))

    @staticmethod
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor, None]:
        from glottis.kernels import activation_numba

        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _again(FORMS[ctx.name], x, of_y), None
        differentiate = getattr(activation_numba, f"differentiate_{ctx.name}")
        given = array_of(x), array_of(of_y), torch.get_num_threads()
        return torch.from_numpy(differentiate(*given)), None


FORMS: dict[str, Callable[[Tensor], Tensor]] = {"mish": mish, "gated": gated}
