"""Monotonic alignment search on a GPU, by Triton: one program a batch item.

The scores of a frame are kept in global memory, float64, two rows an item, so that each token can
read its neighbour's; a barrier stands between frames. Scores are added in the reference's order.
Triton's interpreter runs the same code on a CPU when ``TRITON_INTERPRET=1`` is set before the
first import. So far the tests have run it in that way, and compiled it, only; its speed is not
known.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _search(  # type: ignore[no-untyped-def]
    cells,
    stride_item,
    stride_token,
    stride_frame,
    text_lengths,
    frame_lengths,
    scores,
    moved,
    durations,
    best,
    text,
    longest,
    WIDTH: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    tokens = tl.load(text_lengths + item)
    frames = tl.load(frame_lengths + item)
    token = tl.arange(0, WIDTH).to(tl.int64)
    inside = token < tokens
    row = WIDTH + 1
    scores += item * 2 * row
    moved += item * longest * WIDTH
    durations += item * text
    unusable = tl.zeros([WIDTH], tl.int32)
    for frame in range(0, frames):
        old = scores + (frame % 2) * row
        new = scores + ((frame + 1) % 2) * row
        place = cells + item * stride_item + token * stride_token + frame * stride_frame
        here = tl.load(place, mask=inside, other=float("-inf")).to(tl.float64)
        unusable += 1 - (here < float("inf")).to(tl.int32)
        stay = tl.load(old + 1 + token)
        move = tl.load(old + token)
        tl.store(new + 1 + token, here + tl.where(move > stay, move, stay))
        tl.store(moved + frame * WIDTH + token, (move > stay).to(tl.int8))
        tl.debug_barrier()
        # Nothing stands before the first token from the second frame on.
        tl.store(old, -float("inf"))
        tl.debug_barrier()
    score = tl.load(scores + (frames % 2) * row + tokens)
    score = tl.where(tl.sum(unusable) > 0, float("nan"), score)
    tl.store(best + item, score)
    if score > -float("inf"):
        now = tokens - 1
        back = frames - 1
        while back > 0:
            tl.store(durations + now, tl.load(durations + now) + 1)
            now -= tl.load(moved + back * WIDTH + now).to(tl.int64)
            back -= 1
        tl.store(durations + now, tl.load(durations + now) + 1)


def search(log_prob: Tensor, text_lengths: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`glottis.kernels.mas_reference.search`, all tensors on one device.

    Any floating type and strides. Memory beside the result: one byte for every frame and token.
    """
    batch, text, frames = log_prob.shape
    width = triton.next_power_of_2(max(text, 1))
    device = log_prob.device
    durations = torch.zeros(batch, text, dtype=torch.int64, device=device)
    best = torch.empty(batch, dtype=torch.float64, device=device)
    scores = torch.full((batch, 2, width + 1), -torch.inf, dtype=torch.float64, device=device)
    scores[:, 0, 0] = 0.0
    moved = torch.empty(batch, frames, width, dtype=torch.int8, device=device)
    if batch:
        _search[(batch,)](
            log_prob, *log_prob.stride(), text_lengths, frame_lengths, scores, moved, durations,
            best, text, frames, WIDTH=width,
        )  # fmt: skip
    return durations, best
