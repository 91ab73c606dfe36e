"""Deterministic duration prediction (Ren et al. 2019, FastSpeech; Kim et al. 2020, Glow-TTS)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from glottis.blocks.convolution import Conv1d
from glottis.blocks.lengths import mask_from_lengths
from glottis.blocks.transformer import ChannelNorm


class DurationPredictor(nn.Module):
    """Two convolutions over hidden text: ``[batch, channels, text]`` -> log frames
    ``[batch, text]``.

    ``mask`` bool ``[batch, 1, text]``; the result is zero outside it. ``norm_eps`` is that of the
    normalisations. With ``condition_channels`` a ``condition`` ``[batch, condition_channels, 1]``
    is projected and added first.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel_size: int = 3,
        dropout: float = 0.1,
        norm_eps: float = 1e-4,
        condition_channels: int = 0,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.condition = nn.Conv1d(condition_channels, channels, 1) if condition_channels else None
        self.first = Conv1d(channels, hidden, kernel_size, padding=padding)
        self.first_norm = ChannelNorm(hidden, norm_eps)
        self.second = Conv1d(hidden, hidden, kernel_size, padding=padding)
        self.second_norm = ChannelNorm(hidden, norm_eps)
        self.project = nn.Conv1d(hidden, 1, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        if self.condition is not None:
            if condition is None:
                raise ValueError("this predictor was built with a condition and needs one")
            x = x + self.condition(condition)
        x = self.dropout(self.first_norm(torch.relu(self.first(x * mask))))
        x = self.dropout(self.second_norm(torch.relu(self.second(x * mask))))
        log_frames: Tensor = self.project(x * mask)
        return (log_frames * mask).squeeze(1).float()


DurationLoss = Literal["gamma", "log"]
Rounding = Literal["sums", "up"]


def whole_frames(
    log_durations: Tensor,
    mask: Tensor,
    length_scale: Tensor | float = 1.0,
    rounding: Rounding = "sums",
) -> Tensor:
    """Predicted log frames ``[batch, text]`` -> whole frames, int64 ``[batch, text]``.

    ``sums`` rounds running sums, so that errors do not add up; ``up`` rounds every token up, as the
    authors of Glow-TTS do, which makes up for what their duration loss takes off. ``mask`` is bool
    ``[batch, 1, text]``; ``length_scale`` multiplies frames before they are rounded.
    """
    frames = torch.exp(log_durations) * mask.squeeze(1) * length_scale
    if rounding == "up":
        return torch.ceil(frames).long()
    ends = torch.floor(torch.cumsum(frames, dim=1) + 0.5)
    starts = torch.nn.functional.pad(ends, (1, 0))[:, :-1]
    return (ends - starts).long()


def duration_loss(
    log_predicted: Tensor, durations: Tensor, text_lengths: Tensor, kind: DurationLoss = "gamma"
) -> Tensor:
    """How badly durations are predicted, averaged over real tokens; zero when they are exact.

    ``log``: the mean squared error of log durations (Glow-TTS, eq. 8). Its best answer is the
    geometric mean, so sums of predictions come out short, by half when durations vary as much as
    those of early alignments do; the authors round every token up to make up for it.
    ``gamma``: the deviance of a gamma distribution, ``d / mean - 1 - log(d / mean)``, the
    likelihood for positive quantities with a constant relative spread (McCullagh & Nelder 1989,
    section 8.3). Its best answer is the mean, so sums are right.

    Args:
        log_predicted: ``[batch, text]``, log frames.
        durations: int64 ``[batch, text]``; a token may own no frame, which counts as a hundredth.
        text_lengths: int64 ``[batch]``.
        kind: which of the two.
    """
    real = mask_from_lengths(text_lengths, durations.shape[1]).squeeze(1)
    difference = torch.log(durations.float().clamp_min(1e-2)) - log_predicted
    difference = torch.where(real, difference, 0.0)
    if kind == "gamma":
        error = torch.expm1(difference) - difference
    else:
        error = difference.square()
    return error.sum() / real.sum()
