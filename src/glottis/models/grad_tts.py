"""Grad-TTS: log-mels drawn by a diffusion that starts from the text's own means.

Source: Popov, Vovk, Gogoryan, Sadekova & Kudinov 2021, "Grad-TTS: A Diffusion Probabilistic Model
for Text-to-Speech". The encoder gives each phoneme a mean log-mel; the alignment is the monotonic
path that maximises the likelihood of log-mels under unit-variance Gaussians about those means;
noise leads from log-mels to ``N(mean, 1)`` and a U-Net learns the score on the way, which
:mod:`glottis.likelihood.diffusion` follows back. Losses: durations, a prior between log-mels and
means (eq. 11), and the diffusion's (eq. 13), on random segments of an utterance.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glottis.alignment import align, coverage, diagonality, expand, path
from glottis.audio.mel import MelConfig
from glottis.blocks.blanks import fold_blanks, read_one, read_text
from glottis.blocks.duration import (
    DurationLoss,
    DurationPredictor,
    Rounding,
    duration_loss,
    whole_frames,
)
from glottis.blocks.lengths import mask_from_lengths
from glottis.blocks.noise import normal_from_seed
from glottis.blocks.pitch import (
    PitchPredictor,
    pitch_bells,
    pitch_log_density,
    recorded_bells,
    recorded_pitch,
    spoken_pitch,
)
from glottis.blocks.score_network import ScoreNetwork
from glottis.blocks.speakers import embed_speaker, speaker_table
from glottis.blocks.text_encoder import TextEncoder
from glottis.corpus.batches import UtteranceBatch
from glottis.errors import InputError
from glottis.likelihood.diffusion import (
    Likelihood,
    NoiseSchedule,
    Score,
    Solver,
    log_likelihood,
    sample,
    score_loss,
    score_of_velocity,
    velocity_loss,
)
from glottis.likelihood.lattice import GaussianLattice


@dataclass(frozen=True)
class Config:
    """Sizes in channels. ``symbols`` and ``speakers`` are counts; one speaker has no embedding.

    ``blanks`` keeps the pads between phonemes as states of their own, as the authors do.
    ``speaker_in_text`` lets means and durations depend on the speaker; the authors' code leaves
    that to the score alone.

    ``prior_loss`` pulls means towards log-mels: by the Gaussian of the paper, by the mean absolute
    (``l1``) or squared (``l2``) difference, or not at all. ``durations`` are searched (``mas``) or
    come with the batch (``given``).

    ``predicts``: the network says the ``score``, as the paper has it, or the ``velocity``, from
    which the score follows and which is of the same size at all times; see
    :func:`glottis.likelihood.diffusion.velocity_loss`.

    ``score_channels`` times each of ``score_multipliers`` are the U-Net's; every further one halves
    mels and frames. ``time_scale`` multiplies time before its sinusoids. ``segment_frames`` bounds
    what the score learns from in one utterance; 0 for no bound. ``padding_counts`` lets the U-Net's
    averages run over padding too, as the authors' code does.

    ``pitch`` tells the score fundamental frequency and voicing, and predicts both from the text
    when speaking; ``pitch_weight`` multiplies the predictor's loss. The likelihood is then that of
    log-mels given pitch. During the first ``alignment_steps`` only the text's part is trained,
    which is quick.

    ``n_timesteps`` and ``solver`` are how log-mels are drawn unless told otherwise, and what an
    exported voice does.
    """

    blanks: bool = False
    symbols: int = 256
    speakers: int = 1
    speaker_channels: int = 64
    speaker_in_text: bool = True
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
    duration_rounding: Rounding = "sums"
    durations: Literal["mas", "given"] = "mas"
    prior_loss: Literal["gaussian", "l1", "l2", "none"] = "gaussian"
    prior_weight: float = 1.0
    predicts: Literal["score", "velocity"] = "score"
    score_channels: int = 64
    score_multipliers: tuple[int, ...] = (1, 2, 4)
    score_groups: int = 8
    time_scale: float = 1000.0
    padding_counts: bool = False
    segment_frames: int = 172
    pitch: bool = False
    pitch_channels: int = 64
    pitch_weight: float = 0.1
    alignment_steps: int = 0
    beta_min: float = 0.05
    beta_max: float = 20.0
    n_timesteps: int = 10
    solver: Solver = "euler"
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        for name, value in (("mels", self.mel.mels), ("segment_frames", self.segment_frames)):
            if value % self.stride:
                raise InputError(
                    f"{name} must be a multiple of {self.stride}, not {value}: the score network "
                    f"halves both axes {len(self.score_multipliers) - 1} times"
                )
        if self.alignment_steps and self.prior_loss == "none":
            raise InputError("alignment_steps train the means, which need a prior_loss")
        if self.n_timesteps < 1:
            raise InputError(f"n_timesteps must be at least 1, not {self.n_timesteps}")
        if self.score_channels % (2 * self.score_groups):
            raise InputError(
                f"score_channels must be a multiple of {2 * self.score_groups}, "
                f"not {self.score_channels}"
            )

    @property
    def stride(self) -> int:
        """Frames must come in multiples of this for the score network."""
        return int(2 ** (len(self.score_multipliers) - 1))

    @property
    def hidden_channels(self) -> int:
        """Of what the text and, with ``speaker_in_text``, the speaker became."""
        told = self.speakers > 1 and self.speaker_in_text
        return self.channels + (self.speaker_channels if told else 0)

    @property
    def schedule(self) -> NoiseSchedule:
        """Of the noise."""
        return NoiseSchedule(self.beta_min, self.beta_max)


class Prior(NamedTuple):
    """What text says: ``mean`` ``[batch, mels, text]``, ``log_durations`` ``[batch, text]`` and
    ``hidden`` ``[batch, channels, text]``, what the text and the speaker became."""

    mean: Tensor
    log_durations: Tensor
    hidden: Tensor


class Encoder(TextEncoder):
    """Phoneme ids to mean log-mels and durations.

    ``text`` int64 ``[batch, text]``, ``mask`` bool ``[batch, 1, text]``, ``speaker``
    ``[batch, speaker_channels]`` or None -> :class:`Prior`.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(
            config.symbols,
            config.channels,
            config.filter_channels,
            config.heads,
            config.encoder_layers,
            config.encoder_kernel,
            config.encoder_dropout,
            config.window,
            prenet_dropout=config.prenet_dropout,
        )
        self.speaker_in_text = config.speaker_in_text
        self.mean = nn.Conv1d(config.hidden_channels, config.mel.mels, 1)
        # About the mean log-mel of speech: the search should not wait for the offset.
        nn.init.constant_(self.mean.bias, -5.0)  # type: ignore[arg-type]
        self.durations = DurationPredictor(
            config.hidden_channels, config.duration_channels, dropout=config.duration_dropout
        )

    def forward(self, text: Tensor, mask: Tensor, speaker: Tensor | None) -> Prior:
        x = self.features(text, mask)
        if speaker is not None and self.speaker_in_text:
            x = torch.cat([x, speaker[:, :, None].expand(-1, -1, x.shape[2])], dim=1)
        return Prior(self.mean(x).float() * mask, self.durations(x.detach(), mask), x)


