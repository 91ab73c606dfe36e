"""All alignments at once, optional tokens, scores and paths: against exhaustive enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glottis.kernels import mas, mas_path, mas_with_score, search, soft

KINDS = search.available()
every_kind = pytest.mark.parametrize("kind", KINDS)


def alignments(text: int, frames: int, optional: np.ndarray | None = None) -> list[np.ndarray]:
    """Every non-decreasing assignment that leaves out optional tokens only."""
    skips = np.zeros(text, bool) if optional is None else optional
    found = []
    for path in itertools.combinations_with_replacement(range(text), frames):
        durations = np.bincount(path, minlength=text)
        if (durations[~skips] > 0).all():
            found.append(durations)
    return found


def score(log_prob: np.ndarray, durations: np.ndarray) -> float:
    token = np.repeat(np.arange(len(durations)), durations)
    return float(log_prob[token, np.arange(len(token))].sum())


sizes = st.tuples(st.integers(1, 5), st.integers(0, 4), st.integers(0, 1000))


@every_kind
@settings(max_examples=40, deadline=None)
@given(size=sizes)
def test_the_total_and_posteriors_sum_over_all_alignments(
    kind: str, size: tuple[int, int, int]
) -> None:
    text, extra, seed = size
    frames = text + extra
    cells = np.random.default_rng(seed).standard_normal((1, text, frames)) * 3
    total, posterior = soft(cells, kind=kind)
    weights = {tuple(a): np.exp(score(cells[0], a)) for a in alignments(text, frames)}
    np.testing.assert_allclose(total[0], np.log(sum(weights.values())), rtol=1e-12)
    expected = np.zeros((text, frames))
    for durations, weight in weights.items():
        expected[np.repeat(np.arange(text), durations), np.arange(frames)] += weight
    np.testing.assert_allclose(posterior[0], expected / sum(weights.values()), atol=1e-12)


@every_kind
@settings(max_examples=40, deadline=None)
@given(size=sizes, data=st.data())
def test_the_sum_goes_over_alignments_that_leave_out_optional_tokens(
    kind: str, size: tuple[int, int, int], data: st.DataObject
) -> None:
    text, extra, seed = size
    optional = np.array(data.draw(st.lists(st.booleans(), min_size=text, max_size=text)))
    frames = max(1, int((~optional).sum())) + extra
    cells = np.random.default_rng(seed).standard_normal((1, text, frames)) * 3
    total, posterior = soft(cells, optional=optional[None], kind=kind)
    expected, whole = np.zeros((text, frames)), 0.0
    for durations in alignments(text, frames, optional):
        weight = np.exp(score(cells[0], durations))
        whole += weight
        expected[np.repeat(np.arange(text), durations), np.arange(frames)] += weight
    np.testing.assert_allclose(total[0], np.log(whole), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(posterior[0], expected / whole, atol=1e-12)


@every_kind
@settings(max_examples=60, deadline=None)
@given(size=sizes, data=st.data())
def test_optional_tokens_are_left_out_when_that_scores_higher(
    kind: str, size: tuple[int, int, int], data: st.DataObject
) -> None:
    text, extra, seed = size
    optional = np.array(data.draw(st.lists(st.booleans(), min_size=text, max_size=text)))
    frames = max(1, int((~optional).sum())) + extra
    cells = np.random.default_rng(seed).integers(-4, 5, (1, text, frames)).astype(np.float32)
    found, best = mas_with_score(cells, optional=optional[None], kind=kind)
    every = alignments(text, frames, optional)
    assert any((found[0] == each).all() for each in every)
    assert best[0] == score(cells[0], found[0]) == max(score(cells[0], each) for each in every)
    np.testing.assert_array_equal(
        found, mas(cells, optional=optional[None], kind="reference"), "ties differ"
    )


@every_kind
def test_without_optional_tokens_the_topologies_agree(kind: str) -> None:
    cells = np.random.default_rng(0).integers(-2, 3, (3, 20, 90)).astype(np.float32)
    text, frames = np.array([20, 7, 1]), np.array([90, 60, 20])
    none = np.zeros((3, 20), bool)
    expected = mas(cells, text, frames, kind=kind)
    np.testing.assert_array_equal(mas(cells, text, frames, optional=none, kind=kind), expected)
    none[0, 20:] = none[1, 7:] = none[2, 1:] = True  # padding may say what it likes
    np.testing.assert_array_equal(mas(cells, text, frames, optional=none, kind=kind), expected)


@every_kind
def test_optional_tokens_may_outnumber_the_frames(kind: str) -> None:
    optional = np.array([[True, False, True, True, False, True]])
    assert mas(np.zeros((1, 6, 2)), optional=optional, kind=kind).tolist() == [[0, 1, 0, 0, 1, 0]]
    with pytest.raises(ValueError, match="batch item 0: 2 tokens cannot be aligned with 1"):
        mas(np.zeros((1, 6, 1)), optional=optional, kind=kind)
    with pytest.raises(ValueError, match="optional must be bool"):
        mas(np.zeros((1, 6, 9)), optional=[[0] * 6], kind=kind)


@every_kind
def test_score_and_path_say_what_the_durations_say(kind: str) -> None:
    cells = torch.randn(3, 9, 40, dtype=torch.float64)
    text, frames = torch.tensor([9, 4, 1]), torch.tensor([40, 30, 2])
    durations, best = mas_with_score(cells, text, frames, kind=kind)
    path = mas_path(cells, text, frames, kind=kind)
    assert path.dtype == cells.dtype
    assert path.shape == cells.shape
    assert torch.equal(path.sum(2).long(), durations)
    assert set(path.unique().tolist()) == {0.0, 1.0}
    assert (path.sum(1).cumsum(1)[torch.arange(3), frames - 1] == frames).all()
    torch.testing.assert_close((path * cells).sum((1, 2)), best)
    steps = path.argmax(1)
    for item in range(3):
        assert (
            steps[item, : frames[item]].diff().clamp(0, 1) == steps[item, : frames[item]].diff()
        ).all()


@every_kind
@pytest.mark.parametrize("skipping", [False, True])
@pytest.mark.parametrize("band", [None, 0.35])
def test_gradients(kind: str, band: float | None, skipping: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    cells = torch.randn(2, 4, 7, dtype=torch.float64, generator=generator).requires_grad_()
    options = {"text_lengths": torch.tensor([4, 2]), "frame_lengths": torch.tensor([7, 5])}
    if skipping:
        options["optional"] = torch.tensor([[True, False, True, True], [False, True, False, True]])

    def both(cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return soft(cells, **options, band=band, kind=kind)

    assert torch.autograd.gradcheck(both, cells)
    assert torch.autograd.gradgradcheck(lambda cells: both(cells)[0], cells)
    posterior = both(cells)[1]
    (first,) = torch.autograd.grad(posterior.square().sum(), cells, create_graph=True)
    with pytest.raises(NotImplementedError, match="twice in its total and once in its posterior"):
        first.sum().backward()


def test_the_second_derivative_is_a_covariance() -> None:
    cells = np.random.default_rng(2).standard_normal((1, 4, 8))
    every = alignments(4, 8)
    visits = np.zeros((len(every), 4, 8))
    for row, durations in zip(visits, every, strict=True):
        row[np.repeat(np.arange(4), durations), np.arange(8)] = 1
    weight = np.exp([score(cells[0], durations) for durations in every])
    weight /= weight.sum()
    flat = (visits - np.tensordot(weight, visits, 1)).reshape(len(every), -1)
    expected = flat.T @ (weight[:, None] * flat)
    found = torch.autograd.functional.hessian(
        lambda x: soft(x)[0].sum(), torch.from_numpy(cells)
    ).reshape(32, 32)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@every_kind
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_ragged_padding_and_types(kind: str, dtype: str) -> None:
    generator = torch.Generator().manual_seed(0)
    cells = 5 * torch.randn(4, 12, 50, generator=generator)
    cells = cells.to(getattr(torch, dtype))
    text, frames = torch.tensor([12, 5, 1, 12]), torch.tensor([50, 31, 9, 12])
    expected = [each.numpy() for each in soft(cells.double(), text, frames, kind="reference")]
    for item in range(4):
        cells[item, text[item] :] = torch.nan
        cells[item, :, frames[item] :] = torch.nan
    strided = cells.permute(2, 0, 1).contiguous().permute(1, 2, 0).requires_grad_()
    total, posterior = soft(strided, text, frames, kind=kind)
    assert total.dtype == posterior.dtype
    assert total.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    np.testing.assert_allclose(total.detach().numpy(), expected[0], rtol=1e-6)
    np.testing.assert_allclose(posterior.detach().numpy(), expected[1], atol=1e-6)
    inside = torch.arange(50) < frames[:, None]
    torch.testing.assert_close(posterior.sum(1), inside.to(posterior.dtype), atol=1e-5, rtol=0)
    total.sum().backward()
    assert strided.grad is not None
    assert strided.grad.dtype == strided.dtype
    torch.testing.assert_close(strided.grad.to(posterior.dtype), posterior, atol=4e-3, rtol=1e-2)


@every_kind
def test_scores_far_beyond_what_exp_holds(kind: str) -> None:
    # The only way through is 5,000 nats below its neighbours: linear-domain sums underflow.
    cells = np.full((1, 2, 30), -1.0)
    cells[0, 1] = -5000.0
    total, posterior = soft(cells, kind=kind)
    np.testing.assert_allclose(total, [-29.0 - 5000.0])
    np.testing.assert_allclose(posterior.sum(1), 1.0)


@every_kind
def test_the_total_is_at_least_the_best_score_and_meets_it_when_sharpened(kind: str) -> None:
    cells = np.random.default_rng(3).standard_normal((2, 10, 40))
    _, best = mas_with_score(cells, kind=kind)
    total, _ = soft(cells, kind=kind)
    assert (total > best).all()
    sharp, posterior = soft(cells * 1e4, kind=kind)
    np.testing.assert_allclose(sharp / 1e4, best, rtol=1e-4)
    np.testing.assert_array_equal(posterior.round(), mas_path(cells, kind=kind))


@every_kind
def test_a_band_keeps_alignments_near_the_diagonal(kind: str) -> None:
    cells = np.random.default_rng(4).standard_normal((1, 12, 48))
    token, frame = (np.arange(12) + 0.5) / 12, (np.arange(48) + 0.5) / 48
    for band in (0.05, 0.2, 2.0):
        total, posterior = soft(cells, band=band, kind=kind)
        beyond = np.abs(token[:, None] - frame) > band + 1e-9
        assert not posterior[0][beyond].any()
        kept = np.where(beyond, -np.inf, cells[0])[None]
        np.testing.assert_allclose(total, soft(kept, kind="reference")[0])
    with pytest.raises(ValueError, match="band must be above 0"):
        soft(cells, band=0.0, kind=kind)


@every_kind
def test_bad_input_names_the_item(kind: str) -> None:
    cells = np.zeros((2, 3, 6))
    cells[1, 2, 5] = np.nan
    with pytest.raises(ValueError, match="batch item 1: a NaN"):
        soft(cells, kind=kind)
    cells[1, :, 5] = -np.inf
    with pytest.raises(ValueError, match="batch item 1: every path"):
        soft(cells, kind=kind)
    with pytest.raises(ValueError, match="batch item 0: 3 tokens"):
        soft(np.zeros((1, 3, 2)), kind=kind)
    assert soft(np.zeros((0, 3, 6)), kind=kind)[1].shape == (0, 3, 6)
