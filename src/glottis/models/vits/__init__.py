"""VITS: text to audio, and audio to audio of another speaker.

``model`` is read from the top; ``config`` holds its settings, ``parts`` the networks that they ask
for (``frame_prior`` and, for conversion, ``speaker_flow`` have files of their own), ``losses`` what
it learns by, ``graphs`` what a voice file holds.
"""

from glottis.models.vits.config import Config
from glottis.models.vits.model import VITS

__all__ = ["VITS", "Config"]
