"""Speech whose phoneme times are known: espeak-ng says when each phoneme begins.

    python benchmarks/espeak_reference.py TEXTS FOLDER [MINUTES]

TEXTS is an LJSpeech-style ``metadata.csv`` whose transcripts are spoken until there are so many
minutes (60). FOLDER becomes a corpus, with ``events.json``: for each utterance a list of
``[seconds, IPA]``, in order, empty IPA for a pause. White noise at -60 dBFS lies under the speech,
as digital silence would make pauses too easy.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import espeakng_loader
import numpy as np
import soundfile

SYNCHRONOUS, PHONEME_EVENTS, IPA = 2, 1, 2
END, PHONEME = 0, 7


class Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("id", Identity),
    )


class Speaker:
    """espeak-ng with phoneme events; its state is global, so there is one in a process."""

    def __init__(self, language: str = "en-us", words_a_minute: int = 160) -> None:
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.rate = self.library.espeak_Initialize(SYNCHRONOUS, 0, data, PHONEME_EVENTS | IPA)
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.POINTER(Event)
        )
        self.heard: list[bytes] = []
        self.events: list[tuple[float, str]] = []
        self.callback = kind(self._take)
        self.library.espeak_SetSynthCallback(self.callback)
        self.library.espeak_SetVoiceByName(language.encode())
        self.library.espeak_SetParameter(1, words_a_minute, 0)

    def _take(self, samples, count, events) -> int:
        if samples and count:
            self.heard.append(ctypes.string_at(samples, 2 * count))
        at = 0
        while events[at].type != END:
            if events[at].type == PHONEME:
                label = events[at].id.string.decode("utf-8", "ignore")
                self.events.append((events[at].sample / self.rate, label))
            at += 1
        return 0

    def speak(self, text: str) -> tuple[np.ndarray, list[tuple[float, str]]]:
        """int16 ``[samples]`` and ``(seconds, IPA)`` of each phoneme and pause."""
        self.heard.clear()
        self.events.clear()
        data = text.encode() + b"\0"
        self.library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 0, 0, 1, None, None)
        return np.frombuffer(b"".join(self.heard), dtype=np.int16), list(self.events)


def make(texts: Path, folder: Path, minutes: float = 60.0) -> None:
    """Write the corpus; see the module."""
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    speaker, rng = Speaker(), np.random.default_rng(0)
    lines, events, seconds = [], {}, 0.0
    for line in texts.read_text(encoding="utf-8").splitlines():
        name, *_, text = line.split("|")
        name = Path(name).stem
        samples, heard = speaker.speak(text)
        noise = rng.normal(0.0, 32.768, len(samples))
        noisy = np.rint(samples + noise).clip(-32768, 32767).astype(np.int16)
        soundfile.write(folder / "wavs" / f"{name}.wav", noisy, speaker.rate)
        lines.append(f"{name}|{text}")
        events[name] = heard
        seconds += len(samples) / speaker.rate
        if seconds >= 60 * minutes:
            break
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "events.json").write_text(json.dumps(events, ensure_ascii=False), encoding="utf-8")
    print(f"{folder}: {len(lines)} utterances, {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]) if sys.argv[3:] else 60.0)
