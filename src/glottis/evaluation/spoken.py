"""What evaluation judges: a piece of audio and the words it should say."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Spoken:
    """A piece of audio to be judged.

    Args:
        id: names the sentence in the report.
        text: the words it should say, numbers written out.
        samples: ``[samples]``, mono, in [-1, 1].
        sample_rate: in Hz, of ``samples`` and ``reference``.
        reference: ``[samples]``, a recording of the same text, or None.
        aligned: the reference runs in step with the audio (copy-synthesis), so frames are compared
            one to one; otherwise both are first aligned by dynamic time warping.
        speaker: who speaks, for the report.
        language: of the text; words are counted where the recogniser knows it.
        marks: phonemes as (symbol, start, end) in seconds, drawn into the pictures.
        problem: why there is no audio; ``samples`` is then empty.
    """

    id: str
    text: str
    samples: Array
    sample_rate: int
    reference: Array | None = None
    aligned: bool = False
    speaker: str = ""
    language: str = "en-us"
    marks: tuple[tuple[str, float, float], ...] = field(default=(), repr=False)
    problem: str | None = None
