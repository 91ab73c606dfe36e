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
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from glottis.alignment import align, coverage, diagonality, expand, path
from glottis.audio.mel import MelConfig
from glottis.blocks.blanks import read_one, read_text
from glottis.blocks.duration import (
    DurationLoss,
    DurationPredictor,
    Rounding,
    duration_loss,
    whole_frames,
)
from glottis.blocks.glow_flow import GlowFlow, PitchCondition
from glottis.blocks.lengths import mask_from_lengths
from glottis.blocks.noise import normal_from_seed
from glottis.blocks.pitch import (
    PitchPredictor,
    pitch_bells,
    pitch_log_density,
    recorded_pitch,
    spoken_pitch,
)
from glottis.blocks.reach import beginnings, reach
from glottis.blocks.regression import Regression
from glottis.blocks.speakers import embed_speaker, speaker_table
from glottis.blocks.text_encoder import TextEncoder
from glottis.corpus.batches import UtteranceBatch
from glottis.errors import InputError
from glottis.likelihood.lattice import GaussianLattice


@dataclass(frozen=True)
class Config:
    """Sizes in channels. ``symbols`` and ``speakers`` are counts; one speaker has no embedding.

    ``blanks`` keeps the pads between phonemes as states of their own: finer, but each takes at
    least one frame, which fast speech does not have.

    ``align_on`` says where the alignment is searched. ``latent`` is the paper: between the prior
    and the flow's latents. A flow that learns faster than the text encoder can make its latents
    white before they were ever aligned; the text then explains nothing, and the path runs along
    the edges for good. ``mel`` searches between log-mels and a second, unit-variance Gaussian for
    each phoneme, which also learns from them (weighted by ``mel_weight``), as Grad-TTS does.
    Log-mels do not move, so this cannot happen. The likelihood of the flow stays exact, given the
    path. During the first ``alignment_steps`` only this part is trained, which is quick.

    ``pitch`` conditions the flow on fundamental frequency and voicing, and predicts both from the
    text when speaking. The likelihood is then that of log-mels given pitch. Harmonics span many
    frames and channels; given where they lie, far less is left for a small flow to explain, and
    what it draws is voiced as speech is. ``pitch_weight`` multiplies the predictor's loss.

    ``regression_layers`` of ConvNeXt predict log-mels from text, durations and pitch, by least
    squares, and the flow explains what is left: one more layer of it, that shifts by what is known
    and keeps volumes, so that the likelihood stays exact. A flow of this size alone needs very long
    to learn where harmonics lie; a regression knows it within minutes, but blurs what it cannot
    know, which is what the flow is for. Needs ``align_on: mel``.

    ``unit_variance`` fixes the prior's scale to 1, as the released code does. ``squeeze`` frames
    are stacked into channels before the flow. ``group`` is the size of the 1x1 convolutions;
    ``block_dilation`` is the factor from one layer of a coupling to the next, and
    ``bounded_scale`` keeps a coupling's scales between 0 and 1.
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
    prenet: bool = True
    prenet_dropout: float = 0.5
    window: int = 4
    duration_channels: int = 256
    duration_dropout: float = 0.1
    duration_loss: DurationLoss = "gamma"
    duration_weight: float = 1.0
    duration_rounding: Rounding = "sums"
    pitch: bool = False
    pitch_channels: int = 64
    pitch_weight: float = 0.1
    regression_layers: int = 0
    regression_channels: int = 256
    regression_hidden: int = 768
    unit_variance: bool = True
    align_on: Literal["latent", "mel"] = "mel"
    alignment_steps: int = 0
    mel_weight: float = 1.0
    blocks: int = 12
    block_channels: int = 192
    block_layers: int = 4
    block_kernel: int = 5
    block_dilation: int = 1
    block_dropout: float = 0.05
    bounded_scale: bool = False
    squeeze: int = 2
    group: int = 4
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        if self.regression_layers and self.align_on != "mel":
            raise InputError("regression_layers needs align_on: mel (the flow comes after it)")


class Prior(NamedTuple):
    """What text says: Gaussians of latents, durations, and Gaussians of log-mels to align by.

    ``mean``, ``log_scale`` (None for 0) and ``mel_mean`` (None when unused) are
    ``[batch, mels, text]``; ``log_durations`` is ``[batch, text]``, log frames; ``hidden``
    ``[batch, channels, text]`` is what the text and the speaker became.
    """

    mean: Tensor
    log_scale: Tensor | None
    log_durations: Tensor
    mel_mean: Tensor | None
    hidden: Tensor


class Encoder(TextEncoder):
    """Phoneme ids to the prior and the durations.

    ``text`` int64 ``[batch, text]``, ``mask`` bool ``[batch, 1, text]``, ``speaker``
    ``[batch, speaker_channels, 1]`` or None -> :class:`Prior`.
    """

    def __init__(self, config: Config) -> None:
        channels = config.channels
        super().__init__(
            config.symbols,
            channels,
            config.filter_channels,
            config.heads,
            config.encoder_layers,
            config.encoder_kernel,
            config.encoder_dropout,
            config.window,
            config.prenet,
            config.prenet_dropout,
        )
        self.mean = nn.Conv1d(channels, config.mel.mels, 1)
        self.log_scale = None if config.unit_variance else nn.Conv1d(channels, config.mel.mels, 1)
        given = config.speaker_channels if config.speakers > 1 else 0
        self.mel_mean = None
        if config.align_on == "mel":
            self.mel_mean = nn.Conv1d(channels + given, config.mel.mels, 1)
            # About the mean log-mel of speech: the search should not wait for the offset.
            nn.init.constant_(self.mel_mean.bias, -5.0)  # type: ignore[arg-type]
        self.durations = DurationPredictor(
            channels + given, config.duration_channels, dropout=config.duration_dropout
        )

    def forward(self, text: Tensor, mask: Tensor, speaker: Tensor | None) -> Prior:
        x = self.features(text, mask)
        mean = self.mean(x).float() * mask
        log_scale = None if self.log_scale is None else self.log_scale(x).float() * mask
        if speaker is not None:
            x = torch.cat([x, speaker.expand(-1, -1, x.shape[2])], dim=1)
        mel_mean = None if self.mel_mean is None else self.mel_mean(x).float() * mask
        # Durations learn from the text's features but do not shape them (section 3.1).
        return Prior(mean, log_scale, self.durations(x.detach(), mask), mel_mean, x)


class Alignment(NamedTuple):
    """How a batch was aligned, and what that is worth.

    ``durations`` int64 ``[batch, text]`` in frames as found; ``text_lengths`` int64 ``[batch]``,
    smaller than the batch's when blanks are dropped; ``log_durations`` ``[batch, text]`` as
    predicted; ``log_likelihood`` ``[batch]`` in nats, exact given the alignment, and
    ``mel_log_likelihood`` ``[batch]`` of the Gaussians over log-mels, None when not computed, and
    ``pitch_log_likelihood`` ``[batch]`` of pitch given text and ``regression_log_likelihood``
    ``[batch]`` of log-mels about the regression with unit variance, None when the model has none.
    """

    durations: Tensor
    text_lengths: Tensor
    log_durations: Tensor
    log_likelihood: Tensor | None
    mel_log_likelihood: Tensor | None
    pitch_log_likelihood: Tensor | None
    regression_log_likelihood: Tensor | None


class GlowTTS(nn.Module):
    """Text to log-mels, and the exact likelihood of log-mels given text."""

    batches = "utterances"
    unit_speakers = True
    """Embeddings of speakers are heard at a length of 1."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        given = config.speaker_channels if config.speakers > 1 or config.pitch else 0
        self.decoder = GlowFlow(
            config.mel.mels,
            config.squeeze,
            config.blocks,
            config.block_channels,
            config.block_kernel,
            config.block_layers,
            condition_channels=given,
            dilation=config.block_dilation,
            dropout=config.block_dropout,
            group=config.group,
            bounded_scale=config.bounded_scale,
        )
        self.speakers = speaker_table(config.speakers, config.speaker_channels)
        self.pitch_predictor: PitchPredictor | None = None
        self.pitch_condition: PitchCondition | None = None
        self.regression: Regression | None = None
        hidden = config.channels + (config.speaker_channels if config.speakers > 1 else 0)
        if config.regression_layers:
            self.regression = Regression(
                hidden,
                config.mel.mels,
                config.regression_channels,
                config.regression_hidden,
                config.regression_layers,
                pitch=config.pitch,
            )
        if config.pitch:
            self.pitch_predictor = PitchPredictor(hidden, config.pitch_channels)
            self.pitch_condition = PitchCondition(config.speaker_channels, config.squeeze)

    def optimized(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each loss of :meth:`steps` trains."""
        return {"likelihood": list(self.parameters())}

    def align(self, batch: UtteranceBatch, flow: bool = True) -> Alignment:
        """The best alignment of a batch, and its likelihood under it; see :class:`Alignment`.

        ``flow=False`` leaves the flow, and so the likelihood, out: for ``align_on: mel`` only.
        """
        speaker = self._speaker(batch.speaker)
        text, text_lengths = read_text(batch.text, batch.text_lengths, self.config.blanks)
        text_mask = mask_from_lengths(text_lengths, text.shape[1])
        prior = self.encoder(text, text_mask, speaker)
        mel, lengths, mask = self._grouped(batch)
        log_pitch, voiced = self._pitch(batch, mask)
        bells = _bells(log_pitch, voiced)
        durations = regression = latent = ladj = None
        if prior.mel_mean is not None:
            lattice = GaussianLattice(prior.mel_mean, text_lengths=text_lengths)
            durations = align(lattice, mel, lengths)
        if self.regression is not None:
            assert durations is not None
            regression = self._regress(prior.hidden, durations, bells, mask)
        if flow:
            # The regression is the conditional mean and stays it: it learns by least squares alone.
            rest = mel if regression is None else mel - regression.detach()
            condition = self._condition(speaker, bells)
            latent, ladj = self.decoder.call_and_ladj(rest, mask, condition)
        if durations is None:
            assert latent is not None
            lattice = GaussianLattice(prior.mean, prior.log_scale, text_lengths=text_lengths)
            durations = align(lattice, latent, lengths)
        likelihood = mel_likelihood = pitch_likelihood = regression_likelihood = None
        if latent is not None and ladj is not None:
            likelihood = ladj + _log_density(latent, prior.mean, prior.log_scale, durations, mask)
        if prior.mel_mean is not None:
            mel_likelihood = _log_density(mel, prior.mel_mean, None, durations, mask)
        if regression is not None:
            error = 0.5 * ((mel - regression).square() + math.log(2 * math.pi))
            regression_likelihood = -(error * mask).sum((1, 2))
        if self.pitch_predictor is not None and log_pitch is not None and voiced is not None:
            predicted, voicing = self.pitch_predictor(
                expand(prior.hidden, durations, mask.shape[2]), mask
            )
            pitch_likelihood = pitch_log_density(
                predicted, voicing, log_pitch, voiced, mask.squeeze(1)
            )
        return Alignment(
            durations,
            text_lengths,
            prior.log_durations,
            likelihood,
            mel_likelihood,
            pitch_likelihood,
            regression_likelihood,
        )

    def steps(
        self, batch: UtteranceBatch, step: int
    ) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """One loss: negative log-likelihoods in nats a frame and channel, plus the durations'."""
        flow = step >= self.config.alignment_steps
        yield "likelihood", *self._losses(batch, flow)

    @torch.no_grad()
    def validate(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """Held-out log-likelihood, duration error and the shape of the alignment."""
        loss, logs = self._losses(batch)
        return {"loss": loss, **logs}

    def _losses(self, batch: UtteranceBatch, flow: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        found = self.align(batch, flow)
        frames, config = found.durations.sum(), self.config
        duration = duration_loss(
            found.log_durations, found.durations, found.text_lengths, config.duration_loss
        )
        loss = config.duration_weight * duration
        logs = {
            "duration": duration,
            "diagonality": diagonality(found.durations, found.text_lengths).mean(),
            "coverage": coverage(found.durations, found.text_lengths).mean(),
        }
        if found.log_likelihood is not None:
            logs["nats_per_frame"] = -found.log_likelihood.sum() / frames
            loss = loss + logs["nats_per_frame"] / config.mel.mels
        if found.mel_log_likelihood is not None:
            logs["mel_nats_per_frame"] = -found.mel_log_likelihood.sum() / frames
            loss = loss + config.mel_weight * logs["mel_nats_per_frame"] / config.mel.mels
        if found.pitch_log_likelihood is not None:
            logs["pitch_nats_per_frame"] = -found.pitch_log_likelihood.sum() / frames
            loss = loss + config.pitch_weight * logs["pitch_nats_per_frame"]
        if found.regression_log_likelihood is not None:
            logs["regression_nats_per_frame"] = -found.regression_log_likelihood.sum() / frames
            loss = loss + config.mel_weight * logs["regression_nats_per_frame"] / config.mel.mels
        return loss, logs

    def predict_durations(
        self, log_durations: Tensor, text_mask: Tensor, length_scale: Tensor | float
    ) -> Tensor:
        """Whole frames ``[batch, text]``; see :func:`~glottis.blocks.duration.whole_frames`."""
        return whole_frames(log_durations, text_mask, length_scale, self.config.duration_rounding)

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
        text, text_lengths = read_text(text, text_lengths, self.config.blanks)
        text_mask = mask_from_lengths(text_lengths, text.shape[1])
        prior = self.encoder(text, text_mask, given)
        if durations is None:
            durations = self.predict_durations(prior.log_durations, text_mask, length_scale)
        lengths = durations.sum(1)
        squeeze = self.config.squeeze
        longest = -(-int(lengths.max()) // squeeze) * squeeze
        padded = -(-lengths // squeeze) * squeeze
        noise = torch.randn(
            (len(text), self.config.mel.mels, longest), generator=generator, device="cpu"
        ).to(text.device)
        latent = self._latent(prior, durations, noise * temperature, longest)
        mask = mask_from_lengths(padded, longest)
        mel, _ = self._mel(prior, durations, latent, mask, given)
        return mel, lengths, durations

    @torch.no_grad()
    def invert(self, batch: UtteranceBatch) -> tuple[Tensor, Tensor]:
        """Recordings to their latents, with the speaker taken out.

        Returns ``[batch, mels, frames]``, zero beyond the second result, the lengths ``[batch]``:
        whole groups of ``squeeze`` frames. :meth:`align` gives durations of the same batch.
        """
        mel, lengths, mask = self._grouped(batch)
        condition, expected = self._known(batch, self._speaker(batch.speaker), mask)
        latent, _ = self.decoder.call_and_ladj(mel - expected, mask, condition)
        return latent, lengths

    @torch.no_grad()
    def convert(self, batch: UtteranceBatch, speaker: Tensor) -> tuple[Tensor, Tensor]:
        """Recordings in another speaker's voice (section 5.3 of the paper): their latents, decoded
        for ``speaker``, int64 ``[batch]``, with the durations and the pitch that they have.

        Returns log-mels ``[batch, mels, frames]`` and their lengths, as :meth:`invert`.

        Raises:
            InputError: the model knows one speaker only, or not all of those asked for.
        """
        known = self.config.speakers
        if self.speakers is None:
            raise InputError("this model knows one speaker, so there is no voice to convert to")
        if not bool(((speaker >= 0) & (speaker < known)).all()):
            raise InputError(f"speakers are numbered 0 to {known - 1}, not {speaker.tolist()}")
        latent, lengths = self.invert(batch)
        mask = mask_from_lengths(lengths, latent.shape[2])
        condition, expected = self._known(batch, self._speaker(speaker), mask)
        return self.decoder.inverse(latent, mask, condition) + expected, lengths

    def _known(
        self, batch: UtteranceBatch, speaker: Tensor | None, mask: Tensor
    ) -> tuple[Tensor | None, Tensor | float]:
        """What the flow is told of recordings as ``speaker`` would say them, and the regression's
        part of them; the alignment is the recordings' own.
        """
        bells = _bells(*self._pitch(batch, mask))
        condition = self._condition(speaker, bells)
        if self.regression is None:
            return condition, 0.0
        durations = self.align(batch, flow=False).durations
        text, text_lengths = read_text(batch.text, batch.text_lengths, self.config.blanks)
        prior = self.encoder(text, mask_from_lengths(text_lengths, text.shape[1]), speaker)
        return condition, self._regress(prior.hidden, durations, bells, mask)

    def _grouped(self, batch: UtteranceBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Log-mels, lengths and mask of the whole groups of frames that the flow takes; an odd
        frame at the end is left out.
        """
        squeeze = self.config.squeeze
        lengths = batch.mel_lengths // squeeze * squeeze
        longest = batch.mel.shape[2] // squeeze * squeeze
        mask = mask_from_lengths(lengths, longest)
        return torch.where(mask, batch.mel[..., :longest], 0.0), lengths, mask

    def _latent(
        self, prior: Prior, durations: Tensor, noise: Tensor, frames: int | Tensor
    ) -> Tensor:
        if prior.log_scale is not None:
            noise = noise * torch.exp(expand(prior.log_scale, durations, frames))
        return expand(prior.mean, durations, frames) + noise

    def _mel(
        self,
        prior: Prior,
        durations: Tensor,
        latent: Tensor,
        mask: Tensor,
        speaker: Tensor | None,
        wanted: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Latents to log-mels, with pitch as predicted, which is also given: Hz, 0 if unvoiced.

        Of latents that end early the first ``wanted`` frames are as if they went on.
        """
        log_pitch, voiced, pitch = self._spoken_pitch(prior, durations, mask)
        bells = _bells(log_pitch, voiced)
        mel = self.decoder.inverse(latent, mask, self._condition(speaker, bells))
        if wanted is not None:
            near = wanted + reach(self.regression)  # what lies beyond the end is not there
            mel, mask = mel[..., :wanted], mask[..., :near]
            bells = None if bells is None else bells[..., :near]
            pitch = None if pitch is None else pitch[:, :wanted]
        if self.regression is None:
            return mel, pitch
        expected = self._regress(prior.hidden, durations, bells, mask)
        return mel + expected[..., : mel.shape[2]], pitch

    def _spoken_pitch(
        self, prior: Prior, durations: Tensor, mask: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Its logarithm, voicing between 0 and 1, and Hz, 0 if unvoiced: ``[batch, frames]``."""
        if self.pitch_predictor is None:
            return None, None, None
        held = expand(prior.hidden, durations, mask.shape[2])
        log_pitch, voicing = self.pitch_predictor(held, mask)
        return log_pitch, *spoken_pitch(log_pitch, voicing)

    def _regress(
        self, hidden: Tensor, durations: Tensor, bells: Tensor | None, mask: Tensor
    ) -> Tensor:
        assert self.regression is not None
        held = expand(self.regression.start(hidden), durations, mask.shape[2])
        expected: Tensor = self.regression(held, bells, mask)
        return expected

    def _condition(self, speaker: Tensor | None, bells: Tensor | None) -> Tensor | None:
        if self.pitch_condition is None:
            return speaker
        condition: Tensor = self.pitch_condition(bells)
        return condition if speaker is None else condition + speaker

    def _pitch(self, batch: UtteranceBatch, mask: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """A batch's log pitch, and 1 where it is voiced, both ``[batch, frames]``."""
        if not self.config.pitch:
            return None, None
        return recorded_pitch(batch.pitch_within(mask))

    def _speaker(self, speaker: Tensor | None) -> Tensor | None:
        embedded = embed_speaker(self.speakers, speaker)
        if embedded is None:
            return None
        return nn.functional.normalize(embedded, dim=-1).unsqueeze(-1)

    @torch.no_grad()
    def show(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """The first utterance: its mel, a sample of the model, and the alignment."""
        one = batch.first()
        durations = self.align(one, flow=self.config.align_on == "latent").durations
        generator = torch.Generator().manual_seed(0)
        mel, _, _ = self.synthesize(one.text, one.text_lengths, one.speaker, generator=generator)
        return {"alignment": path(durations)[0], "mel_recording": one.mel[0], "mel_sample": mel[0]}

    def export_graph(self) -> nn.Module:
        """The deterministic graph of a voice file; see :class:`AcousticGraph`."""
        return AcousticGraph(self)


def _bells(log_pitch: Tensor | None, voiced: Tensor | None) -> Tensor | None:
    return None if log_pitch is None or voiced is None else pitch_bells(log_pitch, voiced)


def _log_density(
    value: Tensor, mean: Tensor, log_scale: Tensor | None, durations: Tensor, mask: Tensor
) -> Tensor:
    """``log N(value; mean, scale)`` along an alignment: ``[batch]``, nats.

    ``value`` ``[batch, channels, frames]``, ``mean`` and ``log_scale`` ``[batch, channels, text]``,
    ``durations`` int64 ``[batch, text]``, ``mask`` bool ``[batch, 1, frames]``.
    """
    frames = value.shape[2]
    exponent = (value - expand(mean, durations, frames)).square()
    if log_scale is not None:
        log_scale = expand(log_scale, durations, frames)
        exponent = exponent * torch.exp(-2 * log_scale) + 2 * log_scale
    return -0.5 * ((exponent + math.log(2 * math.pi)) * mask).sum((1, 2))


class AcousticGraph(nn.Module):
    """Ids to log-mels for one sentence, with noise drawn from a seed.

    ``text`` int64 ``[1, text]``, ``text_lengths`` int64 ``[1]``, ``scales`` float32 ``[3]``
    (temperature, length scale, unused), ``speaker`` int64 ``[1]`` or None, ``seed`` int64 ``[1]``
    -> log-mels ``[1, mels, frames]``, durations int64 ``[1, text]`` and, when the model predicts
    it, pitch ``[1, frames]`` in Hz, 0 where unvoiced. With ``frames`` int64 ``[1]`` only so many
    of the first frames, rounded up to whole groups.
    """

    partial = True

    def __init__(self, model: GlowTTS) -> None:
        super().__init__()
        self.model = model
        for _, mixer, _ in model.decoder.layers():
            mixer.store_inverse()

    def forward(
        self,
        text: Tensor,
        text_lengths: Tensor,
        scales: Tensor,
        speaker: Tensor | None,
        seed: Tensor,
        frames: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        model = self.model
        given = model._speaker(speaker)
        read, text_lengths, restored = read_one(text, text_lengths, model.config.blanks)
        text_mask = mask_from_lengths(text_lengths, read.shape[1])
        prior = model.encoder(read, text_mask, given)
        durations = model.predict_durations(prior.log_durations, text_mask, scales[1])
        squeeze = model.config.squeeze
        total = (durations.sum() + squeeze - 1) // squeeze * squeeze
        beyond = max(model.decoder.reach, reach(model.regression)) + reach(model.pitch_predictor)
        wanted, seen = beginnings(total, None if frames is None else frames[0], [beyond], squeeze)
        noise = normal_from_seed(seed, seen, model.config.mel.mels) * scales[0]
        latent = model._latent(prior, durations, noise, seen)
        mask = torch.ones_like(latent[:, :1], dtype=torch.bool)
        mel, pitch = model._mel(prior, durations, latent, mask, given, wanted)
        durations = restored(durations)
        return (mel, durations) if pitch is None else (mel, durations, pitch)
