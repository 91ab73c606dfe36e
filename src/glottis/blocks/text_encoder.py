"""The text encoder that all models with a transformer over phonemes share.

Source: Kim et al. 2020, section 3.1 and B.1; VITS leaves the pre-net out.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from glottis.blocks.transformer import ConvolutionalPrenet, Transformer


class TextEncoder(nn.Module):
    """Phoneme ids to hidden states: an embedding, a pre-net if wanted, a transformer.

    A model derives its own encoder from this one and adds what it reads off the states.
    ``norm_eps`` and ``condition_channels`` are the transformer's.
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
        norm_eps: float = 1e-4,
        condition_channels: int = 0,
    ) -> None:
        super().__init__()
        self.scale = math.sqrt(channels)
        self.embed = nn.Embedding(symbols, channels)
        nn.init.normal_(self.embed.weight, std=channels**-0.5)
        self.prenet = ConvolutionalPrenet(channels, dropout=prenet_dropout) if prenet else None
        self.transformer = Transformer(
            channels,
            filter_channels,
            heads,
            layers,
            kernel_size,
            dropout,
            window,
            norm_eps=norm_eps,
            condition_channels=condition_channels,
        )

    def features(
        self,
        text: Tensor,
        mask: Tensor,
        condition: Tensor | None = None,
        language: Tensor | None = None,
    ) -> Tensor:
        """int64 ``[batch, text]``, bool ``[batch, 1, text]`` -> ``[batch, channels, text]``.

        ``condition`` ``[batch, condition_channels, 1]`` for the transformer, ``language``
        ``[batch, channels, 1]`` added to every symbol; both may be None.
        """
        x = self.embed(text).transpose(1, 2)
        if language is not None:
            x = x + language
        x = x * self.scale
        if self.prenet is not None:
            x = self.prenet(x, mask)
        states: Tensor = self.transformer(x, mask, condition)
        return states
