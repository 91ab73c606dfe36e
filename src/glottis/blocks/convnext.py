"""ConvNeXt blocks in one dimension (Liu et al. 2022; for speech: Siuzdak 2023, Vocos)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpeakerNorm(nn.Module):
    """Layer normalisation with a gain and a bias of each speaker's own (Chen et al. 2021,
    AdaSpeech, conditional layer normalisation): ``[batch, time, channels]`` and ``speaker`` int64
    ``[batch]`` -> the same shape.
    """

    def __init__(self, channels: int, speakers: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6, elementwise_affine=False)
        self.speaker_gain = nn.Parameter(torch.ones(speakers, channels))
        self.speaker_bias = nn.Parameter(torch.zeros(speakers, channels))

    def forward(self, x: Tensor, speaker: Tensor) -> Tensor:
        normal: Tensor = self.norm(x)
        gain, bias = self.speaker_gain[speaker], self.speaker_bias[speaker]
        return normal * gain.unsqueeze(1) + bias.unsqueeze(1)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, then a pointwise bottleneck, added to the input.

    ``[batch, channels, time]`` -> the same shape. ``layer_scale`` is the initial value of the
    learned gain per channel on the branch; small values let deep stacks start near identity. Of
    several ``speakers`` each has a normalisation of their own, and ``speaker`` int64 ``[batch]``
    says whose.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel_size: int = 7,
        layer_scale: float = 0.125,
        speakers: int = 0,
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(
            channels, channels, kernel_size, padding=kernel_size // 2, groups=channels
        )
        self.norm = _norm(channels, speakers)
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)
        self.scale = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor, speaker: Tensor | None = None) -> Tensor:
        y = _normed(self.norm, self.depthwise(x).transpose(1, 2), speaker)
        y = self.contract(nn.functional.gelu(self.expand(y)))
        return x + (self.scale * y).transpose(1, 2)


class ConvNeXtStack(nn.Module):
    """Features in, hidden states out: a convolution, ``layers`` blocks and a normalisation.

    ``[batch, inputs, time]`` -> ``[batch, channels, time]``; with ``mask`` bool
    ``[batch, 1, time]``, what lies outside it neither matters nor comes out. With ``speakers``,
    normalisations are those of ``speaker`` int64 ``[batch]``.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        hidden: int,
        layers: int,
        kernel_size: int = 7,
        speakers: int = 0,
    ) -> None:
        super().__init__()
        self.embed = nn.Conv1d(inputs, channels, kernel_size, padding=kernel_size // 2)
        self.norm = _norm(channels, speakers)
        self.layers = nn.ModuleList(
            ConvNeXtBlock(channels, hidden, kernel_size, 1.0 / layers, speakers)
            for _ in range(layers)
        )
        self.final = _norm(channels, speakers)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, speaker: Tensor | None = None
    ) -> Tensor:
        x = _normed(self.norm, self.embed(_within(x, mask)).transpose(1, 2), speaker)
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = layer(_within(x, mask), speaker)
        return _within(_normed(self.final, x.transpose(1, 2), speaker).transpose(1, 2), mask)


def _norm(channels: int, speakers: int) -> nn.Module:
    return SpeakerNorm(channels, speakers) if speakers else nn.LayerNorm(channels, eps=1e-6)


def _normed(norm: nn.Module, x: Tensor, speaker: Tensor | None) -> Tensor:
    normed: Tensor = norm(x, speaker) if isinstance(norm, SpeakerNorm) else norm(x)
    return normed


def _within(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else torch.where(mask, x, 0.0)
