"""The text encoder that Glow-TTS and Grad-TTS share (Kim et al. 2020, section 3.1 and B.1)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from glottis.blocks.transformer import ConvolutionalPrenet, Transformer


class TextEncoder(nn.Module):
    """Phoneme ids to hidden states: an embedding, a pre-net if wanted, a transformer.

    A model derives its own encoder from this one and adds what it reads off the states.
    """

    def __init__(
        self,
        symbols: int,
        channels: int,
        filter_channels: int,
        heads: int,
        layers: int,
        kernel_size: int,
        dropout: float,
        window: int,
        prenet: bool = True,
        prenet_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.scale = math.sqrt(channels)
        self.embed = nn.Embedding(symbols, channels)
        nn.init.normal_(self.embed.weight, std=channels**-0.5)
        self.prenet = ConvolutionalPrenet(channels, dropout=prenet_dropout) if prenet else None
        self.transformer = Transformer(
            channels, filter_channels, heads, layers, kernel_size, dropout, window
        )

    def features(self, text: Tensor, mask: Tensor) -> Tensor:
        """int64 ``[batch, text]``, bool ``[batch, 1, text]`` -> ``[batch, channels, text]``."""
        x = self.embed(text).transpose(1, 2) * self.scale
        if self.prenet is not None:
            x = self.prenet(x, mask)
        states: Tensor = self.transformer(x, mask)
        return states
