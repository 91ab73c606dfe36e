"""``glottis train``: a recipe and prepared corpora in, a run folder out.

A run folder holds ``recipe.yaml`` (resolved), ``run.json`` (data, speakers, mel settings),
``train.log``, ``state.ckpt``, ``model.safetensors``, the last pictures and TensorBoard's events.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from glottis.config import as_dict, build
from glottis.errors import InputError
from glottis.files import replacing
from glottis.training.config import Recipe, TrainingConfig
from glottis.training.recipe import YAML, read_recipe, read_values

if TYPE_CHECKING:
    import lightning

    from glottis.corpus import Prepared

log = logging.getLogger("glottis.training")

PRECISIONS: dict[str, Any] = {"bf16": "bf16-mixed", "fp32": "32-true", "fp16": "16-mixed"}
"""Lightning's names for ours but ``auto``; see :func:`choose_precision`."""


def train(
    recipe: str,
    data: Sequence[Path],
    overrides: Sequence[str] = (),
    out: Path | None = None,
) -> Path:
    """Train ``recipe`` on prepared corpora; resume when the run folder holds a state.

    Args:
        recipe: a shipped recipe's name or a YAML file.
        data: folders made by ``glottis prepare``.
        overrides: ``key=value`` words; see :func:`~glottis.training.recipe.read_recipe`.
        out: the run folder; when left out ``runs/<recipe>``, for a YAML file ``runs/<its stem>``.

    Returns:
        The run folder.

    Raises:
        InputError: a wrong recipe, key or folder, or a run folder of another network.
    """
    path = Path(recipe)
    folder = out or Path("runs") / (path.stem if path.suffix in YAML else path)
    values = read_values(recipe)
    if "stages" in values:
        from glottis.training.stages import run_stages

        return run_stages(values, recipe, data, overrides, folder)
    if "conversion" in values:
        from glottis.training.conversion import run_conversion

        return run_conversion(values, recipe, data, overrides, folder)
    settings = read_recipe(recipe, overrides)
    return run(settings, list(data), folder)


def run(recipe: Recipe, data: list[Path], folder: Path) -> Path:
    """Train a resolved recipe in ``folder``. Arguments and errors as :func:`train`."""
    import lightning
    import torch
    from lightning.pytorch.loggers import TensorBoardLogger

    from glottis.corpus import Prepared
    from glottis.training.callbacks import (
        AlignmentWatch,
        Checkpoints,
        Pictures,
        Progress,
        read_state,
    )
    from glottis.training.data import Data
    from glottis.training.durations import read_durations
    from glottis.training.initialize import letters, load_weights
    from glottis.training.task import Task

    config = recipe.training
    if not data:
        raise InputError("no data: give at least one folder made by 'glottis prepare' with --data")
    corpus = Prepared(data)
    lightning.seed_everything(config.seed, verbose=False)
    if config.threads:
        torch.set_num_threads(config.threads)
    model = build_network(recipe, corpus)
    _describe(folder, recipe, corpus, model)
    log_to(folder / "train.log")
    state = folder / "state.ckpt"
    if config.initialize and not state.exists():
        names = {"speakers": corpus.speakers, "languages": corpus.languages}
        if corpus.phonemes == "text" and hasattr(model.config, "symbols"):
            names["letters"] = letters(corpus.symbols.phoneme_id_map)
        load_weights(model, Path(config.initialize), names)
    freeze(model, config.freeze)

    task = Task(model, config)
    durations = read_durations(Path(config.durations)) if config.durations else None
    vocoder = getattr(model.config, "vocoder", None)
    module = Data(corpus, model.batches, config, durations, vocoder)
    if state.exists():
        step, (epoch, index) = read_state(state, task)
        module.start = (epoch, index + 1)
        log.info("resuming %s at step %d", folder, step)
        if step >= config.max_steps:
            log.info("nothing left to do: raise max_steps to train longer")
            return folder
    held_out = module.held_out
    if not held_out:
        log.warning(
            "no held-out utterances fit the batch settings, and nothing is validated; prepare with "
            "a larger test_share, or lower window_frames"
        )
    trainer = _trainer(
        config,
        logger=TensorBoardLogger(folder, name=None, version=""),
        callbacks=[
            Progress(config.log_every * 5),
            Pictures(folder),
            AlignmentWatch(config.aligned_by),
            Checkpoints(folder, config.checkpoint_every),
        ],
        limit_val_batches=1.0 if held_out else 0,
    )
    parameters = sum(p.numel() for p in model.parameters())
    log.info(
        "training %s: %.2f M parameters on %s",
        recipe.model,
        parameters / 1e6,
        ", ".join(map(str, data)),
    )
    resumed = state if state.exists() else None
    try:
        trainer.fit(task, datamodule=module, ckpt_path=resumed, weights_only=True)
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            # Lightning makes an exit of it, and has switched Ctrl-C off.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise end.__context__ from None
        raise
    return folder


def build_network(recipe: Recipe, corpus: Prepared) -> Any:
    """The network of a recipe for prepared corpora, as it begins.

    Raises:
        InputError: a wrong setting, or there is no network of these settings.
    """
    from glottis.models import construct, model_class

    network, config_class = model_class(recipe.model)
    values: dict[str, Any] = {**recipe.network}
    if "mel" in config_class.__dataclass_fields__:
        values["mel"] = asdict(corpus.mel)
    counted = {"speakers": corpus.speakers, "languages": corpus.languages}
    for kind, names in counted.items():
        if kind in config_class.__dataclass_fields__:
            values.setdefault(kind, len(names))
    where = f"{recipe.model} network"
    config: Any = build(config_class, values, where)
    for kind, names in counted.items():
        if getattr(config, kind, 1) not in (1, len(names)):
            raise InputError(
                f"{where}: {kind} must be {len(names)}, as many as the data has "
                f"({', '.join(names)}), or 1, which tells none apart, not {getattr(config, kind)}; "
                "left out it is counted"
            )
    known = getattr(config, "symbols", None)
    if known is not None and known < len(corpus.symbols):
        raise InputError(
            f"{where}: symbols must be at least {len(corpus.symbols)}, the ids of what the corpora "
            f"say, not {known}"
        )
    return construct(network, config, where)


