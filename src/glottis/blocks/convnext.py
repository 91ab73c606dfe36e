"""ConvNeXt blocks in one dimension (Liu et al. 2022; for speech: Siuzdak 2023, Vocos)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpeakerNorm(nn.Module):
    """Layer normalisation with a gain and a bias of each speaker's own (Chen et al. 2021,
    AdaSpeech, conditional layer normalisation): ``[batch, time, channels]`` -> the same shape.
    """

    def __init__(self, channels: int, speakers: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6, elementwise_affine=False)
        self.speaker_gain = nn.Parameter(torch.ones(speakers, channels))
        self.speaker_bias = nn.Parameter(torch.zeros(speakers, channels))

    def forward(self, x: Tensor, speaker: Tensor | int) -> Tensor:
        normal: Tensor = self.norm(x)
        return normal * self.speaker_gain[speaker] + self.speaker_bias[speaker]


class SpeakerLinear(nn.Module):
    """A linear layer of each speaker's own: ``[..., inputs]`` -> ``[..., outputs]``.

    The speakers' matrices stand one below the other, ``[speakers * outputs, inputs]``, so that each
    row keeps a scale of its own where weights are stored in few bits.
    """

    def __init__(self, inputs: int, outputs: int, speakers: int) -> None:
        super().__init__()
        self.speakers, self.shape = speakers, (outputs, inputs)
        # All begin as the same, so that they differ by what speakers do alone.
        weight = nn.init.trunc_normal_(torch.empty(outputs, inputs), std=0.02)
        self.speaker_weight = nn.Parameter(weight.repeat(speakers, 1))
        self.speaker_bias = nn.Parameter(torch.zeros(speakers, outputs))

    def forward(self, x: Tensor, speaker: Tensor | int) -> Tensor:
        weight = self.speaker_weight.view(self.speakers, *self.shape)[speaker]
        return nn.functional.linear(x, weight, self.speaker_bias[speaker])


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, then a pointwise bottleneck, added to the input.

    ``[batch, channels, time]`` -> the same shape. ``layer_scale`` is the initial value of the
    learned gain per channel on the branch; small values let deep stacks start near identity. With
    ``speakers`` each has a bottleneck and a normalisation of their own, and ``speaker``, an int64
    scalar, says whose.
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
        self.expand = _linear(channels, hidden, speakers)
        self.contract = _linear(hidden, channels, speakers)
        self.scale = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor, speaker: Tensor | int | None = None) -> Tensor:
        y = _own(self.norm, self.depthwise(x).transpose(1, 2), speaker)
        y = _own(self.contract, nn.functional.gelu(_own(self.expand, y, speaker)), speaker)
        return x + (self.scale * y).transpose(1, 2)


class ConvNeXtStack(nn.Module):
    """Features in, hidden states out: a convolution, ``layers`` blocks and a normalisation.

    ``[batch, inputs, time]`` -> ``[batch, channels, time]``; with ``mask`` bool
    ``[batch, 1, time]``, what lies outside it neither matters nor comes out. With ``speakers``
    all but the convolutions is of one ``speaker``, an int64 scalar.
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
        self, x: Tensor, mask: Tensor | None = None, speaker: Tensor | int | None = None
    ) -> Tensor:
        x = _own(self.norm, self.embed(_within(x, mask)).transpose(1, 2), speaker)
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = layer(_within(x, mask), speaker)
        return _within(_own(self.final, x.transpose(1, 2), speaker).transpose(1, 2), mask)


def _norm(channels: int, speakers: int) -> nn.Module:
    return SpeakerNorm(channels, speakers) if speakers else nn.LayerNorm(channels, eps=1e-6)


def _linear(inputs: int, outputs: int, speakers: int) -> nn.Module:
    return SpeakerLinear(inputs, outputs, speakers) if speakers else nn.Linear(inputs, outputs)


def _own(layer: nn.Module, x: Tensor, speaker: Tensor | int | None) -> Tensor:
    told = isinstance(layer, (SpeakerNorm, SpeakerLinear))
    result: Tensor = layer(x, speaker) if told else layer(x)
    return result


def _within(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else torch.where(mask, x, 0.0)
