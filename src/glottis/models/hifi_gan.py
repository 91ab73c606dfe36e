"""HiFi-GAN: log-mels upsampled to audio, judged at many periods and scales.

Source: Kong, Kim & Bae 2020, "HiFi-GAN: Generative Adversarial Networks for Efficient and High
Fidelity Speech Synthesis". The generator's loss is ``adversarial + 2 features + 45 mel`` (eq. 5),
the adversarial and feature terms summed over all discriminators, the distance of log-mels taken
over the whole band, whatever the generator was given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from glottis.audio.mel import MelConfig
from glottis.blocks.discriminators import (
    Discriminators,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
    multi_period,
    multi_scale,
)
from glottis.blocks.hifi_gan import Generator
from glottis.blocks.spectral import LogMel
from glottis.corpus.batches import WindowBatch
from glottis.errors import InputError


@dataclass(frozen=True)
class Config:
    """Sizes as :class:`glottis.blocks.hifi_gan.Generator` takes them; weights multiply losses.

    The defaults are the paper's V1. ``loss_mel_high`` in Hz bounds the band of the mel distance;
    half the sample rate when None. ``scales`` is the number of scale discriminators.
    """

    channels: int = 512
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    upsample_kernels: tuple[int, ...] = (16, 16, 4, 4)
    resblock: Literal["1", "2"] = "1"
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    mel_weight: float = 45.0
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    loss_mel_high: float | None = None
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    scales: int = 3
    scale_channels: tuple[int, ...] = (128, 128, 256, 512, 1024, 1024, 1024)
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        if math.prod(self.upsample_rates) != self.mel.hop:
            raise InputError(
                f"the product of upsample_rates {list(self.upsample_rates)} is "
                f"{math.prod(self.upsample_rates)} and must be the hop, {self.mel.hop} samples"
            )


class HiFiGAN(nn.Module):
    """Log-mels to audio: ``[batch, mels, frames]`` -> ``[batch, frames * hop]``."""

    batches = "windows"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(
            config.mel.mels,
            config.upsample_rates,
            config.upsample_kernels,
            config.channels,
            config.resblock,
            config.resblock_kernels,
            config.resblock_dilations,
        )
        high = config.loss_mel_high or config.mel.sample_rate / 2
        self.log_mel = LogMel(replace(config.mel, mel_high=high))
        self.discriminators = Discriminators(
            multi_period(config.periods, config.period_channels)
            + multi_scale(config.scales, config.scale_channels)
        )

    def forward(self, mel: Tensor) -> Tensor:
        samples: Tensor = self.generator(mel)
        return samples

    def optimized(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each loss of :meth:`steps` trains."""
        return {
            "generator": list(self.generator.parameters()),
            "discriminator": list(self.discriminators.parameters()),
        }

    def steps(
        self, batch: WindowBatch, step: int
    ) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Equations 1, 2 and 5 of the paper, the discriminators first."""
        config = self.config
        predicted = self(batch.mel)
        real, fake = self.discriminators.both(batch.audio, predicted.detach())
        loss = discriminator_loss(real, fake, "sum")
        yield "discriminator", loss, {"discriminator": loss}
        real, fake = self.discriminators.against(batch.audio, predicted)
        mel = nn.functional.l1_loss(self.log_mel(predicted), self.log_mel(batch.audio))
        adversary = generator_loss(fake, "sum")
        features = feature_matching_loss(real, fake, "sum")
        loss = (
            config.adversarial_weight * adversary
            + config.feature_weight * features
            + config.mel_weight * mel
        )
        yield "generator", loss, {"mel": mel, "adversarial": adversary, "features": features}

    @torch.no_grad()
    def validate(self, batch: WindowBatch) -> dict[str, Tensor]:
        """Held-out distance of log-mels."""
        distance = nn.functional.l1_loss(self.log_mel(self(batch.mel)), self.log_mel(batch.audio))
        return {"mel": distance}

    def export_graph(self) -> nn.Module:
        """``[batch, mels, frames]`` -> ``[batch, samples]``; all of it is in ONNX as it is."""
        return self.generator

    @torch.no_grad()
    def show(self, batch: WindowBatch) -> dict[str, Tensor]:
        """Log-mels ``[mels, frames]`` and audio ``[samples]`` of the first window and its copy."""
        predicted = self(batch.mel[:1])
        return {
            "mel_recording": self.log_mel(batch.audio[:1])[0],
            "mel_copy": self.log_mel(predicted)[0],
            "audio_recording": batch.audio[0],
            "audio_copy": predicted[0],
        }