class Alignment(NamedTuple):
    """How a batch was aligned: ``durations`` int64 ``[batch, text]`` in frames, ``text_lengths``
    int64 ``[batch]`` (smaller than the batch's when blanks are dropped), and the :class:`Prior`.
    """

    durations: Tensor
    text_lengths: Tensor
    prior: Prior


class GradTTS(nn.Module):
    """Text to log-mels by a learnt score, and the likelihood of log-mels given text."""

    batches = "utterances"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.score = ScoreNetwork(
            config.mel.mels,
            config.score_channels,
            config.score_multipliers,
            config.score_groups,
            time_scale=config.time_scale,
            padding_counts=config.padding_counts,
            speaker_channels=config.speaker_channels if config.speakers > 1 else 0,
            pitch=config.pitch,
        )
        self.speakers = speaker_table(config.speakers, config.speaker_channels)
        self.pitch_predictor: PitchPredictor | None = None
        if config.pitch:
            self.pitch_predictor = PitchPredictor(config.hidden_channels, config.pitch_channels)

    def optimized(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each loss of :meth:`steps` trains."""
        return {"score": list(self.parameters())}

    def align(self, batch: UtteranceBatch) -> Alignment:
        """The best alignment of a batch to its means, or the one that came with it."""
        speaker = self._speaker(batch.speaker)
        text, text_lengths = read_text(batch.text, batch.text_lengths, self.config.blanks)
        text_mask = mask_from_lengths(text_lengths, text.shape[1])
        prior = self.encoder(text, text_mask, speaker)
        if self.config.durations == "given":
            return Alignment(self._given(batch), text_lengths, prior)
        lattice = GaussianLattice(prior.mean, text_lengths=text_lengths)
        durations = align(lattice, batch.mel, batch.mel_lengths)
        return Alignment(durations, text_lengths, prior)

    def _given(self, batch: UtteranceBatch) -> Tensor:
        if batch.durations is None:
            raise InputError(
                "durations are 'given', but none came with the data: name their file with "
                "training.durations, or set network.durations=mas"
            )
        durations = batch.durations
        if not self.config.blanks:
            durations = fold_blanks(durations, batch.text, batch.text_lengths)
        for name, total, frames in zip(
            batch.names, durations.sum(1).tolist(), batch.mel_lengths.tolist(), strict=True
        ):
            if total != frames:
                raise InputError(f"{name}: the durations sum to {total} of {frames} frames")
        return durations

    def steps(
        self, batch: UtteranceBatch, step: int
    ) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """One loss: the score's, the prior's and the durations'.

        Times, noise and segments follow from torch's seed, the step and the utterances, so that a
        resumed run draws what an unbroken one would have, and several processes differ.
        """
        names = zlib.crc32("\n".join(batch.names).encode())
        seed = (torch.initial_seed() * 1_000_003 + step * 4_294_967_311 + names) % 2**63
        generator = torch.Generator().manual_seed(seed)
        yield "score", *self._losses(batch, generator, step >= self.config.alignment_steps)

    @torch.no_grad()
    def validate(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """The same losses on held-out data, with the same noise each time."""
        loss, logs = self._losses(batch, torch.Generator().manual_seed(0))
        return {"loss": loss, **logs}

    def _losses(
        self, batch: UtteranceBatch, generator: torch.Generator, score: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config, found = self.config, self.align(batch)
        prior, longest = found.prior, batch.mel.shape[2]
        duration = duration_loss(
            prior.log_durations, found.durations, found.text_lengths, config.duration_loss
        )
        mask = mask_from_lengths(batch.mel_lengths, longest)
        logs = {
            "duration": duration,
            "diagonality": diagonality(found.durations, found.text_lengths).mean(),
            "coverage": coverage(found.durations, found.text_lengths).mean(),
        }
        loss = config.duration_weight * duration
        mean = expand(prior.mean, found.durations, longest)
        mel = torch.where(mask, batch.mel, 0.0)
        if config.prior_loss != "none":
            logs["prior"] = self._prior_loss(mel - mean, mask)
            loss = loss + config.prior_weight * logs["prior"]
        tracks = [mel, mean]
        if self.pitch_predictor is not None:
            log_pitch, voiced = recorded_pitch(batch.pitch_within(mask))
            tracks.append(pitch_bells(log_pitch, voiced))
            hidden = expand(prior.hidden, found.durations, longest)
            predicted, voicing = self.pitch_predictor(hidden, mask)
            density = pitch_log_density(predicted, voicing, log_pitch, voiced, mask.squeeze(1))
            logs["pitch_nats_per_frame"] = -density.sum() / mask.sum()
            loss = loss + config.pitch_weight * logs["pitch_nats_per_frame"]
        if not score:
            return loss, logs
        part, lengths = self._segment(torch.cat(tracks, dim=1), batch.mel_lengths, generator)
        mel, mean, *bells = part.split([track.shape[1] for track in tracks], dim=1)
        mask = mask_from_lengths(lengths, mel.shape[2])
        function = self._network_of(mean, mask, self._speaker(batch.speaker), *bells)
        distance = score_loss if config.predicts == "score" else velocity_loss
        logs["diffusion"] = distance(
            function, mel, mean, config.schedule, mask, generator=generator
        )
        return loss + logs["diffusion"], logs

    def _prior_loss(self, difference: Tensor, mask: Tensor) -> Tensor:
        """Mean over elements inside the mask."""
        if self.config.prior_loss == "l1":
            each = difference.abs()
        else:
            each = difference.square()
            if self.config.prior_loss == "gaussian":
                each = 0.5 * (each + math.log(2 * math.pi))
        return torch.where(mask, each, 0.0).sum() / (mask.sum() * difference.shape[1])

    def _segment(
        self, tracks: Tensor, lengths: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """A random part of each utterance of ``[batch, channels, frames]``, padded to what the
        score network takes, and the parts' lengths.
        """
        wanted, longest = self.config.segment_frames, tracks.shape[2]
        if not wanted or longest <= wanted:
            return F.pad(tracks, (0, -longest % self.config.stride)), lengths
        room = (lengths - wanted).clamp_min(0)
        share = torch.rand(len(lengths), generator=generator).to(lengths.device)
        start = torch.minimum((share * (room + 1)).long(), room)
        steps = start[:, None] + torch.arange(wanted, device=lengths.device)
        index = steps.clamp_max(longest - 1)[:, None, :].expand(-1, tracks.shape[1], -1)
        return tracks.gather(2, index), lengths.clamp_max(wanted)

    def _score_of(
        self, mean: Tensor, mask: Tensor | None, speaker: Tensor | None, bells: Tensor | None = None
    ) -> Score:
        """The score as a function of ``(x, t)``."""
        function = self._network_of(mean, mask, speaker, bells)
        if self.config.predicts == "score":
            return function
        return score_of_velocity(function, mean, self.config.schedule)

    def _network_of(
        self, mean: Tensor, mask: Tensor | None, speaker: Tensor | None, bells: Tensor | None = None
    ) -> Score:
        """What the network says, the score or the velocity, as a function of ``(x, t)``. No mask
        where nothing is padded: it costs time."""
        if mask is not None and bool(mask.all()):
            mask = None
        return lambda x, t: self.score(x, mean, t, mask, speaker, bells)

    def likelihood(
        self,
        batch: UtteranceBatch,
        *,
        tolerance: float = 1e-3,
        probes: int = 1,
        generator: torch.Generator | None = None,
    ) -> Likelihood:
        """``log p(mel | text, alignment)`` of each utterance; ``bits_per_dimension`` of a density.

        Arguments as :func:`glottis.likelihood.diffusion.log_likelihood`. Beside Glow-TTS: its nats
        a frame, divided by the number of mels and by ``log 2``.
        """
        with torch.no_grad():
            found = self.align(batch)
            rest = -batch.mel.shape[2] % self.config.stride
            mel = F.pad(batch.mel, (0, rest))
            mean = expand(found.prior.mean, found.durations, mel.shape[2])
            mask = mask_from_lengths(batch.mel_lengths, mel.shape[2])
            speaker, bells = self._speaker(batch.speaker), None
            if self.config.pitch:
                inside = mask_from_lengths(batch.mel_lengths, batch.mel.shape[2])
                bells = F.pad(recorded_bells(batch.pitch_within(inside)), (0, rest))
        return log_likelihood(
            self._score_of(mean, mask, speaker, bells),
            mel,
            mean,
            self.config.schedule,
            mask,
            tolerance=tolerance,
            probes=probes,
            generator=generator,
        )

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
        n_timesteps: int | None = None,
        solver: Solver | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw log-mels.

        Args:
            text: int64 ``[batch, text]``; ``text_lengths`` int64 ``[batch]``.
            speaker: int64 ``[batch]``, needed when the model knows several.
            temperature: multiplies all noise. (The authors' code divides by it.)
            length_scale: multiplies predicted durations, which stay whole frames.
            durations: int64 ``[batch, text]`` to use instead of predicted ones.
            n_timesteps, solver: the config's when None; see
                :func:`glottis.likelihood.diffusion.sample`.
            generator: source of randomness.

        Returns:
            Log-mels ``[batch, mels, frames]``, their lengths ``[batch]``, durations of the tokens
            that the model reads.
        """
        config, given = self.config, self._speaker(speaker)
        text, text_lengths = read_text(text, text_lengths, config.blanks)
        text_mask = mask_from_lengths(text_lengths, text.shape[1])
        prior = self.encoder(text, text_mask, given)
        if durations is None:
            durations = whole_frames(
                prior.log_durations, text_mask, length_scale, config.duration_rounding
            )
        lengths = durations.sum(1)
        padded = -(-lengths // config.stride) * config.stride
        longest = int(padded.max())
        mean = self._held(prior.mean, durations, lengths, longest)
        mask = mask_from_lengths(padded, longest)
        bells, _ = self._spoken(prior, durations, lengths, mask)

        def noise(_: int) -> Tensor:
            drawn = torch.randn(mean.shape, generator=generator).to(mean.device)
            return temperature * drawn

        mel = sample(
            self._score_of(mean, mask, given, bells),
            mean + noise(-1),
            mean,
            config.schedule,
            solver or config.solver,
            n_timesteps or config.n_timesteps,
            noise=noise,
        )
        longest = int(lengths.max())
        return mel[..., :longest] * mask_from_lengths(lengths, longest), lengths, durations

    def _held(
        self, mean: Tensor, durations: Tensor, lengths: Tensor, frames: int | Tensor
    ) -> Tensor:
        """Means along frames; the last one stands on where frames were added to fit the U-Net."""
        steps = torch.arange(frames, device=mean.device)  # type: ignore[arg-type]
        index = torch.minimum(steps[None, :], lengths[:, None] - 1)
        laid = expand(mean, durations, frames)
        return laid.gather(2, index[:, None, :].expand(-1, mean.shape[1], -1))

    def _spoken(
        self, prior: Prior, durations: Tensor, lengths: Tensor, mask: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """The bells of the pitch that the text asks for, and it in Hz, 0 where unvoiced."""
        if self.pitch_predictor is None:
            return None, None
        hidden = self._held(prior.hidden, durations, lengths, mask.shape[2])
        log_pitch, voicing = self.pitch_predictor(hidden, mask)
        voiced, pitch = spoken_pitch(log_pitch, voicing)
        return pitch_bells(log_pitch, voiced), pitch

    def _speaker(self, speaker: Tensor | None) -> Tensor | None:
        return embed_speaker(self.speakers, speaker)

    @torch.no_grad()
    def show(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """The first utterance: its mel, a sample of the model, and the alignment."""
        one = batch.first()
        durations = self.align(one).durations
        generator = torch.Generator().manual_seed(0)
        mel, _, _ = self.synthesize(one.text, one.text_lengths, one.speaker, generator=generator)
        return {
            "alignment": path(durations)[0],
            "mel_recording": one.mel[0],
            "mel_sample": mel[0],
        }

    def export_graph(self) -> nn.Module:
        """The deterministic graph of a voice file; see :class:`AcousticGraph`."""
        return AcousticGraph(self)


class AcousticGraph(nn.Module):
    """Ids to log-mels for one sentence, the solver's steps unrolled, noise drawn from a seed.

    ``text`` int64 ``[1, text]``, ``text_lengths`` int64 ``[1]``, ``scales`` float32 ``[3]``
    (temperature, length scale, unused), ``speaker`` int64 ``[1]`` or None, ``seed`` int64 ``[1]``
    -> log-mels ``[1, mels, frames]``, durations int64 ``[1, text]`` and, when the model predicts
    it, pitch ``[1, frames]`` in Hz, 0 where unvoiced. How many steps of which solver is the
    config's ``n_timesteps`` and ``solver``.
    """

    def __init__(self, model: GradTTS) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        text: Tensor,
        text_lengths: Tensor,
        scales: Tensor,
        speaker: Tensor | None,
        seed: Tensor,
    ) -> tuple[Tensor, ...]:
        model, config = self.model, self.model.config
        given = model._speaker(speaker)
        read, text_lengths, restored = read_one(text, text_lengths, config.blanks)
        text_mask = mask_from_lengths(text_lengths, read.shape[1])
        prior = model.encoder(read, text_mask, given)
        durations = whole_frames(
            prior.log_durations, text_mask, scales[1], config.duration_rounding
        )
        lengths = durations.sum(1)
        total = lengths[0]
        frames = (total + config.stride - 1) // config.stride * config.stride
        mean = model._held(prior.mean, durations, lengths, frames)
        bells, pitch = model._spoken(
            prior, durations, lengths, torch.ones_like(mean[:, :1], dtype=torch.bool)
        )

        def noise(step: int) -> Tensor:
            return scales[0] * normal_from_seed(seed, frames, config.mel.mels, step + 1)

        mel = sample(
            model._score_of(mean, None, given, bells),
            mean + noise(-1),
            mean,
            config.schedule,
            config.solver,
            config.n_timesteps,
            noise=noise,
        )
        durations = restored(durations)
        made = mel[..., :total]
        return (made, durations) if pitch is None else (made, durations, pitch[:, :total])
