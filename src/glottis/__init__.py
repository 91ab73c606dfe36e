"""glottis: recordings to voices, voices to speech, by maximum likelihood."""

__version__ = "0.1.0"
