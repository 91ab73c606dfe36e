"""Who speaks: one embedding a speaker, and none for a model that knows a single one."""

from __future__ import annotations

from torch import Tensor, nn


def speaker_table(speakers: int, channels: int) -> nn.Embedding | None:
    """The embeddings ``[speakers, channels]``; None for one speaker."""
    return nn.Embedding(speakers, channels) if speakers > 1 else None


def embed_speaker(table: nn.Embedding | None, speaker: Tensor | None) -> Tensor | None:
    """``speaker`` int64 ``[batch]`` -> ``[batch, channels]``; None without a table.

    Raises:
        ValueError: the model knows several speakers, and none is named.
    """
    if table is None:
        return None
    if speaker is None:
        raise ValueError(f"this model knows {table.num_embeddings} speakers: name one of them")
    embedded: Tensor = table(speaker)
    return embedded
