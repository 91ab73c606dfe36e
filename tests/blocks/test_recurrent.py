"""Recurrent layers by hand equal those that torch differentiates, in values and in gradients."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glottis.blocks.recurrent import attending_lstm, lstm, narrow

STEPS, BATCH, HIDDEN, TEXT, CHANNELS, SIZE, TAPS = 7, 3, 4, 6, 5, 8, 5


def _some(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    return drawn.requires_grad_()


def _gradients(outputs: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Of a sum in which every number of every output has a weight of its own."""
    total = sum((out * _some(*out.shape, seed=9).detach()).sum() for out in outputs)
    return list(torch.autograd.grad(total, inputs))


def test_the_lstm_is_torchs() -> None:
    layer = nn.LSTM(CHANNELS, HIDDEN).double()
    x = _some(STEPS, BATCH, CHANNELS)
    weights = [x, *layer.parameters()]
    expected = layer(x)[0]
    bias = layer.bias_ih_l0 + layer.bias_hh_l0
    found = lstm(F.linear(x, layer.weight_ih_l0, bias), layer.weight_hh_l0)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(_gradients([found], weights), _gradients([expected], weights))


def _attending(
    projected, kept, memory, keys, mask, weights, recurrent, query, location, score, forward_only
):  # type: ignore[no-untyped-def]
    """As the equations stand, one step after another."""
    cell = weights.new_zeros(BATCH, HIDDEN)
    heard = weights.new_zeros(BATCH, HIDDEN + CHANNELS)
    total, out, looked = torch.zeros_like(weights), [], []
    for t in range(STEPS):
        enter, keep, new, leave = (projected[t] + heard @ recurrent.T).chunk(4, dim=1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(enter) * torch.tanh(new)
        hidden = torch.sigmoid(leave) * torch.tanh(cell) * (1.0 if kept is None else kept[t])
        around = F.conv1d(torch.stack([weights, total], 1), location, padding=TAPS // 2)
        told = (hidden @ query.T)[:, None] + keys + around.transpose(1, 2)
        chosen = torch.softmax((torch.tanh(told) @ score).masked_fill(~mask, -torch.inf), 1)
        weights = narrow(weights, chosen) if forward_only else chosen
        total = total + weights
        heard = torch.cat([hidden, (weights[:, :, None] * memory).sum(1)], dim=1)
        out.append(heard)
        looked.append(weights)
    return torch.stack(out), torch.stack(looked)


@pytest.mark.parametrize("forward_only", [False, True])
@pytest.mark.parametrize("dropout", [False, True])
def test_attention_is_what_the_equations_say(forward_only: bool, dropout: bool) -> None:
    learnt = [
        _some(STEPS, BATCH, 4 * HIDDEN),
        _some(BATCH, TEXT, CHANNELS),
        _some(BATCH, TEXT, SIZE),
        _some(4 * HIDDEN, HIDDEN + CHANNELS),
        _some(SIZE, HIDDEN),
        _some(SIZE, 2, TAPS),
        _some(SIZE),
    ]
    kept = (_some(STEPS, BATCH, HIDDEN, seed=5) > 0).double() * 2 if dropout else None
    mask = torch.arange(TEXT) < torch.tensor([TEXT, 2, 4])[:, None]
    first = torch.zeros(BATCH, TEXT, dtype=torch.float64)
    if forward_only:
        first[:, 0] = 1.0
    projected, memory, keys, *weights = learnt
    given = (projected, kept, memory, keys, mask, first, *weights, forward_only)
    found, expected = attending_lstm(*given), _attending(*given)
    torch.testing.assert_close(found, expected)
    wanted = _gradients(list(expected), learnt)
    total = sum((out * _some(*out.shape, seed=9).detach()).sum() for out in found)
    for again in (True, False):
        gradients = list(torch.autograd.grad(total, learnt, retain_graph=again))
        torch.testing.assert_close(gradients, wanted, rtol=1e-7, atol=1e-9)


def test_less_precise_numbers_keep_their_type_and_stay_near() -> None:
    matrix, projected = _some(4 * HIDDEN, HIDDEN), _some(STEPS, BATCH, 4 * HIDDEN)
    exact = lstm(projected, matrix)
    rough = projected.detach().bfloat16().requires_grad_()
    weight = matrix.detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = lstm(rough, weight)
        found.float().square().sum().backward()
    assert found.dtype == torch.bfloat16
    assert rough.grad is not None
    assert rough.grad.dtype == torch.bfloat16
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=0.03)
    expected = torch.autograd.grad(exact.square().sum(), matrix)[0]
    error = (weight.grad - expected).norm() / expected.norm()
    assert error < 0.05
