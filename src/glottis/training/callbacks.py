"""What happens beside the steps of training: checkpoints, pictures, a line of log."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import save_file

from glottis.errors import InputError
from glottis.files import replacing
from glottis.training.task import Task

log = logging.getLogger(__name__)


class Checkpoints(Callback):
    """Writes ``state.ckpt`` (to resume) and ``model.safetensors`` (averaged weights, to use).

    Both are replaced whole, every ``every`` steps, at the end and when training is interrupted: a
    kill at any moment loses only the steps since the last of them.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.step % self.every == 0:
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.save(trainer, pl_module)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException
    ) -> None:
        # Only an interruption leaves a state worth keeping; after an error the last good one stays.
        if isinstance(exception, KeyboardInterrupt) and pl_module.step:
            self.save(trainer, pl_module)

    def save(self, trainer: lightning.Trainer, task: Task) -> None:
        with replacing(self.folder / "state.ckpt") as path:
            trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            weights = {
                key: value.detach().cpu().contiguous()
                for key, value in task.average.module.state_dict().items()
            }
            with replacing(self.folder / "model.safetensors") as path:
                save_file(weights, path, metadata={"step": str(task.step)})


def read_state(path: Path, task: Task) -> tuple[int, tuple[int, int]]:
    """The step and the position that ``state.ckpt`` was written after.

    Raises:
        InputError: it is damaged, or not the state of such a task.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        step, (epoch, index) = state["glottis"]["step"], state["glottis"]["position"]
        theirs = {name: value.shape for name, value in state["state_dict"].items()}
        sizes = [_sizes(each) for each in state["optimizer_states"]]
        damage = ", ".join(f"no {k}" for k in ("loops", "lr_schedulers") if k not in state)
    except KeyError as error:
        damage = f"no {error.args[0]}"
    except EOFError:
        damage = "it is empty"
    except (OSError, RuntimeError, UnpicklingError) as error:
        damage = str(error).partition(". ")[0].partition("\n")[0]
    except (LookupError, ValueError, TypeError, AttributeError):
        damage = "it is no state"  # of a run, or no file of torch's at all
    if not damage:
        ours = {name: value.shape for name, value in task.state_dict().items()}
        other = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        if other:
            damage = f"{len(other)} weights are not those of this network, first {other[0]}"
        elif sizes != [_sizes(each.state_dict()) for each in task.configure_optimizers()[0]]:
            damage = "other parts of the network were learning (training.freeze)"
    if damage:
        raise InputError(
            f"{path} cannot be continued: {damage}. Move it away to begin anew, from the weights "
            f"that it left with initialize={path.parent}, or choose another --out"
        )
    return step, (epoch, index)


def _sizes(optimizer: dict[str, Any]) -> list[int]:
    """How many parameters are in each of an optimiser's groups."""
    return [len(group["params"]) for group in optimizer["param_groups"]]


class Pictures(Callback):
    """After each validation writes what the model shows: PNGs in the run folder, TensorBoard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.batch: Any = None

    def on_validation_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0:
            self.batch = batch[0]

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero or self.batch is None or trainer.sanity_checking:
            return
        model = pl_module.average.module
        training = model.training
        model.eval()
        with torch.no_grad():
            shown = model.show(self.batch)
        model.train(training)
        writer = getattr(trainer.logger, "experiment", None)
        for name, value in shown.items():
            array = value.detach().float().cpu().numpy()
            if array.ndim == 1:
                rate = model.config.mel.sample_rate
                if writer is not None:
                    writer.add_audio(name, array.clip(-1, 1), pl_module.step, sample_rate=rate)
            else:
                with replacing(self.folder / f"{name}.png") as path:
                    pixels = draw(array, path, f"{name}, step {pl_module.step}")
                if writer is not None:
                    writer.add_image(name, pixels, pl_module.step, dataformats="HWC")


class AlignmentWatch(Callback):
    """Warns when text and speech have not found each other after ``steps`` steps.

    Looks at the held-out ``coverage`` and ``diagonality`` of models that align (see
    :mod:`glottis.alignment`): sound alignments of speech lie above both bounds, one that has run
    into the edges below. One warning a run is enough.
    """

    COVERAGE, DIAGONALITY = 0.4, 0.6

    def __init__(self, steps: int) -> None:
        self.steps, self.warned = steps, False

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        seen = trainer.callback_metrics
        if self.warned or pl_module.step < self.steps or "test/coverage" not in seen:
            return
        coverage, diagonality = float(seen["test/coverage"]), float(seen["test/diagonality"])
        if coverage >= self.COVERAGE and diagonality >= self.DIAGONALITY:
            return
        self.warned = True
        log.warning(
            "after %d steps text and speech are not aligned: coverage %.2f (sound above %.2f), "
            "diagonality %.2f (above %.2f). A few phonemes hold most frames. What helps: Glow-TTS "
            "with network.align_on=mel and network.alignment_steps=1500; a larger batch; "
            "transcripts that match ('glottis doctor'); a lower learning_rate",
            pl_module.step,
            coverage,
            self.COVERAGE,
            diagonality,
            self.DIAGONALITY,
        )


class Progress(Callback):
    """A line of log every ``every`` steps: step, losses, steps per second."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.time, self.step = time.monotonic(), 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.time, self.step = time.monotonic(), pl_module.step

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero and pl_module.step % self.every == 0:
            now = time.monotonic()
            speed = (pl_module.step - self.step) / max(1e-9, now - self.time)
            self.time, self.step = now, pl_module.step
            log.info(
                "step %d of %d, %.2f steps/s, epoch %d",
                pl_module.step,
                pl_module.config.max_steps,
                speed,
                pl_module.position[0],
            )

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            values = {
                key: float(value)
                for key, value in trainer.callback_metrics.items()
                if key.startswith("test/")
            }
            log.info(
                "held out at step %d: %s",
                pl_module.step,
                ", ".join(f"{key[5:]} {value:.4f}" for key, value in values.items()),
            )


def draw(array: np.ndarray, path: Path, title: str) -> np.ndarray:
    """Draw a matrix, first axis upwards, as a PNG; return its pixels ``[height, width, 3]``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(array, origin="lower", aspect="auto", interpolation="nearest")
    figure.colorbar(image)
    axes.set_title(title)
    figure.savefig(path, format="png")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
