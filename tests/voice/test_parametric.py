"""Speaking from a distribution over vocoder parameters, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glottis.audio.mel_cepstrum import envelope
from glottis.audio.pitch import f0
from glottis.audio.vocoder import VocoderConfig, moved
from glottis.errors import InputError
from glottis.kernels import WINDOWS, mlpg
from glottis.voice.parametric import ParameterVoice

CONFIG = VocoderConfig(16000, order=19)
STATIC = 2 + CONFIG.order + CONFIG.bands
VOICE = ParameterVoice(CONFIG, np.full((1, STATIC), 1e-9))


def law(frames: int = 200, hertz: float = 150.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps between two vowels: ``(mean, variance, voicing)``."""
    rng = np.random.default_rng(0)
    mean = np.zeros((frames, 3 * STATIC), np.float32)
    mean[:, 0] = np.log(hertz)
    mean[:, 1] = -3.0
    vowels = 0.3 * rng.normal(0, 1, (2, CONFIG.order)) / np.arange(1, CONFIG.order + 1) ** 0.5
    mean[:, 2 : 2 + CONFIG.order] = vowels[np.arange(frames) // 50 % 2]
    mean[:, STATIC - CONFIG.bands : STATIC] = -30
    variance = np.full_like(mean, 0.05)
    variance[:, STATIC:] = 0.002
    return mean, variance, np.ones(frames, np.float32)


def test_streamed_speech_is_the_whole_beyond_the_look_ahead() -> None:
    given = law()
    whole = VOICE.speak(*given, seed=1)
    assert len(whole) == 200 * CONFIG.hop
    for lookahead, tolerance in ((10, 0.1), (30, 2e-3), (100, 1e-5)):
        pieces = list(VOICE.stream(*given, seed=1, lookahead=lookahead))
        made = np.concatenate(pieces)
        assert np.abs(made - whole).max() < tolerance * np.abs(whole).max()
    # The first sound does not wait for the end.
    first = next(piece for piece in VOICE.stream(*given, seed=1) if len(piece))
    assert len(first) < len(whole) / 2


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.5])
def test_the_pitch_follows_its_factor_and_the_formants_stay(factor: float) -> None:
    made = VOICE.speak(*law(), pitch=factor)
    found, _ = f0(made, 16000, CONFIG.hop)
    assert np.median(found[20:-20]) == pytest.approx(150 * factor, rel=0.01)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_the_timbre_moves_formants_and_leaves_the_pitch(factor: float) -> None:
    frames = 200
    mean, variance, voicing = law(frames)
    # One formant: a peak of the log spectrum at the warped frequency ``place``.
    place = 1.2
    order = np.arange(1, CONFIG.order + 1)
    mean[:, 2 : 2 + CONFIG.order] = 0.5 * np.cos(order * place) * np.exp(-order / 8.0)
    peaks = []
    for timbre in (1.0, factor):
        made = VOICE.speak(mean, variance, voicing, timbre=timbre)
        found, _ = f0(made, 16000, CONFIG.hop)
        assert np.median(found[20:-20]) == pytest.approx(150, rel=0.01)
        power = np.abs(np.fft.rfft(made[2000:-2000] * np.hanning(len(made) - 4000))) ** 2
        hertz = np.fft.rfftfreq(len(made) - 4000, 1 / 16000)
        smooth = np.convolve(power, np.hanning(150), "same")
        peaks.append(hertz[np.argmax(np.where(hertz > 100, smooth, 0))])
    assert peaks[1] / peaks[0] == pytest.approx(factor, rel=0.2)
    assert (peaks[1] > peaks[0]) == (factor > 1)
    assert moved(0.42, 1.0) == pytest.approx(0.42)


