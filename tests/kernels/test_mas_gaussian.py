"""Lattice and search in one pass: the laws of ``mas``, for Gaussians instead of cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glottis.kernels import mas_gaussian, mas_with_score, search
from glottis.kernels.mas_reference import search_gaussian
from glottis.likelihood.lattice import GaussianLattice

KINDS = search.available()
every_kind = pytest.mark.parametrize("kind", KINDS)
Arrays = tuple[np.ndarray, np.ndarray | None, np.ndarray]


def draw(
    seed: int, batch: int, channels: int, text: int, frames: int, unit: bool = False
) -> Arrays:
    """Latents that come from the tokens' Gaussians, in order."""
    rng = np.random.default_rng(seed)
    mean = rng.standard_normal((batch, channels, text)) + 0.5
    log_scale = 0.3 * rng.standard_normal((batch, channels, text)) - 0.2
    token = np.sort(rng.integers(0, text, (batch, 1, frames)), axis=2)
    noise = rng.standard_normal((batch, channels, frames))
    scale = 1.0 if unit else np.exp(np.take_along_axis(log_scale, token, 2))
    latent = np.take_along_axis(mean, token, 2) + noise * scale
    return mean, None if unit else log_scale, latent


def lengths(seed: int, batch: int, text: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, text + 1, batch)
    return tokens, rng.integers(tokens, frames + 1)


def single(arrays: Arrays) -> Arrays:
    mean, log_scale, latent = arrays
    less = None if log_scale is None else log_scale.astype(np.float32)
    return mean.astype(np.float32), less, latent.astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(0, 3),
    channels=st.sampled_from([1, 2, 5]),
    text=st.sampled_from([1, 2, 7, 8, 9, 16, 17, 24, 25, 31, 32, 33, 40, 49, 71]),
    extra=st.sampled_from([0, 1, 5, 6, 7, 30, 60]),
    block=st.sampled_from([1, 5, 6, 13, 48, 256]),
    unit=st.booleans(),
    seed=st.integers(0, 99),
)
def test_in_float64_it_finds_what_the_reference_finds(
    batch: int, channels: int, text: int, extra: int, block: int, unit: bool, seed: int
) -> None:
    # Every width of strip and tile, blocks that end anywhere, text as long as frames, one of each.
    arrays = draw(seed, batch, channels, text, text + extra, unit)
    which = lengths(seed, batch, text, text + extra) if seed % 2 else (None, None)
    expected, score = mas_gaussian(*arrays, *which, kind="reference")
    durations, found = mas_gaussian(*arrays, *which, block=block, kind=KINDS[0])
    np.testing.assert_array_equal(durations, expected)
    np.testing.assert_allclose(found, score, rtol=1e-11, atol=1e-9)


def test_the_reference_is_the_search_through_torchs_normal() -> None:
    mean, log_scale, latent = (torch.from_numpy(each) for each in draw(1, 2, 3, 6, 20))
    normal = torch.distributions.Normal(mean[..., None], log_scale.exp()[..., None])
    cells = normal.log_prob(latent[:, :, None, :]).sum(1)
    durations, score = mas_with_score(cells, [6, 4], [20, 11])
    found = search_gaussian(
        mean.numpy(), log_scale.numpy(), latent.numpy(), np.array([6, 4]), np.array([20, 11])
    )
    np.testing.assert_array_equal(found[0], durations.numpy())
    np.testing.assert_allclose(found[1], score.numpy(), rtol=1e-12)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("shape", [(3, 80, 60, 300), (2, 192, 33, 33), (2, 192, 100, 1000)])
