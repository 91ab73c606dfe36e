"""One Lightning task for every model."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from glottis.training.config import TrainingConfig

log = logging.getLogger(__name__)


Weights = tuple[Tensor, ...] | list[Tensor]


def running_mean(decay: float) -> Callable[[Weights, Weights, Tensor | int], None]:
    """How :class:`AveragedModel` moves the mean after ``count`` steps: by ``1 - d``, with

        d = min(decay, (1 + count) / (10 + count))

    so that it covers the last tenth of a run that has just begun. A constant decay of 0.999 still
    holds a quarter of the random start after 1,300 steps.
    """

    @torch.no_grad()
    def update(mean: Weights, now: Weights, count: Tensor | int) -> None:
        steps = int(count)
        share = 1.0 - min(decay, (1 + steps) / (10 + steps))
        if mean[0].is_floating_point():
            torch._foreach_lerp_(mean, now, share)
        else:
            for old, new in zip(mean, now, strict=True):
                old.copy_(new)

    return update


class Task(lightning.LightningModule):
    """Runs a model's ``steps`` with one optimiser for each named loss.

    Keeps a running mean of the weights (Polyak & Juditsky 1992, exponential form), counts batches
    in ``step`` whatever the number of optimisers, and skips a batch whose loss or gradient is not
    finite, naming its utterances in the log.
    """

    def __init__(self, model: Any, config: TrainingConfig) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.config = model, config
        self.average = AveragedModel(model, multi_avg_fn=running_mean(config.average))
        self.average.requires_grad_(False)
        self.step = 0
        self.position: tuple[int, int] = (0, -1)
        # Flags of layers that a first batch will set (ActNorm); found when training begins.
        self.waiting: list[Tensor] | None = None

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        config = self.config
        optimizers, schedules = [], []
        self.names = list(self.model.optimized())
        for parameters in self.model.optimized().values():
            parameters = [p for p in parameters if p.requires_grad]
            decayed = [p for p in parameters if p.ndim > 1]
            free = [p for p in parameters if p.ndim <= 1]
            optimizer = torch.optim.AdamW(
                [
                    {"params": decayed, "weight_decay": config.weight_decay},
                    {"params": free, "weight_decay": 0.0},
                ],
                lr=config.learning_rate,
                betas=config.betas,
                foreach=True,
            )
            optimizers.append(optimizer)
            schedules.append(torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate))
        return optimizers, schedules

    def training_step(self, loaded: tuple[Any, tuple[int, int]], index: int) -> None:
        batch, self.position = loaded
        optimizers = dict(zip(self.names, _as_list(self.optimizers()), strict=True))
        schedules = dict(zip(self.names, _as_list(self.lr_schedulers()), strict=True))
        if self.waiting is None:
            flags = self.model.named_buffers()
            self.waiting = [f for name, f in flags if name.endswith("initialized") and not f]
        for name, loss, logs in self.model.steps(batch, self.step):
            optimizer = optimizers[name]
            # The discriminators' loss leaves gradients in the generator's graph and vice versa.
            for other in optimizers.values():
                other.zero_grad(set_to_none=True)
            if not self._everywhere(torch.isfinite(loss.detach())):
                log.warning(
                    "step %d: %s loss is not finite; batch skipped: %s",
                    self.step,
                    name,
                    ", ".join(batch.names),
                )
                break
            if not loss.requires_grad:
                # Of parts that are frozen alone.
                continue
            self.manual_backward(loss)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            norm = nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
            if not self._everywhere(torch.isfinite(norm)):
                log.warning(
                    "step %d: %s gradient is not finite; batch skipped: %s",
                    self.step,
                    name,
                    ", ".join(batch.names),
                )
                break
            optimizer.step()
            schedules[name].step()
            if self.step % self.config.log_every == 0:
                values = {f"train/{key}": value.detach() for key, value in logs.items()}
                values[f"train/{name}_loss"] = loss.detach()
                values[f"gradient/{name}"] = norm
                values[f"rate/{name}"] = torch.tensor(optimizer.param_groups[0]["lr"])
                self._write(values)
        waiting = [flag for flag in self.waiting if not flag]
        if len(waiting) < len(self.waiting):
            # What a batch has just initialised must not be averaged with what stood there before.
            self.average.n_averaged.zero_()
            self.waiting = waiting
        self.average.update_parameters(self.model)
        self.step += 1
        if self.step >= self.config.max_steps:
            self.trainer.should_stop = True

    def validation_step(self, loaded: tuple[Any, Any], index: int) -> None:
        batch, _ = loaded
        averaged: Any = self.average.module if self.step else self.model
        for key, value in averaged.validate(batch).items():
            # Each step's mean goes to the epoch's mean, weighted by the number of utterances.
            self.log(
                f"test/{key}",
                value,
                on_epoch=True,
                sync_dist=True,
                batch_size=len(batch.names),
                logger=False,
            )

    def on_validation_epoch_end(self) -> None:
        self._write(
            {k: v for k, v in self.trainer.callback_metrics.items() if k.startswith("test/")}
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["glottis"] = {"step": self.step, "position": list(self.position)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.step = checkpoint["glottis"]["step"]
        epoch, index = checkpoint["glottis"]["position"]
        self.position = (epoch, index)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, index: int) -> Any:
        return batch[0].to(device), batch[1]

    def _rate(self, step: int) -> float:
        config = self.config
        warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
        if config.schedule == "noam":
            return warm * math.sqrt(
                max(1, config.warmup_steps) / max(step + 1, config.warmup_steps, 1)
            )
        if config.schedule == "cosine":
            done = min(1.0, step / config.max_steps)
            fall = 0.5 * (1 + math.cos(math.pi * done))
            return warm * (config.final_rate + (1 - config.final_rate) * fall)
        return warm

    def _write(self, values: dict[str, Tensor]) -> None:
        if self.trainer.is_global_zero and self.logger is not None:
            numbers = {key: float(value) for key, value in values.items()}
            self.logger.log_metrics(numbers, step=self.step)

    def _everywhere(self, condition: Tensor) -> bool:
        """Whether the condition holds in every process: one that skips alone hangs the rest."""
        if self.trainer.world_size == 1:
            return bool(condition)
        return bool(
            self.trainer.strategy.reduce(condition.float(), reduce_op="sum")
            == self.trainer.world_size
        )


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
