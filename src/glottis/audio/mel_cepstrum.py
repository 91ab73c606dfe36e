"""Mel-cepstra: a spectral envelope in a few numbers, and as a minimum-phase filter.

``H(z) = exp sum_m c_m z~^-m`` with the all-pass ``z~^-1 = (z^-1 - alpha) / (1 - alpha z^-1)``,
whose phase bends the frequency axis towards the ear's (Fukada, Tokuda, Kobayashi & Imai 1992; the
mel-generalised cepstrum with gamma 0). ``c_m`` is in nepers of amplitude.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from glottis.audio.products import product
from glottis.errors import InputError

Float = NDArray[np.float64]


def warped(omega: Float, alpha: float) -> Float:
    """The all-pass's phase: 0 to pi onto 0 to pi."""
    return np.asarray(omega + 2 * np.arctan2(alpha * np.sin(omega), 1 - alpha * np.cos(omega)))


@lru_cache(maxsize=16)
def alpha_for(sample_rate: int) -> float:
    """The ``alpha`` whose warping lies closest to the mel scale, to two digits: 0.46 at 16 kHz."""
    omega = np.linspace(0, np.pi, 512)
    mel = np.log1p(omega / np.pi * sample_rate / 2 / 700.0)
    mel *= np.pi / mel[-1]
    grid = np.arange(0, 0.9, 0.01)
    errors = [float(((warped(omega, alpha) - mel) ** 2).sum()) for alpha in grid]
    return round(float(grid[int(np.argmin(errors))]), 2)


@lru_cache(maxsize=16)
def response_matrix(order: int, alpha: float, fft_size: int) -> NDArray[np.complex128]:
    """``exp(-j m w~)``: complex ``[fft_size // 2 + 1, order + 1]``, read-only.

    Its product with a mel-cepstrum is the logarithm of the minimum-phase response.
    """
    omega = np.linspace(0, np.pi, fft_size // 2 + 1)
    matrix = np.exp(-1j * warped(omega, alpha)[:, None] * np.arange(order + 1))
    matrix.setflags(write=False)
    return matrix


@lru_cache(maxsize=16)
def _fit_matrix(order: int, alpha: float, fft_size: int) -> Float:
    """Least squares on the warped axis: ``[order + 1, fft_size // 2 + 1]``."""
    basis = response_matrix(order, alpha, fft_size).real
    omega = np.linspace(0, np.pi, fft_size // 2 + 1)
    # How much of the warped axis lies around each bin.
    weight = np.sqrt(np.gradient(warped(omega, alpha)))
    matrix: Float = np.linalg.pinv(basis * weight[:, None]) * weight
    matrix.setflags(write=False)
    return matrix


def mel_cepstrum(power: Float, order: int, alpha: float) -> Float:
    """``[frames, bins]``, power density above zero -> ``[frames, order + 1]``.

    The least-squares fit of the log spectrum on the warped frequency axis.

    Raises:
        InputError: fewer bins than coefficients.
    """
    bins = power.shape[1]
    if order + 1 > bins:
        raise InputError(f"{bins} bins cannot give {order + 1} mel-cepstral coefficients")
    fitted: Float = 0.5 * np.log(power) @ _fit_matrix(order, alpha, 2 * (bins - 1)).T
    return fitted


def envelope(cepstrum: Float, alpha: float, fft_size: int) -> Float:
    """``[frames, order + 1]`` -> power density ``[frames, fft_size // 2 + 1]``."""
    basis = response_matrix(cepstrum.shape[1] - 1, alpha, fft_size).real
    return np.asarray(np.exp(2.0 * product(cepstrum, basis.T)))


def postfiltered(cepstrum: Float, strength: float, alpha: float, fft_size: int) -> Float:
    """Formants sharpened: ``c_m`` from the second on times ``1 + strength``, the power kept.

    Trained means are smoother than speech; Yoshimura et al. 2005 undo it so. ``[frames, order +
    1]`` both.
    """
    sharp = cepstrum.copy()
    sharp[:, 2:] *= 1.0 + strength
    before = envelope(cepstrum, alpha, fft_size).mean(1)
    sharp[:, 0] += 0.5 * np.log(before / envelope(sharp, alpha, fft_size).mean(1))
    return sharp
