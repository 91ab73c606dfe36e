"""The modulation-spectrum post-filter: the rhythm of trajectories, given back its strength.

Generated trajectories move too little, and least where speech moves fast. The modulation spectrum,
the power spectrum of a trajectory along time, of generated ones is brought to that of recordings
(Takamichi, Toda, Black, Neubig, Sakti & Nakamura 2016).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError

Float = NDArray[np.float64]

_LEAST = 1e-12


def modulation_spectrum(trajectory: Float, size: int) -> Float:
    """``[frames, dimensions]`` -> power ``[size // 2 + 1, dimensions]``, the mean taken out.

    Raises:
        InputError: more frames than ``size``.
    """
    if trajectory.ndim != 2 or not 0 < len(trajectory) <= size:
        raise InputError(
            f"a trajectory must be [1 to {size} frames, dimensions], not {list(trajectory.shape)}"
        )
    spectrum = np.fft.rfft(trajectory - trajectory.mean(0), size, axis=0)
    return np.asarray(spectrum.real**2 + spectrum.imag**2)


@dataclass(frozen=True)
class ModulationFilter:
    """Means and standard deviations of log modulation spectra, ``[size // 2 + 1, dimensions]``
    each, of recordings (``natural``) and of what is generated for the same sentences."""

    size: int
    natural_mean: Float
    natural_deviation: Float
    generated_mean: Float
    generated_deviation: Float

    @classmethod
    def learn(
        cls, natural: Iterable[Float], generated: Iterable[Float], size: int = 4096
    ) -> ModulationFilter:
        """From trajectories ``[frames, dimensions]`` of both kinds.

        Raises:
            InputError: none of a kind, one longer than ``size``, or dimensions that differ.
        """
        moments = [_moments(tracks, size) for tracks in (natural, generated)]
        if moments[0][0].shape != moments[1][0].shape:
            raise InputError("natural and generated trajectories have other dimensions")
        return cls(size, *moments[0], *moments[1])

    def apply(self, trajectory: Float, strength: float = 1.0) -> Float:
        """A generated trajectory with the modulation spectrum of recordings; phases stay.

        ``strength`` from 0 (unchanged) to 1.
        """
        if not 0 <= strength <= 1:
            raise InputError(f"strength must be 0 to 1, not {strength}")
        mean = trajectory.mean(0)
        power = modulation_spectrum(trajectory, self.size)
        logs = np.log(np.maximum(power, _LEAST))
        wanted = (
            self.natural_deviation / self.generated_deviation * (logs - self.generated_mean)
            + self.natural_mean
        )
        gain = np.exp(0.5 * strength * (wanted - logs))
        gain[0] = 1.0  # the mean has been taken out and is put back as it was
        spectrum = np.fft.rfft(trajectory - mean, self.size, axis=0) * gain
        return np.asarray(np.fft.irfft(spectrum, self.size, axis=0)[: len(trajectory)] + mean)


def _moments(tracks: Iterable[Float], size: int) -> tuple[Float, Float]:
    logs = [np.log(np.maximum(modulation_spectrum(track, size), _LEAST)) for track in tracks]
    if not logs:
        raise InputError("there are no trajectories to learn modulation spectra from")
    stacked = np.stack(logs)
    return stacked.mean(0), np.maximum(stacked.std(0), 1e-3)
