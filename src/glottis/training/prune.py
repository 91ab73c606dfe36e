"""A smaller network from a trained one: hidden units of ConvNeXt blocks that others make up for.

Source: Hassibi & Stork 1993, "Second order derivatives for network pruning: Optimal Brain Surgeon",
with a block's own output for the loss, where its quadratic form is exact, and whole units for
weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from glottis.blocks.convnext import ConvNeXtBlock
from glottis.config import build
from glottis.corpus import Prepared
from glottis.corpus.batches import ParameterBatch
from glottis.errors import InputError
from glottis.export.runs import load_run
from glottis.files import replacing
from glottis.models import model_class
from glottis.training.config import TrainingConfig
from glottis.training.data import Batches

SETTINGS = ("hidden", "regression_hidden", "decoder_hidden", "content_hidden")
"""Network settings that are the hidden channels of ConvNeXt blocks."""
PER_UNIT = 4
"""Frames that must be heard for each hidden unit."""


class Kept(NamedTuple):
    """The ``units`` int64 ``[keep]``, their ``weight`` ``[channels, keep]`` and ``bias``
    ``[channels]``, and the ``error``: what is lost of the output's mean square."""

    units: Tensor
    weight: Tensor
    bias: Tensor
    error: float


@torch.no_grad()
def keep_units(weight: Tensor, bias: Tensor, moments: Tensor, keep: int, gain: Tensor) -> Kept:
    """The hidden units of ``y = gain * (weight h + bias)`` without which ``y`` changes least.

    One after the other, that unit is left out whose loss costs least once all that stay have made
    up for it by least squares; that is Optimal Brain Surgeon, as ``y`` is linear in the weights.

    Args:
        weight: ``[channels, hidden]``; ``bias`` ``[channels]``.
        moments: ``[hidden + 1, hidden + 1]``, the mean of ``(h, 1) (h, 1)^T``.
        keep: how many of the hidden units stay.
        gain: ``[channels]``, by which errors are weighed.
    """
    hidden = weight.shape[1]
    before = torch.cat([weight, bias[:, None]], dim=1).double()
    moments, gain = moments.double(), gain.double()[:, None]
    # Units that say the same leave the inverse undefined without a little of the identity.
    ridge = 1e-7 * moments.diagonal().mean() * torch.eye(hidden + 1, dtype=torch.float64)
    inverse, after = torch.linalg.inv(moments + ridge), before.clone()
    stays = torch.ones(hidden, dtype=torch.bool)
    for _ in range(hidden - keep):
        cost = (gain * after[:, :hidden]).square().sum(0) / inverse.diagonal()[:hidden]
        unit = int(cost.masked_fill(~stays, math.inf).argmin())
        row, pivot = inverse[unit].clone(), inverse[unit, unit].clone()
        after -= torch.outer(after[:, unit], row) / pivot
        inverse -= torch.outer(row, row) / pivot
        # A unit that is out stays out, whatever rounding left of it.
        after[:, unit], inverse[unit], inverse[:, unit] = 0.0, 0.0, 0.0
        inverse[unit, unit] = 1.0
        stays[unit] = False
    units = stays.nonzero().squeeze(1)

    def square(w: Tensor) -> Tensor:
        return ((gain * w) @ moments * (gain * w)).sum()

    error = float(square(after - before) / square(before).clamp_min(1e-30))
    return Kept(units, after[:, units].to(weight), after[:, hidden].to(bias), error)


