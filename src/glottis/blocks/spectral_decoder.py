"""Latents to audio through spectra: a ConvNeXt stack and the inverse transform, as Vocos does."""

from __future__ import annotations

from torch import Tensor, nn

from glottis.blocks.convnext import ConvNeXtStack
from glottis.blocks.spectral import SpectrumHead


class SpectralDecoder(nn.Module):
    """``[batch, inputs, frames]`` and ``condition`` ``[batch, condition_channels, 1]`` (or None) ->
    audio ``[batch, frames * hop]``.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        hidden: int,
        layers: int,
        fft_size: int,
        hop: int,
        condition_channels: int = 0,
    ) -> None:
        super().__init__()
        self.condition = nn.Conv1d(condition_channels, inputs, 1) if condition_channels else None
        self.stack = ConvNeXtStack(inputs, channels, hidden, layers)
        self.head = SpectrumHead(channels, fft_size, hop)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        if self.condition is not None:
            if condition is None:
                raise ValueError("this decoder was built with a condition and needs one")
            x = x + self.condition(condition)
        samples: Tensor = self.head(self.stack(x))
        return samples
