"""Glow-TTS: a flow over log-mels whose prior is the text, aligned by monotonic search.

Source: Kim, Kim, Kong & Yoon 2020, "Glow-TTS: A Generative Flow for Text-to-Speech via Monotonic
Alignment Search". The mel-spectrogram ``x`` goes through an invertible decoder to a latent ``z``;
the encoder gives each phoneme a Gaussian; the alignment ``A`` is the monotonic path that maximises
``sum_j log N(z_j; mean_{A(j)}, scale_{A(j)})`` (eqs. 3 to 5), and everything is trained by the
exact log-likelihood ``log p(z | text, A) + log|det dz/dx|`` (eq. 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from glottis.alignment import coverage, diagonality, expand
from glottis.audio.mel import MelConfig
from glottis.blocks.blanks import PAD, drop_blanks, restore_blanks
from glottis.blocks.duration import DurationLoss, DurationPredictor, duration_loss
from glottis.blocks.lengths import mask_from_lengths
from glottis.blocks.noise import normal_from_seed
from glottis.blocks.transformer import ConvolutionalPrenet, Transformer
from glottis.blocks.wavenet import GatedStack
from glottis.corpus.batches import UtteranceBatch
from glottis.kernels import mas
from glottis.likelihood.flows import ActNorm, AffineCoupling, InvertibleConv1x1
from glottis.likelihood.lattice import GaussianLattice


@dataclass(frozen=True)
class Config:
    """Sizes in channels. ``symbols`` and ``speakers`` are counts; one speaker has no embedding.

    ``blanks`` keeps the pads between phonemes as states of their own: finer, but each takes at
    least one frame, which fast speech does not have.

    ``unit_variance`` fixes the prior's scale to 1, as the released code does. ``squeeze`` frames
    are stacked into channels before the flow. ``group`` is the size of the 1x1 convolutions.
    """

    blanks: bool = False
    symbols: int = 256
    speakers: int = 1
    speaker_channels: int = 64
    channels: int = 192
    filter_channels: int = 768
    heads: int = 2
    encoder_layers: int = 6
    encoder_kernel: int = 3
    encoder_dropout: float = 0.1
    prenet_dropout: float = 0.5
    window: int = 4
    duration_channels: int = 256
    duration_dropout: float = 0.1
    duration_loss: DurationLoss = "gamma"
    duration_weight: float = 1.0
    unit_variance: bool = True
    blocks: int = 12
    block_channels: int = 192
    block_layers: int = 4
    block_kernel: int = 5
    block_dropout: float = 0.05
    squeeze: int = 2
    group: int = 4
    mel: MelConfig = field(default_factory=MelConfig)


class Encoder(nn.Module):
    """Phoneme ids to the prior and the durations.

    ``text`` int64 ``[batch, text]``, ``mask`` bool ``[batch, 1, text]``, ``speaker``
    ``[batch, speaker_channels, 1]`` or None -> mean and log scale ``[batch, mels, text]`` and log
    durations ``[batch, text]``.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.embed = nn.Embedding(config.symbols, channels)
        nn.init.normal_(self.embed.weight, std=channels**-0.5)
        self.prenet = ConvolutionalPrenet(channels, dropout=config.prenet_dropout)
        self.transformer = Transformer(
            channels,
            config.filter_channels,
            config.heads,
            config.encoder_layers,
            config.encoder_kernel,
            config.encoder_dropout,
            config.window,
        )
        self.mean = nn.Conv1d(channels, config.mel.mels, 1)
        self.log_scale = None if config.unit_variance else nn.Conv1d(channels, config.mel.mels, 1)
        given = config.speaker_channels if config.speakers > 1 else 0
        self.durations = DurationPredictor(
            channels + given, config.duration_channels, dropout=config.duration_dropout
        )

    def forward(
        self, text: Tensor, mask: Tensor, speaker: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        x = self.embed(text).transpose(1, 2) * math.sqrt(self.config.channels)
        x = self.transformer(self.prenet(x, mask), mask)
        mean = self.mean(x).float() * mask
        log_scale = None if self.log_scale is None else self.log_scale(x).float() * mask
        # Durations learn from the text's features but do not shape them (section 3.1).
        hidden = x.detach()
        if speaker is not None:
            hidden = torch.cat([hidden, speaker.detach().expand(-1, -1, x.shape[2])], dim=1)
        return mean, log_scale, self.durations(hidden, mask)


class CouplingNetwork(nn.Module):
    """What decides a coupling: a gated stack between two projections, the last zero at first."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.mel.mels * config.squeeze
        self.start = nn.Conv1d(channels // 2, config.block_channels, 1)
        self.stack = GatedStack(
            config.block_channels,
            config.block_kernel,
            config.block_layers,
            condition_channels=config.speaker_channels if config.speakers > 1 else 0,
            dropout=config.block_dropout,
        )
        self.end = nn.Conv1d(config.block_channels, channels, 1)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        out: Tensor = self.end(self.stack(self.start(x) * mask, mask, condition))
        return out


class Decoder(nn.Module):
    """The flow between log-mels and latents, both ``[batch, mels, frames]``, frames even."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.squeeze, self.channels = config.squeeze, config.mel.mels
        channels = config.mel.mels * config.squeeze
        self.norms = nn.ModuleList(ActNorm(channels) for _ in range(config.blocks))
        self.mixers = nn.ModuleList(
            InvertibleConv1x1(channels, config.group) for _ in range(config.blocks)
        )
        self.couplings = nn.ModuleList(
            AffineCoupling(CouplingNetwork(config)) for _ in range(config.blocks)
        )

    def call_and_ladj(
        self, x: Tensor, mask: Tensor, speaker: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-mels to latents, and ``log|det dz/dx|`` ``[batch]`` in nats."""
        x, mask = self._stack(x), mask[..., :: self.squeeze]
        total = x.new_zeros(len(x))
        for norm, mixer, coupling in self._layers():
            x, ladj = norm.call_and_ladj(x, mask)
            total = total + ladj
            x, ladj = mixer.call_and_ladj(x, mask)
            total = total + ladj
            x, ladj = coupling.call_and_ladj(x, mask, speaker)
            total = total + ladj
        return self._unstack(x), total

    def inverse(self, z: Tensor, mask: Tensor, speaker: Tensor | None = None) -> Tensor:
        """Latents to log-mels."""
        z, mask = self._stack(z), mask[..., :: self.squeeze]
        for norm, mixer, coupling in reversed(self._layers()):
            z = coupling.inverse(z, mask, speaker)
            z = norm.inverse(mixer.inverse(z, mask), mask)
        return self._unstack(z)

    def _layers(self) -> list[tuple[ActNorm, InvertibleConv1x1, AffineCoupling]]:
        layers = zip(self.norms, self.mixers, self.couplings, strict=True)
        return cast("list[tuple[ActNorm, InvertibleConv1x1, AffineCoupling]]", list(layers))

    def _stack(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., i :: self.squeeze] for i in range(self.squeeze)], dim=1)

    def _unstack(self, x: Tensor) -> Tensor:
        parts = x.split([self.channels] * self.squeeze, dim=1)
        return torch.stack(parts, dim=-1).flatten(2)


class GlowTTS(nn.Module):
    """Text to log-mels, and the exact likelihood of log-mels given text."""

    batches = "utterances"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.speakers = (
            nn.Embedding(config.speakers, config.speaker_channels) if config.speakers > 1 else None
        )

    def optimized(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each loss of :meth:`steps` trains."""
        return {"likelihood": list(self.parameters())}

    def align(self, batch: UtteranceBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The likelihood of a batch under its best alignment.

        Returns:
            Log-likelihood ``[batch]`` in nats, log durations ``[batch, text]`` as predicted,
            durations int64 ``[batch, text]`` in frames as found, and the text lengths, which are
            smaller than the batch's when blanks are dropped.
        """
        speaker = self._speaker(batch.speaker)
        text, text_lengths = self._read(batch.text, batch.text_lengths)
        text_mask = mask_from_lengths(text_lengths, text.shape[1])
        mean, log_scale, log_durations = self.encoder(text, text_mask, speaker)
        # The flow takes whole groups of frames; an odd one at the end is left out.
        lengths = batch.mel_lengths // self.config.squeeze * self.config.squeeze
        longest = batch.mel.shape[2] // self.config.squeeze * self.config.squeeze
        mask = mask_from_lengths(lengths, longest)
        mel = torch.where(mask, batch.mel[..., :longest], 0.0)
        latent, ladj = self.decoder.call_and_ladj(mel, mask, speaker)

        with torch.no_grad():
            lattice = GaussianLattice(mean, log_scale).log_prob(latent)
            durations = mas(lattice, text_lengths, lengths)
        mean = expand(mean, durations, longest)
        residual = latent - mean
        if log_scale is None:
            exponent = residual.square()
        else:
            log_scale = expand(log_scale, durations, longest)
            exponent = residual.square() * torch.exp(-2 * log_scale) + 2 * log_scale
        density = -0.5 * ((exponent + math.log(2 * math.pi)) * mask).sum((1, 2))
        return density + ladj, log_durations, durations, text_lengths

    def steps(
        self, batch: UtteranceBatch, step: int
    ) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """One loss: negative log-likelihood in nats a frame and channel, plus the durations'."""
        yield "likelihood", *self._losses(batch)

    @torch.no_grad()
    def validate(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """Held-out log-likelihood, duration error and the shape of the alignment."""
        loss, logs = self._losses(batch)
        return {"loss": loss, **logs}

    def _losses(self, batch: UtteranceBatch) -> tuple[Tensor, dict[str, Tensor]]:
        log_likelihood, log_durations, durations, text_lengths = self.align(batch)
        frames = durations.sum()
        nats = -log_likelihood.sum() / frames
        duration = duration_loss(log_durations, durations, text_lengths, self.config.duration_loss)
        loss = nats / self.config.mel.mels + self.config.duration_weight * duration
        return loss, {
            "nats_per_frame": nats,
            "duration": duration,
            "diagonality": diagonality(durations, text_lengths).mean(),
            "coverage": coverage(durations, text_lengths).mean(),
        }

    def predict_durations(
        self, log_durations: Tensor, text_mask: Tensor, length_scale: Tensor | float
    ) -> Tensor:
        """Whole frames ``[batch, text]``: rounded running sums, so that errors do not add up."""
        frames = torch.exp(log_durations) * text_mask.squeeze(1) * length_scale
        ends = torch.floor(torch.cumsum(frames, dim=1) + 0.5)
        starts = torch.nn.functional.pad(ends, (1, 0))[:, :-1]
        return (ends - starts).long()

    @torch.no_grad()
    def synthesize(
        self,
        text: Tensor,
        text_lengths: Tensor,
        speaker: Tensor | None = None,
        *,
        temperature: float = 0.667,
        length_scale: float = 1.0,
        durations: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw log-mels.

        Args:
            text: int64 ``[batch, text]``; ``text_lengths`` int64 ``[batch]``.
            speaker: int64 ``[batch]``, needed when the model knows several.
            temperature: multiplies the prior's standard deviation.
            length_scale: multiplies predicted durations.
            durations: int64 ``[batch, text]`` to use instead of predicted ones.
            generator: source of randomness.

        Returns:
            Log-mels ``[batch, mels, frames]``, their lengths ``[batch]``, durations of the tokens
            that the model reads.
        """
        given = self._speaker(speaker)
        text, text_lengths = self._read(text, text_lengths)
        text_mask = mask_from_lengths(text_lengths, text.shape[1])
        mean, log_scale, log_durations = self.encoder(text, text_mask, given)
        if durations is None:
            durations = self.predict_durations(log_durations, text_mask, length_scale)
        lengths = durations.sum(1)
        squeeze = self.config.squeeze
        longest = -(-int(lengths.max()) // squeeze) * squeeze
        padded = -(-lengths // squeeze) * squeeze
        noise = torch.randn(
            (len(text), self.config.mel.mels, longest), generator=generator, device="cpu"
        ).to(text.device)
        latent = self._latent(mean, log_scale, durations, noise * temperature, longest)
        mel = self.decoder.inverse(latent, mask_from_lengths(padded, longest), given)
        return mel, lengths, durations

    def _latent(
        self, mean: Tensor, log_scale: Tensor | None, durations: Tensor, noise: Tensor, frames: int
    ) -> Tensor:
        if log_scale is not None:
            noise = noise * torch.exp(expand(log_scale, durations, frames))
        return expand(mean, durations, frames) + noise

    def _read(self, text: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return (text, lengths) if self.config.blanks else drop_blanks(text, lengths)

    def _speaker(self, speaker: Tensor | None) -> Tensor | None:
        if self.speakers is None:
            return None
        if speaker is None:
            raise ValueError(f"this model knows {self.config.speakers} speakers: name one of them")
        embedded: Tensor = nn.functional.normalize(self.speakers(speaker), dim=-1)
        return embedded.unsqueeze(-1)

    @torch.no_grad()
    def show(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """The first utterance: its mel, a sample of the model, and the alignment."""
        one = UtteranceBatch(
            batch.names[:1],
            batch.text[:1, : batch.text_lengths[0]],
            batch.text_lengths[:1],
            batch.mel[:1, :, : batch.mel_lengths[0]],
            batch.mel_lengths[:1],
            batch.speaker[:1],
        )
        _, _, durations, _ = self.align(one)
        frames = torch.arange(int(durations.sum()), device=durations.device)
        ends = durations[0].cumsum(0)
        path = (frames[None, :] < ends[:, None]) & (
            frames[None, :] >= (ends - durations[0])[:, None]
        )
        generator = torch.Generator().manual_seed(0)
        mel, _, _ = self.synthesize(one.text, one.text_lengths, one.speaker, generator=generator)
        return {"alignment": path, "mel_recording": one.mel[0], "mel_sample": mel[0]}

    def export_graph(self) -> nn.Module:
        """The deterministic graph of a voice file; see :class:`AcousticGraph`."""
        return AcousticGraph(self)


class AcousticGraph(nn.Module):
    """Ids to log-mels for one sentence, with noise drawn from a seed.

    ``text`` int64 ``[1, text]``, ``text_lengths`` int64 ``[1]``, ``scales`` float32 ``[3]``
    (temperature, length scale, unused), ``speaker`` int64 ``[1]`` or None, ``seed`` int64 ``[1]``
    -> log-mels ``[1, mels, frames]`` and durations int64 ``[1, text]``.
    """

    def __init__(self, model: GlowTTS) -> None:
        super().__init__()
        self.model = model
        for _, mixer, _ in model.decoder._layers():
            mixer.store_inverse()

    def forward(
        self,
        text: Tensor,
        text_lengths: Tensor,
        scales: Tensor,
        speaker: Tensor | None,
        seed: Tensor,
    ) -> tuple[Tensor, Tensor]:
        model = self.model
        given = model._speaker(speaker)
        read = text
        if not model.config.blanks:
            inside = mask_from_lengths(text_lengths, text.shape[1])[0, 0]
            kept = torch.nonzero((text[0] != PAD) & inside).squeeze(1)
            read, text_lengths = text[:, kept], kept.shape[0] * torch.ones_like(text_lengths)
        text_mask = mask_from_lengths(text_lengths, read.shape[1])
        mean, log_scale, log_durations = model.encoder(read, text_mask, given)
        durations = model.predict_durations(log_durations, text_mask, scales[1])
        squeeze = model.config.squeeze
        frames = (durations.sum() + squeeze - 1) // squeeze * squeeze
        noise = normal_from_seed(seed, frames, model.config.mel.mels) * scales[0]
        latent = model._latent(mean, log_scale, durations, noise, frames)  # type: ignore[arg-type]
        mask = torch.ones_like(latent[:, :1], dtype=torch.bool)
        if not model.config.blanks:
            durations = restore_blanks(durations, kept, text)
        return model.decoder.inverse(latent, mask, given), durations
