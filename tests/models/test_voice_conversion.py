"""Conversion between two synthetic speakers who say the same."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glottis.audio.pitch import f0
from glottis.audio.vocoder import Parameters, VocoderConfig, analyse, synthesize
from glottis.corpus.pairing import Spoken
from glottis.errors import InputError
from glottis.likelihood.joint_density import JointDensity
from glottis.models.voice_conversion import Conversion, ConversionConfig, train

CONFIG = VocoderConfig(16000, order=15)
QUICK: dict[str, Any] = {
    "mixtures": 4,
    "rounds": 8,
    "alignments": 2,
    "channels": 16,
    "layers": 2,
    "steps": 60,
}


def spoken(seed: int, target: bool) -> np.ndarray:
    """A few vowels; the target speaks slower, higher, and with other formants."""
    return said(seed, target)[0]


@lru_cache
def said(seed: int, target: bool) -> tuple[np.ndarray, Spoken]:
    """The sound, and what is known of it."""
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
    made = synthesize(
        Parameters(
            ((220 if target else 120) * wave).astype(np.float32),
            np.concatenate([np.full((1, frames), -3.0), shape]).astype(np.float32),
            np.full((CONFIG.bands, frames), -25, np.float32),
        ),
        CONFIG,
        seed,
    )
    ends = [int(end) for end in lengths.cumsum()]
    phones = tuple("aiuo"[vowel] for vowel in vowels)
    known = analyse(made, CONFIG)
    return made, Spoken(known, f"sentence {seed}", phones, (0, *ends[:-1]), tuple(ends))


def learnt(method: str, pairs: str) -> Conversion:
    """From eight sentences; by phones, of eight others."""
    other = 20 if pairs == "phones" else 0
    speech = {
        "he": [said(seed, False)[1] for seed in range(8)],
        "she": [said(other + seed, True)[1] for seed in range(8)],
    }
    config = ConversionConfig(method=method, pairs=pairs, **QUICK)  # type: ignore[arg-type]
    return train(speech, CONFIG, config)


@pytest.fixture(scope="module")
def conversion() -> Conversion:
    return learnt("mixture", "words")


def _spectrum(samples: np.ndarray) -> np.ndarray:
    return analyse(samples, CONFIG).cepstrum[1:, 10:-10].mean(1)


@pytest.mark.parametrize("pairs", ["words", "phones"])
@pytest.mark.parametrize("method", ["mixture", "network"])
def test_an_unheard_sentence_moves_to_the_target(method: str, pairs: str) -> None:
    conversion = learnt(method, pairs)
    for source, target, hertz in (("he", "she", 220), ("she", "he", 120)):
        sound, wanted = spoken(50, source == "she"), spoken(50, target == "she")
        made = conversion.convert(sound, source, target)
        assert len(made) == len(sound) // CONFIG.hop * CONFIG.hop
        before = np.linalg.norm(_spectrum(sound) - _spectrum(wanted))
        after = np.linalg.norm(_spectrum(made) - _spectrum(wanted))
        assert after < 0.45 * before
        pitch, _ = f0(made, 16000, CONFIG.hop)
        assert np.median(pitch[pitch > 0]) == pytest.approx(hertz, rel=0.08)


def test_a_mixture_is_learnt_once_and_used_both_ways(conversion: Conversion) -> None:
    assert list(conversion.laws) == [("he", "she")]
    there, back = conversion.law("he", "she"), conversion.law("she", "he")
    assert isinstance(there, JointDensity)
    assert isinstance(back, JointDensity)
    x, y = np.random.default_rng(0).normal(0, 0.3, (2, 7, 2 * CONFIG.order))
    np.testing.assert_allclose(there.log_prob(x, y), back.log_prob(y, x), rtol=1e-10)


def test_to_oneself_nothing_changes(conversion: Conversion) -> None:
    known = said(3, True)[1].parameters
    assert conversion.parameters(known, "she", "she") is known


@pytest.mark.parametrize("method", ["mixture", "network"])
def test_a_saved_conversion_converts_alike(method: str, tmp_path: Path) -> None:
    conversion = learnt(method, "words")
    conversion.save(tmp_path / "c.npz")
    again = Conversion.load(tmp_path / "c.npz")
    source = spoken(51, False)
    np.testing.assert_array_equal(
        conversion.convert(source, "he", "she"), again.convert(source, "he", "she")
    )


def test_what_is_no_conversion_is_refused(conversion: Conversion, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no conversion"):
        Conversion.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="is not a conversion"):
        Conversion.load(tmp_path / "bad.npz")
    with pytest.raises(InputError, match="no speaker 'it'. Speakers: he, she"):
        conversion.convert(spoken(1, True), "she", "it")


def test_what_cannot_be_learned_is_refused() -> None:
    _, known = said(0, True)
    with pytest.raises(InputError, match="at least two speakers"):
        train({"she": [known]}, CONFIG)
    noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    mute = Spoken(analyse(noise, CONFIG), "sentence 0")
    quick = ConversionConfig(**QUICK)
    with pytest.raises(InputError, match="the speaker he hold no voice"):
        train({"he": [mute], "she": [known]}, CONFIG, quick)
    for changed, what in (({"words": "else"}, "words"), ({"phones": ("x",) * 5}, "phones")):
        other = replace(said(0, False)[1], **changed)  # type: ignore[arg-type]
        config = replace(quick, pairs=what)
        with pytest.raises(InputError, match=f"he and she have no {what} in common"):
            train({"he": [other], "she": [known]}, CONFIG, config)
    with pytest.raises(InputError, match="mixtures must be at least 1"):
        ConversionConfig(mixtures=0)
