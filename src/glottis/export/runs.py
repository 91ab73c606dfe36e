"""Run folders as export reads them: a network with its weights, and what fits what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glottis.config import build, override
from glottis.errors import InputError

if TYPE_CHECKING:
    from torch import nn

JUDGES = "discriminators."
"""How the weights of discriminators begin."""
FACTS = {
    "model": str, "network": dict, "data": list, "speakers": list, "languages": list, "mel": dict,
}  # fmt: skip
"""What every ``run.json`` says."""


def load_run(run: Path, settings: Sequence[str] = ()) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a run folder with its averaged weights, in evaluation mode, and ``run.json``.

    ``settings`` are ``key=value`` words over the network's.

    Raises:
        InputError: the folder is not a run, has no weights yet, or they do not fit, or there is no
            network of such settings.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from glottis.models import construct, model_class

    facts = _facts(run)
    path = run / "model.safetensors"
    if not path.is_file():
        raise InputError(f"{run} has no weights yet: train until its first checkpoint")
    network, config_class = model_class(facts["model"])
    values = override(facts["network"], settings)
    config = build(config_class, values, f"{run}/run.json: network")
    changed = f" with {' '.join(settings)}" if settings else ""
    model = construct(network, config, f"{run}/run.json: no such network{changed}")
    try:
        weights = load_file(path)
        if not any(name.startswith(JUDGES) for name in weights):
            # An imported generator may have come without its judges, which nobody hears.
            weights |= {k: v for k, v in model.state_dict().items() if k.startswith(JUDGES)}
        model.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        # torch tells of every weight, one a line, under a heading.
        heading, *lines = str(error).splitlines() or [repr(error)]
        first = lines[0].strip() if lines else heading
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise InputError(f"{path} does not hold this network{changed}: {first}{more}") from error
    return model.eval(), facts


def _facts(run: Path) -> dict[str, Any]:
    """What ``run.json`` says; raises InputError when it cannot be read or lacks something."""
    path = run / "run.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(
            f"{run} is not a run folder (no readable run.json); 'glottis train' makes one"
        ) from None
    said = facts if isinstance(facts, dict) else {}
    lacking = [key for key, kind in FACTS.items() if not isinstance(said.get(key), kind)]
    if lacking:
        raise InputError(
            f"{path} does not say {', '.join(lacking)}: it is damaged, or not of a run; copy it "
            "again from the run folder that 'glottis train' or 'glottis import' made"
        )
    return said


def is_vocoder(model: nn.Module) -> bool:
    """Whether a model makes audio from log-mels."""
    batches: Any = model.batches
    return str(batches).startswith("windows")


def must_have_graph(run: Path, model: nn.Module, facts: dict[str, Any]) -> None:
    """Raises InputError for the model of ``run``, with its ``run.json``, when it has none."""
    if not hasattr(model, "export_graph"):
        raise InputError(
            f"{run} holds {facts['model']}, whose steps wait for one another: it has no graph that "
            "a voice file could hold"
        )


def must_fit(
    run: Path, facts: dict[str, Any], vocoder: Path, decoder_facts: dict[str, Any]
) -> None:
    """Raises InputError when a vocoder was trained on other log-mels than a run makes, or is told
    what it does not say; names both. ``facts`` are what ``run.json`` says.
    """
    ours, theirs = facts["mel"], decoder_facts["mel"]
    if ours != theirs:
        differing = [key for key in ours if ours[key] != theirs.get(key)]
        raise InputError(
            f"the vocoder does not fit the acoustic model: {vocoder} was trained with mel settings "
            f"{ {key: theirs.get(key) for key in differing} }, {run} with "
            f"{ {key: ours[key] for key in differing} }"
        )
    if decoder_facts["network"].get("pitch") and not facts["network"].get("pitch"):
        raise InputError(
            f"the vocoder does not fit the acoustic model: {vocoder} is told the pitch "
            f"(network.pitch=true), which {run} does not predict; train the one with "
            "network.pitch=true or the other without"
        )
