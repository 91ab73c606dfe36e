"""From durations to frames: which token each frame belongs to, and how sound an alignment looks.

Durations, int64 ``[batch, text]`` in frames, are the whole of a monotonic alignment; the dense 0/1
path of other toolkits is never needed to use one, only to draw it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glottis.errors import InputError


def token_indices(durations: Tensor, frames: int | Tensor | None = None) -> Tensor:
    """``int64 [batch, text] -> int64 [batch, frames]``: the token that each frame belongs to.

    Frames beyond an item's total duration get ``text``, one past the last token. ``frames`` is the
    size of the last axis, the largest total when None; an item that is longer is cut. Linear in
    ``text + frames``, and made of operations that ONNX has.
    """
    if durations.dim() != 2 or durations.is_floating_point():
        raise InputError(
            "durations must be integers [batch, text], "
            f"not {durations.dtype} {list(durations.shape)}"
        )
    ends = durations.cumsum(1)
    if frames is None:
        frames = int(ends[:, -1].max()) if ends.numel() else 0
    # A frame's token is the number of tokens that have ended by then.
    ended = torch.zeros((durations.shape[0], frames + 1), dtype=torch.int64, device=ends.device)  # type: ignore[arg-type]
    ended = ended.scatter_add(1, ends.clamp(max=frames), torch.ones_like(ends))
    return ended.cumsum(1)[:, :-1]


def expand(values: Tensor, durations: Tensor, frames: int | Tensor | None = None) -> Tensor:
    """``[batch, channels, text] -> [batch, channels, frames]``: each token's column, held.

    The length regulator of FastSpeech (Ren et al. 2019) and Glow-TTS's ``mu A``, by gathering and
    without a path: token ``i``'s column stands in its ``durations[:, i]`` frames. Zero beyond an
    item's total duration; ``frames`` as in :func:`token_indices`. Differentiable in ``values``.
    """
    index = token_indices(durations, frames)
    # Under tracing (ONNX export) sizes are tensors, and comparing them would only warn.
    if not torch.jit.is_tracing() and (values.dim() != 3 or values.shape[::2] != durations.shape):
        raise InputError(
            f"values must be [batch, channels, text] beside durations {list(durations.shape)}, "
            f"not {list(values.shape)}"
        )
    # One zero column after the last token is what frames beyond the end point at.
    padded = torch.nn.functional.pad(values, (0, 1))
    return padded.gather(2, index[:, None, :].expand(-1, values.shape[1], -1))


def path(durations: Tensor, frames: int | Tensor | None = None) -> Tensor:
    """``int64 [batch, text] -> bool [batch, text, frames]``: the dense path, for pictures."""
    token = torch.arange(durations.shape[1], device=durations.device)
    return token_indices(durations, frames)[:, None, :] == token[None, :, None]


def diagonality(durations: Tensor, text_lengths: Tensor | None = None) -> Tensor:
    """``[batch, text] -> float32 [batch]``: 1 for equal durations, 0 when one end takes all.

    One minus twice the mean distance, over frames ``j`` of ``J`` and their tokens ``i`` of ``I``,
    between ``(i + 1/2) / I`` and ``(j + 1/2) / J``. An alignment that has not
    formed lies low, because a few tokens hold most frames.
    """
    tokens = _tokens(durations, text_lengths)
    index = token_indices(durations)
    total = durations.sum(1, keepdim=True)
    frame = torch.arange(index.shape[1], device=index.device)
    distance = ((index + 0.5) / tokens[:, None] - (frame + 0.5) / total).abs()
    inside = frame < total
    return 1 - 2 * torch.where(inside, distance, 0).sum(1) / total.squeeze(1)


def coverage(durations: Tensor, text_lengths: Tensor | None = None) -> Tensor:
    """``[batch, text] -> float32 [batch]``: the share of tokens that effectively hold the frames.

    ``exp(H) / text`` with ``H`` the entropy of the durations divided by their sum: 1 for equal
    durations, ``1 / text`` when a single token holds every frame, ``k / text`` when ``k`` tokens
    share them equally. It falls when a few tokens swallow an utterance, which the search's rule of
    one frame a token hides from simpler counts.
    """
    tokens = _tokens(durations, text_lengths)
    share = durations / durations.sum(1, keepdim=True)
    return torch.special.entr(share).sum(1).exp() / tokens


def _tokens(durations: Tensor, text_lengths: Tensor | None) -> Tensor:
    if text_lengths is None:
        return torch.full_like(durations[:, 0], durations.shape[1])
    return text_lengths.to(durations.device)
