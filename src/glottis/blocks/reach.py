"""How far networks see, so that a beginning can be made without what comes long after it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def reach(*modules: nn.Module | None) -> int:
    """Steps to either side that an output depends on, through all convolutions one after another.

    Of modules whose convolutions stand in parallel it is more than they see.
    """
    convolutions = (
        part
        for module in modules
        if module is not None
        for part in module.modules()
        if isinstance(part, nn.Conv1d)
    )
    return sum(c.dilation[0] * (c.kernel_size[0] - 1) // 2 for c in convolutions)


def beginnings(
    total: Tensor, frames: Tensor | None, reaches: Sequence[int], group: int
) -> list[Tensor]:
    """How many of ``total`` frames to make so that the first ``frames`` are as if all were made.

    First what is wanted itself, then what each network has to be given that sees so far, from the
    last one, whose output is wanted, to the first; ``reaches`` are their own. Whole groups, all of
    them where ``frames`` is None or beyond the end. Scalars int64.
    """
    found = []
    for further in (0, *reaches):
        if frames is not None:
            frames = (frames + further + group - 1) // group * group
        found.append(total if frames is None else torch.minimum(total, frames))
    return found
