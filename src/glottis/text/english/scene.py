"""What a reader of English sees, beside the text."""

from __future__ import annotations

from dataclasses import dataclass

from glottis.text import scanning
from glottis.text.scanning import Reader, Spoken, closing_stop


@dataclass(frozen=True)
class Scene(scanning.Scene):
    """The text around a match, and how it is to be read."""

    british: bool
    shouting: bool
    """Whether the text is mostly in capitals, so that capitals mean nothing."""


__all__ = ["Reader", "Scene", "Spoken", "closing_stop"]
