"""Parameter generation: every form against dense algebra, its derivatives, and its convention."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glottis.kernels import WINDOWS, mlpg, mlpg_solve, trajectory, trajectory_reference

KINDS = trajectory.available()
every_kind = pytest.mark.parametrize("kind", KINDS)

# The sets that nnmnkwii tests with, and some it does not: lopsided and three frames to a side.
WINDOW_SETS: list[list[tuple[int, int, list[float]]]] = [
    [(0, 0, [1.0])],
    [(0, 0, [1.0]), (1, 1, [-0.5, 0.0, 0.5])],
    [(0, 0, [1.0]), (1, 1, [-0.5, 0.0, 0.5]), (1, 1, [1.0, -2.0, 1.0])],
    [
        (0, 0, [1.0]),
        (2, 2, [1 / 12, -8 / 12, 0.0, 8 / 12, -1 / 12]),
        (2, 2, [-1 / 12, 16 / 12, -30 / 12, 16 / 12, -1 / 12]),
    ],
    [(0, 0, [1.0]), (0, 1, [-1.0, 1.0]), (3, 1, [0.1, 0.2, -0.6, 0.1, 0.2])],
]
every_set = pytest.mark.parametrize("windows", WINDOW_SETS, ids=range(len(WINDOW_SETS)))


def textbook(mean: np.ndarray, variance: np.ndarray, windows: list[Any]) -> np.ndarray:
    """One item, ``[frames, width]``, written out from the paper with nnmnkwii's edges."""
    frames, width = mean.shape
    static = width // len(windows)
    reach = max(max(left, right) for left, right, _ in windows)
    result = np.zeros((frames, static))
    for d in range(static):
        matrix, right_side = np.zeros((frames, frames)), np.zeros(frames)
        for w, (left, _, coefficients) in enumerate(windows):
            for t in range(frames):
                if w and not reach <= t < frames - reach:
                    continue
                row = np.zeros(frames)
                for k, c in enumerate(coefficients):
                    if 0 <= t + k - left < frames:
                        row[t + k - left] = c
                weight = 1 / variance[t, w * static + d]
                matrix += weight * np.outer(row, row)
                right_side += weight * mean[t, w * static + d] * row
        result[:, d] = np.linalg.solve(matrix, right_side)
    return result


def example(
    windows: list[Any], *batch: int, frames: int = 10, static: int = 2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (*batch, frames, static * len(windows))
    return rng.random(shape), rng.random(shape) + 0.05


@every_kind
@every_set
@settings(max_examples=12, deadline=None)
@given(
    frames=st.integers(1, 14),
    static=st.integers(1, 4),
    items=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_it_is_the_textbooks_dense_solution(
    kind: str, windows: list[Any], frames: int, static: int, items: int, seed: int
) -> None:
    mean, variance = example(windows, items, frames=frames, static=static, seed=seed)
    expected = np.stack([textbook(m, v, windows) for m, v in zip(mean, variance, strict=True)])
    found = mlpg(torch.from_numpy(mean), torch.from_numpy(variance), windows, kind=kind)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)
    if kind != "torch":
        np.testing.assert_allclose(
            mlpg(mean, variance, windows, kind=kind), expected, rtol=1e-9, atol=1e-9
        )


@every_kind
@every_set
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nnmnkwiis_cases_one_variance_for_all_frames(
    kind: str, windows: list[Any], dtype: str
) -> None:
    mean, variance = (torch.from_numpy(each) for each in example(windows))
    mean, variance = mean.to(getattr(torch, dtype)), variance[0].to(getattr(torch, dtype))
    one = mlpg(mean, variance, windows, kind=kind)
    each = mlpg(mean, variance.expand_as(mean), windows, kind=kind)
    assert one.shape == (10, 2)
    assert one.dtype == mean.dtype
    torch.testing.assert_close(one, each)


@every_kind
def test_nnmnkwiis_case_unit_variances(kind: str) -> None:
    # With unit variances and its window matrices, y is a fixed linear map of the means.
    windows = WINDOW_SETS[2]
    mean, _ = example(windows)
    matrix = np.zeros((30, 10))
    for w, (left, _, coefficients) in enumerate(windows):
        for t in range(10) if w == 0 else range(1, 9):
            for k, c in enumerate(coefficients):
                matrix[w * 10 + t, t + k - left] = c
    linear = np.linalg.solve(matrix.T @ matrix, matrix.T)
    stacked = mean.reshape(10, 3, 2).transpose(1, 0, 2).reshape(30, 2)
    found = mlpg(torch.from_numpy(mean), torch.ones(6, dtype=torch.float64), windows, kind=kind)
    np.testing.assert_allclose(found, linear @ stacked, rtol=1e-10)


@every_kind
@every_set
def test_very_short_inputs_give_the_static_means(kind: str, windows: list[Any]) -> None:
    reach = max(max(left, right) for left, right, _ in windows)
    for frames in range(1, 2 * reach + 1):
        mean, variance = example(windows, 3, frames=frames)
        found = mlpg(torch.from_numpy(mean), torch.from_numpy(variance), windows, kind=kind)
        np.testing.assert_allclose(found, mean[..., :2], rtol=1e-12)


@every_set
def test_the_bare_solve_is_that_of_the_dense_matrix(windows: list[Any]) -> None:
    frames, static = 9, 2
    rng = np.random.default_rng(1)
    precision = rng.random((1, frames, static * len(windows))) + 0.1
    right_side = rng.random((1, frames, static))
    dense = trajectory_reference.precision_matrices(precision, windows)[0]
    expected = np.stack([np.linalg.solve(dense[d], right_side[0, :, d]) for d in range(static)], 1)
    found = mlpg_solve(torch.from_numpy(right_side), torch.from_numpy(precision), windows)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-9)


