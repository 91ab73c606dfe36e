"""Sound files: read any that libsndfile knows, write wav, flac, ogg, opus, mp3 and raw PCM.

Everything here is mono float32 in [-1, 1]. Files appear under their name only when they are
complete (:func:`glottis.files.replacing`), also when they are written piece by piece.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError
from glottis.files import replacing

Array = NDArray[np.float32]


class Codec(NamedTuple):
    """libsndfile's names for a file format, and the sample rates in Hz it takes (none: any)."""

    format: str
    subtype: str
    rates: tuple[int, ...] = ()


CODECS = {
    ".wav": Codec("WAV", "PCM_16"),
    ".flac": Codec("FLAC", "PCM_16"),
    ".ogg": Codec("OGG", "VORBIS"),
    ".opus": Codec("OGG", "OPUS", (8000, 12000, 16000, 24000, 48000)),
    ".mp3": Codec(
        "MP3",
        "MPEG_LAYER_III",
        (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    ),
}

# libvorbis keeps a whole write on the stack; long arrays go to libsndfile in pieces.
BLOCK = 1 << 15


class Sink(Protocol):
    """Something that audio is written to, piece by piece."""

    def write(self, samples: Array) -> None:
        """Append float32 ``[samples]``; values outside [-1, 1] are clipped."""


def read(path: str | os.PathLike[str], rate: int | None = None) -> tuple[Array, int]:
    """Read a sound file: -> float32 ``[samples]`` in [-1, 1], and its sample rate in Hz.

    Channels are averaged. With ``rate`` the audio is resampled to that rate (soxr, high quality).

    Raises:
        InputError: missing, not a sound file, without samples, truncated, or holding NaN or
            infinite samples. The message starts with the path.
    """
    import soundfile

    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a sound file")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty (0 bytes); record or copy it again")
        with soundfile.SoundFile(path) as file:
            found = file.samplerate
            promised = _promised(file)
            if promised >= 2**62:  # a stream that was written to a pipe
                raise InputError(
                    f"{path}: its header does not say how long it is; write it again as a file, "
                    "for example with ffmpeg"
                )
            ogg = file.format == "OGG"
            channels = file.read(dtype="float32", always_2d=True)
        torn = ogg and _torn_page(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except soundfile.SoundFileError as error:
        raise InputError(
            f"{path}: not a sound file that can be read, or damaged ({_reason(error)})"
        ) from error
    if len(channels) < promised:
        raise InputError(
            f"{path}: truncated: its header promises {promised / found:.2f} s, it holds "
            f"{len(channels) / found:.2f} s; copy or convert it again"
        )
    if torn:
        raise InputError(f"{path}: truncated: its last page is incomplete; copy it again")
    if len(channels) == 0:
        raise InputError(f"{path}: holds no samples")
    samples = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
    if not np.isfinite(samples).all():
        raise InputError(f"{path}: holds NaN or infinite samples; repair or leave out this file")
    if rate is not None and rate != found:
        return resample(samples, found, rate), rate
    return np.ascontiguousarray(samples), found


def resample(samples: Array, rate: int, target: int) -> Array:
    """Resample ``[samples]`` from ``rate`` to ``target`` Hz -> float32 ``[samples * target/rate]``.

    Raises:
        InputError: a rate that is not positive.
    """
    if rate <= 0 or target <= 0:
        raise InputError(f"sample rates must be positive, not {rate} and {target} Hz")
    samples = np.asarray(samples, dtype=np.float32)
    if rate == target or len(samples) == 0:
        return samples
    import soxr

    return np.asarray(soxr.resample(samples, rate, target), dtype=np.float32)


def as_float(samples: NDArray[Any]) -> Array:
    """``[samples]`` of any type that a sound file holds -> float32 in [-1, 1].

    Floats stay as they are; whole numbers of 16 or 32 bits, or of 8 without a sign, are divided by
    their full scale.

    Raises:
        InputError: another type or shape, or NaN or infinite samples.
    """
    if samples.ndim != 1:
        raise InputError(f"audio must be mono, shape [samples], not {samples.shape}")
    kind = samples.dtype
    if kind in (np.int16, np.int32):
        return (samples / -float(np.iinfo(kind).min)).astype(np.float32)
    if kind == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    if kind.kind != "f":
        raise InputError(f"samples must be float32 in [-1, 1], int16, int32 or uint8, not {kind}")
    if not np.isfinite(samples).all():
        raise InputError("the samples hold NaN or infinite values")
    return samples.astype(np.float32)


def write(path: str | os.PathLike[str], samples: Array, rate: int) -> None:
    """Write float32 ``[samples]`` at ``rate`` Hz; the suffix of ``path`` chooses the codec.

    ``.wav`` and ``.flac`` hold 16 bits a sample, ``.ogg`` is Vorbis, ``.opus`` Opus, ``.mp3`` MP3.
    Where a codec does not take ``rate`` the audio is resampled to the next higher rate it takes.

    Raises:
        InputError: an unknown suffix, no samples, NaN, or a place that cannot be written.
    """
    if np.size(samples) == 0:
        raise InputError(f"{path}: there are no samples to write")
    with writing(path, rate) as file:
        file.write(samples)


def codec(path: str | os.PathLike[str]) -> Codec:
    """The codec that the suffix of ``path`` stands for.

    Raises:
        InputError: an unknown suffix; the known ones are listed.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in CODECS:
        raise InputError(
            f"{path}: cannot tell the sound format from "
            f"{'the suffix ' + repr(suffix) if suffix else 'a name without a suffix'}. "
            f"Known: {', '.join(CODECS)}"
        )
    return CODECS[suffix]


@contextmanager
def writing(path: str | os.PathLike[str], rate: int) -> Iterator[Sink]:
    """Open a sound file to be written piece by piece: ``with writing(p, 22050) as file: ...``.

    The file takes its name when the block ends; when it raises, nothing is left behind. Codecs and
    errors as :func:`write`.
    """
    # Before there is a file: what a signal raises during an import may be lost.
    import soundfile  # noqa: F401

    chosen = codec(path)
    if rate <= 0:
        raise InputError(f"{path}: the sample rate must be positive, not {rate} Hz")
    with replacing(path) as temporary:
        sink = _FileSink(temporary, chosen, rate, str(path))
        try:
            yield sink
            sink.finish()
        finally:
            sink.close()


class _FileSink:
    """Writes a sound file at ``path``, resampling on the way where the codec asks for it."""

    def __init__(self, path: Path, chosen: Codec, rate: int, shown: str) -> None:
        import soundfile

        self._path, self._shown = path, shown
        self._resampler = None
        target = _nearest(rate, chosen.rates)
        if rate != target:
            import soxr

            self._resampler = soxr.ResampleStream(rate, target, 1, dtype="float32")
        with self._refusals():
            self._file = soundfile.SoundFile(
                path,
                "w",
                samplerate=target,
                channels=1,
                format=chosen.format,
                subtype=chosen.subtype,
            )

    def write(self, samples: Array) -> None:
        samples = _checked(samples, self._shown)
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        self._append(samples)

    def finish(self) -> None:
        """Write what the resampler and the codec still hold."""
        if self._resampler is not None:
            self._append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        with self._refusals():
            self._file.close()

    def close(self) -> None:
        """Close the file; what comes of it matters no longer."""
        import soundfile

        with suppress(soundfile.SoundFileError):
            self._file.close()

    def _append(self, samples: Array) -> None:
        samples = np.clip(samples, -1.0, 1.0)
        with self._refusals():
            for start in range(0, len(samples), BLOCK):
                self._file.write(samples[start : start + BLOCK])

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Errors of libsndfile become the OSError that :func:`replacing` words for the user."""
        import soundfile

        try:
            yield
        except (soundfile.SoundFileError, AssertionError) as error:
            # soundfile asserts that libsndfile took every sample.
            reason = _reason(error) or "not all was written"
            raise OSError(
                errno.EIO, f"the disk is full or refuses more data ({reason})", str(self._path)
            ) from error


class PcmSink:
    """Writes raw PCM (signed 16 bits, little-endian, mono) to an open binary stream or pipe."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, samples: Array) -> None:
        """Append float32 ``[samples]`` and flush, so that a player hears it at once."""
        self._stream.write(to_pcm16(_checked(samples, "raw PCM")))
        self._stream.flush()


def to_pcm16(samples: Array) -> bytes:
    """Float32 ``[samples]`` in [-1, 1] -> signed 16-bit little-endian bytes, clipped, rounded."""
    return np.rint(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


def _checked(samples: Array, where: str) -> Array:
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim != 1:
        raise InputError(f"{where}: audio must be mono, shape [samples], not {samples.shape}")
    if not np.isfinite(samples).all():
        raise InputError(f"{where}: the audio to write holds NaN or infinite samples")
    return samples


def _nearest(rate: int, rates: tuple[int, ...]) -> int:
    """The lowest rate of ``rates`` that keeps everything in ``rate``, else the highest."""
    if not rates or rate in rates:
        return rate
    return min((known for known in rates if known > rate), default=rates[-1])


def _promised(file: object) -> int:
    """Frames that the header speaks of, at least.

    libsndfile quietly shortens a RIFF file whose data chunk is longer than the file, and says so
    only in its log. A size of 2**31 or more is what a program writes that streams to a pipe.
    An MP3 without a Xing header has its length estimated from its first frames.
    """
    frames = int(file.frames)  # type: ignore[attr-defined]
    if file.format in ("MP3", "MPEG"):  # type: ignore[attr-defined]
        return int(frames * 0.97)
    for line in file.extra_info.splitlines():  # type: ignore[attr-defined]
        key, _, rest = line.partition(":")
        if key.strip() == "data" and "(should be" in rest:
            size = int(rest.split()[0])
            held = int(rest.split("(should be")[1].strip(" )").split()[0])
            if held < size < 2**31 - 4096 and held:
                return frames * size // held
            if held < size < 2**31 - 4096:
                return max(frames, 1)
    return frames


def _torn_page(path: Path) -> bool:
    """Whether an Ogg file ends inside a page (RFC 3533, section 6)."""
    with open(path, "rb") as file:
        # A page has at most 27 + 255 + 255 * 255 bytes.
        size = path.stat().st_size
        file.seek(max(0, size - 2 * 65307))
        tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return True
    return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
