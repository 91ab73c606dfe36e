"""Conversion between two synthetic speakers who say the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glottis.audio.pitch import f0
from glottis.audio.vocoder import Parameters, VocoderConfig, analyse, synthesize
from glottis.errors import InputError
from glottis.models.gmm_conversion import Conversion, ConversionConfig, train

CONFIG = VocoderConfig(16000, order=15)
QUICK = ConversionConfig(mixtures=4, rounds=8, alignments=2)


def spoken(seed: int, target: bool) -> np.ndarray:
    """A few vowels; the target speaks slower, higher, and with other formants."""
    rng = np.random.default_rng(100 + seed)
    table = np.random.default_rng(7).normal(0, 0.35, (4, 15)) / np.sqrt(np.arange(1, 16))
    vowels = rng.integers(0, 4, 5)
    lengths = rng.integers(22, 40, 5)
    if target:
        lengths = (lengths * rng.uniform(1.0, 1.5, 5)).astype(int)
    shape = table[np.repeat(vowels, lengths)]
    smooth = np.stack([np.convolve(row, np.ones(9) / 9, "same") for row in shape.T])
    frames = smooth.shape[1]
    wave = np.exp(0.1 * np.sin(np.arange(frames) / 15))
    shape = smooth * (0.7 if target else 1.0)
    shape[0] += 0.5 if target else 0.0
    shape[3] -= 0.3 if target else 0.0
    return synthesize(
        Parameters(
            ((220 if target else 120) * wave).astype(np.float32),
            np.concatenate([np.full((1, frames), -3.0), shape]).astype(np.float32),
            np.full((CONFIG.bands, frames), -25, np.float32),
        ),
        CONFIG,
        seed,
    )


@pytest.fixture(scope="module")
def conversion() -> Conversion:
    pairs = [(spoken(seed, False), spoken(seed, True)) for seed in range(6)]
    return train(pairs, CONFIG, QUICK)


def _spectrum(samples: np.ndarray) -> np.ndarray:
    return analyse(samples, CONFIG).cepstrum[1:, 10:-10].mean(1)


def test_an_unheard_sentence_moves_to_the_target(conversion: Conversion) -> None:
    source, target = spoken(50, False), spoken(50, True)
    made = conversion.convert(source)
    assert len(made) == len(source) // CONFIG.hop * CONFIG.hop
    before = np.linalg.norm(_spectrum(source) - _spectrum(target))
    after = np.linalg.norm(_spectrum(made) - _spectrum(target))
    assert after < 0.4 * before
    pitch, _ = f0(made, 16000, CONFIG.hop)
    assert np.median(pitch[pitch > 0]) == pytest.approx(220, rel=0.08)


def test_a_saved_conversion_converts_alike(conversion: Conversion, tmp_path: Path) -> None:
    conversion.save(tmp_path / "c.npz")
    again = Conversion.load(tmp_path / "c.npz")
    source = spoken(51, False)
    np.testing.assert_array_equal(conversion.convert(source), again.convert(source))
    with pytest.raises(InputError, match="there is no conversion"):
        Conversion.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="is not a conversion"):
        Conversion.load(tmp_path / "bad.npz")


def test_what_cannot_be_learned_is_refused() -> None:
    with pytest.raises(InputError, match="no pairs"):
        train([], CONFIG)
    noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    with pytest.raises(InputError, match="source speaker's recordings hold no voice"):
        train([(noise, spoken(0, True))], CONFIG, QUICK)
    with pytest.raises(InputError, match="at least 1"):
        ConversionConfig(mixtures=0)
