"""Log-mels from text by least squares, frame by frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glottis.blocks.convnext import ConvNeXtStack
from glottis.blocks.pitch import PITCH_BELLS


class Regression(nn.Module):
    """What text says of log-mels (as FastPitch, Lancucki 2021, with ConvNeXt for its decoder).

    ``held`` ``[batch, width, frames]``: of the hidden text ``[batch, channels, text]`` what
    :attr:`start` makes of it, each token held for its frames (a projection commutes with holding,
    and there are fewer tokens than frames); ``bells`` ``[batch, PITCH_BELLS + 1, frames]`` or None;
    ``mask`` bool ``[batch, 1, frames]`` -> ``[batch, mels, frames]``.
    """

    def __init__(
        self, channels: int, mels: int, width: int, hidden: int, layers: int, *, pitch: bool
    ) -> None:
        super().__init__()
        self.start = nn.Conv1d(channels, width, 1)
        self.pitch = nn.Conv1d(PITCH_BELLS + 1, width, 1) if pitch else None
        self.stack = ConvNeXtStack(width, width, hidden, layers)
        self.end = nn.Conv1d(width, mels, 1)
        # About the mean log-mel of speech.
        nn.init.constant_(self.end.bias, -5.0)  # type: ignore[arg-type]

    def forward(self, held: Tensor, bells: Tensor | None, mask: Tensor) -> Tensor:
        if self.pitch is not None:
            if bells is None:
                raise ValueError("this regression is told the pitch, and was given none")
            held = held + self.pitch(bells)
        return torch.where(mask, self.end(self.stack(held, mask)).float(), 0.0)
