"""Text as Gaussians: a transformer over phonemes and a mean and scale for each of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from glottis.blocks.transformer import Transformer


class Prior(NamedTuple):
    """What text says. All but ``hidden`` ``[batch, channels, text]`` are Gaussians of each token.

    ``mean`` and ``log_scale`` ``[batch, latent, text]``; ``mel_mean`` ``[batch, mels, text]`` of
    log-mels with unit variance, None unless they are asked for.
    """

    hidden: Tensor
    mean: Tensor
    log_scale: Tensor
    mel_mean: Tensor | None


class TextPrior(nn.Module):
    """Phoneme ids to :class:`Prior`.

    ``text`` int64 ``[batch, text]``, ``mask`` bool ``[batch, 1, text]``, ``condition``
    ``[batch, condition_channels, 1]`` for the log-mels' Gaussians and for a transformer built with
    a condition, ``language`` ``[batch, channels, 1]`` added to every symbol; both may be None.
    """

    def __init__(
        self,
        symbols: int,
        latent: int,
        transformer: Transformer,
        channels: int,
        mels: int = 0,
        condition_channels: int = 0,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, channels)
        nn.init.normal_(self.embed.weight, std=channels**-0.5)
        self.transformer = transformer
        self.project = nn.Conv1d(channels, 2 * latent, 1)
        self.mel_mean = nn.Conv1d(channels + condition_channels, mels, 1) if mels else None
        if self.mel_mean is not None:
            # About the mean log-mel of speech: the search should not wait for the offset.
            nn.init.constant_(self.mel_mean.bias, -5.0)  # type: ignore[arg-type]

    def forward(
        self,
        text: Tensor,
        mask: Tensor,
        condition: Tensor | None = None,
        language: Tensor | None = None,
    ) -> Prior:
        x = self.embed(text).transpose(1, 2)
        if language is not None:
            x = x + language
        x = self.transformer(x * math.sqrt(x.shape[1]), mask, condition)
        mean, log_scale = (self.project(x).float() * mask).chunk(2, dim=1)
        if self.mel_mean is None:
            return Prior(x, mean, log_scale, None)
        given = x
        if condition is not None:
            given = torch.cat([x, condition.expand(-1, -1, x.shape[2])], dim=1)
        return Prior(x, mean, log_scale, self.mel_mean(given).float() * mask)
