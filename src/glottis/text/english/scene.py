"""What a reader sees, and what it may answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from glottis.text.sentences import starts_sentence, stop_ends_sentence
from glottis.text.tokens import Token


@dataclass(frozen=True)
class Scene:
    """The text around a match, and how it is to be read."""

    text: str
    british: bool
    shouting: bool
    """Whether the text is mostly in capitals, so that capitals mean nothing."""

    def before(self, place: int, reach: int = 40) -> str:
        """At most ``reach`` characters before ``place``: readers cost the same in any text."""
        return self.text[max(0, place - reach) : place]

    def after(self, place: int, reach: int = 40) -> str:
        """At most ``reach`` characters from ``place`` on."""
        return self.text[place : place + reach]


Spoken = str | list[Token] | None
"""Words for the whole match, or tokens, none if it is silent; or None: not mine, ask the next."""

Reader = Callable[[re.Match[str], Scene], Spoken]


def closing_stop(m: re.Match[str], written: str, scene: Scene) -> list[Token]:
    """The full stop that ends ``written`` is also a pause where it ends a sentence."""
    if not written.endswith("."):
        return []
    rest = re.match(r"[\"')\]]*", scene.after(m.end()))
    closed = m.end() + (rest.end() if rest else 0)
    if scene.after(closed, 8).strip():
        spaced = scene.after(closed, 1).isspace()
        if not spaced or not starts_sentence(scene.text, closed):
            return []
        if not stop_ends_sentence(scene.text, m.end() - 1, closed, ".", "en"):
            return []
    return [Token("", ".")]
