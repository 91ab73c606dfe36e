"""Laws of :mod:`glottis.evaluation.distance`."""

import itertools
import math

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from glottis.audio.mel import log_mel
from glottis.errors import InputError
from glottis.evaluation.distance import (
    distances,
    f0_rmse,
    mel_cepstral_distortion,
    mel_cepstrum,
    spectral_convergence,
    warp,
)
from speechlike import vowel

RATE = 22050


def noisy(audio, share, seed=0):
    noise = np.random.default_rng(seed).standard_normal(len(audio)).astype(np.float32)
    return audio + np.float32(share * np.sqrt(np.mean(audio**2))) * noise


def sequences(rows, columns, seed):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((2, rows)), generator.standard_normal((2, columns))


def cost(first, second, pairs):
    return sum(float(np.linalg.norm(first[:, i] - second[:, j])) for i, j in pairs)


def all_paths(rows, columns):
    """Every monotone path, by brute force."""
    if rows == 1 and columns == 1:
        yield [(0, 0)]
        return
    for r, c in ((rows - 1, columns - 1), (rows - 1, columns), (rows, columns - 1)):
        if r > 0 and c > 0:
            for path in all_paths(r, c):
                yield [*path, (rows - 1, columns - 1)]


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 999))
def test_the_warping_path_is_the_cheapest_of_all(rows, columns, seed):
    first, second = sequences(rows, columns, seed)
    found = cost(first, second, zip(*warp(first, second), strict=True))
    assert found == pytest.approx(min(cost(first, second, p) for p in all_paths(rows, columns)))


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 999))
def test_the_warping_path_is_monotone_and_complete(rows, columns, seed):
    a, b = warp(*sequences(rows, columns, seed))
    assert (a[0], b[0]) == (0, 0)
    assert (a[-1], b[-1]) == (rows - 1, columns - 1)
    steps = set(zip(np.diff(a).tolist(), np.diff(b).tolist(), strict=True))
    assert steps <= {(0, 1), (1, 0), (1, 1)}


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 999))
def test_warping_is_symmetric(rows, columns, seed):
    first, second = sequences(rows, columns, seed)
    forth, back = warp(first, second), warp(second, first)
    assert (forth[0] == back[1]).all()
    assert (forth[1] == back[0]).all()


def test_warping_undoes_repeated_frames():
    sequence = np.random.default_rng(0).standard_normal((13, 50))
    repeats = np.random.default_rng(1).integers(1, 4, 50)
    a, b = warp(sequence, np.repeat(sequence, repeats, axis=1))
    assert (a == np.repeat(np.arange(50), repeats)).all()
    assert (b == np.arange(repeats.sum())).all()


def test_equal_audio_has_no_distance():
    audio = vowel(1.5, RATE)
    for aligned in (False, True):
        result = distances(audio, audio, RATE, aligned=aligned)
        assert (result.mcd, result.f0_rmse, result.voicing_error) == (0.0, 0.0, 0.0)
        assert result.spectral_convergence == 0.0


def test_distortion_is_symmetric_and_grows():
    audio = vowel(1.5, RATE)
    found = [0.0]
    for share in (0.001, 0.01, 0.1):
        worse = noisy(audio, share)
        forth, back = distances(worse, audio, RATE), distances(audio, worse, RATE)
        assert forth.mcd == pytest.approx(back.mcd)
        assert forth.voicing_error == pytest.approx(back.voicing_error)
        found.append(forth.mcd)
    assert all(b > a + 0.1 for a, b in itertools.pairwise(found))


def test_warping_never_sees_more_distortion_in_total_than_pairing_in_step():
    audio = vowel(1.5, RATE)
    worse = noisy(audio, 0.05)
    warped, stepped = (distances(worse, audio, RATE, aligned=a) for a in (False, True))
    assert warped.mcd <= stepped.mcd * 1.01


@pytest.mark.parametrize("gain", [0.01, 3.0])
def test_the_level_does_not_matter_but_to_spectral_convergence(gain):
    audio, worse = vowel(1.5, RATE), noisy(vowel(1.5, RATE), 0.05)
    expected, found = distances(worse, audio, RATE), distances(gain * worse, audio, RATE)
    assert found.mcd == pytest.approx(expected.mcd, rel=1e-3)
    assert found.f0_rmse == pytest.approx(expected.f0_rmse, abs=0.5)
    assert found.voicing_error == pytest.approx(expected.voicing_error, abs=0.01)
    same = distances(np.float32(gain) * audio, audio, RATE)
    assert same.spectral_convergence == pytest.approx(abs(gain - 1.0), rel=1e-3)


