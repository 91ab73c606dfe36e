"""The trajectory Gaussian against torch's dense multivariate normal."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glottis.kernels import WINDOWS, mlpg
from glottis.likelihood.trajectory import TrajectoryGaussian

SETS = [
    list(WINDOWS),
    [(0, 0, [1.0])],
    [(0, 0, [1.0]), (2, 2, [-0.2, -0.1, 0.0, 0.1, 0.2]), (0, 1, [-1.0, 1.0])],
]
every_set = pytest.mark.parametrize("windows", SETS, ids=range(len(SETS)))


def example(windows: list, *batch: int, frames: int = 9, static: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (*batch, frames, static * len(windows))
    mean = torch.randn(shape, generator=generator, dtype=torch.float64)
    return mean, torch.rand(shape, generator=generator, dtype=torch.float64) + 0.2


def dense(mean: Tensor, variance: Tensor, windows: list) -> list[torch.distributions.Distribution]:
    """One torch distribution a static dimension, for one item ``[frames, width]``."""
    frames, width = mean.shape
    static = width // len(windows)
    reach = max(max(left, right) for left, right, _ in windows)
    found = []
    for d in range(static):
        matrix = torch.zeros(frames, frames, dtype=torch.float64)
        right_side = torch.zeros(frames, dtype=torch.float64)
        for w, (left, right, coefficients) in enumerate(windows):
            shifts = range(-left, right + 1)
            window = sum(
                c * torch.diag(torch.ones(frames - abs(k), dtype=torch.float64), k)
                for k, c in zip(shifts, coefficients, strict=True)
            )
            weight = 1 / variance[:, w * static + d]
            if w:
                weight[:reach] = 0
                weight[frames - reach :] = 0
            matrix = matrix + window.T @ (weight[:, None] * window)
            right_side = right_side + window.T @ (weight * mean[:, w * static + d])
        found.append(
            torch.distributions.MultivariateNormal(
                torch.linalg.solve(matrix, right_side), precision_matrix=matrix
            )
        )
    return found


@every_set
def test_density_entropy_and_mean_are_those_of_the_dense_normal(windows: list) -> None:
    mean, variance = example(windows, 3)
    gaussian = TrajectoryGaussian(mean, variance, windows)
    track = torch.randn(3, 9, 2, dtype=torch.float64)
    assert gaussian.batch_shape == (3,)
    assert gaussian.event_shape == (9, 2)
    torch.testing.assert_close(gaussian.mean, mlpg(mean, variance, windows))
    for item in range(3):
        normals = dense(mean[item], variance[item], windows)
        parts = [normal.log_prob(track[item, :, d]) for d, normal in enumerate(normals)]
        torch.testing.assert_close(gaussian.log_prob(track)[item], sum(parts))
        entropy = sum(normal.entropy() for normal in normals)
        torch.testing.assert_close(gaussian.entropy()[item], entropy)


def test_samples_have_the_mean_and_covariance() -> None:
    mean, variance = example(SETS[0], frames=5, static=1)
    gaussian = TrajectoryGaussian(mean, variance)
    draws = gaussian.sample((20000,), torch.Generator().manual_seed(1))
    again = gaussian.sample((20000,), torch.Generator().manual_seed(1))
    assert torch.equal(draws, again)
    (normal,) = dense(mean, variance, SETS[0])
    torch.testing.assert_close(draws.mean(0), gaussian.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(
        draws[..., 0].T.cov(), normal.covariance_matrix, atol=0.02, rtol=0.05
    )
    # Minus the mean log-density of samples is the entropy.
    torch.testing.assert_close(
        -gaussian.log_prob(draws).mean(), gaussian.entropy(), atol=0.03, rtol=0
    )


def test_it_integrates_to_one() -> None:
    mean, variance = example(SETS[1], frames=1, static=2)
    gaussian = TrajectoryGaussian(mean, variance, SETS[1])
    axis = torch.linspace(-9, 9, 361, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis).reshape(-1, 1, 2)
    total = gaussian.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-6, rtol=0)


@every_set
def test_gradients(windows: list) -> None:
    mean, variance = (each.requires_grad_() for each in example(windows, 2, frames=7, static=1))
    track = torch.randn(2, 7, 1, dtype=torch.float64, requires_grad=True)

    def density(mean: Tensor, variance: Tensor, track: Tensor) -> Tensor:
        return TrajectoryGaussian(mean, variance, windows).log_prob(track)

    assert torch.autograd.gradcheck(density, (mean, variance, track))
    assert torch.autograd.gradcheck(
        lambda v: TrajectoryGaussian(mean.detach(), v, windows).entropy(), variance
    )


def test_training_on_trajectories_lowers_their_loss_not_that_of_frames() -> None:
    # The likelihood of frames counts static and dynamic features as if they were independent
    # data; the trajectory's is a density of what is observed, and so never the larger at its best.
    generator = torch.Generator().manual_seed(3)
    track = torch.randn(40, 1, generator=generator, dtype=torch.float64).cumsum(0)
    mean = torch.zeros(40, 3, dtype=torch.float64, requires_grad=True)
    log_variance = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([mean, log_variance], 0.05)
    losses = []
    for _ in range(60):
        loss = -TrajectoryGaussian(mean, log_variance.exp()).log_prob(track)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 20


def test_batches_broadcast_as_torch_does() -> None:
    mean, variance = example(SETS[0], 2, 3)
    gaussian = TrajectoryGaussian(mean, variance[0, 0, 0])
    assert gaussian.batch_shape == (2, 3)
    one = torch.randn(9, 2, dtype=torch.float64)
    many = one.expand(4, 2, 3, 9, 2)
    assert gaussian.log_prob(one).shape == (2, 3)
    assert gaussian.log_prob(many).shape == (4, 2, 3)
    torch.testing.assert_close(gaussian.log_prob(many)[2], gaussian.log_prob(one))
    assert gaussian.sample((5,)).shape == (5, 2, 3, 9, 2)
    alone = TrajectoryGaussian(mean[1, 2], variance[0, 0, 0])
    torch.testing.assert_close(gaussian.log_prob(one)[1, 2], alone.log_prob(one))


@settings(max_examples=15, deadline=None)
@given(
    batch=st.lists(st.integers(0, 3), max_size=2),
    frames=st.integers(1, 8),
    static=st.integers(1, 3),
    draws=st.lists(st.integers(0, 2), max_size=2),
)
def test_any_shapes_are_those_of_each_item(
    batch: list[int], frames: int, static: int, draws: list[int]
) -> None:
    mean, variance = example(SETS[0], *batch, frames=frames, static=static)
    gaussian = TrajectoryGaussian(mean, variance)
    assert gaussian.entropy().shape == tuple(batch)
    drawn = gaussian.sample(torch.Size(draws))
    assert drawn.shape == (*draws, *batch, frames, static)
    density = gaussian.log_prob(drawn)
    assert density.shape == (*draws, *batch)
    for index in itertools.product(*map(range, batch)):
        alone = TrajectoryGaussian(mean[index], variance[index])
        here = (..., *index, slice(None), slice(None))
        torch.testing.assert_close(alone.log_prob(drawn[here]), density[(..., *index)])


def test_float32_is_kept_and_long_tracks_stay_exact() -> None:
    mean, variance = example(SETS[0], frames=3000, static=2)
    wide = TrajectoryGaussian(mean, variance)
    track = wide.sample((), torch.Generator().manual_seed(0))
    narrow = TrajectoryGaussian(mean.float(), variance.float())
    density = narrow.log_prob(track.float())
    assert density.dtype == torch.float32
    assert math.isclose(float(density), float(wide.log_prob(track)), rel_tol=1e-5)


def natural(frames: int = 80, static: int = 3) -> tuple[TrajectoryGaussian, Tensor]:
    """A distribution as a decision tree gives it, in steps, and the variance of natural tracks."""
    generator = torch.Generator().manual_seed(5)
    steps = torch.randn(frames // 10, static, generator=generator, dtype=torch.float64)
    mean = torch.zeros(frames, 3 * static, dtype=torch.float64)
    mean[:, :static] = steps.repeat_interleave(10, 0)
    variance = torch.tensor([1.0, 0.05, 0.05], dtype=torch.float64).repeat_interleave(static)
    target = 1.1 * mean[:, :static].var(0, correction=0)
    return TrajectoryGaussian(mean.expand(2, frames, -1), variance), target


@pytest.mark.parametrize("weight", [None, 0.02])
def test_global_variance_raises_the_objective_and_the_variance(weight: float | None) -> None:
    gaussian, target = natural()
    spread = (0.1 * target).square()
    chosen = 1 / 240 if weight is None else weight

    def objective(track: Tensor) -> Tensor:
        found = track.var(-2, correction=0)
        global_part = torch.distributions.Normal(target, spread.sqrt()).log_prob(found).sum(-1)
        return chosen * gaussian.log_prob(track) + global_part

    tracks = [
        gaussian.mode_with_global_variance(target, spread, weight=weight, steps=steps)
        for steps in (0, 3, 20, 60)
    ]
    values = [objective(track) for track in tracks]
    assert (objective(gaussian.mean) < values[0]).all()
    for earlier, later in itertools.pairwise(values):
        assert (later >= earlier).all()
    assert (values[3] - values[2] < 0.01 * (values[2] - values[0]) + 1e-4).all()
    smooth = gaussian.mean.var(-2, correction=0)
    found = tracks[-1].var(-2, correction=0)
    assert (smooth < 0.8 * target).all()
    assert ((found - target).abs() < 0.4 * (smooth - target).abs()).all()
    # A stationary point: no direction of the last trajectory still climbs.
    free = tracks[-1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(objective(free).sum(), free)
    start = tracks[0].clone().requires_grad_()
    (first,) = torch.autograd.grad(objective(start).sum(), start)
    assert slope.norm() < 0.05 * first.norm()


def test_global_variance_of_one_item_does_not_depend_on_its_neighbours() -> None:
    gaussian, target = natural()
    other = TrajectoryGaussian(
        gaussian.features * torch.tensor([1.0, 3.0])[:, None, None], gaussian.variances
    )
    spread = (0.1 * target).square()
    together = other.mode_with_global_variance(target, spread)
    alone = gaussian.mode_with_global_variance(target, spread)
    torch.testing.assert_close(together[0], alone[0])
    single = TrajectoryGaussian(gaussian.features[0].float(), gaussian.variances.float())
    narrow = single.mode_with_global_variance(target.float(), spread.float())
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), alone[0], atol=1e-3, rtol=1e-3)


def test_global_variances_that_cannot_be_are_refused() -> None:
    gaussian, target = natural()
    with pytest.raises(ValueError, match="mean must be positive"):
        gaussian.mode_with_global_variance(-target, target)
    with pytest.raises(ValueError, match="variance must be positive"):
        gaussian.mode_with_global_variance(target, 0 * target)
    with pytest.raises(ValueError, match="does not broadcast"):
        gaussian.mode_with_global_variance(target[:2], target)
    with pytest.raises(ValueError, match="weight must be above 0"):
        gaussian.mode_with_global_variance(target, target, weight=0.0)


def test_wrong_arguments_are_refused() -> None:
    mean, variance = example(SETS[0], 2)
    with pytest.raises(ValueError, match="a trajectory must be"):
        TrajectoryGaussian(mean, variance).log_prob(torch.zeros(2, 8, 2))
    with pytest.raises(ValueError, match="not all positive"):
        TrajectoryGaussian(mean, -variance)
    with pytest.raises(ValueError, match="not divisible"):
        TrajectoryGaussian(mean[..., :5], variance[..., :5])
