"""Laws of blocks over sequences: padding is nothing, masks are made of lengths."""

from __future__ import annotations

import math

import pytest
import torch

from glottis.blocks.blanks import drop_blanks, restore_blanks
from glottis.blocks.convnext import ConvNeXtStack
from glottis.blocks.duration import DurationLoss, DurationPredictor, duration_loss
from glottis.blocks.lengths import mask_from_lengths
from glottis.blocks.transformer import Distances, RelativeAttention, Transformer
from glottis.blocks.wavenet import GatedNetwork, GatedStack


def test_mask_from_lengths() -> None:
    mask = mask_from_lengths(torch.tensor([1, 3, 0]), 4)
    assert mask.tolist() == [
        [[True, False, False, False]],
        [[True, True, True, False]],
        [[False, False, False, False]],
    ]


def test_transformer_ignores_padding() -> None:
    torch.manual_seed(0)
    network = Transformer(16, 32, 2, 2, dropout=0.0).eval()
    x = torch.randn(1, 16, 7)
    alone = network(x, mask_from_lengths(torch.tensor([7])))
    padded = torch.cat([x, torch.full((1, 16, 5), math.nan)], dim=2)
    within = network(padded, mask_from_lengths(torch.tensor([7]), 12))
    torch.testing.assert_close(within[..., :7], alone, atol=1e-5, rtol=1e-4)
    assert torch.equal(within[..., 7:], torch.zeros(1, 16, 5))


def test_relative_attention_equals_its_definition() -> None:
    """Shaw et al. 2018, equations 3 and 4, written with loops."""
    torch.manual_seed(1)
    heads, size, window, time = 2, 4, 2, 6
    attention = RelativeAttention(heads * size, heads, window, 0.0).double().eval()
    x = torch.randn(1, heads * size, time, dtype=torch.float64)
    mask = torch.ones(1, 1, time, dtype=torch.bool)
    query, key, value = (
        layer(x).view(heads, size, time)
        for layer in (attention.query, attention.key, attention.value)
    )
    out = torch.zeros(heads, size, time, dtype=torch.float64)
    for h in range(heads):
        scores = torch.zeros(time, time, dtype=torch.float64)
        for i in range(time):
            for j in range(time):
                other = key[h, :, j].clone()
                if abs(j - i) <= window:
                    other = other + attention.relative_key[j - i + window]
                scores[i, j] = query[h, :, i] @ other / math.sqrt(size)
        weights = scores.softmax(-1)
        for i in range(time):
            for j in range(time):
                given = value[h, :, j].clone()
                if abs(j - i) <= window:
                    given = given + attention.relative_value[j - i + window]
                out[h, :, i] += weights[i, j] * given
    expected = attention.out(out.reshape(1, heads * size, time))
    torch.testing.assert_close(attention(x, mask, Distances.of(x, window)), expected)


def test_gated_stack_ignores_padding_and_wants_its_condition() -> None:
    torch.manual_seed(0)
    stack = GatedStack(8, 3, 3, condition_channels=4).eval()
    x, condition = torch.randn(1, 8, 9), torch.randn(1, 4, 1)
    alone = stack(x, torch.ones(1, 1, 9, dtype=torch.bool), condition)
    padded = torch.nn.functional.pad(x, (0, 4))
    within = stack(padded, mask_from_lengths(torch.tensor([9]), 13), condition)
    torch.testing.assert_close(within[..., :9], alone, atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="condition"):
        stack(x, torch.ones(1, 1, 9, dtype=torch.bool))


@pytest.mark.parametrize("kind", ["log", "gamma"])
def test_duration_loss_counts_real_tokens_only(kind: DurationLoss) -> None:
    durations = torch.tensor([[2, 5, 0], [1, 1, 7]])
    lengths = torch.tensor([2, 3])
    exact = durations.float().clamp_min(1e-2).log()
    assert float(duration_loss(exact, durations, lengths, kind)) < 1e-10
    padded = exact.clone()
    padded[0, 2] = math.nan
    assert float(duration_loss(padded, durations, lengths, kind)) < 1e-10
    exact[1, 2] += 0.5
    expected = {"log": 0.25, "gamma": math.exp(-0.5) - 1 + 0.5}[kind]
    assert float(duration_loss(exact, durations, lengths, kind)) == pytest.approx(expected / 5)


