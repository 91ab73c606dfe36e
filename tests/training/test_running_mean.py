"""The weights that are validated and exported: a mean that forgets where a run began."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from glottis.training.task import running_mean


def averaged(values: list[float], decay: float) -> float:
    """The mean after a weight has had these values, one a step."""
    model = nn.Linear(1, 1)
    model.register_buffer("count", torch.zeros((), dtype=torch.long))
    mean = AveragedModel(model, multi_avg_fn=running_mean(decay), use_buffers=True)
    for step, value in enumerate(values):
        nn.init.constant_(model.weight, value)
        model.count.fill_(step)
        mean.update_parameters(model)
        assert int(mean.module.count) == step
    return float(mean.module.weight.detach())


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999, 0.99999])
def test_it_is_a_mean(decay: float) -> None:
    assert averaged([3.0] * 40, decay) == pytest.approx(3.0)
    rising = averaged([float(step) for step in range(40)], decay)
    assert 0 < rising <= 39
    assert (rising == 39) == (decay == 0)


def test_a_short_run_is_not_held_at_its_start() -> None:
    start, steps = 1000.0, 1300
    assert averaged([start] + [0.0] * steps, 0.999) < 1e-6 * start
    # As a constant decay would have it:
    assert start * 0.999**steps > 0.2 * start


def test_a_long_run_has_the_decay_that_was_asked_for() -> None:
    before = averaged([0.0] * 400, 0.9)
    after = averaged([0.0] * 400 + [1.0], 0.9)
    assert after - before == pytest.approx(0.1, rel=1e-4)
