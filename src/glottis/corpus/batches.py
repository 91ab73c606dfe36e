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
    """

    names: Sequence[str]
    text: Tensor
    text_lengths: Tensor
    mel: Tensor
    mel_lengths: Tensor
    speaker: Tensor
    pitch: Tensor | None = None
    durations: Tensor | None = None


@dataclass(frozen=True)
class WindowBatch(_Movable):
    """Random windows of utterances.

    ``mel`` float32 ``[batch, mels, frames]``, ``audio`` float32 ``[batch, frames * hop]``;
    ``speaker`` int64 ``[batch]``; ``names`` are cut ids.
    """

    names: Sequence[str]
    mel: Tensor
    audio: Tensor
    speaker: Tensor


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
