"""What WaveNet is made of: log-mels at the rate of samples, and one gated layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glottis.kernels import activation, wavenet
from glottis.models.wavenet.config import Config


class Upsampling(nn.Module):
    """Log-mels at the rate of samples, as far as every layer shares it.

    Frames are mixed with their neighbours, then repeated and smoothed in stages by learned filters
    that all channels share. So what a layer projects can be projected at the rate of frames: a
    sample of frame ``f`` is a weighted sum of the frames around ``f``, and this gives the weights.

    ``[batch, mels, frames]`` -> mixed frames ``[batch, frames, mels]`` and shares
    ``[frames, hop, window]``, whose middle belongs to the frame itself.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        mels = config.mel.mels
        self.side = config.context
        self.context = nn.Conv1d(mels, mels, 2 * config.context + 1, bias=False)
        self.stages = nn.ParameterList(
            torch.full((2 * scale + 1,), 1 / (2 * scale + 1)) for scale in config.upsampling
        )
        self.reach = wavenet.reach(config.upsampling)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        mixed = self.context(F.pad(mel, (self.side, self.side), mode="replicate"))
        return mixed.transpose(1, 2), self.shares(mel.shape[2]).to(mixed)

    def shares(self, frames: int) -> Tensor:
        """The filters end in zeros at both ends, so only frames between have the same shares."""
        edge = self.reach + 1
        few = min(frames, 2 * edge + 1)
        taps = self.stages[0]
        x = torch.eye(few, dtype=taps.dtype, device=taps.device)[:, None]
        for taps in self.stages:
            scale = len(taps) // 2
            x = F.conv1d(x.repeat_interleave(scale, dim=2), taps[None, None], padding=scale)
        wide = F.pad(x.view(few, few, -1), (0, 0, 0, 0, self.reach, self.reach))
        each = [wide[f : f + 2 * self.reach + 1, f].T for f in range(few)]
        middle = [each[edge]] * (frames - few) if frames > few else []
        return torch.stack([*each[: min(edge, few)], *middle, *each[min(edge, few) :]])


class Layer(nn.Module):
    """One gated layer: ``[batch, time, residual]`` -> the next layer's input, and its skip."""

    def __init__(self, config: Config, dilation: int) -> None:
        super().__init__()
        half = config.gate_channels // 2
        self.dilation, self.scale = dilation, config.residual_scale
        self.gate = nn.Conv1d(
            config.residual_channels, config.gate_channels, config.kernel_size, dilation=dilation
        )
        self.condition = nn.Conv1d(config.mel.mels, config.gate_channels, 1, bias=False)
        self.speaker = (
            nn.Linear(config.speaker_channels, config.gate_channels, bias=False)
            if config.speakers > 1
            else None
        )
        self.residual = nn.Conv1d(half, config.residual_channels, 1)
        self.skip = nn.Conv1d(half, config.skip_channels, 1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, mixed: Tensor, shares: Tensor, speaker: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """``mixed`` and ``shares`` as :class:`Upsampling` gives them."""
        # Matrix products over time-major rows: on a processor twice as fast as convolutions.
        time, past = x.shape[1], self.dropout(x)
        reach = (self.gate.kernel_size[0] - 1) * self.dilation
        past = F.pad(past, (0, 0, reach, 0))
        taps = [past[:, start : start + time] for start in range(0, reach + 1, self.dilation)]
        gates = F.linear(
            torch.cat(taps, dim=2), self.gate.weight.transpose(1, 2).flatten(1), self.gate.bias
        )
        projected = F.linear(mixed, self.condition.weight[..., 0])
        if self.speaker is not None:
            gates = gates + self.speaker(speaker)[:, None]
        frames, hop, window = shares.shape
        padded = F.pad(projected, (0, 0, window // 2, window // 2))
        around = torch.stack([padded[:, i : i + frames] for i in range(window)], dim=2)
        gates = torch.baddbmm(
            gates.reshape(-1, hop, gates.shape[2]),
            shares.repeat(len(x), 1, 1),
            around.flatten(0, 1),
        ).view(gates.shape)
        z = activation.gated(gates.flatten(0, 1)).unflatten(0, gates.shape[:2])
        weight = torch.cat([self.residual.weight, self.skip.weight])[..., 0]
        bias = torch.cat([self.residual.bias, self.skip.bias])  # type: ignore[list-item]
        change, skip = F.linear(z, weight, bias).split([x.shape[2], len(weight) - x.shape[2]], 2)
        return (x + change) * self.scale, skip
