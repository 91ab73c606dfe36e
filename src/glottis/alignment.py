"""Alignments: searching them, laying tokens out along frames, and how sound they look.

Durations, int64 ``[batch, text]`` in frames, are the whole of a monotonic alignment; the dense 0/1
path of other toolkits is never needed to use one, only to draw it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from glottis.errors import InputError
from glottis.kernels import mas, mas_blocks, mas_gaussian
from glottis.likelihood.lattice import GaussianLattice


def align(
    lattice: GaussianLattice,
    latent: Tensor,
    frame_lengths: Tensor | None = None,
    *,
    noise_scale: float = 0.0,
    generator: torch.Generator | None = None,
    block: int | None = None,
) -> Tensor:
    """``[batch, channels, frames] -> durations int64 [batch, text]``, the most likely alignment.

    Args:
        lattice: the tokens' Gaussians, with their ``text_lengths``.
        latent: ``[batch, channels, frames]``; takes no part in gradients.
        frame_lengths: integers ``[batch]``; all frames when None.
        noise_scale: add Gaussian noise to the lattice before the search, this many times the
            standard deviation of the item's cells, so that early training explores (Kong et al.
            2023, VITS2, section 2.2: from 0.01, less by 2e-6 a step). 0 for none.
        generator: draws that noise.
        block: None makes the whole lattice first, ``[batch, text, frames]``. A number makes and
            searches it in one pass, so many frames at a time (256 is a good number), one item after
            another: of a single item one bit a token and frame is held. On a CPU that is faster,
            too (:func:`glottis.kernels.mas_gaussian`). Not with noise.

    Raises:
        InputError: as :func:`glottis.kernels.mas`, and for noise that is negative or with blocks.
    """
    if not noise_scale >= 0:
        raise InputError(f"noise_scale must be 0 or more, not {noise_scale}")
    with torch.no_grad():
        if block is not None:
            if noise_scale or block < 1:
                raise InputError("blocks must hold at least one frame, and have no noise_scale")
            if latent.device.type != "cpu":
                return _align_in_blocks(lattice, latent, frame_lengths, block)
            scale = None if lattice.has_unit_variance else lattice.log_scale
            lengths = lattice.text_lengths, frame_lengths
            return mas_gaussian(lattice.mean, scale, latent, *lengths, block=block)[0]
        log_prob = lattice.log_prob(latent, frame_lengths)
        if noise_scale:
            spread = noise_scale * _standard_deviation(
                log_prob, lattice.text_lengths, frame_lengths
            )
            noise = torch.randn(log_prob.shape, generator=generator, dtype=log_prob.dtype)
            log_prob = log_prob + spread * noise.to(log_prob.device)
        return mas(log_prob, lattice.text_lengths, frame_lengths)


def _align_in_blocks(
    lattice: GaussianLattice, latent: Tensor, frame_lengths: Tensor | None, block: int
) -> Tensor:
    """Products where the tensors are, on a GPU, and the search through them here."""
    batch, _, text = lattice.mean.shape
    durations = torch.zeros(batch, text, dtype=torch.int64)
    for item in range(batch):
        tokens = text if lattice.text_lengths is None else int(lattice.text_lengths[item])
        frames = latent.shape[2] if frame_lengths is None else int(frame_lengths[item])
        if not tokens <= frames <= latent.shape[2]:
            raise InputError(
                f"batch item {item}: {tokens} tokens cannot be aligned with {frames} of "
                f"{latent.shape[2]} frames"
            )
        blocks = lattice.blocks(latent, item, frames, block)
        try:
            found, _ = mas_blocks(
                ((low, cells.cpu().numpy()) for low, cells in blocks), tokens, frames
            )
        except InputError as error:
            raise InputError(str(error).replace("batch item 0", f"batch item {item}")) from error
        durations[item, :tokens] = torch.from_numpy(found)
    return durations.to(latent.device)


def _standard_deviation(
    log_prob: Tensor, text_lengths: Tensor | None, frame_lengths: Tensor | None
) -> Tensor:
    """``[batch, 1, 1]``, over the cells inside the lengths; cells outside are zero."""
    text, frames = log_prob.shape[1:]
    cells = (text if text_lengths is None else text_lengths.to(log_prob.device)) * (
        frames if frame_lengths is None else frame_lengths.to(log_prob.device)
    )
    count = torch.as_tensor(cells, device=log_prob.device).expand(log_prob.shape[0])[:, None, None]
    mean = log_prob.sum((1, 2), keepdim=True) / count
    # Cells outside are zero and each would add the mean's square.
    squares = (log_prob - mean).square().sum((1, 2), keepdim=True)
    return ((squares - (text * frames - count) * mean.square()) / count).clamp(min=0).sqrt()


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


def token_nats(mean: Tensor, durations: Tensor, values: Tensor, lengths: Tensor) -> Tensor:
    """Negative log-density under one unit Gaussian a token, nats a frame and channel: a scalar.

    ``mean`` ``[batch, channels, text]``, ``durations`` int64 ``[batch, text]``, ``values``
    ``[batch, channels, frames]`` and their ``lengths`` int64 ``[batch]``, beyond which nothing
    counts. What alignments on log-mels learn by.
    """
    frames = values.shape[2]
    inside = (torch.arange(frames, device=values.device) < lengths[:, None]).unsqueeze(1)
    error = torch.where(inside, values - expand(mean, durations, frames), 0.0)
    count = inside.sum() * values.shape[1]
    return 0.5 * (error.square().sum() / count + math.log(2 * math.pi))


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
