"""Minimal filters: the same convolution as torch's in float64, whatever the shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from glottis.blocks.convolution import Conv1d, Conv2d
from glottis.errors import InputError
from glottis.kernels import winograd, winograd_torch
from glottis.kernels.winograd_filters import minimal_filter

FORMS = [*winograd_torch.SIGNAL_FORMS.values(), winograd_torch.PICTURE_FORM]


def draw(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def precise(tensors: list[Tensor]) -> list[Tensor]:
    return [t.detach().double().requires_grad_() for t in tensors]


def close(found: Tensor, wanted: Tensor, tolerance: float = 2e-5) -> bool:
    size = float(wanted.abs().max()) if wanted.numel() else 0.0
    return found.shape == wanted.shape and bool(
        ((found.double() - wanted).abs() <= tolerance * max(size, 1e-3)).all()
    )


@pytest.mark.parametrize(("outputs", "taps"), FORMS)
def test_the_matrices_are_a_filter(outputs: int, taps: int) -> None:
    form = minimal_filter(outputs, taps)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(outputs + taps - 1), rng.standard_normal(taps)
    y = form.outputs.T @ ((form.taps @ w) * (form.inputs @ x))
    np.testing.assert_allclose(y, np.correlate(x, w, "valid"), atol=1e-12)


@pytest.mark.parametrize(("outputs", "taps"), FORMS)
def test_it_multiplies_less(outputs: int, taps: int) -> None:
    assert len(minimal_filter(outputs, taps).outputs) == outputs + taps - 1 <= outputs * taps / 2


@settings(max_examples=60, deadline=None)
@given(
    taps=st.sampled_from(sorted(winograd_torch.SIGNAL_FORMS)),
    dilation=st.sampled_from([1, 2, 3, 5]),
    padding=st.integers(0, 30),
    longer=st.integers(0, 40),
    batch=st.integers(1, 3),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_signals_and_their_gradients(
    taps: int, dilation: int, padding: int, longer: int, batch: int, bias: bool, seed: int
) -> None:
    time = max(1, dilation * (taps - 1) + 1 - 2 * padding) + longer
    tensors = draw(seed, (batch, 3, time), (4, 3, taps), *([(4,)] if bias else []))
    held = precise(tensors)
    y = winograd.convolve(*tensors, padding=padding, dilation=dilation, kind="numba")
    wanted = F.conv1d(*held, padding=padding, dilation=dilation)
    assert close(y, wanted)
    (given_y,) = draw(seed + 1, tuple(y.shape))
    y.backward(given_y.detach())
    wanted.backward(given_y.detach().double())
    for mine, theirs in zip(tensors, held, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert close(mine.grad, theirs.grad)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    padding=st.integers(1, 3),
    batch=st.integers(1, 3),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_pictures_and_their_gradients(
    height: int, width: int, padding: int, batch: int, bias: bool, seed: int
) -> None:
    tensors = draw(seed, (batch, 3, height, width), (4, 3, 3, 3), *([(4,)] if bias else []))
    held = precise(tensors)
    y = winograd.convolve(*tensors, padding=padding, kind="numba")
    wanted = F.conv2d(*held, padding=padding)
    assert close(y, wanted)
    (given_y,) = draw(seed + 1, tuple(y.shape))
    y.backward(given_y.detach())
    wanted.backward(given_y.detach().double())
    for mine, theirs in zip(tensors, held, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert close(mine.grad, theirs.grad)


@pytest.mark.parametrize("shape", [(5, 3, 40), (5, 3, 9, 11)])
def test_items_in_parts_and_threads_change_nothing(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(given: list[Tensor]) -> list[Tensor]:
        y = winograd.convolve(*given, padding=1, kind="numba")
        return [y.detach(), *torch.autograd.grad(y.square().sum(), given)]

    tensors = draw(0, shape, (4, 3, *[3] * (len(shape) - 2)), (4,))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = both(tensors)
        monkeypatch.setattr(winograd_torch, "ROOM", 1)
        parts = both(tensors)
        torch.set_num_threads(2)
        shared = both(tensors)
    finally:
        torch.set_num_threads(threads)
    for a, b, c in zip(whole, parts, shared, strict=True):
        assert close(b, a.double(), 1e-6)
        assert close(c, a.double(), 1e-6)


def test_a_gradient_that_is_not_wanted_is_not_made() -> None:
    for wanted in range(3):
        tensors = [t.detach() for t in draw(1, (2, 3, 30), (4, 3, 5), (4,))]
        tensors[wanted].requires_grad_()
        held = precise(tensors)
        winograd.convolve(*tensors, kind="numba").square().sum().backward()
        F.conv1d(*held).square().sum().backward()
        assert [t.grad is not None for t in tensors] == [k == wanted for k in range(3)]
        mine, theirs = tensors[wanted].grad, held[wanted].grad
        assert mine is not None
        assert theirs is not None
        assert close(mine, theirs)


def test_second_derivatives_are_torchs() -> None:
    x, weight = draw(2, (1, 2, 12), (2, 2, 3))

    def twice(form: str) -> tuple[Tensor, ...]:
        y = winograd.convolve(x, weight, padding=1, kind=form).pow(3).sum()
        (slope,) = torch.autograd.grad(y, x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), (x, weight))

    for mine, theirs in zip(twice("numba"), twice("torch"), strict=True):
        assert close(mine, theirs.double())


def test_what_lies_beyond_a_tile_is_never_read() -> None:
    # A value that is not finite spoils the tile that sees it, and no other.
    x, weight = (t.detach() for t in draw(3, (1, 2, 60), (2, 2, 3)))
    x[..., 30] = float("nan")
    y = winograd.convolve(x, weight, padding=1, kind="numba")
    spoilt = y.isnan().any(1)[0].nonzero().flatten()
    assert spoilt.min() >= 24
    assert spoilt.max() < 36


def test_weights_that_stay_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 3, 30)
    layer = nn.Conv1d(3, 4, 5)
    products = []
    plain = torch.mm
    monkeypatch.setattr(
        torch, "mm", lambda a, b, **more: products.append(tuple(a.shape)) or plain(a, b, **more)
    )

    def taps() -> int:
        products.clear()
        winograd.convolve(x, layer.weight, layer.bias, kind="numba")
        return sum(shape == (10, 5) for shape in products)

    with torch.no_grad(), winograd.same_weights():
        assert [taps(), taps()] == [1, 0]
        with winograd.same_weights():
            assert taps() == 0
    with torch.no_grad():
        layer.weight.mul_(2.0)
        y = winograd.convolve(x, layer.weight, layer.bias, kind="numba")
    assert close(y, layer.double()(x.double()))


def test_training_goes_on_after_inference() -> None:
    # Memory that stays must not belong to the inference in which it was first needed.
    x, weight = draw(6, (2, 3, 5000), (4, 3, 5))
    with torch.inference_mode():
        whole = winograd.convolve(x, weight, kind="numba")
    y = winograd.convolve(x, weight, kind="numba")
    y.sum().backward()
    assert torch.equal(y, whole)
    assert x.grad is not None


def test_it_is_chosen_where_it_pays() -> None:
    def chosen(*shapes: tuple[int, ...]) -> bool:
        x, weight = draw(4, *shapes)
        y = winograd.convolve(x, weight, padding=1)
        return "Minimal" in type(y.grad_fn).__name__

    assert chosen((4, 192, 300), (384, 192, 5))
    assert chosen((1, 128, 40, 200), (128, 128, 3, 3))
    assert not chosen((1, 8, 30), (8, 8, 5))  # little to save
    assert not chosen((4, 192, 300), (384, 192, 4))  # no form
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not chosen((4, 192, 300), (384, 192, 5))


def test_what_cannot_run_is_refused() -> None:
    x, weight = draw(5, (1, 3, 30), (4, 3, 5))
    with pytest.raises(InputError, match="winograd cannot run as 'numba'.*torch"):
        winograd.convolve(x.double(), weight.double(), kind="numba")
    with pytest.raises(InputError, match="no kind 'fast'"):
        winograd.convolve(x, weight, kind="fast")
    with pytest.raises(InputError, match="no minimal filter of 4 taps.*3, 5, 7, 11"):
        winograd.convolve(x, weight[..., :4], kind="numba")


@pytest.mark.parametrize(
    ("mine", "theirs", "shape"),
    [
        (Conv1d(96, 96, 5, padding=2), nn.Conv1d(96, 96, 5, padding=2), (2, 96, 200)),
        (Conv1d(96, 96, 5, padding="same"), nn.Conv1d(96, 96, 5, padding=2), (2, 96, 200)),
        (Conv1d(96, 96, 5, 2), nn.Conv1d(96, 96, 5, 2), (2, 96, 200)),
        (Conv1d(96, 96, 5, groups=2), nn.Conv1d(96, 96, 5, groups=2), (2, 96, 200)),
        (
            Conv1d(96, 96, 5, padding=2, padding_mode="reflect"),
            nn.Conv1d(96, 96, 5, padding=2, padding_mode="reflect"),
            (2, 96, 200),
        ),
        (Conv2d(96, 96, 3, padding=1), nn.Conv2d(96, 96, 3, padding=1), (1, 96, 20, 30)),
        (Conv2d(96, 96, 3, padding=(1, 0)), nn.Conv2d(96, 96, 3, padding=(1, 0)), (1, 96, 20, 30)),
        (Conv2d(96, 96, 3, dilation=2), nn.Conv2d(96, 96, 3, dilation=2), (1, 96, 20, 30)),
        (Conv2d(96, 96, (5, 1)), nn.Conv2d(96, 96, (5, 1)), (1, 96, 90, 3)),
        (
            Conv2d(96, 96, (5, 1), padding=(2, 0)),
            nn.Conv2d(96, 96, (5, 1), padding=(2, 0)),
            (1, 96, 90, 3),
        ),
        (Conv2d(96, 96, (5, 1), (3, 1)), nn.Conv2d(96, 96, (5, 1), (3, 1)), (1, 96, 90, 3)),
    ],
)
def test_layers_are_torchs(mine: nn.Module, theirs: nn.Module, shape: tuple[int, ...]) -> None:
    theirs.load_state_dict(mine.state_dict())
    x = torch.randn(shape)
    assert close(mine(x), theirs.double()(x.double()))


def test_what_is_exported_is_torchs_convolution() -> None:
    layer, x = Conv1d(96, 96, 5, padding=2), torch.randn(2, 96, 200)
    traced = torch.jit.trace(layer, x)
    assert "_convolution" in str(traced.inlined_graph)
    plain = nn.Conv1d(96, 96, 5, padding=2)
    plain.load_state_dict(layer.state_dict())
    assert close(traced(x), plain(x).double(), 1e-6)
