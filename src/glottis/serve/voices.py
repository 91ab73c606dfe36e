"""The voices that a server speaks with, and how a request names them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from glottis.errors import InputError
from glottis.serve.errors import RequestError
from glottis.voice import Voice
from glottis.voices import installed

_log = logging.getLogger(__name__)
_NAMED = re.compile(r"([^=/\\]+)=(.+)", re.S)


class Choice(NamedTuple):
    """A voice and one of its speakers; None stands for the first."""

    voice: Voice
    speaker: str | int | None


class Voices:
    """Loaded voices by name, the default one first.

    A request says ``voice``, or ``voice/speaker`` where it has several.
    """

    def __init__(self, voices: Mapping[str, Voice]) -> None:
        self._voices = dict(voices)

    def __len__(self) -> int:
        return len(self._voices)

    @classmethod
    def load(cls, wanted: Sequence[str], *, threads: int, lexicon: str | None) -> Voices:
        """Load each wanted voice, by name, by path or as ``NAME=VOICE``; all installed when none.

        Raises:
            InputError: a wanted voice cannot be loaded, two have one name, or none is there. A
                voice that is installed but not asked for is reported and left out.
        """
        found: dict[str, Voice] = {}
        for word in wanted:
            named = None if Path(word).is_file() else _NAMED.fullmatch(word)
            voice = Voice.load(named[2] if named else word, threads=threads, lexicon=lexicon)
            name = named[1] if named else voice.path.stem
            if name in found:
                raise InputError(
                    f"two voices have the name {name}: {found[name].path} and {voice.path}; "
                    f"give one another, --voice OTHER={word}"
                )
            found[name] = voice
        if wanted:
            return cls(found)
        for info in installed():
            try:
                found[info.name] = Voice.load(info.path, threads=threads, lexicon=lexicon)
            except InputError as error:
                _log.warning("left out: %s", error)
        if not found:
            raise InputError("no voice is installed that can be loaded; give one with --voice FILE")
        return cls(found)

    def find(self, name: str | None) -> Choice:
        """What ``voice`` or ``voice/speaker`` names; the default voice when None.

        A speaker may be given by its number.

        Raises:
            RequestError: there is no such voice, or it has no such speaker.
        """
        if name is None:
            return Choice(next(iter(self._voices.values())), None)
        # A name that was given may hold anything but a slash; what follows it is the speaker's.
        own, slash, speaker = name.partition("/")
        if own not in self._voices:
            raise RequestError(
                f"there is no voice {own!r}. Voices: {', '.join(self._voices)}", "voice"
            )
        voice = self._voices[own]
        return Choice(voice, speaker_of(voice, speaker, "voice") if slash else None)

    def listing(self) -> list[dict[str, Any]]:
        """Every voice and speaker that can be asked for, as ``GET /v1/audio/voices`` gives them."""
        return [
            {
                "id": f"{name}/{speaker}" if speaker is not None else name,
                "name": f"{name}, {speaker}" if speaker is not None else name,
                "voice": name,
                "speaker": speaker,
                "language": voice.language_of(speaker),
                "languages": list(voice.languages),
                "sample_rate": voice.sample_rate,
                "noise_scale": voice.noise_scale,
                "parametric": voice.parametric,
                "converts": voice.converts,
                "license": voice.license,
            }
            for name, voice in self._voices.items()
            for speaker in (voice.speakers if len(voice.speakers) > 1 else (None,))
        ]


def speaker_of(voice: Voice, written: str, field: str) -> str | int:
    """A speaker's name, or the number that is written instead.

    Raises:
        RequestError: the voice has no such speaker; names ``field``.
    """
    known = written in voice.speakers or not written.isdecimal()
    speaker = written if known else int(written)
    try:
        voice.language_of(speaker)
    except InputError as error:
        raise RequestError(str(error), field) from error
    return speaker
