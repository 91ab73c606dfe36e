"""A request for speech: what it asks for, and the bytes that answer it."""

from __future__ import annotations

import base64
import json
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from glottis.errors import InputError
from glottis.serve.encoding import FORMATS, RATES, Encoder
from glottis.serve.errors import RequestError, refusal
from glottis.serve.fields import Fields
from glottis.serve.voices import Voices
from glottis.voice import Mark, Speech, Voice

MODEL = "glottis"
OTHER_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
"""OpenAI's names, which mean the same, since clients have them built in."""

MANNER = {
    "language": "language",
    "speed": "rate",
    "noise_scale": "noise_scale",
    "noise_w": "noise_w",
    "pitch": "pitch",
    "timbre": "timbre",
    "pause": "pause",
    "paragraph_pause": "paragraph_pause",
    "lead": "lead",
}
"""Fields that are arguments of :meth:`glottis.Voice.stream`, by their names there."""

KNOWN = (
    *("model", "input", "voice", "instructions", "response_format", "stream_format", "stream"),
    *("sample_rate", "seed", "ssml", *MANNER),
)
LEAD = 0.5
"""Seconds that are made first, where nothing else is asked for."""
IN_MEMORY = 4 << 20
"""Bytes of a whole answer beyond which it waits on disk."""
BLOCK = 1 << 16


@dataclass(frozen=True)
class SpeechRequest:
    """What is to be said, how, and in which form it is to be sent.

    ``manner`` holds arguments of :meth:`glottis.Voice.stream`; ``rate`` is in Hz; ``framing`` is
    audio, sse or ndjson.
    """

    text: str
    voice: Voice
    manner: dict[str, Any]
    format: str
    rate: int
    framing: str
    whole: bool

    @classmethod
    def read(cls, body: bytes, voices: Voices, longest: int, *, marks: bool) -> SpeechRequest:
        """Read a request's JSON; with ``marks`` that of the endpoint which gives times.

        Raises:
            RequestError: naming the field that is wrong.
        """
        fields = Fields.read(body, KNOWN)
        checked_model(fields)
        text = checked_text(fields, longest)
        voice, speaker = voices.find(fields.voice())
        fields.text("instructions")  # no voice follows any, as OpenAI's tts-1 does not
        form = checked_format(fields, "pcm" if marks else "mp3")
        asked = checked_rate(fields)
        framings = ("ndjson", "sse") if marks else ("audio", "sse")
        framing = fields.choice("stream_format", framings, framings[0])
        streams = FORMATS[form].streams
        whole = not fields.flag("stream", True) or not streams
        if whole and framing != "audio":
            said = "stream: false" if streams else f"response_format {form}"
            raise RequestError(
                f"{said} means that the audio is sent whole, which stream_format {framing} is not; "
                "choose another",
                "stream" if streams else "response_format",
            )
        manner: dict[str, Any] = {"speaker": speaker, "ssml": fields.flag("ssml")}
        for field, argument in MANNER.items():
            value = fields.text(field) if field == "language" else fields.number(field)
            if value is not None:
                manner[argument] = _tried(voice, speaker, field, argument, value)
        seed = fields.whole("seed")
        # Drawn here rather than by the voice, so that the client can be told; small enough for
        # programs whose numbers are all floats.
        manner["seed"] = secrets.randbits(32) if seed is None else seed
        manner.setdefault("lead", LEAD)
        if whole:
            manner["lead"] = 0.0
        rate = FORMATS[form].rate(voice.sample_rate, asked)
        return cls(text, voice, manner, form, rate, framing, whole)

    def headers(self) -> dict[str, str]:
        """What the answer says of itself."""
        return {"x-sample-rate": str(self.rate), "x-seed": str(self.manner["seed"])}

    @property
    def media_type(self) -> str:
        """Of the answer."""
        kinds = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}
        return kinds.get(self.framing) or FORMATS[self.format].media_type

    def answer(self, headers: dict[str, str], *, marks: bool) -> Iterator[bytes]:
        """Make the answer, as it can be sent; nothing in places where others may go first.

        A whole answer puts its length into ``headers`` before its first bytes.

        Raises:
            RequestError: the text cannot be spoken, before the first bytes.
        """
        if self.whole:
            yield from self._whole(headers)
        elif marks:
            yield from _framed(self._events(), sse=self.framing == "sse")
        elif self.framing == "sse":
            yield from _framed(self._deltas(), sse=True)
        else:
            for audio, _ in self._pieces(self._encoder()):
                yield audio

    def _encoder(self) -> Encoder:
        return Encoder(FORMATS[self.format], self.voice.sample_rate, self.rate)

    def _pieces(self, encoder: Encoder) -> Iterator[tuple[bytes, Speech | None]]:
        """Audio as it is made, and the speech that has come with it, its marks counted from the
        beginning of the whole."""
        try:
            samples = 0
            for speech in self.voice.stream(self.text, **self.manner):
                start = samples / speech.sample_rate
                samples += len(speech.samples)
                marks = tuple(
                    replace(mark, start=start + mark.start, end=start + mark.end)
                    for mark in speech.marks
                )
                yield encoder.write(speech.samples), replace(speech, marks=marks)
        except InputError as error:
            raise refusal(error, self.voice, "input") from error
        yield encoder.finish(), None

    def _whole(self, headers: dict[str, str]) -> Iterator[bytes]:
        encoder = self._encoder()
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            for audio, _ in self._pieces(encoder):
                file.write(audio)
                yield b""
            headers["content-length"] = str(file.tell())
            for place, amendment in encoder.amendments:
                file.seek(place)
                file.write(amendment)
            file.seek(0)
            while block := file.read(BLOCK):
                yield block

    def _deltas(self) -> Iterator[dict[str, Any]]:
        """The events of OpenAI's endpoint."""
        samples = 0
        for audio, speech in self._pieces(self._encoder()):
            samples += len(speech.samples) if speech is not None else 0
            for block in _blocks(audio):
                yield {"type": "speech.audio.delta", "audio": block}
        # A voice has no tokens: characters go in, milliseconds come out.
        made = round(1000 * samples / self.voice.sample_rate)
        usage = {"input_tokens": len(self.text), "output_tokens": made}
        usage["total_tokens"] = sum(usage.values())
        yield {"type": "speech.audio.done", "usage": usage}

    def _events(self) -> Iterator[dict[str, Any]]:
        """Audio and marks as they are made; the marks of a sentence come before its audio ends."""
        begun, samples = False, 0
        for audio, speech in self._pieces(self._encoder()):
            if not begun:
                begun = True
                yield {
                    "type": "start",
                    "format": self.format,
                    "sample_rate": self.rate,
                    "seed": self.manner["seed"],
                }
            if speech is not None:
                samples += len(speech.samples)
                for mark in speech.marks:
                    yield {"type": "mark", **_mark(mark)}
            for block in _blocks(audio):
                yield {"type": "audio", "audio": block}
        yield {"type": "end", "duration": round(samples / self.voice.sample_rate, 4)}


