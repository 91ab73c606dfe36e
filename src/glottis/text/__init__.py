"""Written text to phoneme ids, without torch."""

from glottis.text.frontend import FrontEnd, Utterance, Word
from glottis.text.symbols import Symbols

__all__ = ["FrontEnd", "Symbols", "Utterance", "Word"]
