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

from glottis.blocks.convnext import ConvNeXtBlock, SpeakerLinear
from glottis.config import build
from glottis.corpus import Prepared
from glottis.corpus.batches import ParameterBatch
from glottis.errors import InputError
from glottis.export.runs import load_run
from glottis.files import replacing
from glottis.models import model_class
from glottis.training.config import TrainingConfig
from glottis.training.data import Batches

SETTINGS = {
    "hidden": "",
    "regression_hidden": "",
    "decoder_hidden": "decoder",
    "content_hidden": "content.encoder",
    "content_decoder_hidden": "content.decoder",
}
"""Network settings that are the hidden channels of ConvNeXt blocks, and the part that they are of,
where that can be pruned by itself."""
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
    part: str = "",
    data: Sequence[Path] = (),
    seconds: float = 600.0,
) -> dict[str, float]:
    """Write ``run``'s network with ``hidden`` channels in each of its ConvNeXt blocks to ``out``.

    Which units say what others do not is heard in recordings, as many as the model needs for
    ``seconds`` of speech. The result is a run folder: to export, or to train on from.

    Args:
        part: of which part of the network, such as ``content.decoder``; of all when left out. Of
            blocks that each speaker has of their own, each keeps other units.
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
        if isinstance(block, ConvNeXtBlock) and (not part or name.startswith(f"{part}."))
    }
    if part and part not in SETTINGS.values():
        raise InputError(f"--part takes {', '.join(filter(None, SETTINGS.values()))}, not {part}")
    if not blocks:
        where = f" in {part}" if part else ""
        raise InputError(
            f"{run} holds {facts['model']} without ConvNeXt blocks{where}: nothing to prune"
        )
    widest = max(_units(block) for block in blocks.values())
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
    heard = min((int(count) for each in moments.values() for count in each[:, -1, -1]), default=0)
    if heard < PER_UNIT * widest:
        raise InputError(
            f"{heard} frames were heard, too few to choose among {widest} channels; "
            f"give more than --seconds {seconds:g}, or more data"
        )
    errors = {
        name: _narrow(block, moments[name] / moments[name][:, -1:, -1:], hidden)
        for name, block in blocks.items()
        if _units(block) > hidden
    }
    changed = {key for key in SETTINGS if not part or SETTINGS[key] == part}
    settings = {
        key: hidden if key in changed and value > hidden else value
        for key, value in facts["network"].items()
    }
    smaller = network(build(config_class, settings, f"{run}/run.json: network"))
    smaller.load_state_dict(model.state_dict())
    _write(run, out, facts | {"network": settings}, smaller)
    return errors


def _units(block: ConvNeXtBlock) -> int:
    """Hidden units of a block; of each speaker, where they have their own."""
    if isinstance(block.expand, SpeakerLinear):
        return block.expand.shape[0]
    return int(block.expand.out_features)  # type: ignore[arg-type]


@torch.no_grad()
def _listen(
    model: Any, blocks: dict[str, ConvNeXtBlock], corpus: Prepared, seconds: float
) -> dict[str, Tensor]:
    """For each block the sum over frames of ``(h, 1) (h, 1)^T``, float64 ``[1 or speakers, hidden +
    1, hidden + 1]``."""
    moments: dict[str, Tensor] = {}

    def hear(name: str, layer: nn.Module, given: tuple[Any, ...]) -> None:
        h = given[0].reshape(-1, given[0].shape[-1])
        h = torch.cat([h, h.new_ones(len(h), 1)], dim=1)
        own = isinstance(layer, SpeakerLinear)
        if name not in moments:
            shape = (layer.speakers if isinstance(layer, SpeakerLinear) else 1, h.shape[1])
            moments[name] = h.new_zeros(*shape, h.shape[1], dtype=torch.float64)
        # Products of one utterance in single precision, which is quick, and their sum in double.
        moments[name][int(given[1]) if own else 0] += h.T @ h

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
    own = isinstance(block.expand, SpeakerLinear)
    expand, contract = block.expand, block.contract
    speakers = len(moments)

    def rows(layer: nn.Module, kind: str) -> Tensor:
        """Of each speaker, one after the other; of all alike where these are none's own."""
        value: Tensor = getattr(layer, f"speaker_{kind}" if own else kind)
        return value.view(speakers, -1, *(value.shape[1:] if kind == "weight" else ()))

    first, first_bias = rows(expand, "weight"), rows(expand, "bias")
    last, last_bias = rows(contract, "weight"), rows(contract, "bias")
    kept = [
        keep_units(last[i], last_bias[i], moments[i], hidden, block.scale) for i in range(speakers)
    ]
    values = {
        "expand.weight": torch.cat([first[i][each.units] for i, each in enumerate(kept)]),
        "expand.bias": torch.stack([first_bias[i][each.units] for i, each in enumerate(kept)]),
        "contract.weight": torch.cat([each.weight for each in kept]),
        "contract.bias": torch.stack([each.bias for each in kept]),
    }
    channels = first.shape[2]
    if own:
        block.expand = SpeakerLinear(channels, hidden, speakers)
        block.contract = SpeakerLinear(hidden, channels, speakers)
    else:
        block.expand, block.contract = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
    for name, value in values.items():
        layer, _, kind = name.partition(".")
        target = getattr(getattr(block, layer), f"speaker_{kind}" if own else kind)
        target.copy_(value.view_as(target))
    return max(each.error for each in kept)


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
