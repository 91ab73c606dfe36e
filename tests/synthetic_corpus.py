"""Synthetic corpora: pulses through syllables of changing pitch, over a noise floor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

TEXTS = (
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well.",
    "These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls.",
    "The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck.",
    "The hogs were fed chopped corn and garbage.",
    "Four hours of steady work faced us.",
    "A large size in stockings is hard to sell.",
    "The boy was there when the sun rose.",
    "A rod is used to catch pink salmon.",
    "The source of the huge river is the clear spring.",
    "Kick the ball straight and follow through.",
    "Help the woman get back to her feet.",
    "A pot of tea helps to pass the evening.",
)


def speech(
    seconds: float = 1.5,
    rate: int = 22050,
    seed: int = 0,
    *,
    level: float = 0.1,
    floor: float = 1e-4,
    silence: tuple[float, float] = (0.1, 0.1),
) -> NDArray[np.float32]:
    """``[samples]``: ``seconds`` of syllables between stretches of noise at ``floor`` (RMS).

    ``level`` is the RMS of the loudest syllables. Voiced syllables have a full spectrum, as speech
    has.
    """
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time + seed)
    phase = np.cumsum(pitch) / rate
    harmonics = range(1, int(0.45 * rate / 140))
    voice = sum(np.cos(2 * np.pi * k * phase + k * k) / k**0.5 for k in harmonics)
    syllables = np.abs(np.sin(np.pi * 4 * time / max(seconds, 0.5) * 2)) ** 0.5 * 0.9 + 0.1
    signal = np.asarray(voice * syllables)
    signal *= level / np.sqrt(np.mean(signal**2))
    ends = [np.zeros(round(length * rate)) for length in silence]
    signal = np.concatenate([ends[0], signal, ends[1]])
    return (signal + floor * random.standard_normal(len(signal))).astype(np.float32)


def write_corpus(
    corpus: Path,
    rows: int = 6,
    *,
    texts: Sequence[str] = TEXTS,
    folder: str = "wavs",
    extension: str = ".wav",
    rate: int = 22050,
    **options: Any,
) -> Path:
    """Write an LJSpeech-style corpus into the folder ``corpus`` and return it.

    Row ``i`` is ``u<i>`` and says ``texts[i]`` in a time that fits the text. ``options`` go to
    :func:`speech`.
    """
    (corpus / folder).mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(rows):
        text = texts[index % len(texts)]
        samples = speech(max(0.8, len(text) / 25), rate, seed=index, **options)
        soundfile.write(corpus / folder / f"u{index}{extension}", samples, rate)
        lines.append(f"u{index}|{text}")
    (corpus / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return corpus
