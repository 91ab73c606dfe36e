"""Trajectories piece by piece: equal to the whole, beyond the look-ahead."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from glottis.errors import InputError
from glottis.kernels import WINDOWS, TrajectoryStream, mlpg

WIDE = ((0, 0, (1.0,)), (2, 2, (-0.2, -0.1, 0.0, 0.1, 0.2)), (1, 1, (1.0, -2.0, 1.0)))


def example(frames: int, static: int, windows: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(frames)
    size = (frames, static * windows)
    return rng.normal(0, 1, size), rng.uniform(0.05, 2.0, size)


def streamed(
    mean: np.ndarray, variance: np.ndarray, static: int, cuts: list[int], **options: object
) -> tuple[np.ndarray, list[int]]:
    stream = TrajectoryStream(static, **options)  # type: ignore[arg-type]
    made = [stream.push(mean[a:b], variance[a:b]) for a, b in pairwise([0, *cuts, len(mean)])]
    arrived = list(np.cumsum([len(piece) for piece in made]))
    return np.concatenate([*made, stream.finish()]), arrived


@pytest.mark.parametrize("windows", [WINDOWS, WIDE, WINDOWS[:2], WINDOWS[:1]])
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 6, 40])
@pytest.mark.parametrize("static", [1, 4])
def test_without_a_look_ahead_it_is_the_whole(windows: tuple, frames: int, static: int) -> None:
    mean, variance = example(frames, static, len(windows))
    whole = mlpg(mean, variance, windows, kind="reference")
    for cuts in ([], [1], list(range(1, frames)), [frames // 2]):
        made, _ = streamed(mean, variance, static, cuts, windows=windows, lookahead=None)
        np.testing.assert_allclose(made, whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("lookahead", [0, 5, 15, 60])
def test_what_comes_later_dies_away(lookahead: int) -> None:
    mean, variance = example(300, 3)
    whole = mlpg(mean, variance, kind="reference")
    made, arrived = streamed(mean, variance, 3, list(range(10, 300, 10)), lookahead=lookahead)
    assert made.shape == whole.shape
    error = np.abs(made - whole).max()
    assert error < {0: 4.0, 5: 0.5, 15: 0.02, 60: 1e-8}[lookahead]
    # Each frame waits for the look-ahead, and for two more whose windows reach it.
    pushed = np.arange(10, 310, 10)
    assert (np.array(arrived) == np.maximum(0, pushed - lookahead - 2)).all()


def test_bad_input_is_refused() -> None:
    mean, variance = example(6, 2)
    for static, lookahead in ((0, 3), (2, -1)):
        with pytest.raises(InputError, match="static must be"):
            TrajectoryStream(static, lookahead=lookahead)
    with pytest.raises(InputError, match=r"must be \[frames, 6\]"):
        TrajectoryStream(2).push(mean[:, :4], variance[:, :4])
    stream = TrajectoryStream(2)
    stream.push(mean[:3], variance[:3])
    variance[4, 1] = 0
    with pytest.raises(InputError, match="around frame 4"):
        stream.push(mean[3:], variance[3:])
    assert TrajectoryStream(2).finish().shape == (0, 2)
