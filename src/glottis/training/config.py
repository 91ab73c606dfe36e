"""What a recipe says: the model, its network and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from glottis.errors import InputError


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    ``batch_size`` in utterances or windows a process; ``batch_seconds`` bounds a batch of whole
    utterances; ``window_frames`` is the length of a window. The schedule multiplies
    ``learning_rate``: it rises over ``warmup_steps`` and then stays (``constant``), falls as half a
    cosine to ``final_rate`` of it at ``max_steps`` (``cosine``), or as the inverse square root of
    the step (``noam``). ``average`` is the decay of the running mean of the weights, which is what
    is validated and exported; a run that has just begun has a shorter one. Steps count batches. A
    model that aligns text and speech should have done so in ``aligned_by`` steps; a warning says
    when it has not. ``durations`` is a file of alignments for models that take them as given; see
    :mod:`glottis.training.durations`. ``freeze`` names parts of the network that keep their
    weights, as the log of ``initialize`` names them (``encoder``) or deeper
    (``encoder.transformer``).
    ``precision`` ``auto`` is bf16 where the machine multiplies in it and fp32 elsewhere.
    """

    max_steps: int = 100_000
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    schedule: Literal["constant", "cosine", "noam"] = "cosine"
    warmup_steps: int = 1000
    final_rate: float = 0.02
    gradient_clip: float = 5.0
    average: float = 0.999
    batch_size: int = 16
    batch_seconds: float | None = None
    buckets: int = 10
    window_frames: int = 64
    precision: Literal["auto", "bf16", "fp32", "fp16"] = "auto"
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    threads: int | None = None
    workers: int = 0
    seed: int = 1
    log_every: int = 20
    validate_every: int = 1000
    checkpoint_every: int = 500
    aligned_by: int = 3000
    initialize: str | None = None
    freeze: tuple[str, ...] = ()
    durations: str | None = None

    def __post_init__(self) -> None:
        for name in (
            "max_steps",
            "batch_size",
            "window_frames",
            "devices",
            "nodes",
            "buckets",
            "log_every",
            "validate_every",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, not {getattr(self, name)}")
        if self.batch_seconds is not None and self.batch_seconds <= 0:
            raise InputError(f"batch_seconds must be above 0, not {self.batch_seconds}")
        if self.seed >= 2**32:
            raise InputError(f"seed must be below 2^32, not {self.seed}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"betas must be in [0, 1), not {list(self.betas)}")
        if self.threads is not None and self.threads < 0:
            raise InputError(f"threads must be at least 0, not {self.threads}")
        if self.workers not in (0, 1):
            raise InputError(f"workers must be 0 or 1, not {self.workers}")
        if not 0 <= self.average < 1:
            raise InputError(f"average must be in [0, 1), not {self.average}")


@dataclass(frozen=True)
class Recipe:
    """One model to train: its name, its network's settings and how it is trained."""

    model: str
    network: dict[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