def test_in_float32_it_finds_what_the_whole_lattice_gives(
    shape: tuple[int, ...], unit: bool
) -> None:
    mean, log_scale, latent = (
        None if each is None else torch.from_numpy(each) for each in single(draw(2, *shape, unit))
    )
    which = [torch.from_numpy(each) for each in lengths(3, shape[0], *shape[2:])]
    lattice = GaussianLattice(mean, log_scale, text_lengths=which[0])
    expected, score = mas_with_score(lattice.log_prob(latent, which[1]), *which)
    durations, found = mas_gaussian(mean, log_scale, latent, *which)
    assert durations.dtype == torch.int64
    assert found.dtype == torch.float64
    assert torch.equal(durations, expected)
    # The tolerance that the lattice itself is tested with, for each frame of a path.
    assert ((found - score).abs() / which[1]).max() < 5e-4


def test_centring_keeps_float32_exact_far_from_zero() -> None:
    mean, log_scale, latent = draw(4, 1, 80, 40, 200)
    assert log_scale is not None
    log_scale = log_scale - 2
    latent = mean[:, :, np.arange(200) // 5] + 0.1 * np.random.default_rng(0).standard_normal(
        (1, 80, 200)
    )
    exact = mas_gaussian(mean - 6, log_scale, latent - 6, kind="reference")
    found = mas_gaussian(*single((mean - 6, log_scale, latent - 6)))
    np.testing.assert_array_equal(found[0], exact[0])
    assert abs(found[1] - exact[1]).max() / 200 < 5e-3


@every_kind
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("unit", [False, True])
def test_what_lies_in_padding_does_not_matter(kind: str, poison: float, unit: bool) -> None:
    arrays = draw(5, 4, 3, 23, 90, unit)
    which = lengths(5, 4, 23, 90)
    expected = mas_gaussian(*arrays, *which, kind=kind)
    mean, log_scale, latent = arrays
    for item, (tokens, frames) in enumerate(zip(*which, strict=True)):
        mean[item, :, tokens:] = poison
        latent[item, :, frames:] = poison
        if log_scale is not None:
            log_scale[item, :, tokens:] = poison
    found = mas_gaussian(mean, log_scale, latent, *which, kind=kind)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    beyond = np.arange(23) >= which[0][:, None]
    assert not found[0][beyond].any()


@every_kind
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_nan_inside_the_lengths_is_found_wherever_it_is(kind: str, data: st.DataObject) -> None:
    # Of what is skipped every row and column has cells that a path can pass.
    text = data.draw(st.integers(1, 45))
    frames = text + data.draw(st.integers(0, 50))
    arrays = list(single(draw(6, 2, 2, text, frames)))
    which = data.draw(st.integers(0, 2))
    place = data.draw(st.integers(0, (frames if which == 2 else text) - 1))
    value = np.nan if which == 1 else data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    arrays[which][1, 0, place] = value
    with pytest.raises(ValueError, match=r"batch item 1: (a NaN|every path)"):
        mas_gaussian(*arrays, kind=kind)


@pytest.mark.parametrize("kind", KINDS[:1])
def test_a_long_ragged_batch_in_blocks_equals_each_item_alone(kind: str) -> None:
    arrays = single(draw(7, 5, 8, 90, 700))
    tokens, frames = np.array([90, 90, 1, 33, 64]), np.array([700, 90, 700, 500, 65])
    mean, log_scale, latent = arrays
    assert log_scale is not None
    durations, score = mas_gaussian(*arrays, tokens, frames, block=50, kind=kind)
    np.testing.assert_array_equal(durations.sum(1), frames)
    assert durations[1].tolist() == [1] * 90
    for item, (i, j) in enumerate(zip(tokens, frames, strict=True)):
        one = slice(item, item + 1)
        alone = mas_gaussian(mean[one, :, :i], log_scale[one, :, :i], latent[one, :, :j], kind=kind)
        np.testing.assert_array_equal(durations[item, :i], alone[0][0])
        assert score[item] == alone[1][0]


