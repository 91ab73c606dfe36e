"""Recipes of several stages: each trains on the corpora, or on what an earlier stage predicts.

    stages:
      - {name: features, recipe: tacotron2/small}
      - {name: mels, predict: features}
      - {name: vocoder, recipe: wavenet/small, data: mels}

A stage leaves a folder of its name, and a file ``done.json`` in it when it is complete. Started
again, the whole goes on where it stopped: complete stages are passed over, a run is resumed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glottis.config import build
from glottis.corpus import Prepared
from glottis.errors import InputError
from glottis.files import replacing
from glottis.training.config import Recipe

log = logging.getLogger("glottis.training")


@dataclass(frozen=True)
class Stage:
    """``recipe`` is trained, or the run of the stage ``predict`` predicts log-mels; ``data`` names
    the stage whose log-mels are trained on, in place of the corpora's."""

    name: str
    recipe: str | None = None
    predict: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class Stages:
    """Several stages, in order."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        seen: dict[str, Stage] = {}
        for stage in self.stages:
            if (stage.recipe is None) == (stage.predict is None):
                raise InputError(f"stage {stage.name!r} takes either a recipe or predict")
            before = stage.predict or stage.data
            if before is not None and before not in seen:
                raise InputError(
                    f"stage {stage.name!r} needs {before!r}, which is no earlier stage; earlier "
                    f"are: {', '.join(seen) or 'none'}"
                )
            seen[stage.name] = stage


def run_stages(
    values: dict[str, Any], where: str, data: Sequence[Path], words: Sequence[str], out: Path
) -> Path:
    """Run a recipe of several stages in the folder ``out``.

    Args:
        values: the recipe as read.
        where: its name, for messages.
        data: prepared corpora.
        words: ``STAGE.KEY=VALUE`` settings of one stage, ``KEY=VALUE`` of all that train, and
            ``only=STAGE`` to run a single one.
        out: the run folder; each stage has a folder of its name in it.

    Raises:
        InputError: an unknown stage, a wrong setting, or what the stages themselves raise.
    """
    from glottis.training.recipe import read_recipe
    from glottis.training.run import build_network, freeze

    plan = build(Stages, values, f"recipe {where}")
    names = [stage.name for stage in plan.stages]
    only = next((word[5:] for word in words if word.startswith("only=")), None)
    if only is not None and only not in names:
        raise InputError(f"there is no stage {only!r}; the stages are {', '.join(names)}")
    if not data:
        raise InputError("no data: give at least one folder made by 'glottis prepare' with --data")
    settings = [word for word in words if not word.startswith("only=")]
    recipes = {
        stage.name: read_recipe(stage.recipe, _own_words(stage, settings, names))
        for stage in plan.stages
        if stage.recipe is not None and only in (None, stage.name)
    }
    corpus = Prepared(data)
    for recipe in recipes.values():
        # What is wrong with a late stage should be told before the first trains for days.
        freeze(build_network(recipe, corpus), recipe.training.freeze)
    corpora: dict[str, list[Path]] = {}
    for stage in plan.stages:
        folder = out / stage.name
        if only in (None, stage.name):
            if stage.data is not None and stage.data not in corpora:
                corpora[stage.data] = _predicted(out / stage.data)
            trained_on = corpora.get(stage.data or "", list(data))
            _run_stage(stage, recipes.get(stage.name), folder, out, trained_on)
        if stage.predict is not None and (folder / "done.json").is_file():
            corpora[stage.name] = _predicted(folder)
    return out


def _run_stage(
    stage: Stage, recipe: Recipe | None, folder: Path, out: Path, data: list[Path]
) -> None:
    from glottis.training.predicted import write_predicted
    from glottis.training.run import run

    log.info("stage %s", stage.name)
    if stage.predict is not None:
        # Itself it knows what is done already, and from which weights.
        folders = write_predicted(out / stage.predict, data, folder)
        _finish(folder, {"data": [each.name for each in folders]})
        return
    assert recipe is not None
    run(recipe, data, folder)
    _finish(folder, {"steps": recipe.training.max_steps})


def _own_words(stage: Stage, words: Sequence[str], names: Sequence[str]) -> list[str]:
    """The settings of all stages and those of this one, which begin with its name."""
    own = []
    for word in words:
        first, _, rest = word.partition(".")
        if first in names:
            own += [rest] if first == stage.name else []
        else:
            own.append(word)
    return own


def _finish(folder: Path, facts: dict[str, Any]) -> None:
    with replacing(folder / "done.json") as path:
        path.write_text(json.dumps(facts), encoding="utf-8")


def _predicted(folder: Path) -> list[Path]:
    """The corpora that an earlier stage wrote."""
    try:
        facts = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(
            f"the stage {folder.name!r} has not been completed; leave out only=... to run all"
        ) from None
    return [folder / name for name in facts["data"]]
