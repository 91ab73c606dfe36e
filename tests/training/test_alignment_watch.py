"""A run that does not align is told so, once, and not too early."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from glottis.training.callbacks import AlignmentWatch


def _see(watch: AlignmentWatch, step: int, **values: float) -> None:
    metrics = {f"test/{name}": torch.tensor(value) for name, value in values.items()}
    trainer: Any = SimpleNamespace(callback_metrics=metrics)
    watch.on_validation_epoch_end(trainer, SimpleNamespace(step=step))


def test_one_warning_when_it_is_due(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("glottis").propagate = True
    watch = AlignmentWatch(100)
    with caplog.at_level(logging.WARNING, logger="glottis"):
        _see(watch, 99, coverage=0.1, diagonality=0.1)
        _see(watch, 100, mel=0.3)
        _see(watch, 100, coverage=0.6, diagonality=0.9)
        assert caplog.messages == []
        _see(watch, 200, coverage=0.27, diagonality=0.9)
        _see(watch, 300, coverage=0.27, diagonality=0.9)
    assert len(caplog.messages) == 1
    assert "after 200 steps" in caplog.messages[0]
    assert "coverage 0.27" in caplog.messages[0]
    assert "align_on=mel" in caplog.messages[0]


@pytest.mark.parametrize("values", [(0.39, 0.9), (0.9, 0.59)])
def test_either_measure_is_enough(
    values: tuple[float, float], caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("glottis").propagate = True
    with caplog.at_level(logging.WARNING, logger="glottis"):
        _see(AlignmentWatch(1), 5, coverage=values[0], diagonality=values[1])
    assert len(caplog.messages) == 1
