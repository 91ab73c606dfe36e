"""VITS as the graphs of a voice file: speaking, and conversion between speakers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from glottis.blocks.blanks import read_one
from glottis.blocks.noise import normal_from_seed
from glottis.blocks.spectral_decoder import SpectralDecoder

if TYPE_CHECKING:
    from glottis.models.vits.model import VITS


class SpeechGraph(nn.Module):
    """Ids to audio for one sentence, with noise drawn from a seed.

    ``text`` int64 ``[1, text]``, ``text_lengths`` int64 ``[1]``, ``scales`` float32 ``[3]``
    (temperature, length scale, temperature of durations), ``speaker`` int64 ``[1]`` or None,
    ``seed`` int64 ``[1]``, ``language`` int64 ``[1]``, below zero or None for the speaker's own
    -> audio ``[1, samples]`` and durations int64 ``[1, text]``. With ``frames`` int64 ``[1]`` only
    the audio of so many of the first frames.
    """

    def __init__(self, model: VITS) -> None:
        super().__init__()
        # A transformer sees everything.
        self.partial = not model.config.flow_transformer_layers
        self.model = _in_products(model)
        if model.frame_prior is not None and model.frame_prior.flow is not None:
            for _, mixer, _ in model.frame_prior.flow.layers():
                mixer.store_inverse()

    def forward(
        self,
        text: Tensor,
        text_lengths: Tensor,
        scales: Tensor,
        speaker: Tensor | None,
        seed: Tensor,
        language: Tensor | None = None,
        frames: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        model = self.model
        if language is not None:
            own = model.speaker_language[:1] if speaker is None else model.speaker_language[speaker]
            language = torch.where(language < 0, own, language)
        read, text_lengths, restored = read_one(text, text_lengths, model.config.blanks)

        def noise(channels: int, steps: Tensor | int, stream: int) -> Tensor:
            return normal_from_seed(seed, steps, channels, stream)

        samples, durations = model.generate(
            *(read, text_lengths, speaker, language, scales, noise),
            frames=None if frames is None else frames[0],
        )
        return samples, restored(durations)


class ConversionGraph(nn.Module):
    """A recording's magnitudes to audio of another speaker.

    ``spectrogram`` float32 ``[1, bins, frames]`` as
    :func:`glottis.audio.mel.magnitude_spectrogram` makes it, ``source`` and ``target`` int64
    ``[1]``, ``scale`` float32 ``[1]`` (the temperature), ``seed`` int64 ``[1]`` and, for a model
    that is told it, ``pitch`` float32 ``[1, frames]`` as :func:`glottis.audio.pitch.f0` finds it ->
    samples ``[1, samples]`` in [-1, 1].
    """

    def __init__(self, model: VITS) -> None:
        super().__init__()
        self.model = _in_products(model)

    def forward(
        self,
        spectrogram: Tensor,
        source: Tensor,
        target: Tensor,
        scale: Tensor,
        seed: Tensor,
        pitch: Tensor | None = None,
    ) -> Tensor:
        own = self.model
        mask = torch.ones_like(spectrogram[:, :1], dtype=torch.bool)
        # Made with the floor of log-mels; the model may have learnt with another.
        spectrogram = torch.sqrt(spectrogram.square() + (own.config.power_floor - 1e-9))
        noise = normal_from_seed(seed, spectrogram.shape[2], own.converted_channels) * scale
        samples = own.revoice(spectrogram, mask, source, target, noise, pitch)
        return torch.clamp(samples, -1.0, 1.0)


def _in_products(model: VITS) -> VITS:
    """The same model, its inverse transform in operations that ONNX has."""
    if isinstance(model.decoder, SpectralDecoder):
        model.decoder.head.inverse.products = True
    return model
