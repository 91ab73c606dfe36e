"""Lengths to masks, and windows within them."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_from_lengths(lengths: Tensor, longest: int | Tensor | None = None) -> Tensor:
    """int64 ``[batch]`` -> bool ``[batch, 1, time]``, true inside each length.

    ``longest`` is the size of the last axis; the largest length when left out.
    """
    if longest is None:
        longest = lengths.max()
    steps = torch.arange(longest, device=lengths.device)  # type: ignore[arg-type]
    return (steps[None, :] < lengths[:, None]).unsqueeze(1)


def window(x: Tensor, starts: Tensor, size: int, lengths: Tensor) -> Tensor:
    """``[batch, channels, time]`` -> ``[batch, channels, size]``, one window of each item.

    ``starts`` and ``lengths`` are int64 ``[batch]``; zero beyond an item's length, whatever stands
    there.
    """
    index = starts[:, None] + torch.arange(size, device=x.device)
    inside = (index < lengths[:, None]).unsqueeze(1)
    index = index.clamp_max(x.shape[2] - 1).unsqueeze(1).expand(-1, x.shape[1], -1)
    return torch.where(inside, x.gather(2, index), 0.0)


def random_starts(lengths: Tensor, size: int) -> Tensor:
    """By chance, where windows of ``size`` frames may begin, int64 ``[batch]``."""
    free = (lengths - size + 1).clamp_min(1)
    return (torch.rand(len(free), device=free.device) * free).long()
