"""Laws of :mod:`glottis.audio.pitch`, on signals whose pitch is known."""

import numpy as np
import pytest

from glottis.audio.pitch import _fast_length, f0
from glottis.errors import InputError

RATES = (16000, 22050, 24000, 48000)


def harmonics(frequency, rate, seconds=0.5, tilt=1.0, first=1, seed=0):
    """A harmonic complex up to 0.45 of the rate, random phases, amplitude k ** -tilt."""
    generator = np.random.default_rng(seed)
    frequency = np.broadcast_to(frequency, round(seconds * rate))
    phase = 2 * np.pi * np.cumsum(frequency) / rate
    count = int(0.45 * rate / frequency.max())
    tones = [
        np.sin(k * phase + generator.uniform(0, 2 * np.pi)) / k**tilt
        for k in range(first, count + 1)
    ]
    audio = np.sum(tones, axis=0)
    return (0.3 * audio / np.abs(audio).max()).astype(np.float32)


def inner(values, edge=5):
    return values[edge:-edge]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("tilt", [0.0, 1.0, 2.0])
def test_harmonic_complexes_from_60_to_600_hz_within_one_percent(rate, tilt):
    # Flat and steep spectra: neither the fifth harmonic nor two periods may be taken for one.
    for frequency in np.geomspace(61.0, 595.0, 25):
        pitch, voicing = f0(harmonics(frequency, rate, tilt=tilt), rate)
        assert np.abs(inner(pitch) / frequency - 1.0).max() < 0.01, frequency
        assert inner(voicing).min() > 0.9


def test_pure_tones_within_one_percent():
    for frequency in (80.0, 150.0, 333.0, 590.0):
        time_axis = np.arange(11025) / 22050
        pitch, _ = f0((0.3 * np.sin(2 * np.pi * frequency * time_axis)).astype(np.float32), 22050)
        assert np.abs(inner(pitch) / frequency - 1.0).max() < 0.01


def test_a_missing_fundamental_is_heard():
    for frequency in (110.0, 240.0):
        pitch, _ = f0(harmonics(frequency, 22050, first=2), 22050)
        assert np.abs(inner(pitch) / frequency - 1.0).max() < 0.01


@pytest.mark.parametrize("strong", [2, 3, 5])
def test_a_strong_harmonic_does_not_take_over(strong):
    # As a formant does: one harmonic 14 dB above the rest.
    rate, frequency = 22050, 140.0
    time_axis = np.arange(rate // 2) / rate
    audio = 0.03 * sum(
        (5.0 if k == strong else 1.0) * np.sin(2 * np.pi * frequency * k * time_axis + k)
        for k in range(1, 20)
    )
    pitch, _ = f0(audio.astype(np.float32), rate)
    assert np.abs(inner(pitch) / frequency - 1.0).max() < 0.01


@pytest.mark.parametrize("decibels", [20, 10, 5])
def test_noise_added_to_a_tone(decibels):
    clean = harmonics(180.0, 22050, seconds=1.0)
    noise = np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-decibels / 20)
    pitch, voicing = f0(clean + noise, 22050)
    assert np.mean(inner(pitch) > 0) > 0.99
    assert np.median(np.abs(inner(pitch) / 180.0 - 1.0)) < 0.01
    assert inner(voicing).mean() > 0.9


