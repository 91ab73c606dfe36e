"""The period that log-mels tell, of voices whose period is known."""

from __future__ import annotations

import numpy as np
import pytest

from glottis.audio.mel import MelConfig, log_mel
from glottis.audio.period import Period

CONFIG = MelConfig()


def _voice(hertz: float, seconds: float = 0.5) -> np.ndarray:
    """Harmonics of even level to 4 kHz, with noise 40 dB below them."""
    time = np.arange(int(seconds * CONFIG.sample_rate)) / CONFIG.sample_rate
    count = int(4000 / hertz)
    random = np.random.default_rng(0)
    phases = random.uniform(0, 2 * np.pi, count)
    waves = (np.cos(2 * np.pi * k * hertz * time + phases[k - 1]) for k in range(1, count + 1))
    sound = 0.3 * np.sum(list(waves), axis=0) / np.sqrt(count)
    return (sound + 0.003 * random.standard_normal(len(time))).astype(np.float32)


@pytest.mark.parametrize("hertz", [120.0, 150.0, 185.0, 220.0, 270.0, 330.0])
def test_the_period_of_a_steady_voice(hertz: float) -> None:
    found = Period(CONFIG)(log_mel(_voice(hertz), CONFIG))[4:-4]
    assert np.abs(found - CONFIG.sample_rate / hertz).max() <= 4


def test_a_frame_does_not_depend_on_its_company_and_stays_within_the_limits() -> None:
    period = Period(CONFIG)
    mel = np.random.default_rng(1).normal(-5, 2, (3, 80, 40)).astype(np.float32)
    whole = period(mel)
    assert whole.shape == (3, 40)
    assert whole.min() >= period.shortest
    assert whole.max() <= period.longest
    for frame in range(40):
        assert np.array_equal(period(mel[..., frame : frame + 1])[..., 0], whole[:, frame])


def test_silence_and_numbers_below_the_floor_give_a_period_too() -> None:
    found = Period(CONFIG)(np.full((80, 3), -np.inf, np.float32))
    assert ((found >= Period(CONFIG).shortest) & (found <= Period(CONFIG).longest)).all()
