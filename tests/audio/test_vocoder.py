"""Speech to parameters and back: laws, on signals whose harmonics and noise are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from glottis.audio.aperiodicity import LEAST, band_aperiodicity, band_centres
from glottis.audio.envelope import fft_size_for, spectral_envelope
from glottis.audio.mel_cepstrum import (
    alpha_for,
    envelope,
    mel_cepstrum,
    postfiltered,
    response_matrix,
    warped,
)
from glottis.audio.pitch import f0
from glottis.audio.vocoder import (
    Parameters,
    VocoderConfig,
    analyse,
    filled,
    harmonics,
    stream,
    synthesize,
)
from glottis.errors import InputError
from speechlike import vowel

RATES = (8000, 16000, 22050, 24000, 44100, 48000)


def tilt(hertz: np.ndarray) -> np.ndarray:
    """An amplitude over frequency with a formant at 600 Hz and one at 1,700 Hz."""
    bumps = 1 + 3 * np.exp(-(((hertz - 600) / 250) ** 2)) + np.exp(-(((hertz - 1700) / 300) ** 2))
    return 0.02 * bumps / (1 + hertz / 1000)


def voice(rate: int, pitch: float, seconds: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Harmonics with the amplitudes of :func:`tilt`, and these: ``[samples]``, ``[harmonics]``."""
    number = np.arange(1, int(0.48 * rate / pitch) + 1)
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * number[:, None] * pitch * time + 0.3 * number[:, None] ** 2
    amplitude = tilt(number * pitch)
    return (amplitude[:, None] * np.cos(phase)).sum(0).astype(np.float32), amplitude


