"""Recurrent layers over whole utterances whose backward pass is written by hand.

Left to automatic differentiation, each of hundreds of steps reads and adds to gradients as large as
the weights, and keeps what it could compute again. Here the steps leave behind what they heard and
the gradients of their gates, and the weights' gradients are one product over all steps. The
equations are those of an LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al.
2000) in torch's order of gates, and of location-sensitive attention (Chorowski et al. 2015, eqs. 4
to 9).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from glottis.kernels import location_attention


def lstm(projected: Tensor, recurrent: Tensor) -> Tensor:
    """An LSTM over ``projected`` ``[steps, batch, 4 hidden]``, from a state of zeros.

    Args:
        projected: what the inputs and the biases add to the gates: in, forget, cell, out.
        recurrent: ``[4 hidden, hidden]``, what the last output adds to them.

    Returns:
        ``[steps, batch, hidden]`` of the type of ``projected``. Cells are float32 at least: what
        one adds up over many steps is small beside what it holds.
    """
    out: Tensor = _Lstm.apply(projected, recurrent)
    return out


def attending_lstm(
    projected: Tensor,
    kept: Tensor | None,
    memory: Tensor,
    keys: Tensor,
    mask: Tensor,
    weights: Tensor,
    recurrent: Tensor,
    query: Tensor,
    location: Tensor,
    score: Tensor,
    forward_only: bool = False,
) -> tuple[Tensor, Tensor]:
    """An LSTM that looks at a memory after every step, and hears at the next what it saw.

    A place's score is ``score . tanh(query h + keys + location * (last and summed weights))``; the
    weights are their softmax over the places of ``mask``.

    Args:
        projected: ``[steps, batch, 4 hidden]``, as for :func:`lstm`.
        kept: what each output is multiplied by (dropout), ``[steps, batch, hidden]``; None for 1.
        memory: ``[batch, text, channels]``.
        keys: ``[batch, text, size]``; ``mask`` bool ``[batch, text]``, true for some place of each.
        weights: before the first step, ``[batch, text]``; takes no gradient.
        recurrent: ``[4 hidden, hidden + channels]``, what the last output and the last context add
            to the gates.
        query: ``[size, hidden]``; ``location`` ``[size, 2, taps]`` of an odd number of taps, for
            the last weights and for their sum so far; ``score`` ``[size]``.
        forward_only: weights may only stay or move on by one place (Zhang, Ling & Dai 2018).

    Returns:
        Outputs and contexts ``[steps, batch, hidden + channels]``, and weights ``[steps, batch,
        text]``, float32 at least.
    """
    heard, looked = _AttendingLstm.apply(
        projected, kept, memory, keys, mask, weights, recurrent, query, location, score,
        forward_only,
    )  # fmt: skip
    return heard, looked


def narrow(reached: Tensor, chosen: Tensor) -> Tensor:
    """Forward attention: ``chosen`` ``[batch, text]`` where the last weights ``reached`` allow it.

    The tiny constant keeps what softmax rounds to zero alive.
    """
    new = (_reach(reached) + 1e-8) * chosen
    return new / new.sum(1, keepdim=True)


def _reach(weights: Tensor) -> Tensor:
    """Only stay or go on by one."""
    return weights + F.pad(weights, (1, -1))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _open(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gates ``[batch, 4 hidden]`` and the last cells to opened gates, cells and outputs."""
    size = cell.shape[1]
    opened = torch.sigmoid(gates)
    opened[:, 2 * size : 3 * size] = torch.tanh(gates[:, 2 * size : 3 * size])
    enter, keep, new, out = opened.chunk(4, dim=1)
    cell = torch.addcmul(keep * cell, enter, new)
    return opened, cell, out * torch.tanh(cell)