@every_kind
def test_a_trajectorys_own_features_give_the_trajectory_back(kind: str) -> None:
    track = torch.randn(2, 30, 3, dtype=torch.float64)
    features = [track]
    for left, right, coefficients in WINDOWS[1:]:
        padded = torch.nn.functional.pad(track, (0, 0, left, right))
        features.append(sum(c * padded[:, k : k + 30] for k, c in enumerate(coefficients)))
    mean = torch.cat(features, dim=2)
    variance = torch.rand(mean.shape, dtype=torch.float64) + 0.1
    torch.testing.assert_close(mlpg(mean, variance, kind=kind), track)


@every_kind
@every_set
@pytest.mark.parametrize("ragged", [False, True])
def test_gradients_of_mean_and_variance_and_theirs(
    kind: str, windows: list[Any], ragged: bool
) -> None:
    mean, variance = (
        torch.from_numpy(each).requires_grad_() for each in example(windows, 2, frames=8, static=1)
    )
    lengths = torch.tensor([8, 5]) if ragged else None

    def generate(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        return mlpg(mean, variance, windows, lengths, kind=kind)

    assert torch.autograd.gradcheck(generate, (mean, variance))
    assert torch.autograd.gradgradcheck(generate, (mean, variance))


@every_kind
def test_padding_decouples_and_its_nan_goes_nowhere(kind: str) -> None:
    lengths = [12, 7, 2, 1]
    mean, variance = (torch.from_numpy(e) for e in example(WINDOW_SETS[3], 4, frames=12))
    alone = [
        mlpg(mean[i, :n], variance[i, :n], WINDOW_SETS[3], kind=kind) for i, n in enumerate(lengths)
    ]
    for i, n in enumerate(lengths):
        mean[i, n:] = torch.nan
        variance[i, n:] = torch.nan if i % 2 else 0.0
    mean.requires_grad_()
    variance.requires_grad_()
    found = mlpg(mean, variance, WINDOW_SETS[3], torch.tensor(lengths), kind=kind)
    for i, n in enumerate(lengths):
        torch.testing.assert_close(found[i, :n], alone[i])
        assert not found[i, n:].any()
    found.square().sum().backward()
    for tensor in (mean, variance):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert all(not tensor.grad[i, n:].any() for i, n in enumerate(lengths))


@every_kind
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [("float16", 2e-3), ("bfloat16", 1e-2), ("float32", 1e-6), ("float64", 1e-12)],
)
def test_types_are_kept_and_strides_do_not_matter(kind: str, dtype: str, tolerance: float) -> None:
    mean, variance = (
        torch.from_numpy(each).to(getattr(torch, dtype)) for each in example(WINDOW_SETS[2], 3)
    )
    doubles = zip(mean.double().numpy(), variance.double().numpy(), strict=True)
    expected = np.stack([textbook(m, v, WINDOW_SETS[2]) for m, v in doubles])
    mean = mean.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    variance = variance.flip(1).contiguous().flip(1)
    before = mean.clone()
    found = mlpg(mean, variance, WINDOW_SETS[2], kind=kind)
    assert found.dtype == mean.dtype
    assert torch.equal(mean, before)
    np.testing.assert_allclose(found.double(), expected, rtol=tolerance, atol=tolerance)


