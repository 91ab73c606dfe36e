"""ConvNeXt blocks in one dimension (Liu et al. 2022; for speech: Siuzdak 2023, Vocos)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, then a pointwise bottleneck, added to the input.

    ``[batch, channels, time]`` -> the same shape. ``layer_scale`` is the initial value of the
    learned gain per channel on the branch; small values let deep stacks start near identity.
    """

    def __init__(
        self, channels: int, hidden: int, kernel_size: int = 7, layer_scale: float = 0.125
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(
            channels, channels, kernel_size, padding=kernel_size // 2, groups=channels
        )
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)
        self.scale = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).transpose(1, 2))
        y = self.contract(nn.functional.gelu(self.expand(y)))
        return x + (self.scale * y).transpose(1, 2)


class ConvNeXtStack(nn.Module):
    """Features in, hidden states out: a convolution, ``layers`` blocks and a normalisation.

    ``[batch, inputs, time]`` -> ``[batch, channels, time]``; with ``mask`` bool
    ``[batch, 1, time]``, what lies outside it neither matters nor comes out.
    """

    def __init__(
        self, inputs: int, channels: int, hidden: int, layers: int, kernel_size: int = 7
    ) -> None:
        super().__init__()
        self.embed = nn.Conv1d(inputs, channels, kernel_size, padding=kernel_size // 2)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.layers = nn.ModuleList(
            ConvNeXtBlock(channels, hidden, kernel_size, layer_scale=1.0 / layers)
            for _ in range(layers)
        )
        self.final = nn.LayerNorm(channels, eps=1e-6)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.norm(self.embed(_within(x, mask)).transpose(1, 2)).transpose(1, 2)
        for layer in self.layers:
            x = layer(_within(x, mask))
        return _within(self.final(x.transpose(1, 2)).transpose(1, 2), mask)


def _within(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else torch.where(mask, x, 0.0)
