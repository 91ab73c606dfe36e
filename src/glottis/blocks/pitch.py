"""Pitch from text, its likelihood, and pitch as a network's input.

A model that is told the pitch of each frame has to predict it when it speaks, as FastPitch does
(Lancucki 2021), here for each frame instead of each phoneme.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from glottis.blocks.wavenet import GatedStack


class PitchPredictor(nn.Module):
    """Hidden text, each token held for its frames, to pitch.

    ``hidden`` ``[batch, channels, frames]``, ``mask`` bool ``[batch, 1, frames]`` -> the median of
    the logarithm of the fundamental frequency in Hz and the logit of voicing, both
    ``[batch, frames]``.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.start = nn.Conv1d(channels, hidden, 1)
        self.stack = GatedStack(hidden, 5, 4, dilation_rate=2)
        self.end = nn.Conv1d(hidden, 2, 1)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.start(hidden) * mask
        deviation, voicing = self.end(self.stack(x, mask)).float().split([1, 1], dim=1)
        # About a speaking voice, so that half precision keeps its digits for the tune.
        return deviation.squeeze(1) + math.log(180.0), voicing.squeeze(1)


def pitch_log_density(
    predicted: Tensor,
    voicing: Tensor,
    log_pitch: Tensor,
    voiced: Tensor,
    mask: Tensor,
    scale: float = 0.1,
) -> Tensor:
    """``log p(pitch | text)``: Bernoulli voicing, and where voiced a Laplace density of log Hz.

    Trackers err by octaves, which heavy tails forgive. ``predicted``, ``voicing`` as
    :class:`PitchPredictor` gives them; ``log_pitch`` and ``voiced`` (0 or 1) ``[batch, frames]``;
    ``mask`` bool ``[batch, frames]`` -> ``[batch]``, nats.
    """
    signed = torch.where(voiced > 0, voicing, -voicing)
    density = -(log_pitch - predicted).abs() / scale - math.log(2 * scale)
    total = nn.functional.logsigmoid(signed) + torch.where(voiced > 0, density, 0.0)
    return torch.where(mask, total, 0.0).sum(1)


