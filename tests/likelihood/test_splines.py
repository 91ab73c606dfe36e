"""Laws of the rational-quadratic spline: increasing, invertible, exact derivative, any input."""

from __future__ import annotations

import io
import math
import warnings

import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, TransformedDistribution

from glottis.errors import InputError
from glottis.kernels import spline_numba
from glottis.kernels.choice import ELEMENTWISE as KINDS
from glottis.likelihood.splines import RationalQuadraticSpline

DURKAN = {"minimum_bin": 1e-3, "minimum_derivative": 1e-3}


def parameters(*shape, bins=10, scale=3.0, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (bins, bins, bins - 1)
    return [scale * torch.randn((*shape, size), generator=generator, dtype=dtype) for size in sizes]


def points(*shape, reach=6.0, dtype=torch.float32, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(shape, generator=generator, dtype=dtype) - 1) * reach


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bins", [1, 2, 10])
def test_agrees_with_float64_both_ways(kind, bins):
    raw, x = parameters(20000, bins=bins, scale=1.0), points(20000)
    spline = RationalQuadraticSpline(*raw, kind=kind)
    exact = RationalQuadraticSpline(*(r.double() for r in raw))
    for ours, wanted in (
        (spline.call_and_ladj(x), exact.call_and_ladj(x.double())),
        (spline.inverse_and_ladj(x), exact.inverse_and_ladj(x.double())),
    ):
        torch.testing.assert_close(ours[0].double(), wanted[0], rtol=0, atol=2e-5)
        torch.testing.assert_close(ours[1].double(), wanted[1], rtol=0, atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_in_float32_at_scale_three(kind):
    raw, x = parameters(200_000), points(200_000)
    spline = RationalQuadraticSpline(*raw, kind=kind)
    y, ladj = spline.call_and_ladj(x)
    back, inverse_ladj = spline.inverse_and_ladj(y)
    assert (back - x).abs().max() < 1e-4
    assert (ladj + inverse_ladj).abs().max() < 5e-3


def test_round_trip_is_exact_in_float64_even_with_the_paper_s_minima():
    raw, x = parameters(50_000, dtype=torch.float64), points(50_000, dtype=torch.float64)
    spline = RationalQuadraticSpline(*raw, **DURKAN)
    y, ladj = spline.call_and_ladj(x)
    back, inverse_ladj = spline.inverse_and_ladj(y)
    assert (back - x).abs().max() < 1e-8
    assert (ladj + inverse_ladj).abs().max() < 1e-7


def test_round_trip_error_is_the_conditioning_and_no_more():
    # With slopes down to 1e-7 no formula can bring x back from a float32 y: what may be lost is a
    # few units in y's last place, divided by the slope.
    raw, x = parameters(200_000), points(200_000)
    spline = RationalQuadraticSpline(*raw, **DURKAN)
    exact = RationalQuadraticSpline(*(r.double() for r in raw), **DURKAN)
    y = spline.call_and_ladj(x)[0]
    back = spline.inverse_and_ladj(y)[0]
    # Back in y both name the same float, give or take a few.
    again = exact.call_and_ladj(back.double())[0]
    assert (again - exact.call_and_ladj(x.double())[0]).abs().max() < 5e-3
    assert torch.isfinite(back).all()


@pytest.mark.parametrize("kind", KINDS)
def test_discriminant_never_negative(kind):
    # The peers assert on b^2 - 4ac >= 0, which float32 breaks; here it is a sum of squares.
    raw = parameters(100_000, scale=10.0)
    y = points(100_000, reach=5.0)
    x, ladj = RationalQuadraticSpline(*raw, **DURKAN, kind=kind).inverse_and_ladj(y)
    assert torch.isfinite(x).all()
    assert torch.isfinite(ladj).all()
    assert (x.abs() <= 5.0).all()


def test_the_usual_discriminant_does_get_negative():
    # A flat bin between steep knots, as diverging training makes them.
    generator = torch.Generator().manual_seed(0)
    s = torch.full((100_000,), 1e-3)
    d0, d1 = 10 ** (4 * torch.rand(2, 100_000, generator=generator))
    xi = d0 / (d0 + d1)
    turn = d0 + d1 - 2 * s
    a, b, c = s - d0 + xi * turn, d0 - xi * turn, -s * xi
    assert (b.square() - 4 * a * c).min() < 0
    r = d0 * (1 - xi) - d1 * xi
    assert (r.square() + 4 * s.square() * xi * (1 - xi)).min() > 0
    # The two are the same number.
    s, d0, d1 = (t.double() for t in (s, d0, d1))
    xi = torch.rand(100_000, generator=generator, dtype=torch.float64)
    turn = d0 + d1 - 2 * s
    a, b, c = s - d0 + xi * turn, d0 - xi * turn, -s * xi
    r = d0 * (1 - xi) - d1 * xi
    torch.testing.assert_close(
        r.square() + 4 * s.square() * xi * (1 - xi), b.square() - 4 * a * c, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inverse", [False, True])
def test_tails_bounds_and_empty_input(kind, inverse):
    bound = 5.0
    tails = torch.tensor([-math.inf, -1e30, -7.0, -bound, bound, 7.0, 1e30, math.inf])
    spline = RationalQuadraticSpline(*parameters(8), bound, kind=kind)
    call = spline.inverse_and_ladj if inverse else spline.call_and_ladj
    y, ladj = call(tails)
    assert torch.equal(y, tails)
    assert torch.equal(ladj, torch.zeros(8))
    just_inside = torch.nextafter(tails[3:5], torch.zeros(2))
    few = RationalQuadraticSpline(*parameters(2), bound, kind=kind)
    y, ladj = (few.inverse_and_ladj if inverse else few.call_and_ladj)(just_inside)
    torch.testing.assert_close(y, just_inside, atol=1e-5, rtol=0)
    torch.testing.assert_close(ladj, torch.zeros(2), atol=1e-3, rtol=0)
    empty = RationalQuadraticSpline(*parameters(0), kind=kind)
    y, ladj = (empty.inverse_and_ladj if inverse else empty.call_and_ladj)(torch.zeros(0))
    assert y.shape == ladj.shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_increasing_and_continuous(kind):
    x = torch.linspace(-6, 6, 20001)
    for seed in range(5):
        raw = [r.expand(20001, -1) for r in parameters(1, seed=seed)]
        y, ladj = RationalQuadraticSpline(*raw, kind=kind).call_and_ladj(x)
        steps = y.diff()
        assert (steps > 0).all()
        # The mean slope between neighbours is the slope somewhere between them.
        slope = ladj.exp()
        assert (steps / x.diff() - slope[:-1]).abs().max() < 0.15 * slope.max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inverse", [False, True])
def test_ladj_is_the_autograd_derivative(kind, inverse):
    raw = parameters(500, scale=1.0)
    x = points(500).requires_grad_()
    spline = RationalQuadraticSpline(*raw, kind=kind)
    y, ladj = spline.inverse_and_ladj(x) if inverse else spline.call_and_ladj(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope.log(), ladj, atol=2e-4, rtol=0)


@pytest.mark.parametrize("inverse", [False, True])
def test_gradcheck_and_gradgradcheck(inverse):
    raw = [r.requires_grad_() for r in parameters(6, bins=4, scale=1.0, dtype=torch.float64)]
    x = torch.tensor([-7.0, -4.9, -1.0, 0.3, 2.0, 4.5], dtype=torch.float64, requires_grad=True)

    def both(x, *raw):
        spline = RationalQuadraticSpline(*raw)
        return spline.inverse_and_ladj(x) if inverse else spline.call_and_ladj(x)

    assert torch.autograd.gradcheck(both, (x, *raw))
    assert torch.autograd.gradgradcheck(both, (x, *raw), atol=1e-4)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("options", [{}, DURKAN])
def test_fused_gradients_equal_the_float64_ones(inverse, options):
    raw, x = parameters(3000, scale=1.0), points(3000)
    weights = torch.randn(2, 3000, generator=torch.Generator().manual_seed(2))

    def gradients(dtype, kind):
        leaves = [t.to(dtype).requires_grad_() for t in (x, *raw)]
        spline = RationalQuadraticSpline(*leaves[1:], **options, kind=kind)
        outs = spline.inverse_and_ladj(leaves[0]) if inverse else spline.call_and_ladj(leaves[0])
        loss = (weights[0] * outs[0]).sum() + (weights[1] * outs[1]).sum()
        return torch.autograd.grad(loss, leaves)

    for ours, wanted in zip(
        gradients(torch.float32, "numba"), gradients(torch.float64, "torch"), strict=True
    ):
        error = (ours.double() - wanted).abs() / (1 + wanted.abs())
        assert error.quantile(0.999) < 5e-3
        assert error.median() < 1e-5
        if ours.dim() == 2:
            assert not ours[x.abs() >= 5].any()


def test_fused_form_is_differentiable_twice():
    raw = [r.requires_grad_() for r in parameters(20, bins=4, scale=1.0)]
    x = points(20).requires_grad_()

    def curvature(kind):
        y, ladj = RationalQuadraticSpline(*raw, kind=kind).call_and_ladj(x)
        first = torch.autograd.grad((y + ladj).sum(), x, create_graph=True)[0]
        return torch.autograd.grad(first.square().sum(), [x, *raw])

    for ours, wanted in zip(curvature("numba"), curvature("torch"), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_no_nan_gradients_from_the_tails(kind):
    raw = [r.requires_grad_() for r in parameters(4)]
    x = torch.tensor([math.inf, -1e30, 9.0, 1.0], requires_grad=True)
    y, ladj = RationalQuadraticSpline(*raw, kind=kind).call_and_ladj(x)
    gradients = torch.autograd.grad(y[1:].sum() + ladj.sum(), [x, *raw])
    assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("inverse", [False, True])
def test_nan_from_a_network_is_not_hidden(kind, position, inverse):
    raw = parameters(3, bins=3)
    raw[position][1] = math.nan
    spline = RationalQuadraticSpline(*raw, kind=kind)
    x = torch.tensor([0.1, 0.2, 0.3])
    y, ladj = spline.inverse_and_ladj(x) if inverse else spline.call_and_ladj(x)
    assert y.isnan().tolist() == ladj.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_broadcast_and_strides(kind):
    raw = parameters(5, 1, bins=6)
    x = points(7, 5).t()
    spline = RationalQuadraticSpline(*raw, kind=kind)
    y, ladj = spline.call_and_ladj(x)
    assert y.shape == ladj.shape == spline.forward_shape(x.shape) == (5, 7)
    whole = RationalQuadraticSpline(*(r.expand(5, 7, -1) for r in raw), kind="torch")
    torch.testing.assert_close((y, ladj), whole.call_and_ladj(x.contiguous()), atol=1e-4, rtol=1e-4)


def test_vmap_and_compile_full_graph():
    raw, x = parameters(30, bins=5), points(30)

    def both(x, *raw):
        spline = RationalQuadraticSpline(*raw)
        y, ladj = spline.call_and_ladj(x)
        return y, ladj, *spline.inverse_and_ladj(x)

    wanted = both(x, *raw)
    torch.testing.assert_close(torch.vmap(both)(x, *raw), wanted, atol=1e-4, rtol=1e-4)
    whole = torch.compile(both, fullgraph=True, backend="eager")
    torch.testing.assert_close(whole(x, *raw), wanted, atol=1e-4, rtol=1e-4)
    leaves = [r.clone().requires_grad_() for r in raw]
    sum(out.sum() for out in whole(x, *leaves)).backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)


def test_traces_into_a_graph_that_onnxruntime_runs():
    class Inverse(torch.nn.Module):
        def forward(self, y, raw):
            spline = RationalQuadraticSpline(*raw.split([5, 5, 4], dim=-1), **DURKAN)
            return spline.inverse_and_ladj(y)[0]

    y, raw = points(1, 9), torch.cat(parameters(1, 9, bins=5, scale=1.0), -1)
    graph = io.BytesIO()
    names = {"input_names": ["y", "raw"], "dynamic_axes": {"y": {1: "n"}, "raw": {1: "n"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Inverse(), (y[:, :4], raw[:, :4]), graph, dynamo=False, **names)
    session = onnxruntime.InferenceSession(graph.getvalue())
    (x,) = session.run(None, {"y": y.numpy(), "raw": raw.numpy()})
    torch.testing.assert_close(torch.from_numpy(x), Inverse()(y, raw), rtol=0, atol=2e-5)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_share_the_rows_out(threads):
    arrays = [points(20_001), *parameters(20_001, bins=6, scale=1.0)]
    x, *raw = (a.numpy() for a in arrays)
    constants = (5.0, 1e-3, 1e-3, False)
    one, many = (spline_numba.apply(x, raw, constants, n) for n in (1, threads))
    assert all((a == b).all() for a, b in zip(one, many, strict=True))
    one, many = (spline_numba.differentiate(x, raw, x, x, constants, n) for n in (1, threads))
    assert all((a == b).all() for a, b in zip(one, many, strict=True))


@settings(max_examples=25, deadline=None)
@given(
    batch=st.lists(st.integers(0, 3), max_size=3),
    hidden=st.lists(st.booleans(), max_size=3),
    bins=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_any_shapes_broadcast_and_come_back(batch, hidden, bins, seed):
    # Where `hidden` says so, the parameters have one element to share.
    own = [1 if hide else size for size, hide in zip(batch, hidden, strict=False)]
    own = own + batch[len(own) :]
    raw, x = parameters(*own, bins=bins, seed=seed), points(*batch, seed=seed)
    for kind in KINDS:
        spline = RationalQuadraticSpline(*raw, kind=kind)
        y, ladj = spline.call_and_ladj(x)
        assert y.shape == ladj.shape == x.shape
        torch.testing.assert_close(spline.inverse_and_ladj(y)[0], x, rtol=0, atol=2e-4)


def test_works_in_a_transformed_distribution_that_integrates_to_one():
    spline = RationalQuadraticSpline(
        *(r.expand(40001, -1) for r in parameters(1, scale=1.0, dtype=torch.float64)), 3.0
    )
    x = torch.linspace(-8, 8, 40001, dtype=torch.float64)
    density = TransformedDistribution(Normal(x.new_zeros(()), 1.0), [spline])
    assert torch.trapezoid(density.log_prob(x).exp(), x).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heights": torch.zeros(3, 9)}, "bins"),
        ({"derivatives": torch.zeros(3, 10)}, "bins - 1"),
        ({"bound": 0.0}, "positive"),
        ({"minimum_bin": 0.1}, "no room"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    widths, heights, derivatives = parameters(3)
    arguments = {"widths": widths, "heights": heights, "derivatives": derivatives, **change}
    with pytest.raises(InputError, match=words):
        RationalQuadraticSpline(**arguments)


def test_a_kind_that_cannot_run_raises():
    raw = parameters(3, dtype=torch.float64)
    with pytest.raises(InputError, match="use one of torch"):
        RationalQuadraticSpline(*raw, kind="numba").call_and_ladj(points(3, dtype=torch.float64))
    with pytest.raises(InputError, match="auto, numba, torch"):
        RationalQuadraticSpline(*raw, kind="triton").call_and_ladj(points(3))
