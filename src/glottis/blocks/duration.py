"""Deterministic duration prediction (Ren et al. 2019, FastSpeech; Kim et al. 2020, Glow-TTS)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glottis.blocks.transformer import ChannelNorm


class DurationPredictor(nn.Module):
    """Two convolutions over hidden text: ``[batch, channels, text]`` -> log frames ``[batch, text]``.

    ``mask`` bool ``[batch, 1, text]``; the result is zero outside it.
    """

    def __init__(
        self, channels: int, hidden: int, kernel_size: int = 3, dropout: float = 0.1
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.first = nn.Conv1d(channels, hidden, kernel_size, padding=padding)
        self.first_norm = ChannelNorm(hidden)
        self.second = nn.Conv1d(hidden, hidden, kernel_size, padding=padding)
        self.second_norm = ChannelNorm(hidden)
        self.project = nn.Conv1d(hidden, 1, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.dropout(self.first_norm(torch.relu(self.first(x * mask))))
        x = self.dropout(self.second_norm(torch.relu(self.second(x * mask))))
        log_frames: Tensor = self.project(x * mask)
        return (log_frames * mask).squeeze(1).float()


def duration_loss(log_predicted: Tensor, durations: Tensor, text_lengths: Tensor) -> Tensor:
    """Mean squared error of log durations over real tokens (Glow-TTS, eq. 8).

    ``log_predicted`` and int64 ``durations`` ``[batch, text]``; a token may own no frame, so the
    logarithm is taken of at least a small fraction of one.
    """
    steps = torch.arange(durations.shape[1], device=durations.device)
    real = steps[None, :] < text_lengths[:, None]
    wanted = torch.log(durations.float().clamp_min(1e-2))
    return ((log_predicted - wanted).square() * real).sum() / real.sum()
