"""The Gaussian lattice against torch's own Normal in float64, and where the four terms break."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glottis.kernels import mas
from glottis.likelihood.lattice import GaussianLattice


def exact(mean: Tensor, log_scale: Tensor | None, latent: Tensor) -> Tensor:
    """``[batch, text, frames]``, each difference taken before it is squared, in float64."""
    mean, latent = mean.double(), latent.double()
    scale = torch.ones_like(mean) if log_scale is None else log_scale.double().exp()
    pairs = torch.distributions.Normal(mean[..., None], scale[..., None])
    return pairs.log_prob(latent[:, :, None, :]).sum(1)


def four_terms(mean: Tensor, log_scale: Tensor, latent: Tensor) -> Tensor:
    """As Glow-TTS and VITS write it: nothing is centred."""
    precision = torch.exp(-2 * log_scale)
    first = (-0.5 * math.log(2 * math.pi) - log_scale).sum(1)[:, :, None]
    second = precision.transpose(1, 2) @ (-0.5 * latent**2)
    third = (mean * precision).transpose(1, 2) @ latent
    fourth = (-0.5 * mean**2 * precision).sum(1)[:, :, None]
    return first + second + third + fourth


def draw(
    seed: int, batch: int, channels: int, text: int, frames: int, offset: float, log_scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents that come from the tokens' Gaussians, in order."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(batch, channels, text, generator=generator) + offset
    scale = 0.2 * torch.randn(batch, channels, text, generator=generator) + log_scale
    token = torch.linspace(0, max(text - 1, 0), frames).round().long()
    noise = torch.randn(batch, channels, frames, generator=generator)
    return mean, scale, mean[:, :, token] + noise * scale.exp()[:, :, token]


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(0, 3),
    channels=st.integers(1, 9),
    text=st.integers(1, 12),
    frames=st.integers(1, 30),
    unit=st.booleans(),
)
def test_equal_to_torchs_normal(
    batch: int, channels: int, text: int, frames: int, unit: bool
) -> None:
    mean, log_scale, latent = draw(1, batch, channels, text, frames, 0.5, -0.3)
    scale = None if unit else log_scale.double()
    lattice = GaussianLattice(mean.double(), scale).log_prob(latent.double())
    assert lattice.shape == (batch, text, frames)
    torch.testing.assert_close(lattice, exact(mean, scale, latent), rtol=1e-10, atol=1e-10)


def test_the_shortcut_for_unit_variance_is_the_general_form() -> None:
    mean, _, latent = draw(2, 2, 80, 30, 90, -6.0, 0.0)
    general = GaussianLattice(mean, torch.zeros(1, 1, 1)).log_prob(latent)
    torch.testing.assert_close(GaussianLattice(mean).log_prob(latent), general, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("offset", "log_scale", "tolerance"),
    [(-6.0, -2.0, 5e-3), (100.0, -0.3, 1e-3), (0.0, 0.0, 5e-4)],
    ids=["log-mels, small scales", "offset 100", "standardised"],
)
def test_centring_cures_the_cancellation(offset: float, log_scale: float, tolerance: float) -> None:
    mean, scale, latent = draw(3, 2, 80, 40, 200, offset, log_scale)
    truth = exact(mean, scale, latent)
    # Cells that a path may pass: float32 cannot resolve more than its last digit of the others.
    near = truth > truth.amax(1, keepdim=True) - 100
    error = (GaussianLattice(mean, scale).log_prob(latent) - truth)[near].abs().max()
    assert error < tolerance
    if offset:
        naive = (four_terms(mean, scale, latent) - truth)[near].abs().max()
        assert naive > max(tolerance, 8 * error), "the example no longer shows the defect"


def test_a_common_shift_changes_nothing() -> None:
    mean, scale, latent = draw(4, 2, 16, 10, 40, 0.0, 0.0)
    here = GaussianLattice(mean, scale).log_prob(latent)
    there = GaussianLattice(mean + 64, scale).log_prob(latent + 64)
    torch.testing.assert_close(here, there, rtol=0, atol=5e-3)


def test_bfloat16_and_autocast_compute_in_float32() -> None:
    mean, scale, latent = draw(5, 2, 80, 12, 60, 0.0, -0.5)
    mean, scale, latent = mean.bfloat16(), scale.bfloat16(), latent.bfloat16()
    truth = exact(mean, scale, latent)
    lattice = GaussianLattice(mean, scale).log_prob(latent)
    assert lattice.dtype == torch.float32
    torch.testing.assert_close(lattice.double(), truth, rtol=1e-5, atol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = GaussianLattice(mean.float(), scale.float()).log_prob(latent.float())
    assert under.dtype == torch.float32
    torch.testing.assert_close(under.double(), truth, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_gradients(unit: bool, ragged: bool) -> None:
    mean, log_scale, latent = (each.double() for each in draw(6, 2, 3, 4, 6, 1.0, -0.2))
    lengths = {"text_lengths": torch.tensor([4, 2])} if ragged else {}
    frames = torch.tensor([5, 6]) if ragged else None

    def lattice(mean: Tensor, latent: Tensor, *scale: Tensor) -> Tensor:
        return GaussianLattice(mean, *scale, **lengths).log_prob(latent, frames)

    inputs = [mean, latent] if unit else [mean, latent, log_scale]
    inputs = [each.requires_grad_() for each in inputs]
    assert torch.autograd.gradcheck(lattice, inputs)
    assert torch.autograd.gradgradcheck(lattice, inputs)


def test_padding_is_zero_and_its_nan_goes_nowhere() -> None:
    mean, scale, latent = draw(7, 3, 5, 8, 20, 0.0, 0.0)
    text, frames = torch.tensor([8, 3, 1]), torch.tensor([20, 11, 1])
    outside_text = torch.arange(8) >= text[:, None]
    outside_frames = torch.arange(20) >= frames[:, None]
    inputs = [
        mean.masked_fill(outside_text[:, None], math.nan).requires_grad_(),
        scale.masked_fill(outside_text[:, None], math.nan).requires_grad_(),
        latent.masked_fill(outside_frames[:, None], math.nan).requires_grad_(),
    ]
    lattice = GaussianLattice(*inputs[:2], text_lengths=text).log_prob(inputs[2], frames)
    outside = outside_text[:, :, None] | outside_frames[:, None, :]
    assert (lattice[outside] == 0).all()
    expected = exact(mean, scale, latent)
    torch.testing.assert_close(lattice[~outside].double(), expected[~outside], rtol=0, atol=1e-3)
    lattice.sum().backward()
    for each, beyond in zip(inputs, (outside_text, outside_text, outside_frames), strict=True):
        assert each.grad is not None
        assert each.grad.isfinite().all()
        assert (each.grad.masked_select(beyond[:, None]) == 0).all()
    assert torch.equal(mas(lattice, text, frames).sum(1), frames)


@pytest.mark.parametrize("unit", [False, True])
def test_without_gradients_it_is_the_same_to_the_last_bit(unit: bool) -> None:
    mean, scale, latent = draw(10, 3, 16, 9, 40, 1.0, -0.3)
    lattice = GaussianLattice(mean, None if unit else scale, text_lengths=torch.tensor([9, 4, 1]))
    frames = torch.tensor([40, 17, 1])
    kept = latent.clone()
    expected = lattice.log_prob(latent, frames)
    with torch.no_grad():
        assert torch.equal(lattice.log_prob(latent.requires_grad_(), frames), expected)
    assert torch.equal(latent, kept)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_vmap_and_compile_trace_it(unit: bool, gradients: bool) -> None:
    mean, scale, latent = draw(11, 6, 5, 4, 9, 1.0, -0.3)

    def lattice(mean: Tensor, scale: Tensor, latent: Tensor) -> Tensor:
        given = None if unit else scale
        return GaussianLattice(mean, given, validate_args=False).log_prob(latent)

    inputs = mean, scale, latent
    with torch.set_grad_enabled(gradients):
        expected = lattice(*inputs)
        found = torch.compile(lattice, backend="aot_eager", fullgraph=True)(*inputs)
        torch.testing.assert_close(found, expected)
        parts = (each.view(2, 3, *each.shape[1:]) for each in inputs)
        torch.testing.assert_close(torch.vmap(lattice)(*parts).flatten(0, 1), expected)


def test_the_search_reads_it_without_a_copy() -> None:
    mean, scale, latent = draw(8, 2, 4, 5, 9, 0.0, 0.0)
    assert GaussianLattice(mean, scale).log_prob(latent).is_contiguous()
    assert GaussianLattice(mean).log_prob(latent).is_contiguous()


def test_it_is_a_distribution_over_a_latent_for_each_token() -> None:
    mean, log_scale, _ = draw(9, 2, 3, 4, 5, 2.0, -0.7)
    lattice = GaussianLattice(mean, log_scale, text_lengths=torch.tensor([4, 2]))
    assert lattice.batch_shape == (2,)
    assert lattice.event_shape == (3, 4)
    generator = torch.Generator().manual_seed(1)
    samples = lattice.sample((20000,), generator)
    again = lattice.sample((20000,), torch.Generator().manual_seed(1))
    assert torch.equal(samples, again)
    torch.testing.assert_close(samples.mean(0)[0], mean[0], rtol=0, atol=0.03)
    torch.testing.assert_close(samples.var(0)[0], lattice.variance[0], rtol=0.06, atol=0)
    normal = torch.distributions.Normal(mean, log_scale.exp())
    expected = torch.stack([normal.entropy()[0].sum(), normal.entropy()[1, :, :2].sum()])
    torch.testing.assert_close(lattice.entropy(), expected)


@pytest.mark.parametrize(
    ("mean", "log_scale", "lengths", "message"),
    [
        (torch.zeros(2, 3), None, None, "mean must be"),
        (torch.zeros(2, 3, 4, dtype=torch.int64), None, None, "mean must be"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, 5), None, "does not broadcast"),
        (torch.zeros(2, 3, 4), None, torch.tensor([4, 5]), "batch item 1: text length 5"),
        (torch.zeros(2, 3, 4), None, torch.tensor([0, 4]), "batch item 0: text length 0"),
        (torch.zeros(2, 3, 4), None, torch.tensor([1.0, 4.0]), "must be integers"),
        (torch.full((2, 3, 4), math.nan), None, None, "mean"),
        (torch.zeros(2, 3, 4), torch.full((2, 3, 4), math.nan), None, "log_scale"),
    ],
)
def test_wrong_arguments_are_refused(
    mean: Tensor, log_scale: Tensor | None, lengths: Tensor | None, message: str
) -> None:
    # Asked for: torch.compile, once used, turns torch's default off for the whole process.
    with pytest.raises(ValueError, match=message):
        GaussianLattice(mean, log_scale, text_lengths=lengths, validate_args=True)


def test_a_latent_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="the latent must be"):
        GaussianLattice(torch.zeros(2, 3, 4)).log_prob(torch.zeros(2, 4, 9))
    with pytest.raises(ValueError, match="batch item 1: frame length 10"):
        GaussianLattice(torch.zeros(2, 3, 4)).log_prob(torch.zeros(2, 3, 9), torch.tensor([9, 10]))
