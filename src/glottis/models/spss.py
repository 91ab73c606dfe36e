"""Statistical parametric synthesis: text to a distribution over smooth vocoder parameters.

A network says, for each frame of 5 ms, the mean and variance of every vocoder parameter, of its
slope and of its curvature. Speech is the trajectory that is most likely under all of these
(:func:`glottis.kernels.mlpg`; Tokuda et al. 2000), spoken by :mod:`glottis.audio.vocoder`. One
setting says what is learned: the likelihood of each frame's features by itself (``frame``; Zen,
Senior & Schuster 2013), the error of the generated trajectory (``mge``; Wu & King 2015, "Minimum
trajectory error training"), or its exact likelihood (``trajectory``; Zen, Tokuda & Kitamura 2007).
The pitch is continuous, with voicing beside it (Yu & Young 2011). Durations come from monotonic
alignment search against a Gaussian for each phoneme, which is learned beside the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from glottis.alignment import coverage, diagonality, expand, path
from glottis.audio.mel import MelConfig
from glottis.audio.vocoder import Parameters, VocoderConfig, synthesize
from glottis.blocks.blanks import drop_blanks, drop_blanks_of_one, restore_blanks
from glottis.blocks.duration import DurationLoss, DurationPredictor, duration_loss
from glottis.blocks.lengths import mask_from_lengths
from glottis.blocks.speakers import embed_speaker, speaker_table
from glottis.blocks.transformer import ConvolutionalPrenet, Transformer
from glottis.blocks.wavenet import GatedStack
from glottis.corpus.batches import ParameterBatch
from glottis.errors import InputError
from glottis.kernels import WINDOWS, mas, mlpg, mlpg_precisions, mlpg_windowed
from glottis.likelihood.lattice import GaussianLattice
from glottis.likelihood.trajectory import TrajectoryGaussian
from glottis.voice.parametric import ParameterVoice

Criterion = Literal["frame", "mge", "trajectory"]

ALIGNED_CEPSTRA = 16
"""Coefficients that the alignment looks at: those beyond say who speaks rather than what."""
PLACES = 3
"""What a frame knows of its place: shares of its phoneme before and after, and its length."""


@dataclass(frozen=True)
class Config:
    """Sizes in channels. ``symbols`` and ``speakers`` are counts; one speaker has no embedding.

    ``criterion`` is what the frames' network learns; during the first ``frame_steps`` it is
    ``frame``, from which the others start well. ``order``, ``low`` and ``high`` are the vocoder's
    (:class:`glottis.audio.vocoder.VocoderConfig`); ``mel`` says the corpus' sample rate.
    The frames' network takes ``frame_stride`` frames at a step, which costs as many times less.
    During the first ``alignment_steps`` only the alignment learns, which is quick. ``spread`` and
    ``postfilter`` are how a voice speaks (:class:`glottis.voice.parametric.ParameterVoice`) and may
    still be chosen when it is exported.
    """

    symbols: int = 256
    speakers: int = 1
    speaker_channels: int = 32
    channels: int = 128
    filter_channels: int = 256
    heads: int = 2
    encoder_layers: int = 3
    dropout: float = 0.1
    frame_channels: int = 160
    frame_layers: int = 6
    frame_kernel: int = 5
    dilation_rate: int = 2
    frame_stride: int = 2
    duration_channels: int = 128
    duration_loss: DurationLoss = "gamma"
    criterion: Criterion = "mge"
    frame_steps: int = 0
    alignment_steps: int = 0
    order: int = 39
    low: float = 65.0
    high: float = 600.0
    spread: float = 1.0
    postfilter: float = 0.2
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        for name in ("spread", "postfilter"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        if self.frame_stride < 1:
            raise InputError(f"frame_stride must be at least 1, not {self.frame_stride}")

    @property
    def vocoder(self) -> VocoderConfig:
        """The parameters that the model gives."""
        return VocoderConfig(self.mel.sample_rate, order=self.order, low=self.low, high=self.high)

    @property
    def static(self) -> int:
        """Parameters of a frame: log pitch, mel-cepstrum, aperiodicity."""
        return 1 + self.order + 1 + self.vocoder.bands


class Predicted(NamedTuple):
    """What the network says of each frame, of standardised parameters.

    ``mean`` and ``variance`` ``[batch, frames, windows * static]``, float32; ``voicing``
    ``[batch, frames]``, log odds.
    """

    mean: Tensor
    variance: Tensor
    voicing: Tensor


class SPSS(nn.Module):
    """Text to vocoder parameters, and the likelihood of parameters given text."""

    batches = "parameters"
    mean: Tensor
    scale: Tensor
    global_variance: Tensor
    heard: Tensor
    log_variance: Tensor
    initialized: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        channels, static = config.channels, config.static
        self.embed = nn.Embedding(config.symbols, channels)
        nn.init.normal_(self.embed.weight, std=channels**-0.5)
        self.prenet = ConvolutionalPrenet(channels, dropout=config.dropout)
        self.transformer = Transformer(
            channels,
            config.filter_channels,
            config.heads,
            config.encoder_layers,
            dropout=config.dropout,
        )
        given = config.speaker_channels if config.speakers > 1 else 0
        self.speakers = speaker_table(config.speakers, config.speaker_channels)
        self.aligned_mean = nn.Conv1d(channels + given, self._aligned_size, 1)
        self.durations = DurationPredictor(
            channels + given, config.duration_channels, dropout=config.dropout
        )
        stride = config.frame_stride
        self.start = nn.Conv1d(
            channels + given + PLACES, config.frame_channels, stride, stride=stride
        )
        self.stack = GatedStack(
            config.frame_channels,
            config.frame_kernel,
            config.frame_layers,
            config.dilation_rate,
            dropout=config.dropout,
        )
        outputs = 2 * len(WINDOWS) * static + 1
        self.end = nn.Conv1d(config.frame_channels, stride * outputs, 1)
        nn.init.normal_(self.end.weight, std=1e-3)
        nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]
        # Parameters are standardised by the first batch, as ActNorm is initialised.
        self.register_buffer("mean", torch.zeros(static))
        self.register_buffer("scale", torch.ones(static))
        # Of each speaker, the mean over utterances heard so far, and how many these are.
        self.register_buffer("global_variance", torch.ones(config.speakers, static))
        self.register_buffer("heard", torch.zeros(config.speakers))
        self.register_buffer("log_variance", torch.zeros(len(WINDOWS) * static))
        self.register_buffer("initialized", torch.tensor(False))

    @property
    def _aligned_size(self) -> int:
        return min(ALIGNED_CEPSTRA, self.config.order + 1) + self.config.vocoder.bands + 1

    def optimized(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each loss of :meth:`steps` trains."""
        return {"parameters": list(self.parameters())}

    def steps(
        self, batch: ParameterBatch, step: int
    ) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """One loss: the criterion, voicing, durations and the alignment's Gaussians."""
        if not bool(self.initialized):
            self._standardise(batch)
        self._hear(batch)
        loss, logs = self._losses(batch, step)
        yield "parameters", loss, logs

    @torch.no_grad()
    def validate(self, batch: ParameterBatch) -> dict[str, Tensor]:
        """All three criteria, and how far the trajectory lies from the recording's.

        With the recording's durations: ``mcd`` in dB, ``f0_rmse`` in cents where both are voiced,
        ``voicing_error``, and ``variance_ratio``, the generated trajectories' variance over that
        of the recordings (geometric mean over coefficients).
        """
        loss, logs = self._losses(batch, 10**9)
        found = self._read(batch)
        predicted = self._predict(found.hidden, found.durations, found.frames)
        values = self._standardised(batch)
        inside = mask_from_lengths(batch.lengths, found.frames)[:, 0]
        for criterion in ("frame", "mge", "trajectory"):
            logs[criterion] = self._criterion(criterion, predicted, values, batch.lengths)
        made = mlpg(predicted.mean, predicted.variance, WINDOWS, batch.lengths)
        apart = ((made - values) * self.scale)[inside]
        cepstra = slice(2, self.config.order + 2)
        squares = apart[:, cepstra].square().sum(1)
        logs["mcd"] = 10 / math.log(10) * (2 * squares).sqrt().mean()
        heard = (predicted.voicing > 0)[inside]
        voiced = batch.voiced[inside]
        both = heard & voiced
        logs["voicing_error"] = (heard != voiced).float().mean()
        cents = 1200 / math.log(2) * apart[both, 0]
        logs["f0_rmse"] = cents.square().mean().sqrt() if both.any() else cents.new_zeros(())
        ratio = _variances(made, batch.lengths) / _variances(values, batch.lengths)
        logs["variance_ratio"] = ratio[:, cepstra].clamp(min=1e-6).log().mean().exp()
        return {"loss": loss, **logs}

    @torch.no_grad()
    def synthesize(
        self,
        text: Tensor,
        text_lengths: Tensor,
        speaker: Tensor | None = None,
        *,
        length_scale: float = 1.0,
        durations: Tensor | None = None,
    ) -> tuple[list[Parameters], Tensor]:
        """Text to vocoder parameters, as a voice file gives them.

        Args:
            text: int64 ``[batch, text]``; ``text_lengths`` int64 ``[batch]``.
            speaker: int64 ``[batch]``, needed when the model knows several.
            length_scale: multiplies predicted durations.
            durations: int64 ``[batch, text]``, blanks left out, to use instead of predicted ones.

        Returns:
            For each item its :class:`~glottis.audio.vocoder.Parameters`, and the durations
            int64 ``[batch, text]`` of the tokens that the model reads.
        """
        text, text_lengths = drop_blanks(text, text_lengths)
        mask = mask_from_lengths(text_lengths, text.shape[1])
        hidden = self._encode(text, mask, speaker)
        if durations is None:
            durations = self._durations(hidden, mask, length_scale)
        lengths = durations.sum(1)
        predicted = self._predict(hidden, durations, int(lengths.max()))
        laws = zip(*self._natural(predicted), predicted.voicing, strict=True)
        config = self.config
        voice = ParameterVoice(
            config.vocoder,
            self.natural_variance().cpu().numpy(),
            spread=config.spread,
            postfilter=config.postfilter,
        )
        items = []
        for row, law in enumerate(laws):
            mean, variance, odds = (value[: lengths[row]].cpu().numpy() for value in law)
            who = 0 if speaker is None else int(speaker[row])
            pieces = list(voice.parameters(mean, variance, odds, who))
            items.append(
                Parameters(
                    np.concatenate([piece.pitch for piece in pieces]),
                    np.concatenate([piece.cepstrum for piece in pieces], axis=1),
                    np.concatenate([piece.aperiodicity for piece in pieces], axis=1),
                )
            )
        return items, durations

    def natural_variance(self) -> Tensor:
        """Of each parameter within an utterance of each speaker, in the parameters' own units:
        float64 ``[speakers, static]``."""
        return self.global_variance.double() * self.scale.double().square()

    def _natural(self, predicted: Predicted) -> tuple[Tensor, Tensor]:
        """Mean and variance in the parameters' own units."""
        scale = self.scale.repeat(len(WINDOWS))
        offset = torch.cat([self.mean, torch.zeros_like(scale[len(self.mean) :])])
        return predicted.mean * scale + offset, predicted.variance * scale.square()

    def _durations(self, hidden: Tensor, mask: Tensor, length_scale: Tensor | float) -> Tensor:
        """Whole frames ``[batch, text]``: rounded running sums, so that errors do not add up."""
        frames = torch.exp(self.durations(hidden, mask)) * mask.squeeze(1) * length_scale
        ends = torch.floor(frames.cumsum(1) + 0.5)
        return (ends - nn.functional.pad(ends, (1, 0))[:, :-1]).long()

    @torch.no_grad()
    def show(self, batch: ParameterBatch) -> dict[str, Tensor]:
        """The first utterance: the alignment, both mel-cepstra, and what it sounds like."""
        frames = batch.lengths[0]
        one = ParameterBatch(
            batch.names[:1],
            batch.text[:1, : batch.text_lengths[0]],
            batch.text_lengths[:1],
            batch.log_pitch[:1, :frames],
            batch.voiced[:1, :frames],
            batch.cepstrum[:1, :, :frames],
            batch.aperiodicity[:1, :, :frames],
            batch.lengths[:1],
            batch.speaker[:1],
        )
        durations = self._read(one).durations
        (made,), _ = self.synthesize(one.text, one.text_lengths, one.speaker, durations=durations)
        return {
            "alignment": path(durations)[0],
            "cepstrum_recording": one.cepstrum[0, 1:],
            "cepstrum_sample": torch.from_numpy(made.cepstrum[1:]),
            "audio_sample": torch.from_numpy(synthesize(made, self.config.vocoder)),
        }

    def export_graph(self) -> nn.Module:
        """The graph of a voice file; see :class:`ParameterGraph`."""
        return ParameterGraph(self)

    def _losses(self, batch: ParameterBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        found = self._read(batch)
        duration = duration_loss(
            self.durations(found.hidden.detach(), found.mask),
            found.durations,
            found.text_lengths,
            config.duration_loss,
        )
        logs = {
            "duration": duration,
            "alignment": found.distance,
            "diagonality": diagonality(found.durations, found.text_lengths).mean(),
            "coverage": coverage(found.durations, found.text_lengths).mean(),
        }
        loss = duration + found.distance
        if step >= config.alignment_steps:
            predicted = self._predict(found.hidden, found.durations, found.frames)
            criterion = "frame" if step < config.frame_steps else config.criterion
            values = self._standardised(batch)
            logs[criterion] = self._criterion(criterion, predicted, values, batch.lengths)
            inside = mask_from_lengths(batch.lengths, found.frames)[:, 0]
            logs["voicing"] = nn.functional.binary_cross_entropy_with_logits(
                predicted.voicing[inside], batch.voiced[inside].float()
            )
            loss = loss + logs[criterion] + logs["voicing"]
        return loss, logs

    def _criterion(
        self, criterion: str, predicted: Predicted, values: Tensor, lengths: Tensor
    ) -> Tensor:
        """A mean over frames and parameters: nats, or (``mge``) half the squared error."""
        count = lengths.sum() * self.config.static
        mean, variance, _ = predicted
        if criterion == "mge":
            made = mlpg(mean, variance, WINDOWS, lengths)
            inside = mask_from_lengths(lengths, values.shape[1]).transpose(1, 2)
            return 0.5 * torch.where(inside, made - values, 0.0).square().sum() / count
        if criterion == "trajectory":
            likelihood = TrajectoryGaussian(mean, variance, WINDOWS, lengths).log_prob(values)
            return -likelihood.sum() / count
        # Slopes at the ends, which the trajectory does not use either, have precision zero.
        flat, precision = mlpg_precisions(mean, variance, WINDOWS, lengths)
        features = mlpg_windowed(values, WINDOWS)
        used = precision > 0
        log_precision = torch.where(used, torch.where(used, precision, 1.0).log(), 0.0)
        exponent = precision * (features - flat).square() - log_precision
        return 0.5 * (exponent.sum() / count + len(WINDOWS) * math.log(2 * math.pi))

    def _read(self, batch: ParameterBatch) -> _Found:
        """Text, read and aligned with the parameters."""
        text, text_lengths = drop_blanks(batch.text, batch.text_lengths)
        mask = mask_from_lengths(text_lengths, text.shape[1])
        hidden = self._encode(text, mask, batch.speaker)
        frames = batch.log_pitch.shape[1]
        inside = mask_from_lengths(batch.lengths, frames)
        with torch.no_grad():
            values = self._standardised(batch)
            kept = min(ALIGNED_CEPSTRA, self.config.order + 1)
            parts = [
                values[:, :, 1 : 1 + kept],
                values[:, :, self.config.order + 2 :],
                2.0 * batch.voiced[:, :, None].float() - 1.0,
            ]
            seen = torch.where(inside, torch.cat(parts, dim=2).transpose(1, 2), 0.0)
        wanted = self.aligned_mean(hidden).float() * mask
        with torch.no_grad():
            durations = mas(GaussianLattice(wanted).log_prob(seen), text_lengths, batch.lengths)
        apart = torch.where(inside, seen - expand(wanted, durations, frames), 0.0)
        distance = 0.5 * apart.square().sum() / (batch.lengths.sum() * seen.shape[1])
        return _Found(hidden, mask, text_lengths, durations, frames, distance)

    def _encode(self, text: Tensor, mask: Tensor, speaker: Tensor | None) -> Tensor:
        x = self.embed(text).transpose(1, 2) * math.sqrt(self.config.channels)
        x = self.transformer(self.prenet(x, mask), mask)
        embedded = embed_speaker(self.speakers, speaker)
        if embedded is None:
            return x * mask
        voice = embedded[:, :, None].expand(-1, -1, x.shape[2])
        return torch.cat([x, voice.to(x.dtype)], dim=1) * mask

    def _predict(self, hidden: Tensor, durations: Tensor, frames: int | Tensor) -> Predicted:
        held = torch.cat(
            [expand(hidden, durations, frames), places(durations, frames).to(hidden.dtype)], dim=1
        )
        mask = mask_from_lengths(durations.sum(1), frames)
        stride = self.config.frame_stride
        held = self.start(nn.functional.pad(held, (0, stride - 1)))
        mask = mask[:, :, ::stride]
        out = self.end(self.stack(held * mask, mask)).float().transpose(1, 2)
        out = out.unflatten(2, (stride, -1)).flatten(1, 2)[:, :frames]
        size = len(WINDOWS) * self.config.static
        mean, log_variance, voicing = out.split([size, size, 1], dim=2)
        # Begin at the spread of all speech, and stay where banded solves are sound.
        log_variance = (log_variance + self.log_variance).clamp(-9.0, 5.0)
        return Predicted(mean, log_variance.exp(), voicing[:, :, 0])

    def _values(self, batch: ParameterBatch) -> Tensor:
        """Static parameters ``[batch, frames, static]``."""
        rows = [batch.log_pitch[:, None], batch.cepstrum, batch.aperiodicity]
        return torch.cat(rows, dim=1).transpose(1, 2)

    def _standardised(self, batch: ParameterBatch) -> Tensor:
        inside = mask_from_lengths(batch.lengths, batch.log_pitch.shape[1]).transpose(1, 2)
        return torch.where(inside, (self._values(batch) - self.mean) / self.scale, 0.0)

    @torch.no_grad()
    def _standardise(self, batch: ParameterBatch) -> None:
        """Take means, scales, variances and those within an utterance from this batch."""
        values = self._values(batch)
        inside = mask_from_lengths(batch.lengths, values.shape[1])[:, 0]
        real = values[inside]
        self.mean.copy_(real.mean(0))
        self.scale.copy_(real.std(0).clamp(min=1e-3))
        features = mlpg_windowed(self._standardised(batch), WINDOWS)
        # One frame from either end, where slopes would look beyond.
        inner = inside & inside.roll(1, 1) & inside.roll(-1, 1)
        inner[:, [0, -1]] = False
        self.log_variance.copy_(features[inner].square().mean(0).clamp(min=1e-4).log())
        self.initialized.fill_(True)

    @torch.no_grad()
    def _hear(self, batch: ParameterBatch) -> None:
        """Take the batch into the speakers' mean variance within an utterance."""
        found = _variances(self._standardised(batch), batch.lengths)
        self.heard.index_add_(0, batch.speaker, torch.ones_like(found[:, 0]))
        share = (found - self.global_variance[batch.speaker]) / self.heard[batch.speaker, None]
        self.global_variance.index_add_(0, batch.speaker, share)


class _Found(NamedTuple):
    """Encoded text ``[batch, channels, text]``, its mask and lengths, durations, the number of
    frames, and the mean distance of the alignment's Gaussians."""

    hidden: Tensor
    mask: Tensor
    text_lengths: Tensor
    durations: Tensor
    frames: int
    distance: Tensor


def places(durations: Tensor, frames: int | Tensor) -> Tensor:
    """Where in its token a frame lies: int64 ``[batch, text]`` -> ``[batch, 3, frames]``.

    The shares of the token before and after the frame's middle, and the log of its length.
    """
    ends = durations.cumsum(1)
    token = torch.stack([ends - durations, durations], dim=1).float()
    start, length = expand(token, durations, frames).split(1, dim=1)
    steps = torch.arange(frames, device=durations.device)  # type: ignore[arg-type]
    before = (steps + 0.5 - start) / length.clamp(min=1.0)
    inside = length > 0
    rows = torch.cat([before, 1 - before, torch.log(length.clamp(min=1.0)) - 2.5], dim=1)
    return torch.where(inside, rows, 0.0)


def _variances(values: Tensor, lengths: Tensor) -> Tensor:
    """Over the frames of each item: ``[batch, frames, static] -> [batch, static]``."""
    inside = mask_from_lengths(lengths, values.shape[1]).transpose(1, 2)
    count = lengths[:, None]
    mean = torch.where(inside, values, 0.0).sum(1) / count
    return torch.where(inside, values - mean[:, None], 0.0).square().sum(1) / count


class ParameterGraph(nn.Module):
    """Ids to the distribution over vocoder parameters, for one sentence, in their own units.

    ``text`` int64 ``[1, text]``, ``text_lengths`` int64 ``[1]``, ``scales`` float32 ``[3]``
    (unused, length scale, unused), ``speaker`` int64 ``[1]`` or None -> mean and variance
    ``[1, frames, windows * static]``, log odds of voicing ``[1, frames]``, and durations int64
    ``[1, text]``.
    """

    def __init__(self, model: SPSS) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, text: Tensor, text_lengths: Tensor, scales: Tensor, speaker: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        model = self.model
        read, lengths, kept = drop_blanks_of_one(text, text_lengths)
        mask = mask_from_lengths(lengths, read.shape[1])
        hidden = model._encode(read, mask, speaker)
        durations = model._durations(hidden, mask, scales[1])
        predicted = model._predict(hidden, durations, durations.sum())
        # The third scale has no meaning here; a graph's input that is not used would be dropped.
        voicing = predicted.voicing + 0.0 * scales.sum()
        durations = restore_blanks(durations, kept, text)
        return *model._natural(predicted), voicing, durations
