"""Models that read phonemes without the pads that a voice file's ids carry between them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from glottis.blocks.lengths import mask_from_lengths

PAD = 0
"""The id of the pad in every ``phoneme_id_map``."""


def read_text(text: Tensor, lengths: Tensor, blanks: bool) -> tuple[Tensor, Tensor]:
    """What a model reads of its ids, and how many: all with ``blanks``, else all but the pads.

    ``text`` int64 ``[batch, text]``, ``lengths`` int64 ``[batch]``.
    """
    return (text, lengths) if blanks else drop_blanks(text, lengths)


def read_one(
    text: Tensor, lengths: Tensor, blanks: bool
) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """:func:`read_text` for one sentence, in operations that ONNX has.

    The third part turns durations of what is read into durations of all ids, int64 ``[1, text]``.
    """
    if blanks:
        return text, lengths, lambda durations: durations
    read, counts, kept = drop_blanks_of_one(text, lengths)
    return read, counts, lambda durations: restore_blanks(durations, kept, text)


def drop_blanks(text: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Close up the ids that are not pads.

    ``text`` int64 ``[batch, text]``, ``lengths`` int64 ``[batch]`` -> the same, shorter; order is
    kept and the new padding is zero.
    """
    steps = torch.arange(text.shape[1], device=text.device)
    kept = (text != PAD) & (steps[None, :] < lengths[:, None])
    order = torch.argsort((~kept).to(torch.int8), dim=1, stable=True)
    counts = kept.sum(1)
    longest = int(counts.max())
    closed = torch.where(kept, text, 0).gather(1, order)[:, :longest]
    return closed, counts


def drop_blanks_of_one(text: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`drop_blanks` for one sentence, in operations that ONNX has.

    ``text`` int64 ``[1, text]``, ``lengths`` int64 ``[1]`` -> the same, shorter, and the kept
    positions int64 ``[kept]``, for :func:`restore_blanks`.
    """
    inside = mask_from_lengths(lengths, text.shape[1])[0, 0]
    kept = torch.nonzero((text[0] != PAD) & inside).squeeze(1)
    return text[:, kept], kept.shape[0] * torch.ones_like(lengths), kept


def fold_blanks(durations: Tensor, text: Tensor, lengths: Tensor) -> Tensor:
    """Durations of all ids to those of the ids that :func:`drop_blanks` keeps.

    The frames of a pad go to the id before it, those of a pad at the start to the first kept one.
    ``durations`` and ``text`` int64 ``[batch, text]`` -> int64 ``[batch, longest kept]``.
    """
    steps = torch.arange(text.shape[1], device=text.device)
    inside = steps[None, :] < lengths[:, None]
    kept = (text != PAD) & inside
    owner = (kept.cumsum(1) - 1).clamp_min(0)
    folded = torch.zeros_like(durations).scatter_add(1, owner, durations * inside)
    return folded[:, : int(kept.sum(1).max())]


def restore_blanks(durations: Tensor, kept: Tensor, text: Tensor) -> Tensor:
    """Durations of the kept ids back at their places in ``text``; pads last no frame.

    ``durations`` int64 ``[1, kept]``, ``kept`` int64 ``[kept]`` positions, ``text`` int64
    ``[1, text]`` -> int64 ``[1, text]``.
    """
    return torch.zeros_like(text).scatter(1, kept.unsqueeze(0), durations)
