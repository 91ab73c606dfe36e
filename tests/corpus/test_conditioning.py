"""Laws of conditioning: what must hold for every recording."""

import numpy as np
import pytest

from glottis.corpus.conditioning import (
    ConditioningConfig,
    active_level,
    condition,
    highpass,
    levels,
    speech_bounds,
)
from glottis.errors import InputError
from synthetic_corpus import speech

RATE = 22050


def sine(frequency: float, seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate).astype("f4")


def test_level_of_a_sine_is_three_decibels_below_its_peak() -> None:
    assert active_level(sine(1000), RATE) == pytest.approx(-3.01, abs=0.02)
    assert levels(np.zeros(10, np.float32), RATE) == pytest.approx([-120])


def test_pauses_do_not_count_towards_the_level() -> None:
    loud = sine(440) * 0.1
    with_pause = np.concatenate([loud, np.zeros(10 * RATE, np.float32), loud])
    assert active_level(with_pause, RATE) == pytest.approx(active_level(loud, RATE), abs=0.1)


@pytest.mark.parametrize("gain", [0.01, 0.1, 1.0, 5.0])
def test_loudness_does_not_depend_on_the_recording(gain: float) -> None:
    config = ConditioningConfig(loudness=-26)
    samples = speech(2.0, floor=0) * np.float32(gain)
    result = condition(samples, RATE, RATE, config)
    assert active_level(result.samples, RATE) == pytest.approx(-26, abs=0.1)


def test_the_peak_limits_the_gain() -> None:
    samples = speech(2.0)
    samples[20000] = 0.9  # a click, far above the speech
    result = condition(samples, RATE, RATE, ConditioningConfig(loudness=-10))
    assert np.abs(result.samples).max() == pytest.approx(0.95, abs=1e-4)
    assert active_level(result.samples, RATE) < -10


def test_nothing_is_done_when_everything_is_off() -> None:
    samples = speech(1.0)
    config = ConditioningConfig(highpass=None, trim=False, loudness=None)
    result = condition(samples, RATE, RATE, config)
    np.testing.assert_array_equal(result.samples, samples)
    assert result.gain == 0
    assert (result.start, result.end) == (0, len(samples) / RATE)


@pytest.mark.parametrize("floor", [0.0, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("ends", [(0.5, 1.0), (2.0, 0.2), (0.2, 3.0)])
def test_silence_is_trimmed_to_the_margin_over_any_noise_floor(
    floor: float, ends: tuple[float, float]
) -> None:
    samples = speech(1.5, level=0.1, floor=floor, silence=ends)
    result = condition(samples, RATE, RATE, ConditioningConfig(margin=0.06))
    assert result.start == pytest.approx(ends[0] - 0.06, abs=0.03)
    assert result.end == pytest.approx(ends[0] + 1.5 + 0.06, abs=0.03)


def test_clicks_are_not_speech() -> None:
    samples = speech(1.0, silence=(1.0, 1.0))
    samples[2000] = samples[-2000] = 0.5
    start, end = speech_bounds(samples, RATE)
    assert start / RATE == pytest.approx(1.0, abs=0.03)
    assert end / RATE == pytest.approx(2.0, abs=0.03)


def test_a_weak_fricative_at_the_end_is_kept() -> None:
    samples = speech(1.0, silence=(0.5, 1.0), floor=1e-4)
    hiss = np.diff(np.random.default_rng(0).standard_normal(RATE // 5 + 1)) * 0.001
    samples[round(1.5 * RATE) : round(1.5 * RATE) + len(hiss)] += hiss.astype(np.float32)
    _, end = speech_bounds(samples, RATE)
    assert end / RATE == pytest.approx(1.7, abs=0.03)


def test_highpass_takes_rumble_and_leaves_speech_where_it_is() -> None:
    low, high = sine(25), sine(100)
    middle = slice(RATE // 2, -RATE // 2)
    assert np.abs(highpass(low + 0.3, RATE, 60)[middle]).max() < 0.01
    np.testing.assert_allclose(highpass(high, RATE, 60)[middle], high[middle], atol=0.01)


@pytest.mark.parametrize("size", [1, 2, 100, 5001])
def test_highpass_keeps_the_length(size: int) -> None:
    assert highpass(np.ones(size, np.float32), RATE, 60).shape == (size,)


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
def test_every_rate_becomes_the_target(rate: int) -> None:
    config = ConditioningConfig(trim=False)
    result = condition(sine(500, 1.0, rate), rate, RATE, config)
    assert len(result.samples) == pytest.approx(RATE, abs=2)
    spectrum = np.abs(np.fft.rfft(result.samples * np.hanning(len(result.samples))))
    assert np.argmax(spectrum) * RATE / len(result.samples) == pytest.approx(500, abs=2)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(RATE, np.float32),
        np.zeros(0, np.float32),
        np.full(RATE, 1e-5, np.float32),
        np.zeros(5, np.float32),
    ],
)
def test_silence_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(InputError, match="silent"):
        condition(samples, RATE, RATE)


def test_steady_noise_is_no_speech() -> None:
    noise = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32) * 0.01
    start, end = speech_bounds(noise, RATE)
    # Nothing stands out, so nothing is cut: the doctor reports the noise.
    assert end - start > 1.5 * RATE


@pytest.mark.parametrize(
    "settings",
    [
        {"highpass": 0.0},
        {"highpass": 5000.0},
        {"margin": -1.0},
        {"loudness": 3.0},
        {"peak": 0.0},
        {"peak": 1.5},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        ConditioningConfig(**settings)  # type: ignore[arg-type]
