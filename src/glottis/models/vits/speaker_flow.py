"""A flow that does to a voice what tells it from others, and what makes it do so."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glottis.blocks.wavenet import GatedNetwork


class CentredShift(nn.Module):
    """What decides the shift of a coupling: nothing on the average of all speakers.

    A gated network sees the other half and what ``told`` channels say of the pitch, no speaker; its
    hidden channels are turned into shifts by a matrix that is linear in how the speaker's embedding
    differs from the mean of all. Shifts of all speakers sum to zero for the same input, so that the
    flow cannot take out what speakers have in common, only what sets them apart.

    ``condition`` ``[batch, told + speaker_channels, frames]`` is both, the pitch first.
    """

    def __init__(
        self,
        half: int,
        channels: int,
        kernel_size: int,
        layers: int,
        told: int,
        speaker_channels: int,
    ) -> None:
        super().__init__()
        self.told = told
        self.network = GatedNetwork(half, channels, channels, kernel_size, layers, told)
        self.shift = nn.Parameter(torch.zeros(speaker_channels, half, channels))

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            raise ValueError("this flow was built with speakers and needs one")
        pitch, speaker = condition.split([self.told, condition.shape[1] - self.told], dim=1)
        hidden = self.network(x, mask, pitch if self.told else None)
        # The speaker's part is the same in every frame.
        speakers, half, channels = self.shift.shape
        matrix = (speaker[:, :, 0] @ self.shift.view(speakers, -1)).view(-1, half, channels)
        return torch.bmm(matrix, hidden) * mask


class SymbolGaussians(nn.Module):
    """A Gaussian for each symbol of the text, whatever stands around it and whoever speaks.

    Means and variances follow what is heard, older frames counting less with every batch by the
    factor ``memory``. As a prior they know neither speaker nor sentence, so that what is likely
    under them sounds the same from everybody: a text encoder would know from the sentence which
    corpus, and so who, is speaking.
    """

    mean: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, symbols: int, channels: int, memory: float = 0.99) -> None:
        super().__init__()
        self.memory = memory
        self.register_buffer("mean", torch.zeros(symbols, channels))
        self.register_buffer("square", torch.ones(symbols, channels))
        self.register_buffer("count", torch.zeros(symbols))

    @torch.no_grad()
    def hear(self, x: Tensor, symbols: Tensor, mask: Tensor) -> None:
        """``x`` ``[batch, channels, frames]``, the ``symbols`` spoken int64 ``[batch, frames]`` and
        ``mask`` bool ``[batch, 1, frames]``.
        """
        inside = mask.squeeze(1)
        frames, index = x.transpose(1, 2)[inside].float(), symbols[inside]
        count = torch.zeros_like(self.count).index_add(0, index, torch.ones_like(frames[:, 0]))
        total = torch.zeros_like(self.mean).index_add(0, index, frames)
        square = torch.zeros_like(self.square).index_add(0, index, frames.square())
        before = self.memory * self.count
        share = (before / (before + count).clamp_min(1e-6))[:, None]
        heard = (count > 0)[:, None]
        each = count.clamp_min(1.0)[:, None]
        self.mean.copy_(
            torch.where(heard, share * self.mean + (1 - share) * total / each, self.mean)
        )
        self.square.copy_(
            torch.where(heard, share * self.square + (1 - share) * square / each, self.square)
        )
        self.count.copy_(before + count)

    def nats(self, x: Tensor, symbols: Tensor, mask: Tensor) -> Tensor:
        """Negative log-density, nats a frame, but for what ``x`` cannot change."""
        variance = (self.square - self.mean.square()).clamp_min(1e-3)
        mean, variance = (table[symbols].transpose(1, 2) for table in (self.mean, variance))
        distance = torch.where(mask, (x - mean).square() / variance, 0.0)
        return 0.5 * distance.sum() / mask.sum()
