"""Durations and what follows from them.

An alignment is a row of durations: int64 ``[batch, text]``, the frames that each token owns, zero in
padding, summing to the frame lengths. Nothing here needs the dense 0/1 path.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frame_to_text(durations: Tensor, frames: int | Tensor) -> Tensor:
    """The token that owns each frame: int64 ``[batch, text]`` -> int64 ``[batch, frames]``.

    Frames after the last duration belong to the last token.
    """
    ends = durations.cumsum(1)
    steps = torch.arange(frames, device=durations.device)  # type: ignore[arg-type]
    index = (ends.unsqueeze(2) <= steps).sum(1)
    return index.clamp_max(durations.shape[1] - 1)


def expand(values: Tensor, durations: Tensor, frames: int | Tensor) -> Tensor:
    """Repeat each token's values for as long as it lasts.

    ``values`` ``[batch, channels, text]``, ``durations`` int64 ``[batch, text]`` ->
    ``[batch, channels, frames]``. Differentiable in ``values``.
    """
    index = frame_to_text(durations, frames)
    return values.gather(2, index.unsqueeze(1).expand(-1, values.shape[1], -1))


def diagonality(durations: Tensor, text_lengths: Tensor) -> Tensor:
    """How straight an alignment runs: ``[batch]``, 1 on the diagonal, about 0 along an edge.

    One minus four times the mean distance, over tokens, between the share of frames and the share
    of tokens passed by a token's middle.
    """
    durations = durations.double()
    steps = torch.arange(durations.shape[1], device=durations.device)
    real = steps[None, :] < text_lengths[:, None]
    middle = (durations.cumsum(1) - durations / 2) / durations.sum(1, keepdim=True)
    straight = (steps[None, :] + 0.5) / text_lengths[:, None]
    distance = ((middle - straight).abs() * real).sum(1) / text_lengths
    return (1 - 4 * distance).clamp_min(0.0).float()


def coverage(durations: Tensor, text_lengths: Tensor) -> Tensor:
    """The share of tokens that an alignment really uses: ``[batch]``, in (0, 1].

    ``exp(H) / text`` with H the entropy, in nats, of the frames' distribution over tokens: 1 when
    all tokens last equally long, near ``1 / text`` when one of them swallows everything.
    """
    share = durations.double() / durations.sum(1, keepdim=True)
    entropy = -torch.special.xlogy(share, share).sum(1)
    return (entropy.exp() / text_lengths).float()