def amplitudes(samples: np.ndarray, rate: int, pitch: float, count: int) -> np.ndarray:
    """Of the harmonics of ``pitch`` in the middle half of ``samples``: ``[count]``."""
    middle = samples[len(samples) // 4 : 3 * len(samples) // 4].astype(np.float64)
    time = np.arange(len(middle)) / rate
    window = np.hanning(len(middle))
    waves = np.exp(-2j * np.pi * np.arange(1, count + 1)[:, None] * pitch * time)
    return 2 * np.abs((waves * window * middle).sum(1)) / window.sum()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("pitch", [75.0, 160.0, 330.0])
def test_a_known_voice_comes_back_with_its_pitch_and_amplitudes(rate: int, pitch: float) -> None:
    samples, expected = voice(rate, pitch)
    config = VocoderConfig(rate, order=min(59, 24 + rate // 800))
    found = analyse(samples, config)
    inner = slice(20, -20)
    assert np.abs(1200 * np.log2(found.pitch[inner] / pitch)).max() < 4
    made = synthesize(found, config)
    assert len(made) == len(samples) // config.hop * config.hop
    again, _ = f0(made, rate, config.hop, config.low, config.high)
    assert np.abs(1200 * np.log2(again[inner] / pitch)).max() < 8
    count = int(min(0.4 * rate, 4000) / pitch)
    got = amplitudes(made, rate, float(np.median(found.pitch[inner])), count)
    off = 20 * np.log10(got / expected[:count])
    assert np.abs(off).mean() < 1.0
    assert np.abs(off).max() < 4.0


def test_very_high_and_very_low_voices() -> None:
    for pitch, low, high in ((1000.0, 300.0, 1500.0), (45.0, 40.0, 200.0)):
        samples, _ = voice(22050, pitch)
        config = VocoderConfig(22050, low=low, high=high)
        made = synthesize(analyse(samples, config), config)
        again, _ = f0(made, 22050, config.hop, low, high)
        assert np.abs(1200 * np.log2(again[20:-20] / pitch)).max() < 10
        level = 20 * np.log10(made[2000:-2000].std() / samples[2000:-2000].std())
        assert abs(level) < 1.5


@pytest.mark.parametrize("rate", RATES)
def test_noise_stays_noise_of_its_colour(rate: int) -> None:
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.normal(0, 1, rate))
    spectrum *= tilt(np.fft.rfftfreq(rate, 1 / rate))
    samples = np.fft.irfft(spectrum, rate).astype(np.float32)
    config = VocoderConfig(rate)
    found = analyse(samples, config)
    assert (found.pitch > 0).mean() < 0.05
    made = synthesize(found, config)
    power = [np.abs(np.fft.rfft(x[: len(made)])) ** 2 for x in (made, samples)]
    edges = np.linspace(0, 0.45 * rate, 6) * len(made) / rate
    for low, high in zip(edges[:-1].astype(int), edges[1:].astype(int), strict=True):
        ratio = 10 * np.log10(power[0][low:high].mean() / power[1][low:high].mean())
        # Below the pitch that unvoiced frames are given, CheapTrick raises the spectrum.
        assert -1.5 < ratio < (1.8 if low == 0 else 1.2)


def test_silence_stays_silent() -> None:
    for samples in (np.zeros(22050, np.float32), np.full(22050, 0.25, np.float32)):
        config = VocoderConfig()
        found = analyse(samples, config)
        assert not found.pitch.any()
        made = synthesize(found, config)
        assert np.isfinite(made).all()
        assert np.abs(made[2000:-2000]).max() < 1e-4


@pytest.mark.parametrize("share", [-30.0, -20.0, -10.0, -3.0])
@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_a_known_share_of_noise_is_measured(rate: int, share: float) -> None:
    hop = rate // 200
    frames = 300
    time = np.arange(frames * hop)
    hertz = 130 * 2 ** (0.25 * np.sin(2 * np.pi * 1.5 * time / rate))
    pitch = hertz[np.arange(frames) * hop + hop // 2].astype(np.float32)
    tone, _ = harmonics(np.append(pitch, pitch[-1]).astype(np.float64), hop, rate, 0.0)
    # The harmonics' frames begin at the first centre.
    tone = np.concatenate([np.zeros(hop // 2), tone])[: frames * hop]
    noise = np.random.default_rng(1).normal(0, 1, frames * hop)
    power = 10 ** (share / 10)
    mixed = np.sqrt(1 - power) * tone + np.sqrt(power) * noise
    found = band_aperiodicity(mixed.astype(np.float32), rate, pitch, hop)[20:-20]
    means = 10 * np.log10((10 ** (found / 10)).mean(0))
    upper = np.where(band_centres(rate) > 0.35 * rate, 3.5, 1.5)
    assert (np.abs(means - share) < upper).all()


def test_aperiodicity_at_its_ends() -> None:
    rng = np.random.default_rng(0)
    pitch = np.full(100, 120, np.float32)
    noise = band_aperiodicity(rng.normal(0, 1, 11000).astype(np.float32), 22050, pitch, 110)
    assert np.median(noise) > -2
    clean, _ = voice(22050, 120.0, 0.6)
    assert np.median(band_aperiodicity(clean, 22050, pitch, 110)[10:-10]) == LEAST
    unvoiced = band_aperiodicity(clean, 22050, np.zeros(100, np.float32), 110)
    assert not unvoiced.any()


def test_the_envelope_is_a_power_density() -> None:
    noise = np.random.default_rng(0).normal(0, 0.5, 44100).astype(np.float32)
    found = spectral_envelope(noise, 22050, np.zeros(400, np.float32), 110, 1024)
    assert np.log(found).mean() == pytest.approx(np.log(0.25) - 0.35, abs=0.25)
    samples, amplitude = voice(22050, 200.0)
    found = spectral_envelope(samples, 22050, np.full(200, 200, np.float32), 110, 1024)
    bins = np.rint(np.arange(1, 20) * 200 * 1024 / 22050).astype(int)
    density = amplitude[:19] ** 2 / 4 * 22050 / 200
    off = 10 * np.log10(found[100, bins] / density)
    assert np.abs(off).max() < 2.0
    # Where in a period the window stands does not matter.
    spread = 10 * np.log10(found[60:120, : bins[-1]] / found[90, : bins[-1]])
    assert np.abs(spread).max() < 0.5


def test_a_mel_cepstrum_in_the_span_comes_back_exactly() -> None:
    cepstrum = np.random.default_rng(0).normal(0, 0.3, (5, 25))
    power = envelope(cepstrum, 0.42, 512)
    np.testing.assert_allclose(mel_cepstrum(power, 24, 0.42), cepstrum, atol=1e-9)
    # With alpha 0 it is the cosine series of the logarithm itself.
    omega = np.linspace(0, np.pi, 257)
    plain = np.exp(2 * cepstrum @ np.cos(np.arange(25)[:, None] * omega))
    np.testing.assert_allclose(envelope(cepstrum, 0.0, 512), plain)
    sharp = postfiltered(cepstrum, 0.4, 0.42, 512)
    np.testing.assert_allclose(envelope(sharp, 0.42, 512).mean(1), power.mean(1))
    np.testing.assert_allclose(sharp[:, 2:], 1.4 * cepstrum[:, 2:])


def test_the_filter_is_causal() -> None:
    cepstrum = np.random.default_rng(0).normal(0, 0.2, 25)
    response = np.exp(response_matrix(24, 0.42, 1024) @ cepstrum)
    impulse = np.fft.irfft(response, 1024)
    assert np.abs(impulse[512:]).max() < 1e-6 * np.abs(impulse).max()


def test_the_warping_follows_the_ear() -> None:
    omega = np.linspace(0, np.pi, 100)
    for rate in RATES:
        bent = warped(omega, alpha_for(rate))
        assert bent[0] == 0
        assert bent[-1] == pytest.approx(np.pi)
        assert (np.diff(bent) > 0).all()
    assert [alpha_for(rate) for rate in RATES] == sorted(alpha_for(rate) for rate in RATES)


def test_harmonics_have_unit_density_and_do_not_click() -> None:
    rate, hop = 16000, 80
    pitch = np.exp(np.linspace(np.log(400), np.log(80), 401))
    made, phase = harmonics(pitch, hop, rate, 0.0)
    assert 0 <= phase < 1
    whole = np.convolve(made**2, np.full(4000, 1 / 4000), "valid")
    assert np.abs(10 * np.log10(whole)).max() < 0.5
    first, middle = harmonics(pitch[:201], hop, rate, 0.0)
    second, _ = harmonics(pitch[200:], hop, rate, middle)
    np.testing.assert_allclose(np.concatenate([first, second]), made, atol=1e-6)


def test_unvoiced_frames_take_the_pitch_that_comes_or_keep_the_last() -> None:
    pitch = np.array([0, 0, 200, 210, 0, 0, 0, 100, 0], np.float32)
    expected = [50, 200, 200, 210, 210, 210, 100, 100, 100]
    assert filled(pitch, 50.0).tolist() == expected


@pytest.mark.parametrize("sizes", [[1] * 30, [2, 1, 40, 3], [100, 7], [0, 5, 0, 64]])
def test_streamed_pieces_are_the_whole(sizes: list[int]) -> None:
    config = VocoderConfig(16000)
    parameters = analyse(vowel(2.0, 16000), config)
    frames = sum(sizes)
    cut = _cut(parameters, 20, 20 + frames)
    edges = np.cumsum([0, *sizes])
    pieces = [_cut(cut, a, b) for a, b in pairwise(edges)]
    made = list(stream(iter(pieces), config, seed=3))
    whole = synthesize(cut, config, seed=3)
    np.testing.assert_allclose(np.concatenate(made), whole, atol=1e-6)
    # Audio is at most two frames and a filter's run-up behind.
    behind = 2.5 * config.hop + config.fft_size // 8
    arrived = np.cumsum([len(piece) for piece in made])[:-1]
    pushed = np.cumsum([size for size in sizes if size])
    assert (pushed * config.hop - arrived <= behind).all()


def _cut(parameters: Parameters, start: int, stop: int) -> Parameters:
    return Parameters(
        parameters.pitch[start:stop],
        parameters.cepstrum[:, start:stop],
        parameters.aperiodicity[:, start:stop],
    )


def test_the_same_seed_gives_the_same_audio() -> None:
    config = VocoderConfig(16000)
    parameters = analyse(vowel(0.5, 16000), config)
    made = synthesize(parameters, config, seed=1)
    assert (made == synthesize(parameters, config, seed=1)).all()
    assert (made != synthesize(parameters, config, seed=2)).any()


def test_wrong_parameters_and_settings_are_refused() -> None:
    config = VocoderConfig(16000)
    good = analyse(vowel(0.5, 16000), config)
    bad_pitch, bad_cepstrum = good.pitch.copy(), good.cepstrum.copy()
    bad_pitch[3], bad_cepstrum[2, 2] = -1, np.nan
    for pitch, cepstrum, match in (
        (bad_pitch, good.cepstrum, "0 \\(unvoiced\\) to 4000 Hz"),
        (good.pitch, bad_cepstrum, "cepstrum holds NaN"),
        (good.pitch, good.cepstrum[1:], "cepstrum must have shape"),
        (good.pitch[1:], good.cepstrum, "cepstrum must have shape"),
    ):
        with pytest.raises(InputError, match=match):
            synthesize(Parameters(pitch, cepstrum, good.aperiodicity), config)
    for values, match in (
        ({"sample_rate": 4000}, "sample_rate"),
        ({"hop_seconds": 0.1}, "hop_seconds"),
        ({"order": 0}, "order"),
        ({"low": 700.0}, "pitch range"),
        ({"sample_rate": 8000, "high": 2500.0}, "pitch range"),
    ):
        with pytest.raises(InputError, match=match):
            VocoderConfig(**values)
    with pytest.raises(InputError, match="shorter than one frame"):
        analyse(np.zeros(10, np.float32), config)
    with pytest.raises(InputError, match="the pitch lies between"):
        spectral_envelope(np.ones(4000, np.float32), 16000, np.full(9, 30, np.float32), 80, 512)
    with pytest.raises(InputError, match="cannot give"):
        mel_cepstrum(np.ones((1, 5)), 24, 0.42)
    assert fft_size_for(16000, 65.0) == 1024
    empty = Parameters(good.pitch[:0], good.cepstrum[:, :0], good.aperiodicity[:, :0])
    assert synthesize(empty, config).shape == (0,)
