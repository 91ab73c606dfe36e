import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from glottis.audio.limiter import limit

RATE = 22050


@settings(max_examples=50)
@given(hnp.arrays(np.float32, st.integers(0, 2000), elements=st.floats(-8, 8, width=32)))
def test_nothing_leaves_full_scale_and_quiet_audio_is_untouched(samples):
    limited = limit(samples, RATE)
    assert limited.shape == samples.shape
    assert np.abs(limited).max(initial=0) <= 1
    assert (np.abs(limited) <= np.abs(samples) + 1e-6).all()
    if np.abs(samples).max(initial=0) <= 1:
        assert limited is samples


def test_only_the_loud_moment_is_turned_down_and_smoothly():
    time = np.arange(RATE) / RATE
    samples = (0.5 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    samples[10000:10200] *= 4
    limited = limit(samples, RATE)
    far = np.abs(np.arange(RATE) - 10100) > 100 + 2 * 0.005 * RATE + 2
    np.testing.assert_array_equal(limited[far], samples[far])
    loud = np.abs(samples) > 0.05
    gain = limited[loud] / samples[loud]
    assert np.abs(np.diff(gain)).max() < 0.1
