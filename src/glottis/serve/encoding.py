"""Audio as bytes of a format while it is made, or whole."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glottis.audio.files import BLOCK, CODECS, Codec, to_pcm16

Array = NDArray[np.float32]

PCM_RATE = 24000
"""Hz of raw PCM where nothing else is asked for: what clients of OpenAI's endpoint play it at."""
RATES = (8000, 48000)
"""Lowest and highest sample rate that can be asked for, in Hz."""
UNKNOWN = 0xFFFFFFFF
"""Sizes in the header of a WAV whose end is not known."""


@dataclass(frozen=True)
class Format:
    """A format of audio: its media type, what libsndfile calls it, and whether it can be streamed.

    FLAC could be, but many programs, libsndfile among them, do not read one whose header leaves the
    length open.
    """

    media_type: str
    codec: Codec | None = None
    streams: bool = True

    def rate(self, voice: int, asked: int | None) -> int:
        """The sample rate in Hz, of a voice of rate ``voice``: the nearest above that it takes."""
        wanted = asked or (PCM_RATE if self is FORMATS["pcm"] else voice)
        known = self.codec.rates if self.codec is not None else ()
        if not known or wanted in known:
            return wanted
        return min((rate for rate in known if rate > wanted), default=known[-1])


FORMATS = {
    "mp3": Format("audio/mpeg", CODECS[".mp3"]),
    "opus": Format("audio/ogg", CODECS[".opus"]),
    "flac": Format("audio/flac", CODECS[".flac"], streams=False),
    "wav": Format("audio/wav"),
    "pcm": Format("audio/pcm"),
}
"""By the name that ``response_format`` has for them. Samples of wav, pcm and flac have 16 bits."""


class Encoder:
    """Encodes audio of ``rate`` Hz, piece by piece, at ``target`` Hz.

    The bytes that it gives, one after another, are the stream. What a format writes into its header
    when the end is known comes too late for a stream; a file is complete once :attr:`amendments`,
    each a place and the bytes that belong there, are written over it.
    """

    def __init__(self, form: Format, rate: int, target: int) -> None:
        self._resampler: Any = None
        if rate != target:
            import soxr

            self._resampler = soxr.ResampleStream(rate, target, 1, dtype="float32")
        self._file: _Coded | _Plain
        if form.codec is not None:
            self._file = _Coded(form.codec, target)
        else:
            self._file = _Plain(target, header=form is FORMATS["wav"])

    @property
    def amendments(self) -> list[tuple[int, bytes]]:
        """Complete after :meth:`finish`."""
        return self._file.amendments

    def write(self, samples: Array) -> bytes:
        """Append float32 ``[samples]``; values outside [-1, 1] are clipped."""
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        return self._file.write(np.clip(samples, -1.0, 1.0))

    def finish(self) -> bytes:
        """The last bytes."""
        held = b""
        if self._resampler is not None:
            rest = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            held = self._file.write(np.clip(rest, -1.0, 1.0))
        return held + self._file.finish()


class _Plain:
    """Samples of 16 bits, with the header of a WAV or without."""

    def __init__(self, rate: int, header: bool) -> None:
        self.amendments: list[tuple[int, bytes]] = []
        self._rate, self._size = rate, 0
        self._header = wav_header(rate) if header else b""

    def write(self, samples: Array) -> bytes:
        data = to_pcm16(samples)
        before = b"" if self._size else self._header
        self._size += len(data)
        return before + data

    def finish(self) -> bytes:
        if self._header:
            self.amendments.append((0, wav_header(self._rate, self._size)))
        return b""


class _Coded:
    """What libsndfile makes of the samples."""

    def __init__(self, codec: Codec, rate: int) -> None:
        import soundfile

        # Whoever reads an MP3 without a table of contents tells its length by the bit rate of the
        # beginning, so that must not vary.
        constant = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}
        self._out = _Out()
        self._sound = soundfile.SoundFile(
            self._out,
            "w",
            samplerate=rate,
            channels=1,
            format=codec.format,
            subtype=codec.subtype,
            **(constant if codec.format == "MP3" else {}),
        )

    @property
    def amendments(self) -> list[tuple[int, bytes]]:
        return self._out.amendments

    def write(self, samples: Array) -> bytes:
        for start in range(0, len(samples), BLOCK):
            self._sound.write(samples[start : start + BLOCK])
        return self._out.taken()

    def finish(self) -> bytes:
        self._sound.close()
        return self._out.taken()


class _Out:
    """A file to libsndfile, which goes back only to amend what it has written."""

    def __init__(self) -> None:
        self.amendments: list[tuple[int, bytes]] = []
        self._new = bytearray()
        self._at = self._end = 0

    def write(self, data: Any) -> int:
        data = bytes(data)
        if self._at < self._end:
            self.amendments.append((self._at, data))
        else:
            self._new += data
        self._at += len(data)
        self._end = max(self._end, self._at)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Nothing: soundfile asks for the method, libsndfile writes only."""
        return b""

    def taken(self) -> bytes:
        data, self._new = bytes(self._new), bytearray()
        return data


def wav_header(rate: int, size: int | None = None) -> bytes:
    """The header of a WAV of 16 bits and one channel at ``rate`` Hz: 44 bytes.

    ``size`` is that of the samples in bytes; programs that meet a header without it read on to the
    end of the file.
    """
    data = UNKNOWN if size is None else min(size, UNKNOWN)
    whole = UNKNOWN if size is None else min(size + 36, UNKNOWN)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + form + struct.pack("<4sI", b"data", data)
    )
