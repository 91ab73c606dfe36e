"""A recording that was uploaded, said again with another speaker's voice."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError
from glottis.serve.encoding import FORMATS, Encoder
from glottis.serve.errors import RequestError, refusal
from glottis.serve.fields import Fields
from glottis.serve.speech import checked_format, checked_model, checked_rate
from glottis.serve.voices import Voices, speaker_of
from glottis.voice import Voice

Array = NDArray[np.float32]

FIELDS = ("model", "voice", "source", "response_format", "sample_rate", "seed", "noise_scale")
BLOCK = 1 << 16
"""Frames that are decoded at a time."""


@dataclass(frozen=True)
class ConversionRequest:
    """Who speaks in a recording, who shall, and in which form the audio is to be sent."""

    voice: Voice
    source: str | int
    target: str | int
    seed: int
    noise_scale: float
    format: str
    rate: int

    @classmethod
    def read(cls, values: dict[str, Any], voices: Voices) -> ConversionRequest:
        """Read the fields of a form.

        Raises:
            RequestError: naming the field that is wrong.
        """
        fields = Fields(values, FIELDS, form=True)
        checked_model(fields)
        voice, target = voices.find(fields.voice())
        if not voice.converts:
            raise RequestError(
                f"the voice {voice.path.stem} does not convert; GET /v1/audio/voices says which do",
                "voice",
            )
        form = checked_format(fields, "wav")
        source = fields.text("source")
        if source is None:
            raise RequestError(
                "source, who speaks in the recording, is missing. "
                f"Speakers: {', '.join(voice.speakers)}",
                "source",
            )
        seed = fields.whole("seed")
        scale = fields.number("noise_scale", 1.0)
        assert scale is not None
        if not 0.0 <= scale <= 10.0:
            raise RequestError(f"noise_scale must be from 0 to 10, not {scale:g}", "noise_scale")
        return cls(
            voice=voice,
            source=speaker_of(voice, source, "source"),
            target=voice.speakers[0] if target is None else target,
            seed=secrets.randbits(32) if seed is None else seed,
            noise_scale=scale,
            format=form,
            rate=FORMATS[form].rate(voice.sample_rate, checked_rate(fields)),
        )

    def headers(self) -> dict[str, str]:
        """What the answer says of itself."""
        return {"x-sample-rate": str(self.rate), "x-seed": str(self.seed)}

    @property
    def media_type(self) -> str:
        """Of the answer."""
        return FORMATS[self.format].media_type

    def answer(self, file: IO[bytes], longest: float) -> bytes:
        """Convert a sound file of at most ``longest`` seconds: -> a file.

        Raises:
            RequestError: the file is no sound, too short or too long.
        """
        samples, rate = decoded(file, longest)
        try:
            speech = self.voice.convert(
                samples,
                source=self.source,
                target=self.target,
                rate=rate,
                seed=self.seed,
                noise_scale=self.noise_scale,
            )
        except InputError as error:
            raise refusal(error, self.voice, "file") from error
        encoder = Encoder(FORMATS[self.format], speech.sample_rate, self.rate)
        made = bytearray(encoder.write(speech.samples) + encoder.finish())
        for place, amendment in encoder.amendments:
            made[place : place + len(amendment)] = amendment
        return bytes(made)


def decoded(file: IO[bytes], longest: float) -> tuple[Array, int]:
    """A sound file of at most ``longest`` seconds -> float32 ``[samples]`` and its rate in Hz.

    It is decoded piece by piece, because a small file can hold hours.

    Raises:
        RequestError: it is no sound file that can be read, empty, or too long (413).
    """
    import soundfile

    pieces: list[Array] = []
    seconds = 0.0
    try:
        with soundfile.SoundFile(file) as sound:
            rate = int(sound.samplerate)
            while len(block := sound.read(BLOCK, dtype="float32", always_2d=True)):
                seconds += len(block) / rate
                if seconds > longest:
                    raise RequestError(
                        f"the recording is longer than the {longest:g} s that this server takes",
                        "file",
                        413,
                    )
                pieces.append(block.mean(axis=1))
    except (soundfile.SoundFileError, AssertionError) as error:
        raise RequestError(
            "file is no sound file that can be read; send WAV, FLAC, Ogg, Opus, MP3 or AIFF", "file"
        ) from error
    if not pieces:
        raise RequestError("file holds no samples", "file")
    return np.concatenate(pieces), rate