@every_kind
@pytest.mark.parametrize("shape", [(0, 5, 6), (2, 0, 5, 6), (2, 3, 5, 6), (5, 6)])
def test_any_batch_shape(kind: str, shape: tuple[int, ...]) -> None:
    mean = torch.randn(shape, dtype=torch.float64)
    found = mlpg(mean, torch.ones(6, dtype=torch.float64), kind=kind)
    assert found.shape == (*shape[:-1], 2)
    flat = mean.reshape(-1, 5, 6)
    for row, item in zip(found.reshape(-1, 5, 2), flat, strict=True):
        np.testing.assert_allclose(row, textbook(item.numpy(), np.ones((5, 6)), list(WINDOWS)))


@every_kind
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("column", [0, 1])
def test_variances_that_cannot_be_are_refused(kind: str, value: float, column: int) -> None:
    mean = torch.zeros(3, 20, 6)
    variance = torch.ones(3, 20, 6)
    variance[1, 11, column] = value
    with pytest.raises(
        ValueError, match=r"variances around frame (9|10|11|12) are not all positive"
    ):
        mlpg(mean, variance, kind=kind)


@every_kind
def test_a_mean_that_is_nan_stays_in_its_dimension(kind: str) -> None:
    mean, variance = (torch.from_numpy(each) for each in example(WINDOW_SETS[3], 2, frames=12))
    clean = mlpg(mean, variance, WINDOW_SETS[3], kind=kind)
    mean[1, 5, 1] = torch.nan
    found = mlpg(mean, variance, WINDOW_SETS[3], kind=kind)
    assert found[1, :, 1].isnan().any()
    found[1, :, 1] = clean[1, :, 1]
    torch.testing.assert_close(found, clean)


@every_kind
def test_an_infinite_variance_says_nothing_about_its_feature(kind: str) -> None:
    mean = torch.randn(20, 3, dtype=torch.float64)
    variance = torch.ones(20, 3, dtype=torch.float64)
    variance[8:11, 0] = torch.inf  # a gap that the differences bridge
    bridged = mlpg(mean, variance, kind=kind)
    torch.testing.assert_close(bridged, mlpg(mean, variance.clamp(max=1e14), kind=kind))
    with pytest.raises(ValueError, match="variances around frame 0"):
        mlpg(mean, torch.full_like(variance, torch.inf), kind=kind)


