"""Grad-TTS: log-mels drawn by a diffusion that starts from the text's own means.

Source: Popov, Vovk, Gogoryan, Sadekova & Kudinov 2021, "Grad-TTS: A Diffusion Probabilistic Model
for Text-to-Speech". The encoder gives each phoneme a mean log-mel; the alignment is the monotonic
path that maximises the likelihood of log-mels under unit-variance Gaussians about those means;
noise leads from log-mels to ``N(mean, 1)`` and a U-Net learns the score on the way, which
:mod:`glottis.likelihood.diffusion` follows back. Losses: durations, a prior between log-mels and
means (eq. 11), and the diffusion's (eq. 13), on random segments of an utterance.
"""

from __future__ import annotations

import itertools
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

    ``score_channels`` times each of ``score_multipliers`` are the U-Net's; every further one halves
    mels and frames. ``time_scale`` multiplies time before its sinusoids. ``segment_frames`` bounds
    what the score learns from in one utterance; 0 for no bound. ``padding_counts`` lets the U-Net's
    averages run over padding too, as the authors' code does.

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
    score_channels: int = 64
    score_multipliers: tuple[int, ...] = (1, 2, 4)
    score_groups: int = 8
    time_scale: float = 1000.0
    padding_counts: bool = False
    segment_frames: int = 172
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
    def schedule(self) -> NoiseSchedule:
        """Of the noise."""
        return NoiseSchedule(self.beta_min, self.beta_max)


class Prior(NamedTuple):
    """What text says: ``mean`` ``[batch, mels, text]`` and ``log_durations`` ``[batch, text]``."""

    mean: Tensor
    log_durations: Tensor


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
        given = config.speaker_channels if config.speakers > 1 and config.speaker_in_text else 0
        self.mean = nn.Conv1d(config.channels + given, config.mel.mels, 1)
        # About the mean log-mel of speech: the search should not wait for the offset.
        nn.init.constant_(self.mean.bias, -5.0)  # type: ignore[arg-type]
        self.durations = DurationPredictor(
            config.channels + given, config.duration_channels, dropout=config.duration_dropout
        )

    def forward(self, text: Tensor, mask: Tensor, speaker: Tensor | None) -> Prior:
        x = self.features(text, mask)
        if speaker is not None and self.speaker_in_text:
            x = torch.cat([x, speaker[:, :, None].expand(-1, -1, x.shape[2])], dim=1)
        return Prior(self.mean(x).float() * mask, self.durations(x.detach(), mask))


class Convolution(nn.Module):
    """3 x 3 convolution, group normalisation, Mish.

    ``x`` ``[batch, before, mels, frames]`` -> ``[batch, after, mels, frames]``; ``mask`` bool
    ``[batch, 1, 1, frames]`` or None when all is real; ``counted`` is the mask of what the
    normalisation averages over, or None for everything.
    """

    def __init__(self, before: int, after: int, groups: int) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(before, after, 3, padding=1)
        self.norm = nn.GroupNorm(groups, after)

    def forward(self, x: Tensor, mask: Tensor | None, counted: Tensor | None) -> Tensor:
        x = self.convolve(_inside(x, mask))
        if counted is None:
            return _inside(F.mish(self.norm(x)), mask)
        batch, channels, mels, frames = x.shape
        groups = self.norm.num_groups
        x = x.float().view(batch, groups, -1, frames)
        where = counted.view(batch, 1, 1, frames)
        count = where.sum((2, 3), keepdim=True) * x.shape[2]
        mean = (x * where).sum((2, 3), keepdim=True) / count
        variance = ((x - mean).square() * where).sum((2, 3), keepdim=True) / count
        x = ((x - mean) * torch.rsqrt(variance + self.norm.eps)).view(batch, channels, mels, frames)
        x = x * self.norm.weight[:, None, None] + self.norm.bias[:, None, None]
        return _inside(F.mish(x), mask)


class ResidualBlock(nn.Module):
    """Two convolutions with the time added between, and a shortcut."""

    def __init__(self, before: int, after: int, time: int, groups: int) -> None:
        super().__init__()
        self.time = nn.Linear(time, after)
        self.first = Convolution(before, after, groups)
        self.second = Convolution(after, after, groups)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | None, counted: Tensor | None, t: Tensor) -> Tensor:
        y = self.first(x, mask, counted) + self.time(F.mish(t))[:, :, None, None]
        out: Tensor = self.second(y, mask, counted) + self.shortcut(_inside(x, mask))
        return out