def prune_run(
    run: Path,
    out: Path,
    hidden: int,
    *,
    data: Sequence[Path] = (),
    seconds: float = 600.0,
) -> dict[str, float]:
    """Write ``run``'s network with ``hidden`` channels in each of its ConvNeXt blocks to ``out``.

    Which units say what others do not is heard in recordings, as many as the model needs for
    ``seconds`` of speech. The result is a run folder: to export, or to train on from.

    Args:
        data: prepared corpora to listen to; those that the run was trained on when left out.

    Returns:
        For each block what share of its output's mean square is lost.

    Raises:
        InputError: the run has no such blocks or no more channels than that, knows other speakers
            or languages than the data, ``out`` holds something, or too little was heard.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; give --out a new folder")
    model, facts = load_run(run)
    network, config_class = model_class(facts["model"])
    blocks = {
        name: block
        for name, block in model.named_modules()
        # Of blocks that each speaker has of their own little is heard.
        if isinstance(block, ConvNeXtBlock) and isinstance(block.expand, nn.Linear)
    }
    if not blocks:
        raise InputError(f"{run} holds {facts['model']} without ConvNeXt blocks: nothing to prune")
    widest = max(block.expand.out_features for block in blocks.values())
    if not 1 <= hidden < widest:
        raise InputError(
            f"--hidden takes 1 to {widest - 1}, fewer channels than {run} has, not {hidden}"
        )
    if not seconds > 0:
        raise InputError(f"--seconds must be above 0, not {seconds:g}")
    folders = [Path(each) for each in data or facts["data"]]
    if not folders:
        raise InputError(
            f"{run} does not say what it was trained on; name prepared corpora with --data"
        )
    corpus = Prepared(folders)
    for kind, ours in (("speakers", corpus.speakers), ("languages", corpus.languages)):
        if ours != facts[kind]:
            raise InputError(
                f"the data has the {kind} {', '.join(ours)}, {run} {', '.join(facts[kind])}; "
                "name the prepared corpora of the run with --data"
            )
    moments = _listen(model, blocks, corpus, seconds)
    heard = min(int(each[-1, -1]) for each in moments.values()) if moments else 0
    if heard < PER_UNIT * widest:
        raise InputError(
            f"{heard} frames were heard, too few to choose among {widest} channels; "
            f"give more than --seconds {seconds:g}, or more data"
        )
    errors = {
        name: _narrow(block, moments[name] / moments[name][-1, -1], hidden)
        for name, block in blocks.items()
        if block.expand.out_features > hidden
    }
    settings = {
        key: hidden if key in SETTINGS and value > hidden else value
        for key, value in facts["network"].items()
    }
    smaller = network(build(config_class, settings, f"{run}/run.json: network"))
    smaller.load_state_dict(model.state_dict())
    _write(run, out, facts | {"network": settings}, smaller)
    return errors


@torch.no_grad()
def _listen(
    model: Any, blocks: dict[str, ConvNeXtBlock], corpus: Prepared, seconds: float
) -> dict[str, Tensor]:
    """For each block the sum over frames of ``(h, 1) (h, 1)^T``, float64."""
    moments: dict[str, Tensor] = {}

    def hear(name: str, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        h = given[0].reshape(-1, given[0].shape[-1])
        h = torch.cat([h, h.new_ones(len(h), 1)], dim=1)
        # Products of one utterance in single precision, which is quick, and their sum in double.
        moments[name] = moments[name] + h.T @ h if name in moments else (h.T @ h).double()

    hooks = [
        block.contract.register_forward_pre_hook(partial(hear, name))
        for name, block in blocks.items()
    ]
    # One at a time: what padding is would count as speech.
    config = TrainingConfig(batch_size=1, buckets=1)
    left = seconds * corpus.mel.frame_rate
    for batch, (epoch, _) in Batches(corpus, "train", model.batches, config):
        if epoch > 0 or left <= 0:
            break
        assert not isinstance(batch, ParameterBatch)  # whose models have no such blocks
        model.show(batch)
        left -= batch.mel.shape[2]
    for hook in hooks:
        hook.remove()
    return moments


@torch.no_grad()
def _narrow(block: ConvNeXtBlock, moments: Tensor, hidden: int) -> float:
    """Leave ``hidden`` units of a block, in place, and say what share of its output that costs."""
    old = block.contract
    kept = keep_units(old.weight, old.bias, moments, hidden, block.scale)
    expand = nn.Linear(block.expand.in_features, hidden)
    contract = nn.Linear(hidden, old.out_features)
    expand.weight.copy_(block.expand.weight[kept.units])
    expand.bias.copy_(block.expand.bias[kept.units])
    contract.weight.copy_(kept.weight)
    contract.bias.copy_(kept.bias)
    block.expand, block.contract = expand, contract
    return kept.error


def _write(run: Path, out: Path, facts: dict[str, Any], model: nn.Module) -> None:
    """The run folder ``out``, like ``run`` but for the network."""
    out.mkdir(parents=True, exist_ok=True)
    recipe = run / "recipe.yaml"
    if recipe.is_file():
        values = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        changed = {key: facts["network"][key] for key in SETTINGS if key in facts["network"]}
        values["network"] = {**values.get("network", {}), **changed}
        with replacing(out / "recipe.yaml") as path:
            path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    with replacing(out / "model.safetensors") as path:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    with replacing(out / "run.json") as path:
        path.write_text(json.dumps(facts, indent=1), encoding="utf-8")
