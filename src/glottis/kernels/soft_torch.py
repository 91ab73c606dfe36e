"""The sum over alignments as differentiable torch functions.

The gradient of the total is the posterior, and the gradient of the posterior is a covariance
(:func:`glottis.kernels.mas_reference.covariance`). So the total can be differentiated twice and the
posterior once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# log_prob -> (total, posterior), and (log_prob, direction) -> covariance.
Sums = Callable[[Tensor], tuple[Tensor, Tensor]]
Covariance = Callable[[Tensor, Tensor], Tensor]


class Total(torch.autograd.Function):
    """``log_prob -> (total, posterior)``, both differentiable."""

    @staticmethod
    def forward(
        ctx: Any, log_prob: Tensor, sums: Sums, covariance: Covariance
    ) -> tuple[Tensor, Tensor]:
        total, posterior = sums(log_prob)
        ctx.save_for_backward(log_prob, posterior)
        ctx.covariance = covariance
        ctx.set_materialize_grads(False)
        return total, posterior

    @staticmethod
    def backward(
        ctx: Any, of_total: Tensor | None, of_posterior: Tensor | None
    ) -> tuple[Tensor | None, None, None]:
        log_prob, posterior = ctx.saved_tensors
        found = None
        if of_total is not None:
            if torch.is_grad_enabled():
                posterior = _Posterior.apply(log_prob, posterior.detach(), ctx.covariance)
            found = (posterior * of_total[:, None, None]).to(log_prob.dtype)
        if of_posterior is not None:
            change = _Change.apply(log_prob, of_posterior, ctx.covariance)
            found = change if found is None else found + change
        return found, None, None


class _Posterior(torch.autograd.Function):
    """The posterior, known already, as a function of ``log_prob``."""

    @staticmethod
    def forward(ctx: Any, log_prob: Tensor, posterior: Tensor, covariance: Covariance) -> Tensor:
        ctx.save_for_backward(log_prob)
        ctx.covariance = covariance
        return posterior.view_as(posterior)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor, None, None]:
        (log_prob,) = ctx.saved_tensors
        return ctx.covariance(log_prob, direction), None, None


class _Change(torch.autograd.Function):
    """The covariance, which has no derivative here: that would be a third one of the total."""

    @staticmethod
    def forward(ctx: Any, log_prob: Tensor, direction: Tensor, covariance: Covariance) -> Tensor:
        return covariance(log_prob, direction)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, Tensor, None]:
        raise NotImplementedError(
            "soft can be differentiated twice in its total and once in its posterior, not further"
        )