def _close(
    opened: Tensor, before: Tensor, after: Tensor, d_hidden: Tensor, d_cell: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of the gates and of the cells before, from those of outputs and cells after."""
    enter, keep, new, out = opened.chunk(4, dim=1)
    heard = torch.tanh(after)
    d_cell = torch.addcmul(d_cell, d_hidden * out, 1 - heard * heard)
    d_gates = torch.cat([d_cell * new, d_cell * before, d_cell * enter, d_hidden * heard], dim=1)
    size = before.shape[1]
    slope = opened * (1 - opened)
    slope[:, 2 * size : 3 * size] = 1 - new * new
    return d_gates * slope, d_cell * keep


class _Lstm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor, recurrent: Tensor) -> Tensor:
        steps, batch, gates = projected.shape
        wide, size = _wide(projected.dtype), gates // 4
        with torch.autocast(projected.device.type, enabled=False):
            matrix = recurrent.to(projected.dtype)
            hidden = projected.new_zeros(steps + 1, batch, size)
            cells = projected.new_zeros(steps + 1, batch, size, dtype=wide)
            opened = projected.new_empty(steps, batch, gates, dtype=wide)
            for t in range(steps):
                each = torch.addmm(projected[t], hidden[t], matrix.T).to(wide)
                opened[t], cells[t + 1], hidden[t + 1] = _open(each, cells[t])
        ctx.save_for_backward(matrix, hidden, cells, opened)
        ctx.kind = recurrent.dtype
        return hidden[1:]

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Any:
        matrix, hidden, cells, opened = ctx.saved_tensors
        d_gates = torch.empty_like(opened, dtype=matrix.dtype)
        d_next = torch.zeros_like(hidden[0])
        d_cell = torch.zeros_like(cells[0])
        with torch.autocast(matrix.device.type, enabled=False):
            for t in reversed(range(len(opened))):
                d_hidden = (given[0][t] + d_next).to(cells.dtype)
                each, d_cell = _close(opened[t], cells[t], cells[t + 1], d_hidden, d_cell)
                d_gates[t] = each
                d_next = d_gates[t] @ matrix
            d_matrix = d_gates.flatten(0, 1).T @ hidden[:-1].flatten(0, 1)
        return d_gates, d_matrix.to(ctx.kind)


class _AttendingLstm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        kept: Tensor | None,
        memory: Tensor,
        keys: Tensor,
        mask: Tensor,
        weights: Tensor,
        recurrent: Tensor,
        query: Tensor,
        location: Tensor,
        score: Tensor,
        forward_only: bool,
    ) -> tuple[Tensor, Tensor]:
        steps, batch, gates = projected.shape
        kind, wide, size = projected.dtype, _wide(projected.dtype), gates // 4
        text, channels = memory.shape[1:]
        ctx.kinds = [each.dtype for each in (memory, keys, recurrent, query, location, score)]
        with torch.autocast(projected.device.type, enabled=False):
            memory, keys, recurrent, query, location, score = (
                each.to(kind) for each in (memory, keys, recurrent, query, location, score)
            )
            attention = location_attention.form(keys, mask, location, score)
            hidden_and_context = projected.new_zeros(steps + 1, batch, size + channels)
            cells = projected.new_zeros(steps + 1, batch, size, dtype=wide)
            opened = projected.new_empty(steps, batch, gates, dtype=wide)
            # The last weights and their sum, before each step and after the last.
            looked = projected.new_zeros(steps + 1, batch, 2, text, dtype=wide)
            looked[0, :, 0] = weights
            for t in range(steps):
                heard = hidden_and_context[t]
                each = torch.addmm(projected[t], heard, recurrent.T).to(wide)
                opened[t], cells[t + 1], hidden = _open(each, cells[t])
                if kept is not None:
                    hidden = hidden * kept[t]
                after = hidden_and_context[t + 1]
                after[:, :size] = hidden
                scores = attention.scores(after[:, :size] @ query.T, looked[t])
                new = torch.softmax(scores, dim=1)
                if forward_only:
                    new = narrow(looked[t, :, 0], new)
                looked[t + 1, :, 0] = new
                looked[t + 1, :, 1] = looked[t, :, 1] + new
                after[:, size:] = torch.bmm(new.to(kind)[:, None], memory)[:, 0]
        ctx.save_for_backward(
            kept, memory, recurrent, query, hidden_and_context, cells, opened, looked
        )
        ctx.attention, ctx.forward_only = attention, forward_only
        return hidden_and_context[1:], looked[1:, :, 0]

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Any:
        kept, memory, recurrent, query, hidden_and_context, cells, opened, looked = (
            ctx.saved_tensors
        )
        kind, wide, size = recurrent.dtype, cells.dtype, cells.shape[2]
        d_heard, d_looked = given
        d_gates = torch.empty_like(opened, dtype=kind)
        d_contexts = torch.empty_like(hidden_and_context[1:, :, size:])
        d_sought = query.new_empty(*d_gates.shape[:2], len(query))
        d_next = torch.zeros_like(hidden_and_context[0])
        d_cell = torch.zeros_like(cells[0])
        # Of the last weights and their sum, from the steps after.
        d_past = torch.zeros_like(looked[0])
        with torch.autocast(recurrent.device.type, enabled=False):
            for t in reversed(range(len(opened))):
                d_out = d_heard[t] + d_next
                d_contexts[t] = d_out[:, size:]
                d_new = torch.bmm(memory, d_contexts[t][..., None])[..., 0].to(wide)
                d_new += d_looked[t] + d_past[:, 0] + d_past[:, 1]
                sought = hidden_and_context[t + 1, :, :size] @ query.T
                new, d_last = looked[t + 1, :, 0], None
                if ctx.forward_only:
                    chosen = torch.softmax(ctx.attention.scores(sought, looked[t]), dim=1)
                    reached = _reach(looked[t, :, 0]) + 1e-8
                    d_raw = d_new - (d_new * new).sum(1, keepdim=True)
                    d_raw /= (reached * chosen).sum(1, keepdim=True)
                    d_last = d_raw * chosen
                    d_last = d_last + F.pad(d_last[:, 1:], (0, 1))
                    new, d_new = chosen, d_raw * reached
                d_scores = new * (d_new - (new * d_new).sum(1, keepdim=True))
                d_sought[t], d_around = ctx.attention.differentiate(sought, looked[t], d_scores)
                d_past[:, 0] = 0 if d_last is None else d_last
                d_past += d_around
                d_hidden = (d_out[:, :size] + d_sought[t] @ query).to(wide)
                if kept is not None:
                    d_hidden = d_hidden * kept[t]
                each, d_cell = _close(opened[t], cells[t], cells[t + 1], d_hidden, d_cell)
                d_gates[t] = each
                d_next = d_gates[t] @ recurrent
            before, after = hidden_and_context[:-1], hidden_and_context[1:, :, :size]
            d_recurrent = d_gates.flatten(0, 1).T @ before.flatten(0, 1)
            d_query = d_sought.flatten(0, 1).T @ after.flatten(0, 1)
            weights = looked[1:, :, 0].permute(1, 2, 0).to(kind)
            d_memory = torch.bmm(weights, d_contexts.transpose(0, 1))
        d_keys, d_location, d_score = ctx.attention.gradients()
        found = d_memory, d_keys, d_recurrent, d_query, d_location, d_score
        d_memory, d_keys, d_recurrent, d_query, d_location, d_score = (
            each.to(kind) for each, kind in zip(found, ctx.kinds, strict=True)
        )
        return (
            d_gates, None, d_memory, d_keys, None, None, d_recurrent, d_query, d_location, d_score,
            None,
        )  # fmt: skip