class LinearAttention(nn.Module):
    """Attention without a softmax over queries, added by a gain that starts at 0.

    Source: Shen et al. 2021, as the authors' code has it. With keys ``K = softmax_n(W_k X)`` a head
    gives ``(W_v X K^T)^T``-weighted queries; every map but the softmax is linear, so the whole is
    one ``[channels, channels]`` matrix for each item, made from ``X K^T`` and applied to ``X``:
    values and queries are never computed at each position.
    """

    def __init__(self, channels: int, heads: int = 4, size: int = 32) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.query_key_value = nn.Conv2d(channels, 3 * heads * size, 1, bias=False)
        self.out = nn.Conv2d(heads * size, channels, 1)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, counted: Tensor | None) -> Tensor:
        batch, channels, mels, frames = x.shape
        query, key, value = self.query_key_value.weight.view(3, self.heads, self.size, channels)
        flat = x.flatten(2)
        scores = key.reshape(-1, channels) @ flat
        if counted is not None:
            scores = scores.view(batch, -1, mels, frames).masked_fill(~counted, -math.inf)
            scores = scores.flatten(2)
            flat = torch.where(counted, x, 0.0).flatten(2)
        weights = scores.softmax(-1)
        # [batch, channels, heads, size]: what each key gathers of the input.
        gathered = (flat @ weights.transpose(1, 2)).unflatten(2, (self.heads, self.size))
        context = torch.einsum("hec,bchd->bhde", value, gathered)
        out = self.out.weight.view(channels, self.heads, self.size)
        matrix = torch.einsum("ohe,bhde,hdc->boc", out, context, query)
        mixed = matrix @ x.flatten(2) + self.out.bias[:, None]  # type: ignore[index]
        return x + self.gain * mixed.view(batch, channels, mels, frames)


class Stage(nn.Module):
    """Two residual blocks and attention at one resolution; ``resize`` leads to the next."""

    def __init__(self, before: int, after: int, time: int, groups: int, resize: nn.Module) -> None:
        super().__init__()
        self.first = ResidualBlock(before, after, time, groups)
        self.second = ResidualBlock(after, after, time, groups)
        self.attention = LinearAttention(after)
        self.resize = resize

    def forward(self, x: Tensor, mask: Tensor | None, counted: Tensor | None, t: Tensor) -> Tensor:
        x = self.second(self.first(x, mask, counted, t), mask, counted, t)
        attended: Tensor = self.attention(x, counted)
        return attended


