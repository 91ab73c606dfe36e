"""The modulation-spectrum post-filter."""

from __future__ import annotations

import numpy as np
import pytest

from glottis.audio.modulation import ModulationFilter, modulation_spectrum
from glottis.errors import InputError


def tracks(count: int, smooth: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    kernel = np.ones(smooth) / smooth
    made = []
    for _ in range(count):
        noise = rng.normal((3.0, -1.0), 1, (rng.integers(100, 200), 2))
        made.append(np.stack([np.convolve(row, kernel, "same") for row in noise.T], axis=1))
    return made


def test_smoothed_tracks_get_their_spectrum_back() -> None:
    natural, generated = tracks(60, 1), tracks(60, 5)
    filtering = ModulationFilter.learn(natural, generated, 256)
    made = [filtering.apply(track) for track in generated]

    def level(rows: list[np.ndarray]) -> np.ndarray:
        return np.mean([np.log(modulation_spectrum(row, 256)[1:] + 1e-12) for row in rows], axis=0)

    before = np.abs(level(generated) - level(natural)).mean()
    after = np.abs(level(made) - level(natural)).mean()
    assert after < 0.35 * before
    for row, track in zip(made, generated, strict=True):
        assert row.shape == track.shape
        np.testing.assert_allclose(row.mean(0), track.mean(0), atol=0.3)


def test_strength_nothing_and_equal_kinds_change_nothing() -> None:
    natural, generated = tracks(20, 1), tracks(20, 5)
    filtering = ModulationFilter.learn(natural, generated, 256)
    np.testing.assert_allclose(filtering.apply(generated[0], 0.0), generated[0], atol=1e-10)
    same = ModulationFilter.learn(natural, natural, 256)
    np.testing.assert_allclose(same.apply(natural[0]), natural[0], atol=1e-10)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="no trajectories"):
        ModulationFilter.learn([], tracks(2, 1), 256)
    with pytest.raises(InputError, match="1 to 64 frames"):
        ModulationFilter.learn(tracks(2, 1), tracks(2, 1), 64)
    with pytest.raises(InputError, match="other dimensions"):
        ModulationFilter.learn(tracks(2, 1), [t[:, :1] for t in tracks(2, 1)], 256)
    filtering = ModulationFilter.learn(tracks(2, 1), tracks(2, 1), 256)
    with pytest.raises(InputError, match="strength"):
        filtering.apply(tracks(1, 1)[0], 2.0)