def _trainer(config: TrainingConfig, **options: Any) -> lightning.Trainer:
    """Lightning's trainer of one run; ``options`` are those that belong to its data and folder.

    Raises:
        InputError: this machine has no such accelerator, or not so many of them.
    """
    import lightning
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    several = config.devices * config.nodes > 1
    try:
        return lightning.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            # A step may leave parameters out: the other side of an adversary, or a part yet to
            # join.
            strategy="ddp_find_unused_parameters_true" if several else "auto",
            precision=PRECISIONS[choose_precision(config)],
            max_epochs=-1,
            val_check_interval=config.validate_every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            **options,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise InputError(
            f"training.accelerator={config.accelerator} with devices={config.devices} and "
            f"precision={config.precision} is not to be had here: {error}; accelerator=auto takes "
            "what there is"
        ) from error


def freeze(model: Any, parts: Sequence[str]) -> None:
    """Keep the weights of the named parts as they are.

    Raises:
        InputError: the network has no part of that name, or nothing is left to learn.
    """
    for part in parts:
        inside = [p for name, p in model.named_parameters() if f"{name}.".startswith(f"{part}.")]
        if not inside:
            known = ", ".join(name for name, _ in model.named_children())
            raise InputError(
                f"training.freeze: the network has no part {part!r} with weights; its parts are "
                f"{known}"
            )
        for parameter in inside:
            parameter.requires_grad_(False)
    if parts and not any(p.requires_grad for p in model.parameters()):
        raise InputError("training.freeze leaves nothing to learn; name fewer parts")


def choose_precision(config: TrainingConfig) -> str:
    """What ``auto`` means here: bf16 where the machine multiplies in it, fp32 elsewhere.

    Processors without such instructions emulate them: a Vocos step took nine times as long in bf16
    as in fp32 on one with AVX2 alone. So asking for bf16 there draws a warning.
    """
    import torch

    if config.precision not in ("auto", "bf16"):
        return config.precision
    if config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Named avx512_bf16, amx_bf16 and so on. torch before 2.10 cannot tell.
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        native = any(has for name, has in capabilities.items() if name.endswith("bf16"))
    if config.precision == "bf16" and not native:
        log.warning(
            "this machine has no bf16 arithmetic and emulates it slowly; precision=fp32 is faster"
        )
        return "bf16"
    return "bf16" if native else "fp32"


def _describe(folder: Path, recipe: Recipe, corpus: Any, model: Any) -> None:
    """Write recipe.yaml and run.json, refusing a folder that holds another network."""
    from glottis.export.runs import is_vocoder

    facts = {
        "model": recipe.model,
        "network": as_dict(model.config),
        "data": [str(path) for path in corpus.dirs],
        "speakers": corpus.speakers,
        "languages": corpus.languages,
        "speaker_languages": corpus.speaker_languages,
        "mel": asdict(corpus.mel),
    }
    if not is_vocoder(model):
        facts["phonemes"] = corpus.phonemes
        if corpus.phonemes == "text":
            facts["phoneme_id_map"] = corpus.symbols.phoneme_id_map
    if (folder / "state.ckpt").exists():
        _must_continue(folder, json.loads(json.dumps(facts)), type(model.config))
    with replacing(folder / "run.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    with replacing(folder / "recipe.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(as_dict(recipe), sort_keys=False), encoding="utf-8")


def _must_continue(folder: Path, facts: dict[str, Any], config_class: type) -> None:
    """Raises InputError when the run in ``folder`` is not the one of which these are the facts."""
    path = folder / "run.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        known = before.keys() if isinstance(before, dict) else ()
        missing = [k for k in ("model", "network", "speakers", "languages") if k not in known]
        damage = f"it lacks {', '.join(missing)}" if missing else ""
    except (OSError, ValueError) as error:
        damage = str(error)
    if damage:
        raise InputError(
            f"{path} does not say what {folder / 'state.ckpt'} holds ({damage}); move the state "
            "away to begin anew, or choose another --out"
        )
    if before["model"] == facts["model"]:
        # A setting that was added since has its default there.
        network: Any = build(config_class, before["network"], f"{path}: network")
        before["network"] = json.loads(json.dumps(as_dict(network)))
    if "phonemes" in facts:
        before.setdefault("phonemes", "espeak")
    for key in ("model", "network", "speakers", "languages", "phonemes", "phoneme_id_map"):
        if before.get(key) != facts.get(key):
            raise InputError(
                f"{folder} holds a run with another {key} "
                f"({_differences(before.get(key), facts.get(key))}); "
                "continue it with its own settings or choose another --out"
            )


def _differences(there: Any, here: Any, name: str = "") -> str:
    """Which settings differ, with both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        return ", ".join(
            _differences(there.get(key), here.get(key), f"{name}.{key}" if name else key)
            for key in sorted({*there, *here})
            if there.get(key) != here.get(key)
        )
    return f"{name and f'{name}: '}{there} there, {here} here"


def log_to(path: Path) -> None:
    """Send our log to the terminal and, appending, to the run's file."""
    logger = logging.getLogger("glottis")
    logger.setLevel(logging.INFO)
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    form = logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")
    for handler in (logging.StreamHandler(sys.stderr), logging.FileHandler(path)):
        handler.setFormatter(form)
        logger.addHandler(handler)
    logger.propagate = False
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch")
