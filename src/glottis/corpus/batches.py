"""Batches of cuts as tensors: whole utterances with their text, or random windows of audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor

B = TypeVar("B", bound="_Movable")


class _Movable:
    def to(self: B, device: torch.device | str) -> B:
        """Move every tensor to ``device``."""
        values: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            values[field.name] = value.to(device) if isinstance(value, Tensor) else value
        return type(self)(**values)


@dataclass(frozen=True)
class UtteranceBatch(_Movable):
    """Whole utterances. Padding is zero; lengths say what is real.

    ``text`` int64 ``[batch, text]`` of phoneme ids, ``text_lengths`` int64 ``[batch]``;
    ``mel`` float32 ``[batch, mels, frames]``, ``mel_lengths`` int64 ``[batch]``;
    ``speaker`` int64 ``[batch]``, an index into the corpus' sorted speakers; ``names`` are cut ids.
    ``pitch`` float32 ``[batch, frames]`` in Hz, 0 where unvoiced, for models that use it;
    ``durations`` int64 ``[batch, text]``, frames of each id, when an alignment was given.
    In batches of the kind ``"utterances_with_audio"`` also ``audio`` float32
    ``[batch, frames * hop]``, of ``mel_lengths * hop`` samples each, and ``language`` int64
    ``[batch]``, an index into the corpus' sorted languages.
    """

    names: Sequence[str]
    text: Tensor
    text_lengths: Tensor
    mel: Tensor
    mel_lengths: Tensor
    speaker: Tensor
    pitch: Tensor | None = None
    durations: Tensor | None = None
    audio: Tensor | None = None
    language: Tensor | None = None

    def pitch_within(self, mask: Tensor) -> Tensor:
        """Pitch of the frames of ``mask``, bool ``[batch, 1, frames]``, and 0 outside it, whatever
        stands there: ``[batch, frames]``.

        Raises:
            ValueError: the batch has none.
        """
        if self.pitch is None:
            raise ValueError("this model is told the pitch, which the batch does not have")
        return torch.where(mask.squeeze(1), self.pitch[:, : mask.shape[2]], 0.0)

    def first(self) -> UtteranceBatch:
        """The first utterance, without padding."""
        tokens, frames = int(self.text_lengths[0]), int(self.mel_lengths[0])
        audio = self.audio
        if audio is not None:
            audio = audio[:1, : frames * (audio.shape[1] // self.mel.shape[2])]
        return UtteranceBatch(
            self.names[:1],
            self.text[:1, :tokens],
            self.text_lengths[:1],
            self.mel[:1, :, :frames],
            self.mel_lengths[:1],
            self.speaker[:1],
            None if self.pitch is None else self.pitch[:1, :frames],
            None if self.durations is None else self.durations[:1, :tokens],
            audio=audio,
            language=None if self.language is None else self.language[:1],
        )


@dataclass(frozen=True)
class WindowBatch(_Movable):
    """Random windows of utterances.

    ``mel`` float32 ``[batch, mels, frames]``, ``audio`` float32 ``[batch, frames * hop]``;
    ``speaker`` int64 ``[batch]``; ``names`` are cut ids. In batches of the kind
    ``"windows_with_pitch"`` also ``pitch`` float32 ``[batch, frames]`` in Hz, 0 where unvoiced.
    """

    names: Sequence[str]
    mel: Tensor
    audio: Tensor
    speaker: Tensor
    pitch: Tensor | None = None


@dataclass(frozen=True)
class ParameterBatch(_Movable):
    """Whole utterances as vocoder parameters. Padding is zero; lengths say what is real.

    ``text``, ``text_lengths``, ``speaker`` and ``names`` as in :class:`UtteranceBatch`;
    ``log_pitch`` float32 ``[batch, frames]``, log Hz, continued through unvoiced frames, and
    ``voiced`` bool ``[batch, frames]``; ``cepstrum`` float32 ``[batch, order + 1, frames]``,
    nepers; ``aperiodicity`` float32 ``[batch, bands, frames]``, dB; ``lengths`` int64 ``[batch]``.
    """

    names: Sequence[str]
    text: Tensor
    text_lengths: Tensor
    log_pitch: Tensor
    voiced: Tensor
    cepstrum: Tensor
    aperiodicity: Tensor
    lengths: Tensor
    speaker: Tensor


def pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack ``[..., time_i]`` tensors: ``[batch, ..., time]`` padded with zeros, and lengths."""
    lengths = torch.tensor([sequence.shape[-1] for sequence in sequences])
    longest = int(lengths.max())
    padded = [
        torch.nn.functional.pad(sequence, (0, longest - sequence.shape[-1]))
        for sequence in sequences
    ]
    return torch.stack(padded), lengths