class ScoreNetwork(nn.Module):
    """``grad log p_t(x)``: a U-Net over mels and frames, given the mean and the time.

    ``x`` and ``mean`` ``[batch, mels, frames]``, ``t`` ``[batch]``, ``mask`` bool
    ``[batch, 1, frames]`` or None when everything is real, ``speaker`` ``[batch,
    speaker_channels]`` or None -> like ``x``, zero outside the mask. Frames are a multiple of the
    config's ``stride``.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        time, groups, mels = config.score_channels, config.score_groups, config.mel.mels
        self.time_scale, self.time_channels = config.time_scale, time
        self.padding_counts = config.padding_counts
        several = config.speakers > 1
        self.speaker = (
            nn.Sequential(
                nn.Linear(config.speaker_channels, 4 * config.speaker_channels),
                nn.Mish(),
                nn.Linear(4 * config.speaker_channels, mels),
            )
            if several
            else None
        )
        self.time = nn.Sequential(nn.Linear(time, 4 * time), nn.Mish(), nn.Linear(4 * time, time))
        sizes = [2 + several, *(time * factor for factor in config.score_multipliers)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        pairs = list(itertools.pairwise(sizes))
        for before, after in pairs[:-1]:
            halve = nn.Conv2d(after, after, 3, 2, 1)
            self.down.append(Stage(before, after, time, groups, halve))
        self.down.append(Stage(*pairs[-1], time, groups, nn.Identity()))
        deepest = sizes[-1]
        self.middle_first = ResidualBlock(deepest, deepest, time, groups)
        self.middle_attention = LinearAttention(deepest)
        self.middle_second = ResidualBlock(deepest, deepest, time, groups)
        for before, after in reversed(pairs[1:]):
            double = nn.ConvTranspose2d(before, before, 4, 2, 1)
            self.up.append(Stage(2 * after, before, time, groups, double))
        self.final = Convolution(time, time, groups)
        self.project = nn.Conv2d(time, 1, 1)

    def forward(
        self,
        x: Tensor,
        mean: Tensor,
        t: Tensor,
        mask: Tensor | None = None,
        speaker: Tensor | None = None,
    ) -> Tensor:
        t = self.time(self._sinusoids(t))
        rows = [mean, x]
        if self.speaker is not None:
            if speaker is None:
                raise ValueError("this score network was built with speakers and needs one")
            rows.append(self.speaker(speaker)[:, :, None].expand_as(x))
        x = torch.stack(rows, dim=1)
        inside = None if mask is None else mask.unsqueeze(1)
        if inside is not None:
            # Not a product: what padding holds may be NaN.
            x = torch.where(inside, x, 0.0)
        masks, skips = [inside], []
        for stage in self.down:
            inside = masks[-1]
            x = stage(x, inside, self._counted(inside), t)
            skips.append(x)
            x = stage.resize(_inside(x, inside))  # type: ignore[operator]
            masks.append(None if inside is None else inside[..., ::2])
        masks.pop()
        inside = masks[-1]
        x = self.middle_first(x, inside, self._counted(inside), t)
        x = self.middle_attention(x, self._counted(inside))
        x = self.middle_second(x, inside, self._counted(inside), t)
        for stage in self.up:
            inside = masks.pop()
            x = stage(torch.cat([x, skips.pop()], dim=1), inside, self._counted(inside), t)
            x = stage.resize(_inside(x, inside))  # type: ignore[operator]
        inside = masks[0]
        x = self.final(x, inside, self._counted(inside))
        score: Tensor = _inside(self.project(_inside(x, inside)), inside).squeeze(1)
        return score

    def _counted(self, mask: Tensor | None) -> Tensor | None:
        return None if self.padding_counts else mask

    def _sinusoids(self, t: Tensor) -> Tensor:
        half = self.time_channels // 2
        steps = torch.arange(half, device=t.device, dtype=torch.float32)
        rates = torch.exp(-math.log(10000) / (half - 1) * steps)
        angles = self.time_scale * t.float()[:, None] * rates[None, :]
        return torch.cat([angles.sin(), angles.cos()], dim=1)


def _inside(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


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
        self.score = ScoreNetwork(config)
        self.speakers = speaker_table(config.speakers, config.speaker_channels)

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
        yield "score", *self._losses(batch, torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def validate(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """The same losses on held-out data, with the same noise each time."""
        loss, logs = self._losses(batch, torch.Generator().manual_seed(0))
        return {"loss": loss, **logs}

    def _losses(
        self, batch: UtteranceBatch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config, found = self.config, self.align(batch)
        lengths, prior = batch.mel_lengths, found.prior
        duration = duration_loss(
            prior.log_durations, found.durations, found.text_lengths, config.duration_loss
        )
        longest = batch.mel.shape[2]
        mean = expand(prior.mean, found.durations, longest)
        mask = mask_from_lengths(lengths, longest)
        mel = torch.where(mask, batch.mel, 0.0)
        logs = {
            "duration": duration,
            "diagonality": diagonality(found.durations, found.text_lengths).mean(),
            "coverage": coverage(found.durations, found.text_lengths).mean(),
        }
        loss = config.duration_weight * duration
        if config.prior_loss != "none":
            logs["prior"] = self._prior_loss(mel - mean, mask)
            loss = loss + config.prior_weight * logs["prior"]
        mel, mean, lengths = self._segment(mel, mean, lengths, generator)
        mask = mask_from_lengths(lengths, mel.shape[2])
        score = self._score_of(mean, mask, self._speaker(batch.speaker))
        logs["diffusion"] = score_loss(score, mel, mean, config.schedule, mask, generator=generator)
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
        self, mel: Tensor, mean: Tensor, lengths: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A random part of each utterance, padded to what the score network takes."""
        wanted, stride = self.config.segment_frames, self.config.stride
        if not wanted or mel.shape[2] <= wanted:
            rest = -mel.shape[2] % stride
            return F.pad(mel, (0, rest)), F.pad(mean, (0, rest)), lengths
        room = (lengths - wanted).clamp_min(0)
        share = torch.rand(len(lengths), generator=generator).to(lengths.device)
        start = torch.minimum((share * (room + 1)).long(), room)
        steps = start[:, None] + torch.arange(wanted, device=lengths.device)
        index = steps.clamp_max(mel.shape[2] - 1)[:, None, :].expand(-1, mel.shape[1], -1)
        return mel.gather(2, index), mean.gather(2, index), lengths.clamp_max(wanted)

    def _score_of(self, mean: Tensor, mask: Tensor | None, speaker: Tensor | None) -> Score:
        """The score as a function of ``(x, t)``. No mask where nothing is padded: it costs time."""
        if mask is not None and bool(mask.all()):
            mask = None
        return lambda x, t: self.score(x, mean, t, mask, speaker)

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
            speaker = self._speaker(batch.speaker)
        return log_likelihood(
            self._score_of(mean, mask, speaker),
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

        def noise(_: int) -> Tensor:
            drawn = torch.randn(mean.shape, generator=generator).to(mean.device)
            return temperature * drawn

        mel = sample(
            self._score_of(mean, mask, given),
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
    -> log-mels ``[1, mels, frames]`` and durations int64 ``[1, text]``. How many steps of which
    solver is the config's ``n_timesteps`` and ``solver``.
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
    ) -> tuple[Tensor, Tensor]:
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

        def noise(step: int) -> Tensor:
            return scales[0] * normal_from_seed(seed, frames, config.mel.mels, step + 1)

        mel = sample(
            lambda x, t: model.score(x, mean, t, None, given),
            mean + noise(-1),
            mean,
            config.schedule,
            config.solver,
            config.n_timesteps,
            noise=noise,
        )
        return mel[..., :total], restored(durations)