def checked_model(fields: Fields) -> None:
    """The model of a request, of which there is one.

    Raises:
        RequestError: another is asked for (404).
    """
    model = fields.text("model", MODEL)
    if model not in (MODEL, *OTHER_MODELS):
        raise RequestError(
            f"there is no model {model!r}; it is {MODEL}, and voice chooses the voice",
            "model",
            404,
            "model_not_found",
        )


def checked_format(fields: Fields, default: str) -> str:
    """The format of a request, a key of :data:`FORMATS`.

    Raises:
        RequestError: it is unknown, or cannot be written.
    """
    form = fields.choice("response_format", (*FORMATS, "aac"), default)
    if form == "aac":
        raise RequestError(
            f"response_format aac cannot be written here; choose from {', '.join(FORMATS)}",
            "response_format",
        )
    return form


def checked_rate(fields: Fields) -> int | None:
    """The sample rate that a request asks for, in Hz.

    Raises:
        RequestError: it is out of range.
    """
    rate = fields.whole("sample_rate")
    if rate is not None and not RATES[0] <= rate <= RATES[1]:
        raise RequestError(
            f"sample_rate must be from {RATES[0]} to {RATES[1]} Hz, not {rate}", "sample_rate"
        )
    return rate


def checked_text(fields: Fields, longest: int) -> str:
    """The text of a request.

    Raises:
        RequestError: it is missing or blank, or has more characters than ``longest`` (413).
    """
    text = fields.text("input")
    if text is None:
        raise RequestError("input, the text to speak, is missing", "input")
    if len(text) > longest:
        raise RequestError(
            f"input has {len(text)} characters, more than the {longest} that this server takes; "
            "send it in parts",
            "input",
            413,
        )
    if not text.strip():
        raise RequestError("input is empty: there is nothing to say", "input")
    return text


def phonemes(
    text: str, voice: Voice, speaker: str | int | None, language: str | None, ssml: bool | None
) -> dict[str, Any]:
    """What a voice would say of a text: the phonemes of its sentences and their words.

    Raises:
        RequestError: naming the field that is wrong.
    """
    if language is not None:
        _tried(voice, speaker, "language", "language", language)
    try:
        found = voice.analyse(text, speaker=speaker, language=language, ssml=ssml)
    except InputError as error:
        raise refusal(error, voice, "input") from error
    return {
        "phonemes": " ".join("".join(each.phonemes) for each in found if each.phonemes),
        "sentences": [
            {
                "text": " ".join(each.text.split()),
                "spoken": each.spoken,
                "phonemes": "".join(each.phonemes),
                "words": [
                    {"text": w.text, "phonemes": "".join(each.phonemes[w.start : w.end])}
                    for w in each.words
                ],
            }
            for each in found
        ],
    }


def _tried(voice: Voice, speaker: str | int | None, field: str, argument: str, value: Any) -> Any:
    """A value that the voice takes, tried alone so that an error can name its field.

    Raises:
        RequestError: the voice does not take it.
    """
    try:
        voice.stream("a", speaker=speaker, ssml=False, **{argument: value})
    except InputError as error:
        message = str(error)
        if message.startswith(f"{argument} "):
            message = field + message.removeprefix(argument)
        raise RequestError(message, field) from error
    return value


def _framed(events: Iterator[dict[str, Any]], sse: bool) -> Iterator[bytes]:
    """Events as lines of JSON, or as server-sent events.

    An error before the first event is raised, one after it is the last event: by then the answer
    has begun, and its status says that all is well.
    """

    def line(event: dict[str, Any]) -> bytes:
        data = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        return b"data: " + data + b"\n\n" if sse else data + b"\n"

    begun = False
    try:
        for event in events:
            yield line(event)
            begun = True
    except RequestError as error:
        if not begun:
            raise
        yield line({"type": "error", **error.json()})


def _blocks(audio: bytes) -> Iterator[str]:
    """Base64 of so much at a time that a page can begin with it."""
    for start in range(0, len(audio), BLOCK):
        yield base64.b64encode(audio[start : start + BLOCK]).decode("ascii")


def _mark(mark: Mark) -> dict[str, Any]:
    """A mark, in seconds."""
    return {
        "kind": mark.kind,
        "text": mark.text,
        "start": round(mark.start, 4),
        "end": round(mark.end, 4),
    }
