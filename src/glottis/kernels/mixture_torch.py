"""Discretised mixtures of logistics in torch, and the way into the compiled form.

A class lies between two edges, counted in bins from the middle of the range: its upper edge ``n``
is an integer, so neighbours share an edge to the last bit. With ``delta`` the width of a bin in
units of a component's scale, ``a = (n - loc) delta`` and ``b = (n - 1 - loc) delta``::

    sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(-delta))

holds exactly and subtracts nothing that is nearly equal, as the left side does (Salimans et al.
2017, PixelCNN++). The first class reaches down without end and the last one up, where only one
factor is left.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from glottis.kernels.tensors import array_of


def log_probability(
    edge: Tensor, logits: Tensor, loc: Tensor, log_scale: Tensor, classes: int
) -> Tensor:
    """As :func:`glottis.kernels.mixture.logistic_log_probability`; any device and type."""
    half = (classes - 1) / 2
    edge = edge[..., None]
    first, last = edge <= 1 - classes // 2, edge >= classes - classes // 2
    delta = torch.exp(-log_scale) / half
    upper = (edge - loc * half) * delta
    lower = (edge - 1 - loc * half) * delta
    within = (
        torch.where(last, 0, logsigmoid(upper))
        + torch.where(first, 0, logsigmoid(-lower))
        + torch.where(first | last, 0, torch.log(-torch.expm1(-delta)))
    )
    return torch.logsumexp(torch.log_softmax(logits, -1) + within, -1)


def fused(edge: Tensor, logits: Tensor, loc: Tensor, log_scale: Tensor, classes: int) -> Tensor:
    """As :func:`log_probability`, by the compiled form; float32 on the CPU."""
    tensors = torch.broadcast_tensors(edge[..., None], logits, loc, log_scale)
    shape = tensors[0].shape[:-1]
    # The compiled form reads [outer, component, inner], of any strides. The last axis of the batch
    # is the inner one, so what a network gives as [batch, channels, time] is not copied.
    parts = [t[..., None, :] if not shape else t for t in tensors]
    parts = [t.movedim(-1, -2) for t in parts]
    inner = parts[0].shape[-1]
    outer = shape[:-1].numel()
    blocks = [t.reshape(outer, t.shape[-2], inner) for t in parts]
    result: Tensor = _Fused.apply(blocks[0][:, 0], *blocks[1:], classes)
    return result.view(shape)


class _Fused(torch.autograd.Function):
    """The compiled form and its gradient; a second derivative goes through the torch form."""

    @staticmethod
    def forward(
        ctx: Any, edge: Tensor, logits: Tensor, loc: Tensor, log_scale: Tensor, classes: int
    ) -> Tensor:
        from glottis.kernels import mixture_numba

        ctx.save_for_backward(edge, logits, loc, log_scale)
        ctx.classes = classes
        parameters = [t.detach().numpy() for t in (logits, loc, log_scale)]
        return torch.from_numpy(
            mixture_numba.log_probability(
                array_of(edge), parameters, classes, torch.get_num_threads()
            )
        )

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        from glottis.kernels import mixture_numba

        edge, *parameters = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:4]
        if torch.is_grad_enabled():
            wanted = [t for t, wants in zip(parameters, needed, strict=True) if wants]
            logits, loc, log_scale = (t.movedim(-2, -1) for t in parameters)
            out = log_probability(edge, logits, loc, log_scale, ctx.classes)
            found = iter(torch.autograd.grad(out, wanted, upstream, create_graph=True))
            return None, *(next(found) if wants else None for wants in needed), None
        outs = [torch.empty_like(t) for t in parameters]
        mixture_numba.differentiate(
            array_of(edge),
            [t.detach().numpy() for t in parameters],
            array_of(upstream),
            [t.numpy() for t in outs],
            ctx.classes,
            torch.get_num_threads(),
        )
        return (
            None,
            *(out if wants else None for out, wants in zip(outs, needed, strict=True)),
            None,
        )
