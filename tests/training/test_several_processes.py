"""Several processes train as one process with a batch as large as theirs together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from small_recipes import TRAINING, VOCOS

DRIVER = """
import json, sys
from pathlib import Path
from glottis.config import build
from glottis.training.config import Recipe
from glottis.training.run import run
values, data, out = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
run(build(Recipe, values, "test"), [data], out)
"""


def _train(values: dict, data: Path, folder: Path) -> dict[str, torch.Tensor]:
    driver = folder.with_suffix(".py")
    driver.write_text(DRIVER)
    done = subprocess.run(
        [sys.executable, str(driver), json.dumps(values), str(data), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(folder / "model.safetensors")


def test_two_processes_equal_one_with_twice_the_batch(data: Path, tmp_path: Path) -> None:
    training = {**TRAINING, "max_steps": 4, "average": 0.0, "learning_rate": 1e-2}
    one = {"model": "vocos", "network": VOCOS, "training": {**training, "batch_size": 4}}
    two = {
        "model": "vocos",
        "network": VOCOS,
        "training": {**training, "batch_size": 2, "devices": 2},
    }
    alone = _train(one, data, tmp_path / "one")
    together = _train(two, data, tmp_path / "two")
    half = _train({**two, "training": {**two["training"], "devices": 1}}, data, tmp_path / "half")

    # Adam divides by the size of a gradient, so rounding errors of those near zero become steps:
    # weights agree in the mean, measured against a run that saw half of each batch.
    assert _distance(together, alone) < 0.02 * _distance(half, alone)


def _distance(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    differences = [(ours[key] - theirs[key]).abs().flatten() for key in theirs]
    return float(torch.cat(differences).mean())
