"""A transformer over text with windowed relative positions.

Source: Vaswani et al. 2017; relative positions after Shaw, Uszkoreit & Vaswani 2018, limited to a
window and shared by the heads as in Kim et al. 2020 (Glow-TTS), section B.1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glottis.blocks.convolution import Conv1d


class ChannelNorm(nn.Module):
    """Layer normalisation over channels of ``[batch, channels, time]``."""

    def __init__(self, channels: int, eps: float = 1e-4) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        y = F.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta, self.eps)
        return y.transpose(1, 2)


class Distances(NamedTuple):
    """Who is how far from whom, the same for every layer.

    ``entry`` int64 ``[time, time]``: ``j - i + window``, clamped into the relative tables;
    ``inside`` bool ``[time, time]``: whether it was inside; ``band`` int64
    ``[time, 2 window + 1]``: the neighbours of each step in a sequence padded by ``window``.
    """

    entry: Tensor
    inside: Tensor
    band: Tensor

    @classmethod
    def of(cls, x: Tensor, window: int) -> Distances:
        """Distances for ``x`` ``[..., time]``."""
        steps = torch.arange(x.shape[-1], device=x.device)
        distance = steps[None, :] - steps[:, None] + window
        inside = (distance >= 0) & (distance <= 2 * window)
        band = steps[:, None] + torch.arange(2 * window + 1, device=x.device)[None, :]
        return cls(distance.clamp(0, 2 * window), inside, band)


class RelativeAttention(nn.Module):
    """Multi-head self-attention whose keys and values know the distance, up to ``window`` steps.

    ``x`` ``[batch, channels, time]``, ``mask`` bool ``[batch, 1, time]`` and the ``distances`` of
    its time and window -> like ``x``.
    """

    def __init__(self, channels: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels {channels} must be a multiple of heads {heads}")
        self.heads, self.window, self.size = heads, window, channels // heads
        self.query = nn.Conv1d(channels, channels, 1)
        self.key = nn.Conv1d(channels, channels, 1)
        self.value = nn.Conv1d(channels, channels, 1)
        self.out = nn.Conv1d(channels, channels, 1)
        scale = self.size**-0.5
        self.relative_key = nn.Parameter(torch.randn(2 * window + 1, self.size) * scale)
        self.relative_value = nn.Parameter(torch.randn(2 * window + 1, self.size) * scale)
        self.dropout = nn.Dropout(dropout)
        for projection in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(projection.weight)

    def forward(self, x: Tensor, mask: Tensor, distances: Distances) -> Tensor:
        batch, channels, time = x.shape
        query, key, value = (
            projection(x).view(batch, self.heads, self.size, time).transpose(2, 3)
            for projection in (self.query, self.key, self.value)
        )
        query = query / math.sqrt(self.size)
        scores = query @ key.transpose(2, 3)
        near = query @ self.relative_key.to(query.dtype).T
        index = distances.entry.expand(batch, self.heads, time, time)
        scores = scores + torch.where(distances.inside, near.gather(3, index), 0.0)
        scores = scores.masked_fill(~mask.unsqueeze(1), -1e4)
        weights = self.dropout(scores.softmax(-1))
        out = weights @ value
        # The weights of the 2 * window + 1 neighbours of each step, zero beyond the ends.
        padded = F.pad(weights, (self.window, self.window))
        band = distances.band.expand(batch, self.heads, -1, -1)
        out = out + padded.gather(3, band) @ self.relative_value.to(weights.dtype)
        merged: Tensor = self.out(out.transpose(2, 3).reshape(batch, channels, time))
        return merged


class FeedForward(nn.Module):
    """Two convolutions over time with a ReLU between: ``[batch, channels, time]`` to the same."""

    def __init__(self, channels: int, hidden: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.expand = Conv1d(channels, hidden, kernel_size, padding=kernel_size // 2)
        self.contract = Conv1d(hidden, channels, kernel_size, padding=kernel_size // 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.dropout(torch.relu(self.expand(x * mask)))
        contracted: Tensor = self.contract(x * mask)
        return contracted * mask


class Transformer(nn.Module):
    """``layers`` of attention and convolutional feed-forward, each normalised after its sum.

    ``x`` ``[batch, channels, time]`` and ``mask`` bool ``[batch, 1, time]`` -> like ``x``, zero
    outside the mask. With ``condition_channels`` a ``condition`` ``[batch, condition_channels, 1]``
    is projected and added to what layer ``condition_at`` (from 0) reads (Kong et al. 2023, VITS2,
    section 2.4: the third). ``norm_eps`` is that of the normalisations.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        heads: int,
        layers: int,
        kernel_size: int = 3,
        dropout: float = 0.1,
        window: int = 4,
        norm_eps: float = 1e-4,
        condition_channels: int = 0,
        condition_at: int = 2,
    ) -> None:
        super().__init__()
        self.window = window
        self.condition_at = min(condition_at, layers - 1)
        self.condition = nn.Conv1d(condition_channels, channels, 1) if condition_channels else None
        self.dropout = nn.Dropout(dropout)
        self.attentions = nn.ModuleList(
            RelativeAttention(channels, heads, window, dropout) for _ in range(layers)
        )
        self.attention_norms = nn.ModuleList(ChannelNorm(channels, norm_eps) for _ in range(layers))
        self.forwards = nn.ModuleList(
            FeedForward(channels, hidden, kernel_size, dropout) for _ in range(layers)
        )
        self.forward_norms = nn.ModuleList(ChannelNorm(channels, norm_eps) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        if self.condition is not None and condition is None:
            raise ValueError("this transformer was built with a condition and needs one")
        x = torch.where(mask, x, 0.0)
        distances = Distances.of(x, self.window)
        layers = zip(
            self.attentions, self.attention_norms, self.forwards, self.forward_norms, strict=True
        )
        for index, (attention, norm, forward, forward_norm) in enumerate(layers):
            if self.condition is not None and index == self.condition_at:
                x = torch.where(mask, x + self.condition(condition), 0.0)
            x = norm(x + self.dropout(attention(x, mask, distances)))
            x = forward_norm(x + self.dropout(forward(x, mask)))
        return torch.where(mask, x, 0.0)


class ConvolutionalPrenet(nn.Module):
    """Convolutions over embedded text, added to their input (Glow-TTS, section B.1).

    ``[batch, channels, time]`` and ``mask`` -> the same shape.
    """

    def __init__(self, channels: int, kernel_size: int = 5, layers: int = 3, dropout: float = 0.5):
        super().__init__()
        self.convolutions = nn.ModuleList(
            Conv1d(channels, channels, kernel_size, padding=kernel_size // 2) for _ in range(layers)
        )
        self.norms = nn.ModuleList(ChannelNorm(channels) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = x
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            y = self.dropout(torch.relu(norm(convolution(y * mask))))
        return (x + self.project(y)) * mask
