"""A run that does not align is told so, once, and not too early."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from glottis.training.callbacks import AlignmentWatch


@pytest.fixture
def said() -> Iterator[list[str]]:
    """Warnings of the callbacks, whatever other tests did to the loggers above."""
    messages: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, handler = logging.getLogger("glottis.training.callbacks"), Kept(logging.WARNING)
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def _see(watch: AlignmentWatch, step: int, **values: float) -> None:
    metrics = {f"test/{name}": torch.tensor(value) for name, value in values.items()}
    trainer: Any = SimpleNamespace(callback_metrics=metrics)
    watch.on_validation_epoch_end(trainer, SimpleNamespace(step=step))


def test_one_warning_when_it_is_due(said: list[str]) -> None:
    watch = AlignmentWatch(100)
    _see(watch, 99, coverage=0.1, diagonality=0.1)
    _see(watch, 100, mel=0.3)
    _see(watch, 100, coverage=0.6, diagonality=0.9)
    assert said == []
    _see(watch, 200, coverage=0.27, diagonality=0.9)
    _see(watch, 300, coverage=0.27, diagonality=0.9)
    assert len(said) == 1
    assert "after 200 steps" in said[0]
    assert "coverage 0.27" in said[0]
    assert "align_on=mel" in said[0]


@pytest.mark.parametrize("values", [(0.39, 0.9), (0.9, 0.59)])
def test_either_measure_is_enough(values: tuple[float, float], said: list[str]) -> None:
    _see(AlignmentWatch(1), 5, coverage=values[0], diagonality=values[1])
    assert len(said) == 1
