"""The stochastic duration predictor: a bound below, equal in sum to a distribution."""

from __future__ import annotations

import math

import pytest
import torch

from glottis.blocks.stochastic_duration import SeparableStack, StochasticDurationPredictor


def _predictor(scale: float = 0.3, **options: object) -> StochasticDurationPredictor:
    torch.manual_seed(0)
    predictor = StochasticDurationPredictor(6, **options).eval()  # type: ignore[arg-type]
    # Splines start without regard to the text; a law of that alone would prove little.
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.add_(torch.randn_like(parameter) * scale)
    return predictor


def _mass(predictor: StochasticDurationPredictor, hidden: torch.Tensor, duration: int) -> float:
    """``P(d)`` of a single token, by summing the joint density over a fine grid."""
    cells = torch.linspace(-9, 9, 121)
    noise = (torch.arange(40) + 0.5) / 40
    value, extra = torch.meshgrid(duration - noise, cells, indexing="ij")
    points = torch.stack([value.flatten(), extra.flatten()], dim=1).unsqueeze(-1)
    many = hidden.expand(len(points), -1, -1)
    lengths = torch.ones(len(points), dtype=torch.long)
    density = predictor.distribution(many, lengths).density.log_prob(points)
    return float(torch.logsumexp(density, 0) + math.log(18 / 120 / 40))


def test_the_bound_never_exceeds_the_enumerated_log_likelihood() -> None:
    predictor = _predictor()
    hidden = torch.randn(1, 6, 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        exact = {duration: _mass(predictor, hidden, duration) for duration in range(1, 8)}
        lengths = torch.ones(3000, dtype=torch.long)
        many = predictor.distribution(hidden.expand(3000, -1, -1), lengths)
        # The enumeration itself is right: it says how often the model draws up to seven frames.
        share = (many.sample() <= 7).double().mean()
        assert sum(map(math.exp, exact.values())) == pytest.approx(float(share), abs=0.05)
        for duration in (1, 2, 3, 7):
            value = torch.full((3000, 1, 1), float(duration))
            bounds = many.evidence_bound(value)
            error = 4 * float(bounds.std()) / math.sqrt(3000)
            assert float(bounds.mean()) <= exact[duration] + error
            # Averaged as weights the same draws come near the likelihood, from below.
            tight = float(torch.logsumexp(bounds, 0)) - math.log(3000)
            assert exact[duration] - 1 < tight < exact[duration] + 0.25
            assert tight > float(bounds.mean())


def test_both_flows_invert_with_their_log_determinants() -> None:
    predictor = _predictor().double()
    hidden = torch.randn(1, 6, 4, dtype=torch.float64)
    mask = torch.ones(1, 1, 4, dtype=torch.bool)
    for flow in (predictor.flow, predictor.posterior):
        x = torch.randn(1, 2, 4, dtype=torch.float64)

        def image(flat: torch.Tensor, flow: torch.nn.Module = flow) -> torch.Tensor:
            return flow.call_and_ladj(flat.view(1, 2, 4), mask, hidden)[0].flatten()

        y, ladj = flow.call_and_ladj(x, mask, hidden)
        jacobian = torch.autograd.functional.jacobian(image, x.flatten())
        torch.testing.assert_close(
            torch.linalg.slogdet(jacobian)[1], ladj[0].detach(), atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(flow.inverse(y, mask, hidden), x, atol=1e-5, rtol=1e-5)


def test_a_draw_is_what_the_flow_sends_noise_to() -> None:
    """Skipping the coupling that only changes the spare channel changes no duration."""
    predictor = _predictor()
    hidden, noise = torch.randn(2, 6, 5), torch.randn(2, 2, 5)
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None, None]
    with torch.no_grad():
        drawn = predictor.log_frames(hidden, mask, noise)
        inner = predictor._hidden(hidden, mask, None)
        whole = predictor.flow.inverse(noise, mask, inner)[:, 0]
    torch.testing.assert_close(drawn, whole)
    assert not drawn[1, 3:].any()


def test_padding_changes_nothing() -> None:
    predictor = _predictor(condition_channels=3)
    lengths = torch.tensor([5, 3])
    hidden, condition = torch.randn(2, 6, 5), torch.randn(2, 3, 1)
    hidden[1, :, 3:] = 0
    durations = torch.tensor([[[3, 1, 7, 2, 4]], [[1, 5, 2, 0, 0]]])
    with torch.no_grad():

        def bound(values: torch.Tensor) -> torch.Tensor:
            distribution = predictor.distribution(hidden, lengths, condition)
            return distribution.evidence_bound(values, generator=torch.Generator().manual_seed(1))

        dirty = durations.clone()
        dirty[1, 0, 3:] = 99
        assert torch.equal(bound(durations), bound(dirty))
        mask = torch.arange(5) < lengths[:, None, None]
        noise = torch.randn(2, 2, 5)
        together = predictor.log_frames(hidden, mask, noise, condition)
        alone = predictor.log_frames(
            hidden[1:, :, :3], mask[1:, :, :3], noise[1:, :, :3], condition[1:]
        )
    torch.testing.assert_close(together[1:, :3], alone, atol=1e-5, rtol=1e-5)


def test_text_and_speaker_learn_nothing_from_durations() -> None:
    predictor = _predictor(condition_channels=3).train()
    hidden = torch.randn(1, 6, 4, requires_grad=True)
    condition = torch.randn(1, 3, 1, requires_grad=True)
    bound = predictor.distribution(hidden, torch.tensor([4]), condition).evidence_bound(
        torch.tensor([[[2, 1, 5, 3]]])
    )
    bound.sum().backward()
    assert hidden.grad is None
    assert condition.grad is None
    without = [name for name, p in predictor.named_parameters() if p.grad is None]
    assert not without
    with pytest.raises(ValueError, match="condition"):
        predictor.distribution(hidden, torch.tensor([4]))


def test_separable_stack_reads_every_step_within_reach() -> None:
    stack = SeparableStack(4, 3, layers=3).eval()
    x = torch.randn(1, 4, 61, requires_grad=True)
    mask = torch.ones(1, 1, 61, dtype=torch.bool)
    stack(x, mask)[0, :, 30].sum().backward()
    assert x.grad is not None
    touched = x.grad[0].abs().sum(0) > 0
    assert touched.nonzero().flatten().tolist() == list(range(30 - 13, 30 + 14))
