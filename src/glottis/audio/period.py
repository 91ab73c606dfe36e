"""How long a period of the voice lasts, as log-mels tell.

Between the harmonics of a voice the spectrum is low, and below 2 kHz the bands of 80 mels are
narrow enough to show it: what is left of a frame's log spectrum after smoothing goes up and down
with the distance of the harmonics, and its cosine transform (the cepstrum, Noll 1967) is highest at
their period. Where there is no voice a number comes as well, and means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from glottis.audio.linear_prediction import Double, spectrum_of_mels
from glottis.audio.mel import MelConfig

LOWEST, HIGHEST = 65.0, 420.0
"""Hz of a voice."""
TOP = 2000.0
"""Hz up to which bands tell harmonics apart."""
SMOOTHING = 300.0
"""Hz over which the envelope is taken."""


@dataclass(frozen=True)
class Period:
    """The period of each frame of log-mels made with ``mel``, in samples."""

    mel: MelConfig

    @property
    def shortest(self) -> int:
        """Samples of the shortest period that is looked for."""
        return int(self.mel.sample_rate / HIGHEST)

    @property
    def longest(self) -> int:
        """Samples of the longest period that is looked for."""
        return int(self.mel.sample_rate / LOWEST)

    def __call__(self, log_mel: NDArray[np.floating]) -> NDArray[np.int64]:
        """Log-mels ``[..., mels, frames]`` -> samples ``[..., frames]``."""
        transform = _transform(self.mel)
        frames = np.moveaxis(np.asarray(log_mel, np.float64), -2, -1)
        frames = np.maximum(frames, np.log(self.mel.floor))
        found = np.zeros(frames.shape[:-1], np.int64)
        # One by one: the last bits of a matrix product depend on how many rows it has, and a
        # frame's period must not depend on its company.
        for place in np.ndindex(found.shape):
            found[place] = self.shortest + np.argmax(
                transform @ np.ascontiguousarray(frames[place])
            )
        return found


@lru_cache(maxsize=8)
def _transform(config: MelConfig) -> Double:
    """Log-mels to how well each period fits, from the shortest on: ``[periods, mels]``."""
    spread, _ = spectrum_of_mels(config)
    hertz = config.sample_rate / config.fft_size
    bins, width = int(TOP / hertz), int(SMOOTHING / hertz) | 1
    smoother = np.hanning(width + 2)[1:-1]
    smoother /= smoother.sum()
    side = width // 2
    rows = spread[: bins + side]
    padded = np.pad(rows, ((side, side), (0, 0)), mode="reflect")
    envelope = np.stack([np.convolve(column, smoother, "valid") for column in padded.T], axis=1)
    taper = np.cos(np.linspace(0, np.pi / 2, bins))[:, None]
    ripple = taper * (rows - envelope)[:bins]
    limits = Period(config)
    periods = np.arange(limits.shortest, limits.longest + 1)
    cosines = np.cos(2 * np.pi * np.outer(periods, np.arange(bins)) / config.fft_size)
    return np.asarray(cosines @ ripple)
