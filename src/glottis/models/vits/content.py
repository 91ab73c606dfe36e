"""Conversion by what is heard: log-mels to what is said, and to log-mels of whoever shall say it.

A conditional autoencoder (Kingma et al. 2014; Sohn et al. 2015) of log-mels ``m`` given speaker
``s``, pitch and loudness: ``q(c | m)`` and ``p(m | c, s, pitch, loudness)``, with a standard normal
prior of the content ``c``. What the decoder is told anyway need not be paid for in ``c``, and it is
the speaker that is left out first; with a variational bottleneck (Alemi et al. 2017) of the phones
that were said, it is the phones that are left out last.

What is told apart all the same is not left to chance: a classifier of speakers hears the content,
and the encoder learns to mislead it (Ganin & Lempitsky 2015); and each speaker has a decoder of
their own but for convolutions, which never learnt what others sound like (Mor et al. 2018, "A
universal music translation network", does both).
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from glottis.alignment import expand
from glottis.blocks.convnext import ConvNeXtStack
from glottis.blocks.lengths import random_starts, window
from glottis.blocks.pitch import PITCH_BELLS, recorded_bells
from glottis.models.vits.config import Config
from glottis.text.phone_classes import AFTER, BEFORE, PAUSE, UNKNOWN, classes_of
from glottis.text.symbols import DEFAULT

# Frames of a space or of punctuation from which on it is a pause that can be heard.
_PAUSE_FRAMES = 4


class Heard(NamedTuple):
    """What is learnt from: ``mel`` ``[batch, mels, frames]``, ``loudness`` ``[batch, 1, frames]``,
    ``pitch`` in Hz ``[batch, frames]``, 0 where unvoiced, or None, ``classes`` of phones int64
    ``[batch, frames]``, negative where unknown, ``speaker`` int64 ``[batch]`` and ``mask`` bool
    ``[batch, 1, frames]``.
    """

    mel: Tensor
    loudness: Tensor
    pitch: Tensor | None
    classes: Tensor
    speaker: Tensor
    mask: Tensor


class ContentAutoencoder(nn.Module):
    """Log-mels to content, and content to log-mels of a speaker.

    ``mel`` ``[batch, mels, frames]``; ``mask`` bool ``[batch, 1, frames]``; a draw of the content
    is ``[batch, content_channels, frames]``.
    """

    classes: Tensor
    envelope: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        mels, size, speakers = config.mel.mels, config.content_channels, config.speakers
        width, layers = config.content_width, config.content_layers
        self.encoder = ConvNeXtStack(mels, width, config.content_hidden, layers, 5)
        self.posterior = nn.Conv1d(width, 2 * size, 1)
        self.phones = nn.Conv1d(size, PAUSE + 1, 1)
        self.judge = nn.Sequential(
            nn.Conv1d(size, 64, 5, padding=2), nn.GELU(), nn.Conv1d(64, speakers, 1)
        )
        told = 1 + (PITCH_BELLS + 1 if config.pitch else 0)
        hidden = config.content_decoder_hidden
        self.decoder = ConvNeXtStack(size + told, width, hidden, layers, 7, speakers)
        self.end = nn.Conv1d(width, mels, 1)
        # Narrow at first, so that something comes through.
        with torch.no_grad():
            self.posterior.bias[size:] = -1.0  # type: ignore[index]
        known = torch.tensor(classes_of(DEFAULT.phoneme_id_map, config.symbols))
        self.register_buffer("classes", known, persistent=False)
        self.register_buffer("envelope", _envelope(mels), persistent=False)

    def encode(self, mel: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log scale of the content."""
        hidden = self.encoder(0.5 * mel + 2.5, mask)
        mean, log_scale = self.posterior(hidden).float().chunk(2, dim=1)
        return mean, log_scale.clamp(-6.0, 2.0)

    def decode(
        self,
        content: Tensor,
        loudness: Tensor,
        bells: Tensor | None,
        speaker: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """The log-mels of int64 ``speaker`` ``[batch]`` saying it."""
        told = [content, loudness] if bells is None else [content, loudness, bells]
        hidden = self._by_speaker(torch.cat(told, dim=1), mask, speaker)
        return torch.where(mask, 2.0 * self.end(hidden).float() - 5.0, 0.0)

    def _by_speaker(self, told: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        """What each speaker's decoder makes of their part of the batch."""
        if len(told) == 1:
            return cast(Tensor, self.decoder(told, mask, speaker[0]))
        numbers = speaker.unique().tolist()
        places = [torch.nonzero(speaker == number)[:, 0] for number in numbers]
        parts = [
            self.decoder(told[place], mask[place], number)
            for place, number in zip(places, numbers, strict=True)
        ]
        return torch.cat(parts)[torch.cat(places).argsort()]

    def restate(
        self,
        mel: Tensor,
        speakers: tuple[Tensor, Tensor],
        bells: tuple[Tensor | None, Tensor | None],
        noise: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """``mel`` of the first of ``speakers``, int64 ``[batch]``, as the second would say it.

        With a decoder's log-mels ``m`` of the source and ``n`` of the target it is
        ``n + guidance (n - m) + envelope(mel - m)``. Words that the content does not say
        are in what the source's decoder leaves of the recording, and stay, as in conversion by
        spectral differentials (Kobayashi & Toda 2018); of that the envelope alone, since harmonics
        have moved with the pitch. And as the content still says something of who was heard, what
        tells the two apart is made larger, as by guidance with a condition (Ho & Salimans 2022):
        by ``content_guidance``, and among speakers who are alike by as much more as it takes to
        move log-mels by ``content_distance`` nepers on the mean, but no further than twice.

        ``bells`` are of the pitch that each has; ``noise`` ``[batch, content_channels, frames]`` is
        standard normal, times a temperature. The same speaker's comes back as it was.
        """
        mean, log_scale = self.encode(mel, mask)
        content = mean + noise * log_scale.exp()
        loud = loudness(mel, mask)
        own, other = (
            self.decode(content, loud, told, speaker, mask)
            for told, speaker in zip(bells, speakers, strict=True)
        )
        rest = torch.einsum("mn,bnt->bmt", self.envelope, torch.where(mask, mel - own, 0.0))
        said = other + self._guidance(other - own, mask) * (other - own) + rest
        same = (speakers[0] == speakers[1])[:, None, None]
        return torch.where(mask, torch.where(same, mel, said), 0.0)

    def _guidance(self, apart: Tensor, mask: Tensor) -> Tensor:
        """Of what tells two speakers apart in each utterance, ``[batch, 1, 1]``."""
        frames = mask.to(apart.dtype).sum((1, 2), keepdim=True)
        mean = apart.abs().sum((1, 2), keepdim=True) / (frames * apart.shape[1])
        missing = self.config.content_distance / mean.clamp_min(1e-3) - 1
        return torch.clamp(missing, self.config.content_guidance, 1.0)

    def losses(self, heard: Heard, decoded: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        """The bound, in nats a frame, the phones' cross-entropy and the speakers', which the
        encoder raises; or the phones' alone, of the posterior's mean, where log-mels are not
        ``decoded`` yet."""
        config, mask = self.config, heard.mask
        content, log_scale = self.encode(disguised(heard.mel) if self.training else heard.mel, mask)
        if not decoded:
            loss, logs = self._phone_loss(content, heard)
            return config.content_phones * loss, logs
        # In closed form, as there is no flow.
        divergence = 0.5 * (content.square() + torch.exp(2 * log_scale) - 1) - log_scale
        content = content + torch.randn_like(content) * log_scale.exp()
        loss, logs = self._phone_loss(content, heard)
        logs["content_nats"] = torch.where(mask, divergence, 0.0).sum() / mask.sum()
        bells = None if heard.pitch is None else recorded_bells(heard.pitch)
        made = self.decode(content, heard.loudness, bells, heard.speaker, mask)
        # A Laplace density of scale 1, but for a constant.
        distance = torch.where(mask, (made - heard.mel).abs(), 0.0).sum() / mask.sum()
        logs["content_mel"] = distance / made.shape[1]
        logs["content_speaker"] = self._speaker_loss(content, heard)
        loss = config.content_phones * loss + distance + logs["content_speaker"]
        return loss + config.content_divergence * logs["content_nats"], logs

    def _phone_loss(self, content: Tensor, heard: Heard) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the phones, smoothed when training (Szegedy et al. 2016)."""
        known = torch.where(heard.mask.squeeze(1), heard.classes, UNKNOWN)
        count = (known >= 0).sum().clamp_min(1)
        said = self.phones(content).float()
        loss = nn.functional.cross_entropy(
            said,
            known,
            ignore_index=UNKNOWN,
            label_smoothing=0.05 if self.training else 0.0,
            reduction="sum",
        )
        right = (said.argmax(1) == known).sum()
        return loss / count, {"content_phones": loss / count, "content_right": right / count}

    def _speaker_loss(self, content: Tensor, heard: Heard) -> Tensor:
        """Cross-entropy of the speakers, which the judge lowers and what it hears raises."""
        share = self.config.content_confusion
        turned = (1 + share) * content.detach() - share * content
        said = self.judge(torch.where(heard.mask, turned, 0.0)).float()
        speaker = heard.speaker[:, None].expand(-1, said.shape[2])
        each = nn.functional.cross_entropy(said, speaker, reduction="none")
        return torch.where(heard.mask.squeeze(1), each, 0.0).sum() / heard.mask.sum()

    def frame_classes(self, text: Tensor, durations: Tensor, frames: int) -> Tensor:
        """The class of phone said in each frame, int64 ``[batch, frames]``, negative if unknown.

        ``text`` and ``durations`` int64 ``[batch, text]``. A space or punctuation that takes but a
        moment is no pause that anyone hears.
        """
        own = self.classes[text]
        for _ in range(2):  # A letter may have two marks.
            own = torch.where(own == BEFORE, nn.functional.pad(own, (1, -1), value=UNKNOWN), own)
        own = torch.where(own == AFTER, nn.functional.pad(own, (-1, 1), value=UNKNOWN), own)
        short = (own == PAUSE) & (durations < _PAUSE_FRAMES)
        own = torch.where(short | (own < 0), UNKNOWN, own)
        # Frames of no token are 0 when laid out.
        laid = expand((own + 1).unsqueeze(1).float(), durations, frames)
        return laid.squeeze(1).long() - 1

    @staticmethod
    def windows(
        mel: Tensor,
        mask: Tensor,
        pitch: Tensor | None,
        classes: Tensor,
        speaker: Tensor,
        frames: int,
    ) -> Heard:
        """As many windows as a batch has utterances, by chance; whole utterances with ``frames`` 0.

        Windows are of all speakers alike, however much of each there is.
        """
        mel = torch.where(mask, mel, 0.0)
        loud, lengths = loudness(mel, mask), mask.sum((1, 2))
        if not frames:
            return Heard(mel, loud, pitch, classes, speaker, mask)
        spoken = torch.zeros_like(lengths).index_add(0, _places(speaker), lengths)
        chosen = torch.multinomial(lengths / spoken[_places(speaker)], len(lengths), True)
        lengths, speaker = lengths[chosen], speaker[chosen]
        starts = random_starts(lengths, frames)

        def cut(values: Tensor) -> Tensor:
            return window(values[chosen], starts, frames, lengths)

        return Heard(
            cut(mel),
            cut(loud),
            None if pitch is None else cut(pitch.unsqueeze(1)).squeeze(1),
            cut((classes + 1).unsqueeze(1).float()).squeeze(1).long() - 1,
            speaker,
            cut(mask.float()) > 0,
        )


def _envelope(mels: int) -> Tensor:
    """A matrix ``[mels, mels]`` that keeps of log-mels what three tenths of their cepstra say."""
    order, place = torch.arange(max(1, 3 * mels // 10)), torch.arange(mels) + 0.5
    cosines = torch.cos(math.pi / mels * order[:, None] * place)
    cosines = cosines / cosines.norm(dim=1, keepdim=True)
    return cosines.T @ cosines


def _places(speaker: Tensor) -> Tensor:
    """Speakers of a batch, numbered from 0 within it."""
    return torch.unique(speaker, return_inverse=True)[1]


def loudness(mel: Tensor, mask: Tensor) -> Tensor:
    """The mean log-mel of each frame, less that of the utterance's mean power, halved:
    ``[batch, mels, frames]`` -> ``[batch, 1, frames]``. A gain does not change it."""
    mean = mel.mean(1, keepdim=True)
    inside = mean.masked_fill(~mask, -math.inf)
    frames = mask.to(mel.dtype).sum(2, keepdim=True)
    level = torch.logsumexp(inside, dim=2, keepdim=True) - torch.log(frames)
    return torch.where(mask, 0.5 * (mean - level), 0.0)


def disguised(mel: Tensor) -> Tensor:
    """Log-mels as of another vocal tract, microphone and room, by chance for each of the batch.

    The axis of mels is stretched by up to 14% (Jaitly & Hinton 2013), a smooth curve of eight
    cosines and a gain are added, and noise of any level fills what lies below it.
    """
    batch, mels, _ = mel.shape
    device = mel.device
    factor = 1 + 0.14 * (2 * torch.rand(batch, 1, device=device) - 1)
    place = torch.arange(mels, device=device)
    source = (place * factor).clamp(0, mels - 1)
    low = source.floor().long().clamp_max(mels - 2)
    share = (source - low).unsqueeze(-1)
    index = low.unsqueeze(-1).expand(-1, -1, mel.shape[2])
    mel = mel.gather(1, index) * (1 - share) + mel.gather(1, index + 1) * share
    order = torch.arange(1, 9, device=device)
    angle = math.pi * order[:, None] * (place + 0.5) / mels
    weight = 0.5 * torch.randn(batch, 8, device=device) / order.sqrt()
    curve = weight @ torch.cos(angle) + 0.5 * torch.randn(batch, 1, device=device)
    floor = -11 + 5 * torch.rand(batch, 1, 1, device=device)
    return torch.logaddexp(mel + curve.unsqueeze(-1), floor)
