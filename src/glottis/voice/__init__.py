"""Speaking: voice files, their runtime, and the speech they give. Needs no torch."""

from glottis.voice.speech import Mark, Speech
from glottis.voice.voice import Voice, speak

__all__ = ["Mark", "Speech", "Voice", "speak"]
