"""Text as Gaussians: a transformer over phonemes and a mean and scale for each of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from glottis.blocks.text_encoder import TextEncoder


class Prior(NamedTuple):
    """What text says. All but ``hidden`` ``[batch, channels, text]`` are Gaussians of each token.

    ``mean`` and ``log_scale`` ``[batch, latent, text]``; ``mel_mean`` ``[batch, mels, text]`` of
    log-mels with unit variance, None unless they are asked for.
    """

    hidden: Tensor
    mean: Tensor
    log_scale: Tensor
    mel_mean: Tensor | None


class TextPrior(TextEncoder):
    """Phoneme ids to :class:`Prior`.

    ``text`` int64 ``[batch, text]``, ``mask`` bool ``[batch, 1, text]``, ``condition``
    ``[batch, condition_channels, 1]`` for the log-mels' Gaussians and, with ``condition_text``, for
    the transformer, ``language`` ``[batch, channels, 1]`` added to every symbol; both may be None.
    With ``zero`` all Gaussians are standard at first.
    """

    def __init__(
        self,
        symbols: int,
        latent: int,
        channels: int,
        filter_channels: int,
        heads: int,
        layers: int,
        kernel_size: int,
        dropout: float,
        window: int,
        mels: int = 0,
        condition_channels: int = 0,
        condition_text: bool = False,
        prenet: bool = False,
        zero: bool = False,
    ) -> None:
        super().__init__(
            symbols,
            channels,
            filter_channels,
            heads,
            layers,
            kernel_size,
            dropout,
            window,
            prenet,
            # With what Glow-TTS puts before its transformer, that model's transformer as well.
            norm_eps=1e-4 if prenet else 1e-5,
            condition_channels=condition_channels if condition_text else 0,
        )
        self.project = nn.Conv1d(channels, 2 * latent, 1)
        if zero:
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]
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
        x = self.features(text, mask, condition, language)
        mean, log_scale = (self.project(x).float() * mask).chunk(2, dim=1)
        if self.mel_mean is None:
            return Prior(x, mean, log_scale, None)
        given = x
        if condition is not None:
            given = torch.cat([x, condition.expand(-1, -1, x.shape[2])], dim=1)
        return Prior(x, mean, log_scale, self.mel_mean(given).float() * mask)