@every_kind
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("layout", ["contiguous", "turned", "every second"])
def test_any_type_and_strides_in_torch(kind: str, dtype: str, layout: str) -> None:
    tensors = [torch.from_numpy(each).to(getattr(torch, dtype)) for each in draw(8, 2, 4, 20, 90)]
    expected = mas_gaussian(*(each.double() for each in tensors), kind="reference")
    if layout == "turned":
        tensors = [each.transpose(1, 2).contiguous().transpose(1, 2) for each in tensors]
    elif layout == "every second":
        tensors = [each.repeat_interleave(2, dim=2)[:, :, ::2] for each in tensors]
    before = [each.clone() for each in tensors]
    durations, score = mas_gaussian(*(each.requires_grad_() for each in tensors), kind=kind)
    assert torch.equal(durations, expected[0])
    torch.testing.assert_close(score, expected[1], rtol=0, atol=0.02)
    for each, old in zip(tensors, before, strict=True):
        assert torch.equal(each, old), "the input was modified"


def test_types_may_be_mixed_and_a_scale_may_be_repeated_without_memory() -> None:
    mean, log_scale, latent = (torch.from_numpy(each) for each in draw(9, 2, 4, 20, 90))
    log_scale = log_scale[:1, :, :1]
    expected = mas_gaussian(mean, log_scale.expand_as(mean).contiguous(), latent)
    found = mas_gaussian(mean, log_scale.expand_as(mean), latent)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    mixed = mas_gaussian(mean.half(), log_scale.expand_as(mean), latent.bfloat16())
    again = mas_gaussian(mean.half().double(), log_scale.expand_as(mean), latent.bfloat16())
    assert torch.equal(mixed[1], again[1])


def test_threads_do_not_change_the_result() -> None:
    from glottis.kernels import mas_gaussian_numba

    arrays = single(draw(10, 7, 16, 40, 400))
    which = lengths(10, 7, 40, 400)
    one = mas_gaussian_numba.search(*arrays, *which, threads=1)
    for threads in (2, 16):
        more = mas_gaussian_numba.search(*arrays, *which, threads=threads)
        np.testing.assert_array_equal(one[0], more[0])
        np.testing.assert_array_equal(one[1], more[1])


@every_kind
@pytest.mark.parametrize("shape", [(0, 3, 5), (0, 3, 0)])
def test_an_empty_batch_is_fine(kind: str, shape: tuple[int, ...]) -> None:
    durations, score = mas_gaussian(np.zeros(shape), None, np.zeros((0, 3, 9)), kind=kind)
    assert durations.shape == (0, shape[2])
    assert score.shape == (0,)


@every_kind
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": np.zeros((2, 3))}, "mean and latent must be"),
        ({"latent": np.zeros((2, 4, 9))}, "mean and latent must be"),
        ({"latent": np.zeros((1, 3, 9))}, "mean and latent must be"),
        ({"mean": np.zeros((2, 0, 5)), "latent": np.zeros((2, 0, 9))}, "one or more"),
        ({"log_scale": np.zeros((2, 3, 1))}, "log_scale must have the mean's shape"),
        ({"latent": np.zeros((2, 3, 9), np.int64)}, "floating types"),
        ({"latent": np.zeros((2, 3, 4))}, "batch item 0: 5 tokens cannot be aligned with 4"),
        ({"text_lengths": [5, 0]}, "batch item 1: text length 0"),
        ({"frame_lengths": [9, 10]}, "batch item 1: frame length 10"),
        ({"frame_lengths": [9, 4]}, "batch item 1: 5 tokens cannot be aligned with 4"),
        ({"block": 0}, "block must be one frame"),
        ({"log_scale": np.full((2, 3, 5), math.nan)}, "batch item 0: a NaN"),
    ],
)
def test_wrong_arguments_are_refused(
    kind: str, arguments: dict[str, np.ndarray], message: str
) -> None:
    good = {"mean": np.zeros((2, 3, 5)), "log_scale": None, "latent": np.zeros((2, 3, 9))}
    with pytest.raises(ValueError, match=message):
        mas_gaussian(**{**good, **arguments}, kind=kind)