def harmonic_phase(pitch: Tensor, fft_size: int, hop: int, sample_rate: int) -> Tensor:
    """The phases that the harmonics of a pitch have in a short-time spectrum.

    ``pitch`` ``[batch, frames]`` in Hz, 0 where unvoiced -> ``[batch, fft_size // 2 + 1, frames]``
    in radians: each bin has the phase of the harmonic nearest to it, of pulses that go on through
    the frames; 0 where unvoiced. Frames are windows of ``fft_size``, symmetric about their centres,
    which lie ``hop`` apart.
    """
    before = nn.functional.pad(pitch[:, :-1], (1, 0))
    # Half the sum where both frames are voiced, and the one that is where one is.
    both = (before > 0) & (pitch > 0)
    between = torch.where(both, 0.5 * (before + pitch), torch.maximum(before, pitch))
    # Thousands of cycles, of which dozens of multiples are taken: too much for single precision.
    cycles = torch.cumsum(between.double() * (hop / sample_rate), dim=1)
    cycles = (cycles - torch.floor(cycles)).to(pitch.dtype)
    bins = torch.arange(fft_size // 2 + 1, device=pitch.device, dtype=pitch.dtype)
    hertz = bins * (sample_rate / fft_size)
    number = torch.round(hertz[:, None] / pitch.clamp_min(1.0)[:, None]).clamp_min(1.0)
    # A window that begins half its length before its centre turns every other bin over.
    phase = 2 * math.pi * number * cycles[:, None] + math.pi * bins[:, None]
    return torch.where(pitch[:, None] > 0, phase, 0.0)


def recorded_pitch(pitch: Tensor) -> tuple[Tensor, Tensor]:
    """Pitch of recordings ``[batch, frames]`` in Hz, 0 where unvoiced -> its logarithm, and 1 where
    it is voiced, both ``[batch, frames]``.
    """
    return torch.log(pitch.clamp_min(1.0)), (pitch > 0).float()


def spoken_pitch(log_pitch: Tensor, voicing: Tensor) -> tuple[Tensor, Tensor]:
    """What :class:`PitchPredictor` says, as voicing between 0 and 1 for :func:`pitch_bells` and as
    Hz, 0 where unvoiced; both ``[batch, frames]``.
    """
    # Steep, so that it is almost always nearly 0 or 1 as in training, but without a jump.
    return torch.sigmoid(4.0 * voicing), torch.where(voicing > 0, log_pitch.exp(), 0.0)


class SpeakerPitch(nn.Module):
    """Mean and spread of each speaker's log pitch, noted while a model learns from recordings.

    After ``memory`` voiced frames of a speaker what is older counts less and less.
    """

    mean: Tensor
    spread: Tensor
    frames: Tensor

    def __init__(self, speakers: int, memory: float = 1e6) -> None:
        super().__init__()
        self.memory = memory
        self.register_buffer("mean", torch.full((speakers,), math.log(180.0)))
        self.register_buffer("spread", torch.full((speakers,), 0.2))
        self.register_buffer("frames", torch.zeros(speakers))

    @torch.no_grad()
    def hear(self, log_pitch: Tensor, voiced: Tensor, speaker: Tensor | None) -> None:
        """``log_pitch`` and ``voiced`` (0 or 1) ``[batch, frames]``; ``speaker`` int64 ``[batch]``,
        None for the only one.
        """
        if speaker is None:
            speaker = torch.zeros(len(voiced), dtype=torch.long, device=voiced.device)
        zero = torch.zeros_like(self.frames)
        count = zero.index_add(0, speaker, voiced.sum(1))
        total = zero.index_add(0, speaker, (log_pitch * voiced).sum(1))
        mean = total / count.clamp_min(1.0)
        error = (log_pitch - mean[speaker, None]).square() * voiced
        variance = zero.index_add(0, speaker, error.sum(1)) / count.clamp_min(1.0)
        share = count / (self.frames + count).clamp_min(1.0)
        apart = mean - self.mean
        # The variance of a mixture: those within, and that between the two means.
        variance = (1 - share) * self.spread.square() + share * variance
        variance = variance + share * (1 - share) * apart.square()
        self.mean.add_(share * apart)
        self.spread.copy_(variance.sqrt())
        self.frames.add_(count).clamp_(max=self.memory)

    def moved(self, pitch: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Pitch of one speaker as another would have it: moved to their mean of log Hz and widened
        to their spread; the same speaker's is returned as it is.

        ``pitch`` ``[batch, frames]`` in Hz, 0 where unvoiced; ``source`` and ``target`` int64
        ``[batch]``.
        """
        # A speaker heard in one note only, or hardly, is no reason to fly off.
        wider = (self.spread[target] / self.spread[source].clamp_min(0.02)).clamp(0.5, 2.0)
        wider = torch.where(source == target, 1.0, wider)
        below = torch.log(pitch.clamp_min(1.0)) - self.mean[source][:, None]
        apart = (self.mean[target] - self.mean[source])[:, None]
        return pitch * torch.exp(apart + (wider[:, None] - 1) * below)


PITCH_BELLS = 36


def pitch_bells(log_pitch: Tensor, voiced: Tensor) -> Tensor:
    """Pitch as networks can use it: bells a tenth of an octave apart from 55 Hz, and voicing.

    One product can then place harmonics, whose channels are no smooth function of pitch.
    ``log_pitch`` ``[batch, frames]`` in log Hz, ``voiced`` ``[batch, frames]`` between 0 and 1 ->
    ``[batch, PITCH_BELLS + 1, frames]``.
    """
    width = 0.1 * math.log(2.0)
    centres = math.log(55.0) + width * torch.arange(PITCH_BELLS, device=log_pitch.device)
    distance = (log_pitch[:, None] - centres[:, None]) / width
    bells = torch.exp(-0.5 * distance.square()) * voiced[:, None]
    return torch.cat([bells, voiced[:, None]], dim=1)


def recorded_bells(pitch: Tensor) -> Tensor:
    """:func:`pitch_bells` of recordings' pitch ``[batch, frames]`` in Hz, 0 where unvoiced."""
    return pitch_bells(*recorded_pitch(pitch))


class PitchInput(nn.Conv1d):
    """What bells of pitch add to a network's input, nothing at first: ``[batch, PITCH_BELLS + 1,
    frames]`` -> ``[batch, channels, frames]``; of ``stacked`` frames at once, when several are one.
    """

    def __init__(self, channels: int, stacked: int = 1) -> None:
        super().__init__((PITCH_BELLS + 1) * stacked, channels, 1)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
