"""The sum over alignments as a differentiable torch function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Total(torch.autograd.Function):
    """``log_prob -> (total, posterior)``; the total's gradient is the posterior."""

    @staticmethod
    def forward(
        ctx: Any, log_prob: Tensor, compute: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        total, posterior = compute(log_prob)
        ctx.save_for_backward(posterior)
        ctx.mark_non_differentiable(posterior)
        ctx.dtype = log_prob.dtype
        return total, posterior

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: Tensor, _: Tensor) -> tuple[Tensor, None]:
        (posterior,) = ctx.saved_tensors
        return (posterior * of_total[:, None, None]).to(ctx.dtype), None
