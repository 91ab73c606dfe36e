"""Vocos: a ConvNeXt stack that predicts a short-time spectrum, inverted to audio.

Source: Siuzdak 2023, "Vocos: Closing the gap between time-domain and Fourier-based neural
vocoders".
Trained first with spectral losses alone, which is quick and stable on a CPU, then with small
multi-period and multi-resolution discriminators (from ``adversarial_from`` steps on).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from glottis.audio.mel import MelConfig
from glottis.blocks.discriminators import (
    Discriminators,
    PeriodDiscriminator,
    ResolutionDiscriminator,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from glottis.blocks.spectral import LogMel, SpectralLoss
from glottis.blocks.spectral_decoder import SpectralDecoder
from glottis.corpus.batches import WindowBatch
from glottis.errors import InputError


@dataclass(frozen=True)
class Config:
    """Sizes in channels; ``adversarial_from`` in steps; weights multiply their losses.

    Discriminators cost most of a step. With ``turns`` above 1 each of them judges, and learns from,
    only every ``turns``-th step.

    ``pitch`` tells the network the fundamental frequency of each frame; see
    :class:`~glottis.blocks.spectral_decoder.SpectralDecoder`.
    """

    channels: int = 256
    hidden: int = 768
    layers: int = 8
    mel_weight: float = 15.0
    spectral_weight: float = 5.0
    adversarial_weight: float = 1.0
    feature_weight: float = 10.0
    adversarial_from: int = 10_000
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (16, 32, 64, 128)
    resolutions: tuple[int, ...] = (512, 1024, 2048)
    resolution_channels: int = 16
    turns: int = 1
    pitch: bool = False
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        members = len(self.periods) + len(self.resolutions)
        if not 1 <= self.turns <= members:
            raise InputError(f"turns must be 1 to {members}, not {self.turns}")


class Vocos(SpectralDecoder):
    """Log-mels to audio: ``[batch, mels, frames]`` -> ``[batch, frames * hop]``.

    With ``config.pitch`` also ``pitch`` ``[batch, frames]`` in Hz, 0 where unvoiced.
    """

    batches = "windows"

    def __init__(self, config: Config) -> None:
        sizes = (config.channels, config.hidden, config.layers)
        super().__init__(config.mel.mels, *sizes, config.mel, pitch=config.pitch)
        self.config = config
        if config.pitch:
            self.batches = "windows_with_pitch"
        self.log_mel = LogMel(config.mel)
        self.spectral_loss = SpectralLoss()
        self.discriminators = Discriminators(
            [PeriodDiscriminator(p, config.period_channels) for p in config.periods]
            + [ResolutionDiscriminator(r, config.resolution_channels) for r in config.resolutions]
        )

    def optimized(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each loss of :meth:`steps` trains."""
        judges = list(self.discriminators.parameters())
        ours = {id(parameter) for parameter in judges}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in ours]
        return {"generator": rest, "discriminator": judges}

    def steps(
        self, batch: WindowBatch, step: int
    ) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Losses of one batch; the discriminators join from ``adversarial_from`` on."""
        config = self.config
        predicted = self(batch.mel, batch.pitch)
        adversarial = step >= config.adversarial_from
        if adversarial:
            judges = self.discriminators.turn(step, config.turns)
            real, fake = judges.both(batch.audio, predicted.detach())
            loss = discriminator_loss(real, fake)
            yield "discriminator", loss, {"discriminator": loss}
        mel = nn.functional.l1_loss(self.log_mel(predicted), self.log_mel(batch.audio))
        spectral = self.spectral_loss(predicted, batch.audio)
        loss = config.mel_weight * mel + config.spectral_weight * spectral
        logs = {"mel": mel, "spectral": spectral}
        if adversarial:
            real, fake = judges.against(batch.audio, predicted)
            adversary, features = generator_loss(fake), feature_matching_loss(real, fake)
            loss = loss + config.adversarial_weight * adversary + config.feature_weight * features
            logs |= {"adversarial": adversary, "features": features}
        yield "generator", loss, logs

    @torch.no_grad()
    def validate(self, batch: WindowBatch) -> dict[str, Tensor]:
        """Held-out distances of log-mels and spectra."""
        predicted = self(batch.mel, batch.pitch)
        return {
            "mel": nn.functional.l1_loss(self.log_mel(predicted), self.log_mel(batch.audio)),
            "spectral": self.spectral_loss(predicted, batch.audio),
        }

    def export_graph(self) -> nn.Module:
        """In operations that ONNX has; see :class:`VocoderGraph`."""
        return VocoderGraph(self)

    @torch.no_grad()
    def show(self, batch: WindowBatch) -> dict[str, Tensor]:
        """Log-mels ``[mels, frames]`` and audio ``[samples]`` of the first window and its copy."""
        pitch = None if batch.pitch is None else batch.pitch[:1]
        predicted = self(batch.mel[:1], pitch)
        return {
            "mel_recording": batch.mel[0],
            "mel_copy": self.log_mel(predicted)[0],
            "audio_recording": batch.audio[0],
            "audio_copy": predicted[0],
        }


class VocoderGraph(nn.Module):
    """Log-mels ``[batch, mels, frames]``, and the pitch if it is told that -> ``[batch, samples]``.

    Without discriminators.
    """

    def __init__(self, model: Vocos) -> None:
        super().__init__()
        self.model = model
        del model.discriminators
        model.head.inverse.products = True

    @property
    def reach(self) -> int:
        """Frames to either side that a frame of audio depends on."""
        return self.model.reach

    def forward(self, mel: Tensor, pitch: Tensor | None = None) -> Tensor:
        samples: Tensor = self.model(mel, pitch)
        return samples