def test_a_flat_mean_is_stretched_to_the_variance_of_recordings() -> None:
    mean, variance, _ = law()
    wanted = 2.25 * mean[:, :STATIC].astype(np.float64).var(0)
    both = np.stack([np.full(STATIC, 1e-9), np.maximum(wanted, 1e-9)])
    flat = mlpg(mean.astype(np.float64), variance.astype(np.float64), WINDOWS, kind="reference")
    for speaker, spread, expected in ((1, 1.0, 2.25), (1, 0.5, 1.5), (1, 0.0, 1.0), (0, 1.0, 1.0)):
        voice = ParameterVoice(CONFIG, both, spread=spread)
        made = _cepstra(voice, mean, variance, speaker)
        ratio = made.var(1) / flat[:, 1 : 2 + CONFIG.order].var(0).clip(1e-12)
        np.testing.assert_allclose(ratio[1:], expected, rtol=1e-3)


def test_the_postfilter_sharpens_formants_and_keeps_the_level() -> None:
    mean, variance, _ = law()
    plain = _cepstra(VOICE, mean, variance)
    sharp = _cepstra(ParameterVoice(CONFIG, VOICE.global_variance, postfilter=0.3), mean, variance)
    np.testing.assert_allclose(sharp[2:], 1.3 * plain[2:], rtol=1e-4)
    np.testing.assert_allclose(sharp[1], plain[1], rtol=1e-5)
    levels = [
        np.log(envelope(cepstrum.T.astype(np.float64), CONFIG.alpha, 1024).mean(1))
        for cepstrum in (plain, sharp)
    ]
    # A long transform agrees with the short one that speaking uses, within a tenth of a dB.
    np.testing.assert_allclose(levels[1], levels[0], atol=0.1 * np.log(10) / 10)


def _cepstra(
    voice: ParameterVoice, mean: np.ndarray, variance: np.ndarray, speaker: int = 0
) -> np.ndarray:
    pieces = list(voice.parameters(mean, variance, np.ones(len(mean), np.float32), speaker))
    return np.concatenate([piece.cepstrum for piece in pieces], axis=1)


def test_unvoiced_speech_has_no_pitch() -> None:
    mean, variance, voicing = law()
    found, _ = f0(VOICE.speak(mean, variance, -voicing), 16000, CONFIG.hop)
    assert (found > 0).mean() < 0.1


def test_what_does_not_fit_is_refused() -> None:
    mean, variance, voicing = law(20)
    with pytest.raises(InputError, match="voicing must be"):
        VOICE.speak(mean, variance, voicing[1:])
    with pytest.raises(InputError, match="mean and variance must be"):
        VOICE.speak(mean[:, 1:], variance[:, 1:], voicing)
    for values, match in (({"pitch": 3.0}, "pitch must"), ({"timbre": 0.1}, "timbre must")):
        with pytest.raises(InputError, match=match):
            VOICE.check(**{"pitch": 1.0, "timbre": 1.0, **values})
    good = {
        "order": 19,
        "low": 65.0,
        "high": 600.0,
        "spread": 1.0,
        "postfilter": 0.2,
        "global_variance": [[1.0] * STATIC] * 2,
    }
    read = ParameterVoice.read(good, 16000, 2, Path("v.json"))
    assert (read.config, read.spread, read.postfilter) == (CONFIG, 1.0, 0.2)
    for key, value, match in (
        ("order", None, "glottis.parameters"),
        ("order", 24, "must be 31 positive numbers"),
        ("global_variance", [[0.0] * STATIC] * 2, "positive numbers"),
        ("global_variance", [1.0] * STATIC, "for each of 2 speakers"),
        ("postfilter", 1.5, "from 0 to 1"),
        ("spread", "much", "spread|float"),
        ("low", 900.0, "pitch range"),
    ):
        with pytest.raises(InputError, match=match):
            ParameterVoice.read({**good, key: value}, 16000, 2, Path("v.json"))
    del good["high"]
    with pytest.raises(InputError, match="'high' is missing"):
        ParameterVoice.read(good, 16000, 2, Path("v.json"))
