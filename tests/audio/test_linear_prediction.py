"""Linear prediction from log-mels: stable for any numbers, and right where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from glottis.audio.linear_prediction import LinearPrediction, levinson
from glottis.audio.mel import MelConfig, log_mel
from glottis.errors import InputError

MEL = MelConfig()


def _resonances(seconds: float = 1.0) -> tuple[np.ndarray, float]:
    """White noise of deviation 0.02 through two resonances, at 700 and 2500 Hz."""
    poles = [r * np.exp(2j * np.pi * f / 22050) for r, f in ((0.9, 700.0), (0.85, 2500.0))]
    filters = np.real(np.poly([*poles, *np.conj(poles)]))
    noise = np.random.default_rng(0).standard_normal(int(seconds * 22050)) * 0.02
    made = np.zeros(len(noise) + 4)
    for t in range(len(noise)):
        made[t + 4] = noise[t] - filters[1:] @ made[t : t + 4][::-1]
    return (made[4:] / 4).astype(np.float32), 0.02 / 4


def _left(samples: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """What a predictor of each frame leaves of its samples."""
    order = coefficients.shape[1]
    samples = samples[: len(coefficients) * MEL.hop].astype(np.float64)
    past = np.lib.stride_tricks.sliding_window_view(np.pad(samples, (order, 0))[:-1], order)
    return samples - (past * np.repeat(coefficients[:, ::-1], MEL.hop, axis=0)).sum(1)


def test_the_recursion_solves_the_normal_equations() -> None:
    spectrum = np.random.default_rng(0).random((5, 33)) + 0.1
    lags = np.fft.irfft(spectrum)[:, :9]
    coefficients, remaining = levinson(lags)
    for found, lag, rest in zip(coefficients, lags, remaining, strict=True):
        matrix = lag[np.abs(np.subtract.outer(np.arange(8), np.arange(8)))]
        np.testing.assert_allclose(found, np.linalg.solve(matrix, lag[1:]), atol=1e-10)
        np.testing.assert_allclose(rest, lag[0] - found @ lag[1:], rtol=1e-9)


def test_a_coloured_noise_is_whitened_and_its_gain_is_found() -> None:
    samples, deviation = _resonances()
    coefficients, gains = LinearPrediction(MEL, 24)(log_mel(samples, MEL))
    left = _left(samples, coefficients)
    # The best that could be left is the noise itself; the log-mels smooth the resonances.
    assert deviation <= left.std() < 1.1 * deviation < 0.5 * samples.std()
    # The mean of magnitudes is sqrt(pi / 4) of the root of the mean power, and smoothing adds.
    assert 0.85 < np.median(gains) / deviation < 1.25


def test_no_log_mels_make_a_filter_that_rings_on() -> None:
    """Also silence, a single band, and what a network might say in the middle of training."""
    random = np.random.default_rng(1)
    silence = np.full((80, 3), np.log(MEL.floor))
    band = silence.copy()
    band[40] = 5.0
    steps = np.where(np.arange(80)[:, None] % 2, -11.0, 3.0) * np.ones(3)
    wild = random.standard_normal((80, 40)) * np.repeat([1.0, 5.0, 30.0, 1e4], 10)
    for mel in (silence, band, steps, wild, silence - 50):
        coefficients, gains = LinearPrediction(MEL, 32)(mel)
        assert np.isfinite(coefficients).all()
        assert (gains >= 2 / 65535 / np.sqrt(12)).all()
        for each in coefficients:
            assert np.abs(np.roots([1, *-each])).max() < 1
    # Of silence nothing is predicted but that the quantised zero stays one.
    assert np.abs(LinearPrediction(MEL, 32)(silence)[0]).sum() < 0.5


def test_a_frames_numbers_are_its_own() -> None:
    """To the last bit: what is streamed must be what all at once would have been."""
    mel = np.random.default_rng(2).standard_normal((3, 80, 21)).astype(np.float32) - 5
    prediction = LinearPrediction(MEL, 24)
    coefficients, gains = prediction(mel)
    assert coefficients.shape == (3, 21, 24)
    assert gains.shape == (3, 21)
    for item, frames in ((0, slice(0, 1)), (1, slice(4, 11)), (2, slice(20, 21))):
        some, gain = prediction(mel[item, :, frames])
        np.testing.assert_array_equal(some, coefficients[item, frames])
        np.testing.assert_array_equal(gain, gains[item, frames])


def test_louder_by_a_factor_is_the_same_filter_with_a_larger_gain() -> None:
    mel = np.random.default_rng(3).standard_normal((80, 5)) - 2
    prediction = LinearPrediction(MEL, 24)
    coefficients, gains = prediction(mel)
    louder, more = prediction(mel + np.log(4))
    np.testing.assert_allclose(louder, coefficients, atol=1e-3)
    np.testing.assert_allclose(more / gains, 4, rtol=1e-3)


def test_order_0_predicts_nothing_and_gives_the_level() -> None:
    noise = np.random.default_rng(4).standard_normal(22050).astype(np.float32) * 0.1
    coefficients, gains = LinearPrediction(MEL, 0)(log_mel(noise, MEL))
    assert coefficients.shape[1] == 0
    assert 0.8 < np.median(gains) / 0.1 < 1.05


def test_orders_that_do_not_fit_are_named() -> None:
    for order in (-1, 513):
        with pytest.raises(InputError, match="linear_prediction takes 0"):
            LinearPrediction(MEL, order)
