"""Laws of :mod:`glottis.audio.mel`."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glottis.audio.mel import (
    MelConfig,
    between_frames,
    hann,
    hz_to_mel,
    log_mel,
    magnitude_spectrogram,
    mel_filterbank,
    mel_to_hz,
)
from glottis.errors import InputError

CONFIGS = [
    MelConfig(),
    MelConfig(sample_rate=16000, fft_size=512, hop=128, mels=40, mel_low=50.0, mel_high=7600.0),
    MelConfig(sample_rate=24000, fft_size=1200, hop=300, mels=100, mel_high=12000.0),
    MelConfig(sample_rate=16000, fft_size=321, hop=161, mels=20),  # odd windows
    MelConfig(fft_size=256, hop=256, mels=10),  # no overlap, no padding
]


def slaney_mel_filterbank(config):
    """librosa.filters.mel(htk=False, norm="slaney"), written out with its constants, in loops."""

    def to_mel(hz):
        if hz < 1000.0:
            return hz / (200.0 / 3.0)
        return 15.0 + math.log(hz / 1000.0) / (math.log(6.4) / 27.0)

    def to_hz(mel):
        if mel < 15.0:
            return mel * (200.0 / 3.0)
        return 1000.0 * math.exp((math.log(6.4) / 27.0) * (mel - 15.0))

    low, high = to_mel(config.mel_low), to_mel(config.mel_high)
    edges = [to_hz(low + (high - low) * i / (config.mels + 1)) for i in range(config.mels + 2)]
    bank = np.zeros((config.mels, config.fft_size // 2 + 1))
    for m in range(config.mels):
        left, centre, right = edges[m : m + 3]
        for k in range(bank.shape[1]):
            hz = k * config.sample_rate / config.fft_size
            if left < hz <= centre:
                bank[m, k] = (hz - left) / (centre - left)
            elif centre < hz < right:
                bank[m, k] = (right - hz) / (right - centre)
        bank[m] *= 2.0 / (right - left)
    return bank


@pytest.mark.parametrize("config", CONFIGS)
def test_the_filterbank_is_librosas(config):
    expected = slaney_mel_filterbank(config)
    assert np.abs(mel_filterbank(config) - expected).max() < 1e-7 + 1e-6 * expected.max()


def test_known_values_of_librosas_filterbank():
    # librosa 0.11: filters.mel(sr=22050, n_fft=1024, n_mels=80, fmax=8000)
    bank = mel_filterbank(MelConfig())
    assert bank[0, 1] == pytest.approx(0.01552772056311369, rel=1e-5)
    assert bank[40, 80] == pytest.approx(0.014895469881594181, rel=1e-5)
    assert bank.sum() == pytest.approx(3.713688373565674, rel=1e-5)


def test_the_mel_scale_and_its_inverse():
    hz = np.concatenate([[0.0], np.geomspace(1e-3, 20000.0, 500)])
    assert np.allclose(mel_to_hz(hz_to_mel(hz)), hz, rtol=1e-12)
    assert (np.diff(hz_to_mel(hz)) > 0).all()
    assert hz_to_mel(1000.0) == pytest.approx(15.0)
    assert hz_to_mel(6400.0) == pytest.approx(42.0)


@pytest.mark.parametrize("config", CONFIGS)
def test_shapes_and_types(config):
    generator = np.random.default_rng(0)
    for samples in (config.hop, config.hop + 1, 5 * config.hop - 1, 4000):
        audio = 0.1 * generator.standard_normal(samples).astype(np.float32)
        frames = samples // config.hop
        spectrum, mels = magnitude_spectrogram(audio, config), log_mel(audio, config)
        assert spectrum.shape == (config.fft_size // 2 + 1, frames)
        assert mels.shape == (config.mels, frames)
        assert spectrum.dtype == mels.dtype == np.float32
        assert np.isfinite(mels).all()


def test_equal_to_the_definition_by_direct_fourier_sums():
    config = MelConfig(sample_rate=8000, fft_size=32, hop=8, mels=5, mel_high=4000.0)
    audio = np.random.default_rng(1).standard_normal(100).astype(np.float32) * 0.3
    result = magnitude_spectrogram(audio, config)
    padded = np.pad(audio, 12, mode="reflect").astype(np.float64)
    for frame in range(100 // 8):
        for k in range(17):
            terms = sum(
                padded[frame * 8 + n]
                * (0.5 - 0.5 * math.cos(2 * math.pi * n / 32))
                * complex(math.cos(2 * math.pi * k * n / 32), -math.sin(2 * math.pi * k * n / 32))
                for n in range(32)
            )
            assert result[k, frame] == pytest.approx(math.sqrt(abs(terms) ** 2 + 1e-9), abs=1e-5)


def test_frames_are_centred_between_their_samples():
    # A click at the centre of frame t is strongest in frame t, as strong as the window's top.
    config = MelConfig()
    for frame in (3, 10):
        audio = np.zeros(20 * config.hop, np.float32)
        audio[frame * config.hop + config.hop // 2] = 1.0
        energy = magnitude_spectrogram(audio, config).max(axis=0)
        assert energy.argmax() == frame
        assert energy[frame] == pytest.approx(1.0, abs=1e-3)


def test_a_shift_by_whole_hops_shifts_the_frames():
    config = MelConfig()
    audio = np.random.default_rng(2).standard_normal(30 * config.hop).astype(np.float32) * 0.1
    whole, part = log_mel(audio, config), log_mel(audio[5 * config.hop :], config)
    assert np.allclose(whole[:, 8:-3], part[:, 3:-3], atol=1e-4)


@settings(max_examples=20)
@given(st.floats(0.01, 10.0))
def test_gain_is_a_sum_above_the_floor(gain):
    config = MelConfig(floor=1e-12)
    audio = np.random.default_rng(3).standard_normal(3000).astype(np.float32) * 0.1
    difference = log_mel(np.float32(gain) * audio, config) - log_mel(audio, config)
    assert np.allclose(difference, math.log(gain), atol=1e-2)


def test_silence_lies_on_the_floor():
    # The 1e-9 under the root leaves 3e-5 in each bin, but filters of unit area sum to about 0.05.
    mels = log_mel(np.zeros(4096, np.float32))
    assert (mels == np.float32(math.log(1e-5))).all()
    assert (log_mel(np.zeros(4096, np.float32), MelConfig(floor=1.0)) == 0.0).all()


def test_a_tone_lies_in_the_mel_that_holds_it():
    config = MelConfig()
    centres = mel_to_hz(
        np.linspace(hz_to_mel(config.mel_low), hz_to_mel(config.mel_high), config.mels + 2)
    )[1:-1]
    time = np.arange(config.sample_rate // 2) / config.sample_rate
    for mel in range(20, 80, 7):
        tone = 0.5 * np.sin(2 * np.pi * centres[mel] * time)
        assert abs(int(log_mel(tone.astype(np.float32), config)[:, 10].argmax()) - mel) <= 1


def test_the_window_is_periodic_and_its_copies_sum_to_a_constant():
    for size in (8, 256, 1024):
        window = hann(size)
        assert window[0] == 0.0
        assert np.allclose(window[1:], window[1:][::-1], atol=1e-7)
        assert np.allclose(window[: size // 2] + window[size // 2 :], 1.0, atol=1e-6)


def test_shared_tables_cannot_be_modified():
    for table in (hann(64), mel_filterbank(MelConfig())):
        with pytest.raises(ValueError, match="read-only"):
            table[...] = 0.0


def test_the_input_is_left_alone():
    audio = np.full(2000, 0.25, np.float32)
    log_mel(audio)
    assert (audio == 0.25).all()


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros((2, 4000), np.float32), r"mono.*\(2, 4000\)"),
        (np.zeros(0, np.float32), "0 samples is shorter"),
        (np.zeros(255, np.float32), "255 samples is shorter than one frame"),
        (np.full(4000, np.nan, np.float32), "NaN"),
        (np.full(4000, np.inf, np.float32), "infinite"),
    ],
)
def test_audio_that_cannot_be_analysed_is_refused(audio, message):
    for function in (magnitude_spectrogram, log_mel):
        with pytest.raises(InputError, match=message):
            function(audio)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hop": 0}, "positive"),
        ({"hop": 2048}, "longer than the window"),
        ({"hop": 255}, "even"),
        ({"mel_high": 12000.0}, "set mel_high lower"),
        ({"mel_low": 9000.0}, "does not fit"),
        ({"mel_low": -1.0}, "does not fit"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        MelConfig(**values)


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_between_frames_runs_in_straight_lines_through_the_frames(parts: int) -> None:
    frames = np.arange(5.0)
    line = np.stack([2 * frames + 1, -frames])
    found = between_frames(line, parts)
    middles = (np.arange(5 * parts) + 0.5) / parts - 0.5
    held = middles.clip(0, 4)
    np.testing.assert_allclose(found, [2 * held + 1, -held], atol=1e-12)
    if parts % 2:  # the middle part is the frame itself
        np.testing.assert_array_equal(found[:, parts // 2 :: parts], line)


def test_between_frames_looks_one_frame_to_either_side() -> None:
    mel = np.random.default_rng(0).standard_normal((2, 3, 9))
    whole = between_frames(mel, 4)
    some = between_frames(mel[..., 3:8], 4)
    np.testing.assert_array_equal(some[..., 4:-4], whole[..., 16:28])
    changed = mel.copy()
    changed[..., 4] += 1.0
    moved = (between_frames(changed, 4) != whole).any((0, 1))
    np.testing.assert_array_equal(np.flatnonzero(moved), np.arange(14, 22))
