"""How far speech lies from a recording of the same words.

Both are cut into frames, the frames are paired by dynamic time warping (or one to one, where the
speech runs in step with the recording), and spectra, pitch and voicing of the pairs are compared.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from glottis.audio.mel import MelConfig, log_mel, magnitude_spectrogram
from glottis.audio.pitch import f0
from glottis.audio.warping import warp
from glottis.errors import InputError

Array = NDArray[np.float32]
Float = NDArray[np.float64]

COEFFICIENTS = 13


@dataclass(frozen=True)
class Distances:
    """Of speech from its reference. ``None`` where there is nothing to compare (no voiced pair).

    ``mcd``: mel-cepstral distortion in dB. ``f0_rmse``: root mean square difference of pitch in
    cents, over pairs where both are voiced. ``voicing_error``: share of pairs where one is voiced
    and the other is not. ``spectral_convergence``: norm of the difference of the magnitude
    spectrograms over the norm of the reference's; meaningful in step, pessimistic after warping.
    """

    mcd: float
    f0_rmse: float | None
    voicing_error: float
    spectral_convergence: float

    def scores(self) -> dict[str, float]:
        """Those that exist, by name."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def distances(
    samples: Array, reference: Array, sample_rate: int, *, aligned: bool = False
) -> Distances:
    """Compare ``samples`` ``[samples]`` with ``reference`` ``[samples]``, both mono.

    Both are first resampled to the project's 22,050 Hz and analysed as
    :class:`glottis.audio.mel.MelConfig` says. The level does not matter, but for
    ``spectral_convergence``.

    Args:
        aligned: pair frames one to one, up to the shorter of the two; otherwise warp.

    Raises:
        InputError: not mono, not finite, shorter than one frame, or silent throughout.
    """
    config = MelConfig()
    raw = [_resampled(s, sample_rate, config.sample_rate) for s in (samples, reference)]
    pair = [_at_level(s) for s in raw]
    cepstra = [mel_cepstrum(log_mel(s, config)) for s in pair]
    frames = [c.shape[1] for c in cepstra]
    if aligned:
        first = second = np.arange(min(frames))
    else:
        first, second = warp(cepstra[0], cepstra[1])
    (pitch, _), (target, _) = (f0(s, config.sample_rate, config.hop) for s in pair)
    pitch, target = pitch[first], target[second]
    spectra = [magnitude_spectrogram(s, config) for s in raw]
    return Distances(
        mcd=mel_cepstral_distortion(cepstra[0][:, first], cepstra[1][:, second]),
        f0_rmse=f0_rmse(pitch, target),
        voicing_error=float(np.mean((pitch > 0) != (target > 0))),
        spectral_convergence=spectral_convergence(spectra[0][:, first], spectra[1][:, second]),
    )


def mel_cepstrum(log_mels: Array, coefficients: int = COEFFICIENTS) -> Float:
    """Mel-cepstral coefficients 1 to ``coefficients``: ``[mels, frames]`` -> ``[13, frames]``.

    The cosine series of the log-mel spectrum over the mel axis, in nepers, without the constant:
    ``log M_n = c_0 + sum_m c_m cos(pi m (n + 1/2) / mels)``, so ``c_m`` is 2 / mels times the
    type II cosine transform.
    """
    mels = log_mels.shape[0]
    if not 0 < coefficients < mels:
        raise InputError(f"{mels} mels have no {coefficients} cepstral coefficients beside c_0")
    order = np.arange(1, coefficients + 1)[:, None]
    basis = np.cos(np.pi * order * (np.arange(mels) + 0.5) / mels) * (2.0 / mels)
    return basis @ log_mels.astype(np.float64)


def mel_cepstral_distortion(cepstrum: Float, reference: Float) -> float:
    """Mean over paired frames of ``10 / ln 10 * sqrt(2 sum_m (c_m - c'_m)^2)``, in dB.

    Both ``[coefficients, frames]``, c_0 left out (Kubichek 1993). With the series of
    :func:`mel_cepstrum` this is the root mean square, over the mel axis, of the difference in dB
    between the two smoothed spectra.
    """
    squares = np.sum((cepstrum - reference) ** 2, axis=0)
    return float(10.0 / np.log(10.0) * np.mean(np.sqrt(2.0 * squares)))


def f0_rmse(pitch: Array, reference: Array) -> float | None:
    """Root mean square of ``1200 log2(pitch / reference)`` in cents where both are above zero.

    Both ``[frames]`` in Hz, 0 where unvoiced. None when no frame is voiced in both.
    """
    both = (pitch > 0) & (reference > 0)
    if not both.any():
        return None
    cents = 1200.0 * np.log2(pitch[both].astype(np.float64) / reference[both])
    return float(np.sqrt(np.mean(cents**2)))


def spectral_convergence(magnitude: Array, reference: Array) -> float:
    """``|| |S| - |S_ref| ||_F / || |S_ref| ||_F`` of magnitudes ``[bins, frames]``."""
    difference = float(np.linalg.norm(magnitude - reference))
    return difference / max(float(np.linalg.norm(reference)), 1e-12)


def _resampled(samples: Array, sample_rate: int, wanted: int) -> Array:
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim != 1:
        raise InputError(f"audio must be mono, shape [samples]; this has shape {samples.shape}")
    if sample_rate == wanted:
        return samples
    return np.asarray(soxr.resample(samples, sample_rate, wanted), dtype=np.float32)


def _at_level(samples: Array) -> Array:
    """At a root mean square of 0.1, so that the floor of the log-mels lies equally deep."""
    level = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if samples.size else 0.0
    if level == 0.0:
        raise InputError("silent audio cannot be compared with a recording")
    return samples * np.float32(0.1 / level)
