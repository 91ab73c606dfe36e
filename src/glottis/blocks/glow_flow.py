"""The flow of Glow-TTS (Kim et al. 2020, section 3.2, after Kingma & Dhariwal 2018)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from glottis.blocks.pitch import PitchInput
from glottis.blocks.reach import reach
from glottis.blocks.wavenet import GatedStack
from glottis.likelihood.flows import ActNorm, AffineCoupling, InvertibleConv1x1


class GlowFlow(nn.Module):
    """Between ``[batch, channels, frames]`` and latents of the same shape.

    ``squeeze`` frames are stacked into channels, so that their number must divide ``frames``; then
    ``blocks`` times a normalisation, an invertible 1x1 convolution over groups of ``group``
    channels, and an affine coupling that a gated stack decides. ``condition`` is
    ``[batch, condition_channels, 1 or frames / squeeze]``; ``mask`` bool ``[batch, 1, frames]``.
    """

    def __init__(
        self,
        channels: int,
        squeeze: int,
        blocks: int,
        hidden: int,
        kernel_size: int,
        layers: int,
        *,
        condition_channels: int = 0,
        dilation: int = 1,
        dropout: float = 0.0,
        group: int = 4,
        bounded_scale: bool = False,
    ) -> None:
        super().__init__()
        self.squeeze, self.channels = squeeze, channels
        channels = channels * squeeze
        self.norms = nn.ModuleList(ActNorm(channels) for _ in range(blocks))
        self.mixers = nn.ModuleList(InvertibleConv1x1(channels, group) for _ in range(blocks))
        networks = (
            CouplingNetwork(
                channels, hidden, kernel_size, layers, condition_channels, dilation, dropout
            )
            for _ in range(blocks)
        )
        self.couplings = nn.ModuleList(
            AffineCoupling(network, bounded_scale=bounded_scale) for network in networks
        )

    @property
    def reach(self) -> int:
        """Frames to either side that a frame depends on, either way."""
        return self.squeeze * reach(self)

    @property
    def initialized(self) -> bool:
        """Whether every layer has seen a first batch."""
        return all(bool(norm.initialized) for norm, _, _ in self.layers())

    def call_and_ladj(
        self, x: Tensor, mask: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Data to latents, and ``log|det dz/dx|`` ``[batch]`` in nats."""
        x, mask = stack(x, self.squeeze), mask[..., :: self.squeeze]
        total = x.new_zeros(len(x))
        for norm, mixer, coupling in self.layers():
            x, ladj = norm.call_and_ladj(x, mask)
            total = total + ladj
            x, ladj = mixer.call_and_ladj(x, mask)
            total = total + ladj
            x, ladj = coupling.call_and_ladj(x, mask, condition)
            total = total + ladj
        return self._unstack(x), total

    def inverse(self, z: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """Latents to data."""
        z, mask = stack(z, self.squeeze), mask[..., :: self.squeeze]
        for norm, mixer, coupling in reversed(self.layers()):
            z = coupling.inverse(z, mask, condition)
            z = norm.inverse(mixer.inverse(z, mask), mask)
        return self._unstack(z)

    def layers(self) -> list[tuple[ActNorm, InvertibleConv1x1, AffineCoupling]]:
        """The blocks, in the order from data to latents."""
        layers = zip(self.norms, self.mixers, self.couplings, strict=True)
        return cast("list[tuple[ActNorm, InvertibleConv1x1, AffineCoupling]]", list(layers))

    def _unstack(self, x: Tensor) -> Tensor:
        parts = x.split([self.channels] * self.squeeze, dim=1)
        return torch.stack(parts, dim=-1).flatten(2)


class CouplingNetwork(nn.Module):
    """What decides a coupling: a gated stack between two projections, the last zero at first."""

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel_size: int,
        layers: int,
        condition_channels: int,
        dilation: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.start = nn.Conv1d(channels // 2, hidden, 1)
        self.stack = GatedStack(
            hidden,
            kernel_size,
            layers,
            dilation,
            condition_channels=condition_channels,
            dropout=dropout,
        )
        self.end = nn.Conv1d(hidden, channels, 1)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        out: Tensor = self.end(self.stack(self.start(x) * mask, mask, condition))
        return out


class PitchCondition(nn.Module):
    """Pitch to what the couplings are told, nothing at first: ``[batch, PITCH_BELLS + 1, frames]``
    -> ``[batch, channels, frames / squeeze]``.
    """

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.squeeze = squeeze
        self.project = PitchInput(channels, squeeze)

    def forward(self, bells: Tensor) -> Tensor:
        out: Tensor = self.project(stack(bells, self.squeeze))
        return out


def stack(x: Tensor, squeeze: int) -> Tensor:
    """``[batch, channels, frames]`` -> ``[batch, squeeze * channels, frames / squeeze]``."""
    return torch.cat([x[..., i::squeeze] for i in range(squeeze)], dim=1)