def test_the_sample_rate_does_not_matter():
    audio, worse = vowel(1.5, RATE), noisy(vowel(1.5, RATE), 0.05)
    expected = distances(worse, audio, RATE)
    up = [np.asarray(soxr.resample(s, RATE, 44100), np.float32) for s in (worse, audio)]
    found = distances(*up, 44100)
    assert found.mcd == pytest.approx(expected.mcd, rel=0.03)
    assert found.f0_rmse == pytest.approx(expected.f0_rmse, abs=3.0)


@pytest.mark.parametrize("cents", [-150.0, 25.0, 300.0])
def test_a_shift_of_pitch_is_its_rmse(cents):
    reference = vowel(2.0, RATE)
    shifted = vowel(2.0, RATE, base=120.0 * 2 ** (cents / 1200))
    found = distances(shifted, reference, RATE, aligned=True)
    assert found.f0_rmse == pytest.approx(abs(cents), rel=0.05)
    assert found.voicing_error < 0.03


def test_f0_rmse_counts_frames_that_are_voiced_in_both():
    reference = np.array([100.0, 200.0, 0.0, 150.0, 0.0])
    pitch = np.array([200.0, 200.0, 90.0, 0.0, 0.0])
    assert f0_rmse(pitch, reference) == pytest.approx(1200.0 / math.sqrt(2.0))
    assert f0_rmse(np.zeros(5), reference) is None


def test_noise_against_a_vowel_has_voicing_errors_and_no_pitch_difference():
    audio = vowel(1.5, RATE)
    noise = np.random.default_rng(0).standard_normal(len(audio)).astype(np.float32)
    found = distances(noise, audio, RATE, aligned=True)
    assert found.f0_rmse is None
    assert "f0_rmse" not in found.scores()
    assert found.voicing_error > 0.3


@pytest.mark.parametrize("order", [1, 4, 13])
def test_distortion_is_the_root_mean_square_in_decibels(order):
    # A ripple of known depth over the mel axis: its rms in dB is the distortion.
    mels = log_mel(vowel(0.5, RATE))
    depth = 0.3  # nepers
    ripple = depth * np.cos(np.pi * order * (np.arange(80) + 0.5) / 80)
    decibels = 20 / math.log(10) * math.sqrt(np.mean(ripple**2))
    found = mel_cepstral_distortion(
        mel_cepstrum(mels + ripple[:, None].astype(np.float32)), mel_cepstrum(mels)
    )
    assert found == pytest.approx(decibels, rel=1e-4)


def test_fine_structure_and_level_are_not_in_the_cepstrum():
    mels = log_mel(vowel(0.5, RATE))
    fine = np.cos(np.pi * 14 * (np.arange(80) + 0.5) / 80)[:, None]
    changed = (mels + 2.0 + 0.5 * fine).astype(np.float32)
    assert np.allclose(mel_cepstrum(changed), mel_cepstrum(mels), atol=1e-5)
    assert mel_cepstrum(mels).shape == (13, mels.shape[1])


def test_the_cepstrum_refuses_more_coefficients_than_mels():
    with pytest.raises(InputError, match="10 mels have no 13"):
        mel_cepstrum(np.zeros((10, 4), np.float32))


def test_spectral_convergence_of_known_matrices():
    reference = np.full((3, 4), 2.0)
    assert spectral_convergence(reference, reference) == 0.0
    assert spectral_convergence(0 * reference, reference) == pytest.approx(1.0)
    assert spectral_convergence(1.5 * reference, reference) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(5000, np.float32), "silent"),
        (np.zeros(0, np.float32), "silent"),
        (np.ones((2, 5000), np.float32), "mono"),
        (np.ones(10, np.float32), "shorter than one frame"),
        (np.full(5000, np.nan, np.float32), "NaN"),
    ],
)
def test_audio_that_cannot_be_compared_is_refused(samples, message):
    with pytest.raises(InputError, match=message):
        distances(samples, vowel(0.5, RATE), RATE)
    with pytest.raises(InputError, match=message):
        distances(vowel(0.5, RATE), samples, RATE)
