"""Laws of :mod:`glottis.evaluation.quality`."""

import importlib.util
import math

import numpy as np
import pytest
import soxr

from glottis.errors import InputError
from glottis.evaluation.quality import Judges, p808_features, plcmos_features
from speechlike import vowel


@pytest.fixture(scope="module")
def judges():
    return Judges()


def test_scores_of_the_published_code(judges):
    # speechmos 0.0.1.1 with librosa 0.11; PLCMOS there with 300 raters instead of 15.
    assert judges.p808(vowel(3.0), 16000) == pytest.approx(2.458558, abs=1e-3)
    assert judges.p808(vowel(11.5), 16000) == pytest.approx(2.491403, abs=1e-3)
    assert judges.plcmos(vowel(3.0), 16000) == pytest.approx(2.3825, abs=0.1)
    assert judges.plcmos(vowel(11.5), 16000) == pytest.approx(1.4823, abs=0.1)


def test_the_p808_features_of_librosa():
    features = p808_features(vowel(1.0))
    assert features.shape == (100, 120)
    assert features.mean() == pytest.approx(-0.41322958, abs=1e-5)
    assert features[20, [0, 5, 20, 60, 119]] == pytest.approx(
        [-1.0, 0.579135, 0.332778, 0.252152, -0.713759], abs=1e-4
    )
    assert features[70, [2, 4, 9, 30]] == pytest.approx(
        [-0.438302, -0.408048, 0.441223, -0.111044], abs=1e-4
    )


def test_the_plcmos_features_by_their_definition():
    audio = np.random.default_rng(0).standard_normal(1500) * 0.1
    features = plcmos_features(audio)
    assert features.shape == (math.ceil((1500 + 256) / 256), 257)
    padded = np.concatenate([np.zeros(256), audio, np.zeros(1000)])
    window = [0.54 - 0.46 * math.cos(2 * math.pi * n / 512) for n in range(512)]
    for frame, k in ((0, 0), (2, 31), (6, 256)):
        value = sum(
            padded[frame * 256 + n] * window[n] * np.exp(-2j * math.pi * k * n / 512)
            for n in range(512)
        )
        assert features[frame, k] == pytest.approx(math.log(abs(value) ** 2) / 20, abs=1e-5)


def test_zeros_have_features():
    assert np.isfinite(plcmos_features(np.zeros(1000))).all()
    part = plcmos_features(np.concatenate([np.zeros(2000), vowel(0.2)]))
    assert np.isfinite(part).all()
    assert np.isfinite(p808_features(np.zeros(1000, np.float32))).all()


def test_level_does_not_matter(judges, speech):
    _, samples, rate = speech[0]
    for score in (judges.p808, judges.plcmos):
        assert score(0.125 * samples, rate) == pytest.approx(score(samples, rate), abs=1e-5)


def test_the_sample_rate_does_not_matter_to_p808(judges, speech):
    _, samples, rate = speech[1]
    expected = judges.p808(samples, rate)
    for other in (16000, 44100):
        resampled = soxr.resample(samples, rate, other)
        assert judges.p808(resampled, other) == pytest.approx(expected, abs=0.02)


def test_equal_audio_gets_equal_scores(judges, speech):
    _, samples, rate = speech[0]
    assert judges.plcmos(samples, rate) == Judges().plcmos(samples, rate)
    assert judges.p808(samples, rate) == judges.p808(samples, rate)


def test_noise_lowers_p808(judges, speech):
    for _, samples, rate in speech:
        noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
        noise *= np.float32(np.sqrt(np.mean(samples**2)) / 3)
        assert judges.p808(samples + noise, rate) < judges.p808(samples, rate) - 0.3


def test_lost_packets_lower_plcmos(judges, speech):
    for _, samples, rate in speech:
        packet = np.arange(len(samples)) * 50 // rate  # 20 ms each
        lost = np.where(packet % 5 < 2, np.float32(0.0), samples)
        assert judges.plcmos(lost, rate) < judges.plcmos(samples, rate) - 0.3


@pytest.mark.parametrize("samples", [1, 500, 16000 * 10])
def test_any_length_has_scores_from_one_to_five(judges, samples):
    audio = (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)
    assert 0.9 < judges.p808(audio, 16000) < 5.1
    assert 0.5 < judges.plcmos(audio, 16000) < 5.1


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"'speechmos'.*pip install 'glottis\[evaluate\]'"):
        Judges()
