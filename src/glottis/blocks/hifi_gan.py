"""The generator of HiFi-GAN (Kong, Kim & Bae 2020, section 2.2); VITS decodes with it too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from glottis.blocks.convolution import Conv1d
from glottis.blocks.reach import reach
from glottis.errors import InputError

SLOPE = 0.1
"""Of every leaky rectifier but the last, where the authors' code has torch's default."""


class ResidualBlock(nn.Module):
    """Dilated convolutions, each added to what it read: ``[batch, channels, time]`` to the same.

    With ``pairs`` (the authors' first kind) a plain convolution follows each dilated one before
    the sum; without (their second kind) it stands alone.
    """

    def __init__(
        self, channels: int, kernel_size: int, dilations: Sequence[int], pairs: bool
    ) -> None:
        super().__init__()

        def convolution(dilation: int) -> nn.Module:
            padding = dilation * (kernel_size - 1) // 2
            return weight_norm(
                Conv1d(channels, channels, kernel_size, dilation=dilation, padding=padding)
            )

        self.dilated = nn.ModuleList(convolution(dilation) for dilation in dilations)
        self.plain = nn.ModuleList(convolution(1) for _ in dilations) if pairs else None

    def forward(self, x: Tensor) -> Tensor:
        for i, dilated in enumerate(self.dilated):
            y = dilated(F.leaky_relu(x, SLOPE))
            if self.plain is not None:
                y = self.plain[i](F.leaky_relu(y, SLOPE))
            x = x + y
        return x


class Generator(nn.Module):
    """Features to audio: transposed convolutions, each followed by residual blocks, averaged.

    ``x`` ``[batch, channels_in, frames]`` and ``condition`` ``[batch, condition_channels, 1]`` (or
    None) -> audio in [-1, 1], ``[batch, frames * product of upsample_rates]``.

    ``channels`` are halved by each upsampling; the kernels of the residual blocks after it see
    different reaches of the same signal (multi-receptive field fusion). Weights start as torch
    draws them: the authors' narrower draw is overwritten by their weight normalisation.

    Args:
        channels_in: of the features, for example the number of mels.
        upsample_rates: factors; their product is the hop.
        upsample_kernels: one for each rate, longer than it by an even number.
        channels: before the first upsampling; divisible by two to the number of rates.
        resblock: ``"1"`` for pairs of convolutions, ``"2"`` for single ones.
        resblock_kernels: odd sizes, one for each residual block of a stage.
        resblock_dilations: for each kernel, the dilations of its convolutions.
        condition_channels: 0 for none.

    Raises:
        InputError: sizes that do not fit together.
    """

    def __init__(
        self,
        channels_in: int,
        upsample_rates: Sequence[int] = (8, 8, 2, 2),
        upsample_kernels: Sequence[int] = (16, 16, 4, 4),
        channels: int = 512,
        resblock: Literal["1", "2"] = "1",
        resblock_kernels: Sequence[int] = (3, 7, 11),
        resblock_dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        condition_channels: int = 0,
    ) -> None:
        super().__init__()
        if len(upsample_rates) != len(upsample_kernels) or not upsample_rates:
            raise InputError(
                f"upsample_rates {list(upsample_rates)} and upsample_kernels "
                f"{list(upsample_kernels)} must be as many"
            )
        for rate, kernel in zip(upsample_rates, upsample_kernels, strict=True):
            if kernel < rate or (kernel - rate) % 2:
                raise InputError(
                    f"an upsample kernel must be its rate plus an even number: {kernel} does not "
                    f"fit rate {rate}"
                )
        if len(resblock_kernels) != len(resblock_dilations) or not resblock_kernels:
            raise InputError(
                f"resblock_kernels {list(resblock_kernels)} and resblock_dilations "
                f"{list(map(list, resblock_dilations))} must be as many"
            )
        if any(kernel % 2 == 0 for kernel in resblock_kernels):
            raise InputError(f"resblock_kernels must be odd, not {list(resblock_kernels)}")
        if channels % 2 ** len(upsample_rates):
            raise InputError(
                f"channels {channels} must be divisible by {2 ** len(upsample_rates)}: each of the "
                f"{len(upsample_rates)} upsamplings halves them"
            )
        if resblock not in ("1", "2"):
            raise InputError(f"resblock takes '1' or '2', not {resblock!r}")
        self.embed = weight_norm(Conv1d(channels_in, channels, 7, padding=3))
        self.condition = nn.Conv1d(condition_channels, channels, 1) if condition_channels else None
        self.upsamples, self.stages = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(upsample_rates, upsample_kernels, strict=True):
            padding = (kernel - rate) // 2
            self.upsamples.append(
                weight_norm(nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding))
            )
            channels //= 2
            self.stages.append(
                nn.ModuleList(
                    ResidualBlock(channels, size, dilations, resblock == "1")
                    for size, dilations in zip(resblock_kernels, resblock_dilations, strict=True)
                )
            )
        self.project = weight_norm(nn.Conv1d(channels, 1, 7, padding=3))

    @property
    def reach(self) -> int:
        """Frames to either side that a frame of audio depends on."""
        steps = reach(self.project)
        for upsample, blocks in zip(self.upsamples[::-1], self.stages[::-1], strict=True):
            steps += max(reach(block) for block in cast(nn.ModuleList, blocks))
            transposed = cast(nn.ConvTranspose1d, upsample)
            (rate,), padding = transposed.stride, int(transposed.padding[0])
            steps = -(-(steps + padding) // rate)
        return steps + reach(self.embed)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        x = self.embed(x)
        if self.condition is not None:
            if condition is None:
                raise ValueError("this generator was built with a condition and needs one")
            x = x + self.condition(condition)
        for upsample, blocks in zip(self.upsamples, self.stages, strict=True):
            x = upsample(F.leaky_relu(x, SLOPE))
            total = x.new_zeros(())
            for block in cast(nn.ModuleList, blocks):
                total = total + block(x)
            x = total / len(cast(nn.ModuleList, blocks))
        # Float32 for the last step: half precision has 11 bits, and audio is heard to 16.
        with torch.autocast(x.device.type, enabled=False):
            samples: Tensor = torch.tanh(self.project(F.leaky_relu(x.float()))).squeeze(1)
            return samples
