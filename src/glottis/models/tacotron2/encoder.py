"""Symbols to what attention looks at."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from glottis.blocks.convolution import Conv1d
from glottis.blocks.lengths import mask_from_lengths
from glottis.blocks.text_encoder import TextEncoder
from glottis.models.tacotron2.config import Config


class Convolution(nn.Module):
    """Convolution and batch normalisation: ``[batch, channels, time]``, the same time.

    What lies outside ``mask`` bool ``[batch, 1, time]`` does not count towards means and variances
    (in the authors' code it does, so that an utterance is another one beside longer ones); it
    should be zero, and what comes out there means nothing.
    """

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__()
        self.conv = Conv1d(channels, out, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y: Tensor = self.conv(x)
        if mask is None or not self.training:
            return cast(Tensor, self.norm(y))
        steps, inside = y.transpose(1, 2), mask.squeeze(1)
        normed = torch.zeros_like(steps)
        normed[inside] = self.norm(steps[inside]).to(normed.dtype)
        return normed.transpose(1, 2)


class Encoder(nn.Module):
    """Symbols to memory (section 2.2 of the paper): ``text`` int64 ``[batch, text]``, ``lengths``
    int64 ``[batch]`` -> ``[batch, text, channels]``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.channels
        self.embed = nn.Embedding(config.symbols, channels)
        bound = math.sqrt(6.0 / (config.symbols + channels))
        nn.init.uniform_(self.embed.weight, -bound, bound)
        self.convolutions = nn.ModuleList(
            Convolution(channels, channels, config.encoder_kernel)
            for _ in range(config.encoder_layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.lstm = nn.LSTM(channels, channels // 2, batch_first=True, bidirectional=True)

    def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
        mask = mask_from_lengths(lengths, text.shape[1])
        x = self.embed(text).transpose(1, 2) * mask
        for convolution in self.convolutions:
            x = self.dropout(torch.relu(convolution(x, mask))) * mask
        packed = nn.utils.rnn.pack_padded_sequence(
            x.transpose(1, 2), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        memory, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=text.shape[1]
        )
        return memory

    def whole(self, text: Tensor) -> Tensor:
        """The same of texts without padding, in operations that ONNX has."""
        x = self.embed(text).transpose(1, 2)
        for convolution in self.convolutions:
            x = torch.relu(convolution(x))
        memory: Tensor = self.lstm(x.transpose(1, 2))[0]
        return memory


class TransformerEncoder(TextEncoder):
    """The same by a transformer over what convolutions hear, the encoder of Glow-TTS."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            config.symbols,
            config.channels,
            config.filter_channels,
            config.heads,
            config.encoder_layers,
            config.encoder_kernel,
            config.dropout,
            config.window,
        )

    def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
        mask = mask_from_lengths(lengths, text.shape[1])
        return (self.features(text, mask) * mask).transpose(1, 2)

    def whole(self, text: Tensor) -> Tensor:
        """The same of texts without padding."""
        inside = torch.ones_like(text, dtype=torch.bool).unsqueeze(1)
        return self.features(text, inside).transpose(1, 2)
