"""Playing audio through whatever player the machine has."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from glottis.audio.files import Array, PcmSink, Sink, writing
from glottis.errors import InputError

# Players that take raw PCM on their standard input, the one most sure to reach a loudspeaker first.
STREAMING: dict[str, Callable[[int], list[str]]] = {
    "paplay": lambda rate: ["--raw", "--format=s16le", f"--rate={rate}", "--channels=1"],
    "aplay": lambda rate: ["-q", "-t", "raw", "-f", "S16_LE", "-r", str(rate), "-c", "1"],
    "ffplay": lambda rate: [
        *("-loglevel", "error", "-nodisp", "-autoexit"),
        *("-f", "s16le", "-sample_rate", str(rate), "-i", "-"),
    ],
}
# Players that need a whole file.
WHOLE = ("afplay",)


def player() -> str | None:
    """The name of the player that :func:`playing` would use; none when the machine has none."""
    for name in (*STREAMING, *WHOLE):
        if shutil.which(name):
            return name
    return "sounddevice" if importlib.util.find_spec("sounddevice") else None


@contextmanager
def playing(rate: int) -> Iterator[Sink]:
    """Open a player at ``rate`` Hz: what is written to it is heard; the block ends with the sound.

    Raises:
        InputError: no player is installed, or it failed (for example without a sound card).
    """
    name = player()
    if name is None:
        raise InputError(
            "--play: no player was found. Install one of "
            f"{', '.join((*STREAMING, *WHOLE))}, or `pip install sounddevice`; "
            "or write a file with -o speech.wav"
        )
    if name in STREAMING:
        with _through_pipe([name, *STREAMING[name](rate)]) as sink:
            yield sink
    elif name in WHOLE:
        with tempfile.TemporaryDirectory(prefix="glottis-") as folder:
            path = Path(folder) / "speech.wav"
            with writing(path, rate) as sink:
                yield sink
            _check(name, *_run([name, str(path)]))
    else:
        with _sounddevice(rate) as sink:
            yield sink


@contextmanager
def _through_pipe(command: list[str]) -> Iterator[Sink]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    try:
        yield PcmSink(process.stdin)
    except BrokenPipeError:
        pass  # The player has ended early; its own words follow.
    except BaseException:
        process.kill()
        process.communicate()
        raise
    _, said = process.communicate()
    _check(command[0], process.returncode, said)


def _run(command: list[str]) -> tuple[int, bytes]:
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    return done.returncode, done.stderr


def _check(name: str, status: int, said: bytes) -> None:
    if status != 0:
        words = said.decode(errors="replace").strip().splitlines()
        raise InputError(
            f"--play: {name} failed with status {status}"
            f"{': ' + words[-1] if words else ''}; write a file with -o speech.wav instead"
        )


@contextmanager
def _sounddevice(rate: int) -> Iterator[Sink]:
    try:
        import sounddevice

        stream = sounddevice.OutputStream(samplerate=rate, channels=1, dtype="float32")
    except Exception as error:  # PortAudio missing (OSError) or without a device (PortAudioError).
        raise InputError(
            f"--play: sounddevice cannot open a sound output ({error}); "
            "write a file with -o speech.wav instead"
        ) from error

    class Stream:
        def write(self, samples: Array) -> None:
            stream.write(samples.reshape(-1, 1))

    with stream:
        yield Stream()
        stream.stop()
