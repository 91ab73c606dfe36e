"""Laws of the invertible layers: the inverse undoes, the determinant is the Jacobian's."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import ExpTransform, SigmoidTransform

from glottis.errors import InputError
from glottis.likelihood.flows import (
    ActNorm,
    AffineCoupling,
    Flip,
    Flow,
    FlowDistribution,
    InvertibleConv1x1,
    LayerTransform,
    Pointwise,
    SequenceNormal,
    SplineCoupling,
)
from glottis.likelihood.splines import RationalQuadraticSpline

CHANNELS = 4


class Network(nn.Module):
    """Looks at neighbours in time, so that padding which leaks is seen."""

    def __init__(self, out):
        super().__init__()
        self.layer = nn.Conv1d(CHANNELS // 2, out, 3, padding=1)
        self.condition = nn.Linear(1, out)

    def forward(self, x, mask, condition):
        given = 0 if condition is None else self.condition(condition)[..., None]
        return torch.tanh(self.layer(x) + given) * mask


def act_norm():
    layer = ActNorm(CHANNELS).eval()
    nn.init.normal_(layer.offset)
    nn.init.normal_(layer.log_scale)
    return layer


def negative_determinant():
    layer = InvertibleConv1x1(CHANNELS)
    if torch.linalg.det(layer.weight) > 0:
        layer.weight.data[0] *= -1
    return layer


LAYERS = {
    "act norm": act_norm,
    "convolution": lambda: InvertibleConv1x1(CHANNELS),
    "negative determinant": negative_determinant,
    "small groups": lambda: InvertibleConv1x1(CHANNELS, group=2),
    "triangular": lambda: InvertibleConv1x1(CHANNELS, triangular=True),
    "affine": lambda: AffineCoupling(Network(CHANNELS)),
    "additive": lambda: AffineCoupling(Network(CHANNELS // 2), mean_only=True),
    "spline": lambda: SplineCoupling(Network(CHANNELS // 2 * 11), bins=4),
    "flip": Flip,
    "flow": lambda: Flow(
        [act_norm(), InvertibleConv1x1(CHANNELS), AffineCoupling(Network(CHANNELS)), Flip()]
    ),
}
layers = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
LENGTHS = torch.tensor([5, 3, 1])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def batch(dtype=torch.float64):
    x = torch.randn(3, CHANNELS, 5, dtype=dtype)
    mask = (torch.arange(5) < LENGTHS[:, None])[:, None]
    return torch.where(mask, x, 0.0), mask


@layers
def test_inverse_undoes(make):
    layer, (x, mask) = make().double(), batch()
    y, _ = layer.call_and_ladj(x, mask)
    assert not y.masked_select(~mask).any()
    torch.testing.assert_close(layer.inverse(y, mask), x)


@layers
@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), max_size=4), extra=st.integers(0, 3))
def test_any_batch_and_lengths_come_back_each_item_for_itself(make, lengths, extra):
    layer, frames = make().double(), max(lengths, default=1) + extra
    mask = (torch.arange(frames) < torch.tensor(lengths, dtype=torch.int64)[:, None])[:, None]
    x = torch.where(mask, torch.randn(len(lengths), CHANNELS, frames).double(), 0.0)
    y, ladj = layer.call_and_ladj(x, mask)
    assert y.shape == x.shape
    assert ladj.shape == (len(lengths),)
    torch.testing.assert_close(layer.inverse(y, mask), x)
    for item, length in enumerate(lengths):
        inside = slice(item, item + 1), slice(None), slice(length)
        alone = layer.call_and_ladj(x[inside], mask[inside])
        torch.testing.assert_close(alone, (y[inside], ladj[item : item + 1]))


@layers
def test_log_determinant_is_the_jacobian_s(make):
    layer, (x, mask) = make().double(), batch()
    _, ladj = layer.call_and_ladj(x, mask)
    for item, length in enumerate(LENGTHS.tolist()):

        def image(values, item=item, length=length):
            inside = values.view(1, CHANNELS, length)
            return layer.call_and_ladj(inside, mask[item : item + 1, :, :length])[0].flatten()

        jacobian = torch.autograd.functional.jacobian(image, x[item, :, :length].flatten())
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], ladj[item])


@layers
def test_padding_is_not_looked_at(make):
    layer, (x, mask) = make().double(), batch()
    wanted = layer.call_and_ladj(x, mask)
    dirty = torch.where(mask, x, math.nan).requires_grad_()
    y, ladj = layer.call_and_ladj(dirty, mask)
    torch.testing.assert_close((y, ladj), wanted)
    torch.testing.assert_close(layer.inverse(torch.where(mask, y, math.nan), mask), x)
    y.square().sum().backward()
    assert torch.isfinite(dirty.grad).all()


@layers
def test_gradcheck(make):
    layer, (x, mask) = make().double(), batch()
    names = [name for name, _ in layer.named_parameters()]
    parameters = [p.detach().clone().requires_grad_() for p in layer.parameters()]

    def both(x, *values):
        given = dict(zip(names, values, strict=True))

        class Call(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = layer

            def forward(self, x):
                return self.layer.call_and_ladj(x, mask)

        given = {f"layer.{name}": value for name, value in given.items()}
        return torch.func.functional_call(Call(), given, (x,))

    assert torch.autograd.gradcheck(both, (x.requires_grad_(), *parameters))


@layers
def test_autocast_and_half_precision_input(make):
    layer, (x, mask) = make(), batch(torch.float32)
    wanted = layer.call_and_ladj(x, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, ladj = layer.call_and_ladj(x.bfloat16(), mask)
        back = layer.inverse(y, mask)
    torch.testing.assert_close(y.float(), wanted[0], rtol=0.05, atol=0.1)
    torch.testing.assert_close(ladj.float(), wanted[1], rtol=0.05, atol=0.1)
    torch.testing.assert_close(back.float(), x, rtol=0.05, atol=0.1)
    assert ladj.dtype == torch.float32 or not isinstance(layer, InvertibleConv1x1)


@layers
def test_state_is_saved_and_loads(make):
    layer, (x, mask) = make(), batch(torch.float32)
    layer.train()
    wanted = layer.call_and_ladj(x, mask)
    fresh = make()
    fresh.load_state_dict(layer.state_dict())
    fresh.train()
    torch.testing.assert_close(fresh.call_and_ladj(x, mask), wanted)
    torch.testing.assert_close(fresh.call_and_ladj(x + 5, mask), layer.call_and_ladj(x + 5, mask))


@pytest.mark.parametrize("offset", [0.0, 100.0, -1e4])
@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_first_batch_leaves_standardised(offset, scale):
    lengths = torch.tensor([300, 150])
    mask = (torch.arange(300) < lengths[:, None])[:, None]
    x = offset + scale * torch.randn(2, CHANNELS, 300)
    layer = ActNorm(CHANNELS)
    y, _ = layer.call_and_ladj(torch.where(mask, x, math.nan), mask)
    inside = y.transpose(0, 1).masked_select(mask.transpose(0, 1)).view(CHANNELS, -1)
    # What float32 can tell of the offset, in units of the scale, bounds what can be reached.
    reachable = max(1e-3, 1e-6 * abs(offset) / scale)
    assert inside.mean(1).abs().max() < reachable
    assert (inside.std(1, correction=0) - 1).abs().max() < reachable
    one_pass = (x.square().mean((0, 2)) - x.mean((0, 2)).square()).sqrt()
    if abs(offset) / scale > 1e4:
        assert not ((one_pass / scale - 1).abs() < 0.05).all()


def test_first_batch_alone_initialises_and_only_in_training():
    x, mask = batch(torch.float32)
    layer = ActNorm(CHANNELS).eval()
    torch.testing.assert_close(layer.call_and_ladj(x, mask)[0], x)
    assert not layer.initialized
    layer.train().call_and_ladj(x, mask)
    first = layer.offset.clone()
    layer.call_and_ladj(x + 3, mask)
    assert torch.equal(layer.offset, first)
    constant = ActNorm(CHANNELS).train()
    assert torch.isfinite(constant.call_and_ladj(torch.ones_like(x), mask)[0]).all()


def test_without_standardising_it_starts_as_the_identity():
    layer, (x, mask) = ActNorm(CHANNELS, standardize=False), batch(torch.float32)
    y, ladj = layer.call_and_ladj(x, mask)
    assert torch.equal(y, x)
    assert not ladj.any()


def test_negative_determinants_have_a_logarithm():
    layer, (x, mask) = negative_determinant(), batch(torch.float32)
    assert torch.logdet(layer.weight).isnan()
    assert torch.isfinite(layer.call_and_ladj(x, mask)[1]).all()


def test_triangular_form_starts_as_a_rotation_and_stays_invertible():
    layer = InvertibleConv1x1(CHANNELS, triangular=True).double()
    matrix = layer.matrix()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(CHANNELS).double(), rtol=0, atol=1e-6)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    sign, log_abs_det = torch.linalg.slogdet(layer.matrix())
    torch.testing.assert_close(log_abs_det, layer.log_diagonal.sum())
    assert sign.abs() == 1
    torch.testing.assert_close(
        layer.matrix() @ layer.inverse_weight(), torch.eye(CHANNELS).double()
    )


@pytest.mark.parametrize("triangular", [False, True])
def test_stored_inverse_is_the_inverse(triangular):
    layer, (x, mask) = InvertibleConv1x1(CHANNELS, triangular=triangular), batch(torch.float32)
    wanted = layer.inverse(x, mask)
    layer.store_inverse()
    # The same matrix; some processors round a product of another layout differently.
    torch.testing.assert_close(layer.inverse(x, mask), wanted, atol=1e-6, rtol=1e-6)


def test_groups_that_do_not_divide_are_refused():
    for channels, group in ((6, 4), (6, 3)):
        with pytest.raises(InputError, match="even and divide"):
            InvertibleConv1x1(channels, group)


def test_condition_reaches_the_network():
    layer, (x, mask) = LAYERS["flow"]().double(), batch()
    condition = torch.randn(3, 1, dtype=torch.float64)
    y, _ = layer.call_and_ladj(x, mask, condition)
    assert not torch.equal(y, layer.call_and_ladj(x, mask)[0])
    torch.testing.assert_close(layer.inverse(y, mask, condition), x)


class Counted(Flow):
    calls = 0

    def call_and_ladj(self, x, mask, condition=None):
        self.calls += 1
        return super().call_and_ladj(x, mask, condition)


def test_distribution_has_the_flow_s_likelihood_in_one_pass():
    layer, (x, mask) = Counted(LAYERS["flow"]().layers).double(), batch()
    condition = torch.randn(3, 1, dtype=torch.float64)
    density = FlowDistribution(
        SequenceNormal(CHANNELS, LENGTHS, dtype=torch.float64),
        [layer.transform(LENGTHS, condition).inv],
    )
    assert (density.batch_shape, density.event_shape) == ((3,), (CHANNELS, 5))
    log_prob = density.log_prob(torch.where(mask, x, math.nan))
    assert layer.calls == 1
    z, ladj = layer.call_and_ladj(x, mask, condition)
    normal = (-0.5 * (z.square() + math.log(2 * math.pi)) * mask).sum((1, 2))
    torch.testing.assert_close(log_prob, normal + ladj)


def test_distribution_samples_with_a_generator_and_sample_axes():
    layer = LAYERS["flow"]()
    transform = layer.transform(LENGTHS, torch.randn(3, 1))
    density = FlowDistribution(SequenceNormal(CHANNELS, LENGTHS), [transform.inv])
    draws = [density.sample((2, 6), generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*draws)
    assert draws[0].shape == (2, 6, 3, CHANNELS, 5)
    whole = density.log_prob(draws[0])
    assert whole.shape == (2, 6, 3)
    torch.testing.assert_close(whole[1, 4], density.log_prob(draws[0][1, 4]), rtol=1e-4, atol=1e-4)
    assert not draws[0].masked_select(~batch()[1]).any()


def test_sampling_and_its_density_run_the_layers_once():
    layer = Counted(LAYERS["flow"]().layers)
    posterior = FlowDistribution(SequenceNormal(CHANNELS, LENGTHS), [layer.transform(LENGTHS)])
    draw = posterior.rsample()
    log_prob = posterior.log_prob(draw)
    assert layer.calls == 1
    assert log_prob.shape == (3,)


def test_pointwise_changes_its_channels_within_the_lengths():
    x, mask = batch()
    raw = (torch.randn(5), torch.randn(5), torch.randn(4))
    spline = RationalQuadraticSpline(*(r.double() for r in raw))
    for inner in (ExpTransform(), SigmoidTransform(), spline):
        transform = Pointwise(inner, LENGTHS, slice(1, 3))
        y = transform(torch.where(mask, x, math.nan))
        wanted = x.clone()
        wanted[:, 1:3] = inner(x[:, 1:3])
        torch.testing.assert_close(y, wanted * mask)
        ladj = inner.log_abs_det_jacobian(x[:, 1:3], inner(x[:, 1:3]))
        torch.testing.assert_close(transform.log_abs_det_jacobian(x, y), (ladj * mask).sum((1, 2)))
        torch.testing.assert_close(transform.inv(torch.where(mask, y, math.nan)), x)
    log = Pointwise(ExpTransform().inv, LENGTHS)
    positive = (x.abs() * mask).requires_grad_()
    log(positive).sum().backward()
    assert torch.isfinite(positive.grad).all()
    with pytest.raises(InputError, match="run"):
        Pointwise(ExpTransform(), LENGTHS, slice(0, 4, 2))(x)


def test_sequence_normal_counts_only_real_positions():
    normal = SequenceNormal(2, LENGTHS)
    value = torch.randn(3, 2, 5)
    wanted = torch.distributions.Normal(0.0, 1.0).log_prob(value) * batch()[1]
    dirty = torch.where(batch()[1], value, math.nan)
    torch.testing.assert_close(normal.log_prob(dirty), wanted.sum((1, 2)))
    torch.testing.assert_close(
        normal.entropy(), 2 * LENGTHS * torch.distributions.Normal(0.0, 1.0).entropy()
    )


def test_any_decoder_is_a_transform():
    class Decoder:
        def call_and_ladj(self, x, mask, condition=None):
            return x * 2 * mask, math.log(2) * x.shape[1] * mask.sum((1, 2))

        def inverse(self, y, mask, condition=None):
            return y / 2 * mask

    transform = LayerTransform(Decoder(), LENGTHS)
    x, _ = batch()
    torch.testing.assert_close(transform.inv(transform(x)), x)
    ladj = transform.log_abs_det_jacobian(x, transform(x))
    torch.testing.assert_close(ladj, CHANNELS * LENGTHS * math.log(2), check_dtype=False)
