"""glottis: recordings to voices, voices to speech, by maximum likelihood.

>>> import glottis
>>> voice = glottis.Voice.load()
>>> voice.speak("Printing differs from most of the arts.").save("hello.wav")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glottis.errors import InputError
    from glottis.voice import Mark, Speech, Voice, speak

__version__ = "0.1.0"
__all__ = ["InputError", "Mark", "Speech", "Voice", "__version__", "speak"]

# Where each public name lives. They are imported when they are first used, so that
# `import glottis` costs nothing and training code does not pay for the speaking half.
_HOMES = {
    "InputError": "glottis.errors",
    "Mark": "glottis.voice",
    "Speech": "glottis.voice",
    "Voice": "glottis.voice",
    "speak": "glottis.voice",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'glottis' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
