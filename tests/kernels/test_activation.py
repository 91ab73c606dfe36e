"""Compiled activations: torch's in float64, with their gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glottis.errors import InputError
from glottis.kernels.activation import gated, mish

BOTH = pytest.mark.parametrize("activation", [mish, gated])


@BOTH
@settings(max_examples=30, deadline=None)
@given(
    shape=st.sampled_from([(1, 2, 1), (3, 4, 5), (2, 6, 511), (2, 2, 1025), (7, 10)]),
    scale=st.sampled_from([1e-3, 1.0, 30.0, 200.0]),
    threads=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
)
def test_values_and_gradients(
    activation: type, shape: tuple[int, ...], scale: float, threads: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = (scale * torch.randn(shape, generator=generator)).requires_grad_()
    precise = x.detach().double().requires_grad_()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        y = activation(x, kind="numba")
        y.backward(torch.ones_like(y))
    finally:
        torch.set_num_threads(before)
    wanted = activation(precise, kind="torch")
    wanted.backward(torch.ones_like(wanted))
    assert x.grad is not None
    assert precise.grad is not None
    torch.testing.assert_close(y.double(), wanted, atol=5e-7, rtol=1e-6)
    torch.testing.assert_close(x.grad.double(), precise.grad, atol=3e-6, rtol=3e-6)


@BOTH
def test_bfloat16_is_as_near_as_its_own_rounding(activation: type) -> None:
    x = (3 * torch.randn(3, 4, 700)).bfloat16().requires_grad_()
    precise = x.detach().double().requires_grad_()
    y, wanted = activation(x, kind="numba"), activation(precise, kind="torch")
    y.sum().backward()
    wanted.sum().backward()
    assert y.dtype == torch.bfloat16
    assert x.grad is not None
    assert precise.grad is not None
    torch.testing.assert_close(y.double(), wanted, atol=1e-6, rtol=2**-8)
    torch.testing.assert_close(x.grad.double(), precise.grad, atol=1e-6, rtol=2**-8)


def test_threads_share_large_ones_and_change_nothing() -> None:
    x = torch.randn(4, 64, 1024)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append((mish(x, kind="numba"), gated(x, kind="numba")))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


@BOTH
def test_not_a_number_stays_where_it_is(activation: type) -> None:
    x = torch.randn(2, 4, 600)
    x[0, 1, 7] = float("nan")
    y = activation(x, kind="numba")
    assert y.isnan().sum() == 1
    assert y[0, 1, 7].isnan()


@BOTH
def test_second_derivatives_are_torchs(activation: type) -> None:
    x = torch.randn(2, 4, 9).requires_grad_()

    def twice(kind: str) -> Tensor:
        (slope,) = torch.autograd.grad(activation(x, kind=kind).sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.square().sum(), x)
        return bend

    torch.testing.assert_close(twice("numba"), twice("torch"), atol=2e-6, rtol=1e-5)


@BOTH
def test_doubles_are_torchs_alone(activation: type) -> None:
    x = torch.randn(2, 4, 9, dtype=torch.float64)
    assert activation(x).dtype == torch.float64
    with pytest.raises(InputError, match="cannot run as 'numba'"):
        activation(x, kind="numba")
