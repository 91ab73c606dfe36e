"""Speech for tests: espeak-ng speaks, in a process of its own because its state is global.

``python espeak_speech.py FOLDER SENTENCE...`` writes FOLDER/0.wav, 1.wav, ...
"""

import ctypes
import sys
import wave
from pathlib import Path

import espeakng_loader

SYNCHRONOUS = 2


def main(folder: Path, sentences: list[str]) -> None:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    kind = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.c_void_p
    )
    heard: list[bytes] = []

    def take(samples, count, events):
        if samples and count:
            heard.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = kind(take)
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetVoiceByName(b"en-us")
    library.espeak_SetParameter(1, 140, 0)  # words a minute
    for number, sentence in enumerate(sentences):
        heard.clear()
        text = sentence.encode() + b"\0"
        library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, 1, None, None)
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(b"".join(heard))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