@every_kind
@pytest.mark.parametrize(
    ("shape", "windows", "message"),
    [
        ((9, 7), WINDOWS, "not divisible by the number of windows"),
        ((7,), WINDOWS, "not divisible"),
        ((9, 6), [(1, 1, [-0.5, 0, 0.5]), (0, 0, [1])], "first window must be the static"),
        ((9, 6), [(0, 0, [2.0]), (0, 0, [1])], "first window must be the static"),
        ((9, 6), [], "first window must be the static"),
        ((9, 6), [(0, 0, [1]), (1, 1, [1, 2])], "takes 3 coefficients, not 2"),
        ((9, 6), [(0, 0, [1]), (-1, 1, [1])], "takes 1 coefficients|reaches -1"),
        ((9, 6), [(0, 0, [1]), 5], r"must be \(left, right, coefficients\)"),
    ],
)
def test_widths_and_windows_that_do_not_fit_are_refused(
    kind: str, shape: tuple[int, ...], windows: list[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mlpg(torch.ones(shape), torch.ones(shape), windows, kind=kind)


def test_other_wrong_arguments_are_refused() -> None:
    mean = torch.ones(2, 9, 6)
    with pytest.raises(ValueError, match="does not broadcast"):
        mlpg(mean, torch.ones(5))
    with pytest.raises(ValueError, match="lengths must be integers"):
        mlpg(mean, torch.ones(6), lengths=[9])
    with pytest.raises(ValueError, match="batch item 1: length 10"):
        mlpg(mean, torch.ones(6), lengths=[9, 10])
    with pytest.raises(ValueError, match="floating"):
        mlpg(mean.long(), torch.ones(6))
    with pytest.raises(ValueError, match="no kind 'bandmat'"):
        mlpg(mean, torch.ones(6), kind="bandmat")
    with pytest.raises(ValueError, match="cannot run as 'torch'"):
        mlpg(mean.numpy(), np.ones(6), kind="torch")


def test_narrow_and_wide_features_and_threads_agree() -> None:
    from glottis.kernels import trajectory_numba as compiled

    rng = np.random.default_rng(0)
    for static in (1, 3, 70):
        mean = rng.standard_normal((7, 400, 3 * static))
        precision = rng.random(mean.shape) + 0.1
        together = compiled.solve(mean, precision, WINDOWS, True, threads=1)
        shared = compiled.solve(mean, precision, WINDOWS, True, threads=3)
        np.testing.assert_array_equal(together, shared)
        alone = compiled.solve(mean[3:4], precision[3:4], WINDOWS, True)
        np.testing.assert_allclose(together[3:4], alone, rtol=1e-12)


def test_vmap_and_compile_see_one_operator() -> None:
    mean = torch.randn(3, 2, 9, 6, dtype=torch.float64, requires_grad=True)
    variance = torch.rand(3, 9, 6, dtype=torch.float64) + 0.2
    mapped = torch.func.vmap(mlpg, in_dims=(1, None))(mean, variance[0])
    torch.testing.assert_close(mapped, mlpg(mean, variance[0]).transpose(0, 1))
    mapped = torch.func.vmap(mlpg)(mean[:, 0], variance)
    torch.testing.assert_close(mapped, mlpg(mean[:, 0], variance))

    compiled = torch.compile(mlpg, fullgraph=True, backend="aot_eager")
    found = compiled(mean[:, 0], variance)
    torch.testing.assert_close(found, mlpg(mean[:, 0], variance))
    (gradient,) = torch.autograd.grad(found.square().sum(), mean)
    (expected,) = torch.autograd.grad(mlpg(mean[:, 0], variance).square().sum(), mean)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_are_kept_under_vmap_and_compile(dtype: torch.dtype) -> None:
    mean, variance = (torch.from_numpy(each).to(dtype) for each in example(WINDOW_SETS[2], 3))
    exact = mlpg(mean.double(), variance.double())
    # Half types are solved in more digits and rounded once, at the end: half a unit of the last.
    rtol, atol = torch.finfo(dtype).eps, torch.finfo(dtype).eps / 4
    if dtype in (torch.float32, torch.float64):
        rtol, atol = 8 * rtol, 8 * atol
    every = mlpg, torch.func.vmap(mlpg), torch.compile(mlpg, fullgraph=True, backend="aot_eager")
    for form in every:
        given = mean.clone().requires_grad_(), variance.clone().requires_grad_()
        found = form(*given)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), exact, rtol=rtol, atol=atol)
        gradients = torch.autograd.grad(found.sum(), given)
        assert [each.dtype for each in gradients] == [dtype, dtype]
        assert all(each.isfinite().all() for each in gradients)


def test_torchs_own_checks_of_the_operator() -> None:
    from glottis.kernels import trajectory_torch

    mean = torch.randn(2, 8, 6, dtype=torch.float64, requires_grad=True)
    precision = torch.rand(2, 8, 6, dtype=torch.float64).add(0.1).requires_grad_()
    rest = (*trajectory_torch.packed(WINDOWS), True, "numba")
    torch.library.opcheck(trajectory_torch.trajectory, (mean, precision, *rest))


def test_memory_and_time_are_linear_in_frames() -> None:
    rng = np.random.default_rng(0)
    times = []
    for frames in (2_000, 20_000):
        mean = rng.standard_normal((frames, 30)).astype(np.float32)
        mlpg(mean, np.ones(30, np.float32))
        runs = []
        for _ in range(5):
            start = time.thread_time()
            mlpg(mean, np.ones(30, np.float32))
            runs.append(time.thread_time() - start)
        times.append(min(runs))
    assert times[1] < 40 * times[0], "ten times the frames, and nothing like a hundred times"


def test_numpy_needs_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from glottis.kernels import mlpg\n"
        "print(mlpg(np.ones((4, 3), np.float32), np.ones(3, np.float32)).dtype)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "float32", result.stderr
