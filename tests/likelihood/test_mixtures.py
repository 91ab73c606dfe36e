"""Laws of the distributions over samples; each defect of the older formulations has its test."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import log_softmax, softplus

from glottis.errors import InputError
from glottis.kernels import mixture_numba
from glottis.kernels.choice import ELEMENTWISE as KINDS
from glottis.kernels.mixture import logistic_log_probability
from glottis.likelihood.mixtures import (
    DiscretizedLogisticMixture,
    GaussianMixture,
    MuLaw,
    mu_law_decode,
    mu_law_encode,
    quantize,
)

DISCRETE = [
    ("logistic torch", lambda *p, **k: DiscretizedLogisticMixture(*p, kind="torch", **k)),
    ("logistic numba", lambda *p, **k: DiscretizedLogisticMixture(*p, kind="numba", **k)),
    ("gaussian", GaussianMixture),
]
discrete = pytest.mark.parametrize("make", [d[1] for d in DISCRETE], ids=[d[0] for d in DISCRETE])


def parameters(*shape, components=3, log_scale=-3.0, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits, loc, scale = torch.randn((3, *shape, components), generator=generator, dtype=dtype)
    return logits, 0.5 * loc, log_scale + scale


def pixelcnn_log_prob(value, logits, loc, log_scale, classes, floor=-100.0):
    """The usual formulation: a difference of sigmoids, and edges where |value| > 0.999."""
    value, half = value[..., None], 1 / (classes - 1)
    log_scale = log_scale.clamp_min(floor)
    inverse = torch.exp(-log_scale)
    upper, lower = inverse * (value - loc + half), inverse * (value - loc - half)
    middle = inverse * (value - loc)
    difference = torch.sigmoid(upper) - torch.sigmoid(lower)
    density = middle - log_scale - 2 * softplus(middle) - math.log((classes - 1) / 2)
    within = torch.where(difference > 1e-5, difference.clamp_min(1e-12).log(), density)
    within = torch.where(value > 0.999, -softplus(lower), within)
    within = torch.where(value < -0.999, upper - softplus(upper), within)
    return torch.logsumexp(log_softmax(logits, -1) + within, -1)


def total(distribution):
    return sum(lp.double().exp().sum(0) for _, lp in distribution._over_the_grid())


@discrete
@pytest.mark.parametrize("bits", [1, 2, 8, 16])
def test_probabilities_sum_to_one_at_extreme_parameters(make, bits):
    loc = torch.tensor([-3.0, -1.0, 0.0, 0.1234567, 0.999, 1.0, 2.0])
    log_scale = torch.tensor([-30.0, -11.0, -9.0, -7.0, -5.0, -1.0, 0.0, 8.0])
    loc, log_scale = (t.reshape(-1, 1) for t in torch.meshgrid(loc, log_scale, indexing="ij"))
    sums = total(make(torch.zeros_like(loc), loc, log_scale, bits=bits))
    assert (sums - 1).abs().max() < 1e-6


@discrete
def test_mixtures_sum_to_one(make):
    for scale in (-9.0, -5.0, 0.0):
        sums = total(make(*parameters(4, components=10, log_scale=scale), bits=12))
        assert (sums - 1).abs().max() < 1e-6


def test_the_usual_formulation_does_not_sum_to_one_at_16_bits():
    loc, log_scale = torch.zeros(1, dtype=torch.float64), torch.tensor([-0.5], dtype=torch.float64)
    mixture = DiscretizedLogisticMixture(loc, loc, log_scale, bits=16)
    values = mixture.enumerate_support()
    usual = pixelcnn_log_prob(values, loc, loc, log_scale, 2**16).exp().sum().item()
    assert usual > 4
    assert total(mixture).item() == pytest.approx(1, abs=1e-9)


def test_the_usual_formulation_loses_digits_near_its_switch():
    loc = torch.zeros(400, 1)
    log_scale = torch.linspace(-2.5, 2.5, 400)[:, None]
    value = quantize(torch.full((400,), 0.2), 16)
    exact = DiscretizedLogisticMixture(loc.double(), loc.double(), log_scale.double())
    wanted = exact.log_prob(value.double())
    usual = pixelcnn_log_prob(value, loc, loc, log_scale, 2**16)
    assert (usual - wanted).abs().max() > 0.002
    for kind in KINDS:
        ours = DiscretizedLogisticMixture(loc, loc, log_scale, kind=kind).log_prob(value)
        assert (ours - wanted).abs().max() < 5e-6


@discrete
@pytest.mark.parametrize("bits", [8, 16])
def test_agrees_with_float64(make, bits):
    parts = parameters(3000, log_scale=-5.0)
    value = quantize(
        parts[1][:, 0] + 0.02 * torch.randn(3000, generator=torch.manual_seed(1)), bits
    )
    value[:20], value[20:40] = -1.0, 1.0
    exact_type = GaussianMixture if make is GaussianMixture else DiscretizedLogisticMixture
    wanted = exact_type(*(p.double() for p in parts), bits=bits).log_prob(value.double())
    ours = make(*parts, bits=bits).log_prob(value)
    error = (ours - wanted).abs() / (1 + wanted.abs())
    assert error.max() < 3e-4
    assert error.median() < 1e-6


def test_fused_gradients_equal_the_float64_ones():
    parts = parameters(4000, components=4, log_scale=-6.0)
    value = quantize(parts[1][:, 0] + 0.01 * torch.randn(4000, generator=torch.manual_seed(1)), 16)
    value[:30], value[30:60] = -1.0, 1.0
    upstream = torch.randn(4000, generator=torch.manual_seed(2))

    def gradients(dtype, kind):
        leaves = [p.to(dtype).requires_grad_() for p in parts]
        out = DiscretizedLogisticMixture(*leaves, kind=kind).log_prob(value.to(dtype))
        return torch.autograd.grad((upstream * out).sum(), leaves)

    ours, wanted = gradients(torch.float32, "numba"), gradients(torch.float64, "torch")
    for mine, exact in zip(ours, wanted, strict=True):
        error = (mine - exact).abs() / (1e-3 * exact.abs().max() + exact.abs())
        assert error.max() < 5e-3
        assert error.median() < 1e-5


def test_gradcheck():
    parts = [p.requires_grad_() for p in parameters(8, dtype=torch.float64)]
    value = quantize(torch.linspace(-1, 1, 8, dtype=torch.float64), 8)
    value[0], value[-1] = -1.0, 1.0
    for make in (DiscretizedLogisticMixture, GaussianMixture):
        assert torch.autograd.gradcheck(lambda *p, m=make: m(*p, bits=8).log_prob(value), parts)
        assert torch.autograd.gradgradcheck(
            lambda *p, m=make: m(*p, bits=8).log_prob(value), parts, atol=1e-4
        )
    assert torch.autograd.gradcheck(lambda *p: GaussianMixture(*p).log_prob(value), parts)
    logits = torch.randn(8, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: MuLaw(x).log_prob(value), (logits,))


def test_fused_form_is_differentiable_twice():
    parts = [p.requires_grad_() for p in parameters(6)]
    value = quantize(torch.linspace(-0.9, 0.9, 6), 8)

    def curvature(kind):
        out = DiscretizedLogisticMixture(*parts, bits=8, kind=kind).log_prob(value).sum()
        first = torch.autograd.grad(out, parts, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), parts)

    for ours, wanted in zip(curvature("numba"), curvature("torch"), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-3, atol=1e-4)


def test_channels_before_time_is_read_in_place_and_a_scalar_works():
    network = torch.randn(2, 9, 50, generator=torch.manual_seed(0)).requires_grad_()
    value = quantize(torch.linspace(-0.5, 0.5, 100).view(2, 50), 16)
    results = []
    for kind in KINDS:
        parts = network.transpose(1, 2).chunk(3, -1)
        out = DiscretizedLogisticMixture(*parts, kind=kind).log_prob(value)
        results.append((out, *torch.autograd.grad(out.sum(), network)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)
    one = DiscretizedLogisticMixture(torch.zeros(1), torch.zeros(1), torch.zeros(1), bits=8)
    assert one.log_prob(torch.tensor(1.0)).shape == one.sample().shape == ()
    none = DiscretizedLogisticMixture(*(torch.zeros(0, 2) for _ in range(3)))
    assert none.log_prob(torch.zeros(0)).shape == (0,)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_share_the_rows_out(threads):
    parts = [p.numpy().swapaxes(1, 2) for p in parameters(5, 8000, components=4)]
    edge = torch.randint(-30, 30, (5, 8000), generator=torch.manual_seed(0)).float().numpy()
    one, many = (mixture_numba.log_probability(edge, parts, 256, n) for n in (1, threads))
    assert (one == many).all()
    outs = [[p * 0 for p in parts] for _ in range(2)]
    for out, n in zip(outs, (1, threads), strict=True):
        mixture_numba.differentiate(edge, parts, edge, out, 256, n)
    assert all((a == b).all() for a, b in zip(*outs, strict=True))


@settings(max_examples=25, deadline=None)
@given(
    batch=st.lists(st.integers(0, 3), max_size=3),
    components=st.integers(1, 4),
    bits=st.integers(1, 16),
    seed=st.integers(0, 1000),
)
def test_any_shapes_agree_and_sample_on_the_grid(batch, components, bits, seed):
    parts = parameters(*batch, components=components, seed=seed)
    drawn = DiscretizedLogisticMixture(*parts, bits=bits).sample()
    assert drawn.shape == tuple(batch)
    results = [
        DiscretizedLogisticMixture(*parts, bits=bits, kind=kind).log_prob(drawn) for kind in KINDS
    ]
    assert results[0].shape == drawn.shape
    assert (results[0] <= 0).all()
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-4)


def test_nan_from_a_network_is_not_hidden():
    parts = list(parameters(4))
    value = quantize(torch.zeros(4), 16)
    for position in range(3):
        broken = [p.clone() for p in parts]
        broken[position][1, 2] = math.nan
        with pytest.raises(ValueError, match=r"logits|loc|log_scale"):
            DiscretizedLogisticMixture(*broken, validate_args=True)
        for kind in KINDS:
            mixture = DiscretizedLogisticMixture(*broken, kind=kind, validate_args=False)
            assert mixture.log_prob(value).isnan().tolist() == [False, True, False, False]


@pytest.mark.parametrize("make", [DiscretizedLogisticMixture, GaussianMixture])
def test_scale_below_its_floor_still_rises(make):
    # A clamp gives zero here, for ever; and what would sink further is stopped.
    far = quantize(torch.tensor(0.5), 16)
    log_scale = torch.tensor([-20.0], requires_grad=True)
    loss = -make(torch.zeros(1), torch.zeros(1), log_scale, bits=16).log_prob(far)
    (gradient,) = torch.autograd.grad(loss, log_scale)
    assert gradient.item() < -1
    clamped = torch.tensor([-20.0], requires_grad=True)
    usual = -pixelcnn_log_prob(far, torch.zeros(1), torch.zeros(1), clamped, 2**16, floor=-14.0)
    assert torch.autograd.grad(usual, clamped)[0].item() == 0
    density = GaussianMixture(torch.zeros(1), far[None], log_scale)
    (gradient,) = torch.autograd.grad(-density.log_prob(far), log_scale)
    assert gradient.item() == 0


@discrete
def test_samples_obey_the_same_floor_as_the_probabilities(make):
    loc, log_scale = torch.full((4000, 1), 0.3), torch.full((4000, 1), -40.0)
    mixture = make(loc, loc, log_scale, bits=16, minimum_log_scale=-4.0)
    spread = mixture.sample(generator=torch.Generator().manual_seed(0)).std()
    assert spread > 0.9 * math.exp(-4.0)


def test_gaussian_bin_probability_does_not_saturate():
    # Phi(upper) - Phi(lower) is 0 in float32 beyond 5 to 6 standard deviations, its slope too.
    loc = torch.zeros(1, requires_grad=True)
    mixture = GaussianMixture(torch.zeros(1), loc, torch.tensor([-4.0]), bits=8)
    for where in (0.2, 0.5, 0.9):
        value = quantize(torch.tensor(where), 8)
        usual = torch.special.ndtr((value + 1 / 255) * math.e**4) - torch.special.ndtr(
            (value - 1 / 255) * math.e**4
        )
        assert usual < 1e-6 * math.exp(-4)
        out = mixture.log_prob(value)
        (slope,) = torch.autograd.grad(out, loc)
        # The density's slope at the bin's near edge, where nearly all of its mass lies.
        assert slope.item() == pytest.approx((where - 1 / 255) * math.e**8, rel=0.05)


@discrete
def test_values_off_the_grid_or_outside_are_refused(make):
    mixture = make(*parameters(3), bits=8, validate_args=True)
    with pytest.raises(InputError, match=r"in \[-1, 1\].*-1 to 1\.5"):
        mixture.log_prob(torch.tensor([-1.0, 0.2, 1.5]))
    with pytest.raises(InputError, match="grid of 8 bits"):
        mixture.log_prob(torch.tensor([0.0, 0.2, 1.0]))
    with pytest.raises(InputError, match="floating"):
        mixture.log_prob(torch.tensor([0, 1, 1]))
    with pytest.raises(InputError):
        mixture.log_prob(torch.tensor([math.nan, 1.0, 1.0]))
    assert mixture.log_prob(quantize(torch.tensor([0.0, 0.2, 1.0]), 8)).shape == (3,)


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_quantize_is_idempotent_and_nearest(bits):
    audio = torch.linspace(-1.2, 1.2, 4001)
    grid = quantize(audio, bits)
    assert torch.equal(quantize(grid, bits), grid)
    assert (grid - audio.clamp(-1, 1)).abs().max() <= 1 / (2**bits - 1) * 1.001
    mixture = DiscretizedLogisticMixture(*parameters(1), bits=bits)
    assert torch.isin(grid, mixture.enumerate_support()).all()
    assert mixture.support.check(mixture.enumerate_support()).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_integers_go_to_the_grid_one_to_one(bits):
    integers = torch.arange(-(2 ** (bits - 1)), 2 ** (bits - 1), dtype=torch.int32)
    mixture = DiscretizedLogisticMixture(*parameters(1), bits=bits)
    assert torch.equal(quantize(integers, bits), mixture.enumerate_support()[:, 0])
    with pytest.raises(InputError, match=f"{bits} bits"):
        quantize(integers - 1, bits)


@discrete
def test_samples_follow_the_probabilities(make):
    mixture = make(*parameters(1, log_scale=-2.0), bits=4)
    draws = mixture.sample((40000,), generator=torch.Generator().manual_seed(0))[:, 0]
    values = mixture.enumerate_support()[:, 0]
    assert torch.isin(draws, values).all()
    wanted = mixture.log_prob(values[:, None])[:, 0].exp() * 40000
    counts = (draws[:, None] == values).sum(0)
    chi_square = ((counts - wanted).square() / wanted.clamp_min(1))[wanted > 1].sum()
    assert chi_square < 45  # 15 degrees of freedom: passed by all but one in ten thousand


def test_density_samples_follow_the_density_and_seeds_repeat():
    for mixture in (GaussianMixture(*parameters(2)), MuLaw(torch.randn(2, 256))):
        first = mixture.sample((20000,), generator=torch.Generator().manual_seed(3))
        again = mixture.sample((20000,), generator=torch.Generator().manual_seed(3))
        assert torch.equal(first, again)
        error = (first.mean(0) - mixture.mean).abs() / (mixture.variance / 20000).sqrt()
        assert error.max() < 4.5


@discrete
def test_mean_and_entropy_are_those_of_the_enumerated_values(make):
    mixture = make(*parameters(5, log_scale=-1.0, dtype=torch.float32), bits=8)
    values = mixture.enumerate_support()
    log_prob = mixture.log_prob(values)
    mean = (log_prob.exp() * values).sum(0)
    assert (mixture.mean - mean).abs().max() < 1 / 255
    torch.testing.assert_close(mixture.entropy(), -(log_prob.exp() * log_prob).sum(0))
    assert mixture.expand((2, 5)).log_prob(values[0]).shape == (2, 5)


def test_density_integrates_to_one_and_has_its_moments():
    mixture = GaussianMixture(*parameters(1, dtype=torch.float64))
    x = torch.linspace(-6, 6, 200_001, dtype=torch.float64)
    density = mixture.log_prob(x).exp()
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=1e-9)
    mean = torch.trapezoid(density * x, x)
    assert mixture.mean.item() == pytest.approx(mean.item(), abs=1e-9)
    variance = torch.trapezoid(density * (x - mean) ** 2, x)
    assert mixture.variance.item() == pytest.approx(variance.item(), rel=1e-6)


def test_single_gaussian_is_torchs():
    loc, log_scale = torch.tensor([0.1, -0.3]), torch.tensor([-3.0, 1.0])
    ours = GaussianMixture.single(loc, log_scale)
    theirs = torch.distributions.Normal(loc, log_scale.exp())
    value = torch.tensor([0.12, 0.7])
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    with pytest.raises(NotImplementedError, match="closed form"):
        GaussianMixture(*parameters(2)).entropy()


def test_a_density_and_its_bins_differ_by_the_bin_s_width():
    # log(127.5) in 8-bit code is minus the logarithm of a bin's width, 2 / 255.
    loc, log_scale = torch.zeros(1), torch.tensor([-1.0])
    value = quantize(torch.tensor(0.25), 16)
    density = GaussianMixture.single(loc, log_scale)
    bins = GaussianMixture.single(loc, log_scale, bits=16)
    difference = density.log_prob(value) - bins.log_prob(value)
    assert difference.item() == pytest.approx(math.log(65535 / 2), abs=1e-5)
    torch.testing.assert_close(density.bits_per_sample(value, 16), bins.bits_per_sample(value))
    with pytest.raises(InputError, match="bits"):
        density.bits_per_sample(value)


@pytest.mark.parametrize("bits", [1, 8, 10])
def test_mu_law_round_trip(bits):
    classes = torch.arange(2**bits)
    values = mu_law_decode(classes, bits)
    assert torch.equal(mu_law_encode(values, bits), classes)
    assert (values.diff() > 0).all()
    assert values[0] == -1
    assert values[-1] == 1
    torch.testing.assert_close(values, -values.flip(0))


def test_mu_law_is_a_distribution_over_its_classes():
    mixture = MuLaw(torch.randn(3, 2, 64, generator=torch.manual_seed(0)))
    assert mixture.bits == 6
    assert mixture.batch_shape == (3, 2)
    sums = mixture.log_prob(mixture.enumerate_support()).exp().sum(0)
    torch.testing.assert_close(sums, torch.ones(3, 2))
    assert (mixture.entropy() <= math.log(64)).all()
    uniform = MuLaw(torch.zeros(256))
    assert uniform.bits_per_sample(torch.tensor(0.3)).item() == pytest.approx(8)
    with pytest.raises(InputError, match=r"\[-1, 1\]"):
        MuLaw(torch.zeros(256), validate_args=True).log_prob(torch.tensor(1.01))
    with pytest.raises(InputError, match="2\\*\\*bits"):
        MuLaw(torch.zeros(3, 100))


def test_shapes_and_bits_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="components"):
        DiscretizedLogisticMixture(torch.zeros(3), torch.zeros(4), torch.zeros(3))
    with pytest.raises(InputError, match="1 to 24"):
        DiscretizedLogisticMixture(*parameters(2), bits=0)
    with pytest.raises(InputError, match="use one of torch"):
        logistic_log_probability(
            torch.zeros(2, dtype=torch.float64), *parameters(2), 256, kind="numba"
        )


def test_compiles_full_graph():
    parts, value = parameters(6), quantize(torch.linspace(-1, 1, 6), 8)

    def loss(value, *parts):
        return DiscretizedLogisticMixture(*parts, bits=8, validate_args=False).log_prob(value)

    whole = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(whole(value, *parts), loss(value, *parts), rtol=1e-4, atol=1e-4)