def test_a_glide_is_read_where_the_frame_says():
    rate, hop = 22050, 256
    course = np.geomspace(100.0, 400.0, rate)  # two octaves in a second
    pitch, _ = f0(harmonics(course, rate, seconds=1.0), rate, hop)
    at_centres = course[(np.arange(len(pitch)) * hop) + hop // 2]
    cents = 1200 * np.log2(inner(pitch, 8) / inner(at_centres, 8))
    assert np.abs(cents).max() < 20
    assert abs(cents.mean()) < 3


@pytest.mark.parametrize("kind", ["silence", "constant", "white", "hiss", "clicks"])
def test_what_has_no_pitch_is_unvoiced(kind):
    rate = 22050
    generator = np.random.default_rng(0)
    noise = generator.standard_normal(3 * rate)
    audio = {
        "silence": np.zeros(3 * rate),
        "constant": np.full(3 * rate, 0.5),
        "white": 0.1 * noise,
        "hiss": 0.1 * np.diff(noise, prepend=0.0),
        "clicks": 0.5 * (np.arange(3 * rate) % 4001 == 0) * generator.choice([-1, 1], 3 * rate),
    }[kind].astype(np.float32)
    pitch, voicing = f0(audio, rate)
    assert np.mean(pitch > 0) < 0.01
    assert voicing.mean() < 0.05


def test_voiced_and_unvoiced_stretches_are_told_apart():
    rate, hop = 22050, 256
    tone = harmonics(200.0, rate, seconds=0.3)
    noise = (0.05 * np.random.default_rng(1).standard_normal(len(tone))).astype(np.float32)
    gap = np.zeros(len(tone), np.float32)
    pitch, voicing = f0(np.concatenate([noise, tone, gap, tone, noise]), rate, hop)
    stretch = ((np.arange(len(pitch)) + 0.5) * hop // len(tone)).astype(int)
    truth = stretch % 2 == 1
    assert np.mean((pitch > 0) != truth) < 0.05  # an edge may fall a frame beside
    assert np.mean((voicing > 0.5) != truth) < 0.05


def test_the_level_does_not_matter():
    audio = harmonics(170.0, 22050) * np.linspace(0.1, 1.0, 11025, dtype=np.float32)
    pitch, voicing = f0(audio, 22050)
    for gain in (1e-3, 0.1, 3.0):
        again, voiced = f0(np.float32(gain) * audio, 22050)
        assert np.allclose(again, pitch, rtol=1e-4)
        assert np.allclose(voiced, voicing, atol=1e-3)


def test_polarity_and_a_constant_offset_do_not_matter():
    audio = harmonics(170.0, 22050)
    pitch, _ = f0(audio, 22050)
    assert np.allclose(f0(-audio, 22050)[0], pitch, rtol=1e-5)
    assert np.allclose(inner(f0(audio + 0.2, 22050)[0]), inner(pitch), rtol=1e-3)


def test_a_shift_by_hops_shifts_the_frames():
    course = 180.0 * 2 ** (0.2 * np.sin(np.arange(22050) / 3000))
    audio = harmonics(course, 22050, seconds=1.0)
    whole, part = f0(audio, 22050)[0], f0(audio[10 * 256 :], 22050)[0]
    assert np.allclose(inner(whole[10:]), inner(part), rtol=1e-3)


def test_long_audio_has_no_seams_between_blocks():
    rate = 8000  # filtering works on 65,536 samples at a time
    pitch, _ = f0(harmonics(130.0, rate, seconds=20.0), rate, 80)
    assert np.abs(inner(pitch) / 130.0 - 1.0).max() < 0.005


@pytest.mark.parametrize("hop", [64, 100, 256, 500])
def test_shapes_types_and_ranges(hop):
    for samples in (hop, hop + 1, 3 * hop - 1, 7000):
        audio = harmonics(220.0, 22050)[:samples]
        for result in f0(audio, 22050, hop):
            assert result.shape == (samples // hop,)
            assert result.dtype == np.float32
        pitch, voicing = f0(audio, 22050, hop, low=80.0, high=400.0)
        assert ((pitch == 0) | ((pitch >= 80) & (pitch <= 400))).all()
        assert ((voicing >= 0) & (voicing <= 1)).all()


def test_the_range_is_obeyed():
    audio = harmonics(100.0, 22050)
    assert np.allclose(inner(f0(audio, 22050, low=60, high=150)[0]), 100.0, rtol=0.01)
    # With 100 Hz out of range nothing of that period can be returned.
    above = f0(audio, 22050, low=220, high=600)[0]
    assert (above[above > 0] >= 220).all()


@pytest.mark.parametrize("least", [1, 2, 7, 97, 1104, 2209, 4097])
def test_fast_lengths_are_the_next_product_of_two_three_and_five(least):
    def smooth(number):
        for prime in (2, 3, 5):
            while number % prime == 0:
                number //= prime
        return number == 1

    expected = next(n for n in range(least, 2 * least + 1) if smooth(n))
    assert _fast_length(least) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 500)), 22050), "mono"),
        ((np.zeros(0), 22050), "0 samples is shorter"),
        ((np.zeros(100), 22050), "shorter than one frame"),
        ((np.full(1000, np.nan), 22050), "NaN"),
        ((np.zeros(1000), 22050, 0), "hop 0"),
        ((np.zeros(1000), 22050, 256, 300.0, 200.0), "range of 300.0 to 200.0"),
        ((np.zeros(1000), 22050, 256, 1.0), "at least 10 Hz"),
        ((np.zeros(1000), 2000), "a quarter of the sample rate"),
    ],
)
def test_what_cannot_be_analysed_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        f0(*arguments)
