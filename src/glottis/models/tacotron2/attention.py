"""What draws attention to where it belongs."""

from __future__ import annotations

import torch
from torch import Tensor

from glottis.alignment import token_indices
from glottis.blocks.lengths import mask_from_lengths


def guided(attention: Tensor, text_lengths: Tensor, steps: Tensor, spread: float) -> Tensor:
    """How much attention ``[batch, text, steps]`` lies off the diagonal, a scalar in [0, 1).

    ``1 - exp(-(n / N - t / T)^2 / (2 g^2))`` weighs each cell (Tachibana et al. 2018, eq. 6).
    """
    text = torch.arange(attention.shape[1], device=attention.device) / text_lengths[:, None]
    time = torch.arange(attention.shape[2], device=attention.device) / steps[:, None]
    distance = text[:, :, None] - time[:, None, :]
    weight = 1 - torch.exp(-distance.square() / (2 * spread**2))
    inside = (text < 1)[:, :, None] & (time < 1)[:, None, :]
    return (attention * weight * inside).sum() / steps.sum()


def aligned(attention: Tensor, durations: Tensor, steps: Tensor, reduction: int) -> Tensor:
    """Cross-entropy in nats a step of ``attention`` ``[batch, text, steps]`` to an alignment.

    ``durations`` int64 ``[batch, text]`` in frames, ``reduction`` of them a step: a step belongs to
    the symbol of its first frame (Zhu et al. 2019, "Pre-Alignment Guided Attention").
    """
    many = attention.shape[2]
    index = token_indices(durations, many * reduction)[:, ::reduction]
    there = index.clamp_max(attention.shape[1] - 1).unsqueeze(1)
    looked = attention.gather(1, there).squeeze(1)
    within = mask_from_lengths(steps, many).squeeze(1)
    return -torch.where(within, (looked + 1e-6).log(), 0.0).sum() / within.sum()
