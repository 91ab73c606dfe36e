"""Lengths to masks."""

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