@pytest.mark.parametrize(("kind", "best"), [("log", 10 ** (1 / 2)), ("gamma", 5.5)])
def test_what_each_duration_loss_predicts(kind: DurationLoss, best: float) -> None:
    """Of durations 1 and 10: the geometric mean or the mean."""
    durations, lengths = torch.tensor([[1], [10]]), torch.tensor([1, 1])
    guess = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([guess], max_iter=50)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = duration_loss(guess.expand(2, 1), durations, lengths, kind)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert float(guess.detach().exp()) == pytest.approx(best, rel=1e-3)


def test_duration_predictor_is_zero_in_padding() -> None:
    predictor = DurationPredictor(8, 16).eval()
    mask = mask_from_lengths(torch.tensor([3]), 5)
    out = predictor(torch.randn(1, 8, 5), mask)
    assert out.shape == (1, 5)
    assert torch.equal(out[:, 3:], torch.zeros(1, 2))


def test_convnext_keeps_length() -> None:
    assert ConvNeXtStack(8, 16, 32, 2)(torch.randn(2, 8, 11)).shape == (2, 16, 11)


def test_blanks_are_dropped_in_order_and_restored() -> None:
    text = torch.tensor([[1, 0, 20, 0, 21, 0, 2, 0], [1, 0, 22, 0, 2, 9, 9, 9]])
    closed, lengths = drop_blanks(text, torch.tensor([7, 5]))
    assert closed.tolist() == [[1, 20, 21, 2], [1, 22, 2, 0]]
    assert lengths.tolist() == [4, 3]
    kept = torch.nonzero(text[0] != 0).squeeze(1)
    restored = restore_blanks(torch.tensor([[3, 4, 5, 6]]), kept, text[:1])
    assert restored.tolist() == [[3, 0, 4, 0, 5, 0, 6, 0]]


def test_transformer_hears_its_condition_from_its_layer_on() -> None:
    torch.manual_seed(0)
    block = Transformer(8, 16, 2, 3, condition_channels=4, condition_at=1).eval()
    x, mask = torch.randn(1, 8, 6), torch.tensor([[[True] * 4 + [False] * 2]])
    seen: list[torch.Tensor] = []
    for forward in block.forwards:
        forward.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    for value in (0.0, 1.0):
        out = block(x, mask, torch.full((1, 4, 1), value))
        assert not out[..., 4:].any()
    assert torch.equal(seen[0], seen[3])
    assert not torch.allclose(seen[1][..., :4], seen[4][..., :4])
    with pytest.raises(ValueError, match="condition"):
        block(x, mask)


def test_duration_predictor_hears_its_condition() -> None:
    predictor = DurationPredictor(8, 8, condition_channels=3).eval()
    x, mask = torch.randn(1, 8, 5), torch.ones(1, 1, 5, dtype=torch.bool)
    one, two = (predictor(x, mask, torch.full((1, 3, 1), value)) for value in (0.0, 1.0))
    assert not torch.allclose(one, two)
    with pytest.raises(ValueError, match="condition"):
        predictor(x, mask)


def test_gated_network_ignores_padding_and_starts_at_zero_when_asked() -> None:
    torch.manual_seed(0)
    network = GatedNetwork(3, 5, 8, 3, 2, transformer=Transformer(3, 4, 1, 1)).eval()
    x, mask = torch.randn(1, 3, 7), torch.tensor([[[True] * 4 + [False] * 3]])
    dirty = torch.where(mask, x, float("nan"))
    assert torch.equal(network(x, mask), network(dirty, mask))
    assert not network(x, mask)[..., 4:].any()
    torch.testing.assert_close(network(x, mask)[..., :4], network(x[..., :4], mask[..., :4]))
    assert not GatedNetwork(3, 5, 8, 3, 2, zero=True)(x, mask).any()
