"""How to speak: what a caller asks for, against what a voice has."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from glottis.errors import InputError
from glottis.text.languages import find_language
from glottis.text.markup import RATES
from glottis.voice.checks import checked_factor, checked_seed, is_number, is_whole
from glottis.voice.description import Description
from glottis.voice.plan import Say

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manner:
    """What goes into the graph beside the phonemes."""

    speaker: int
    language: str
    noise_scale: float
    length_scale: float
    noise_w: float
    seed: int
    pitch: float
    timbre: float

    def at(self, part: Say) -> Manner:
        """The same, as fast as the part and in its language."""
        return replace(self, length_scale=self.length_scale / part.rate, language=part.language)


def choose_manner(
    own: Description,
    seeded: bool,
    *,
    speaker: str | int | None,
    language: str | None,
    rate: float,
    seed: int | None,
    noise_scale: float | None,
    noise_w: float | None,
    pitch: float,
    timbre: float,
) -> Manner:
    """What is asked for, or else the voice's own; ``seeded`` is whether a seed decides its noise.

    Raises:
        InputError: a value out of range, or a speaker or language that the voice does not have.
    """
    slowest, fastest = RATES
    if not is_number(rate) or not slowest <= rate <= fastest:
        raise InputError(f"rate must be from {slowest} (slow) to {fastest:g} (fast), not {rate}")
    number = checked_seed(seed)
    if seed is not None and not seeded:
        _log.warning("%s draws its noise by itself; the seed has no effect", own.name)
    if own.parameters is not None:
        own.parameters.check(pitch, timbre)
    elif (pitch, timbre) != (1.0, 1.0):
        raise InputError(
            f"the voice {own.name} gives audio, whose pitch and timbre cannot be set; "
            "leave them out, or choose a voice that speaks from vocoder parameters"
        )
    if noise_scale is not None:
        noise_scale = checked_factor("noise_scale", noise_scale)
    if noise_w is not None:
        noise_w = checked_factor("noise_w", noise_w)
    who = speaker_number(own, speaker)
    return Manner(
        speaker=who,
        language=asked_language(own, language, who),
        noise_scale=own.noise_scale if noise_scale is None else noise_scale,
        length_scale=own.length_scale / float(rate),
        noise_w=own.noise_w if noise_w is None else noise_w,
        seed=number,
        pitch=float(pitch),
        timbre=float(timbre),
    )


def speaker_number(own: Description, speaker: str | int | None) -> int:
    """The id of a speaker given by name or id, the first when None.

    Raises:
        InputError: there is no such speaker; those that there are are listed.
    """
    known = own.speakers
    if speaker is None:
        return next(iter(known.values()), 0)
    if is_whole(speaker) and 0 <= int(speaker) < own.num_speakers:
        return int(speaker)
    if isinstance(speaker, str) and speaker in known:
        return known[speaker]
    if not known:
        raise InputError(
            f"the voice {own.name} has a single speaker without a name; leave the speaker "
            f"{speaker!r} out"
        )
    names = list(known)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    raise InputError(
        f"the voice {own.name} has no speaker {speaker!r}. Speakers: {', '.join(names[:10])}{more}"
    )


def own_language(own: Description, number: int) -> str:
    """espeak-ng's code of what the speaker with that id speaks unless asked otherwise."""
    return own.speaker_languages.get(number, own.espeak_voice)


def asked_language(own: Description, language: str | None, number: int) -> str:
    """espeak-ng's code of the language asked for, or else of the speaker with that id.

    Raises:
        InputError: the voice does not speak it; those that it does are listed.
    """
    if language is None:
        return own_language(own, number)
    found = find_language(str(language), tuple(own.languages))
    if found is None:
        raise InputError(
            f"the voice {own.name} does not speak {language!r}. "
            f"Languages: {', '.join(own.languages)}"
        )
    return found
