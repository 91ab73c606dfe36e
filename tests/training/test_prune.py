"""Hidden units are left out where others make up for them, and what remains speaks as before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from glottis.config import build
from glottis.errors import InputError
from glottis.export import export_voice
from glottis.export.runs import load_run
from glottis.training.config import Recipe
from glottis.training.prune import keep_units, prune_run
from glottis.training.run import run
from glottis.voice import Voice
from small_recipes import GLOW, TRAINING, VOCOS

LONG = 60.0
"""Seconds: more than the small corpus has."""


def _moments(h: torch.Tensor) -> torch.Tensor:
    one = torch.cat([h, torch.ones(len(h), 1)], dim=1).double()
    return one.T @ one / len(h)


def _layer(hidden: int, outputs: int = 5) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(400, hidden, generator=generator)
    h = torch.nn.functional.gelu(h @ torch.randn(hidden, hidden, generator=generator) / 3 + 0.3)
    weight = torch.randn(outputs, hidden, generator=generator)
    return h, weight, torch.randn(outputs, generator=generator), torch.rand(outputs) + 0.5


def test_units_that_others_repeat_cost_nothing() -> None:
    h, weight, bias, gain = _layer(12)
    # Four of the sixteen are mixtures of the others, one of these with a constant.
    mixture = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    wide = torch.cat([h, h @ mixture + torch.tensor([0.0, 0.0, 0.0, 2.0])], dim=1)
    weights = torch.cat([weight, torch.randn(5, 4)], dim=1)
    kept = keep_units(weights, bias, _moments(wide), 12, gain)
    before = wide @ weights.T + bias
    after = wide[:, kept.units] @ kept.weight.T + kept.bias
    assert kept.error < 1e-6
    torch.testing.assert_close(after, before, atol=2e-2, rtol=1e-2)


def test_what_stays_makes_up_for_the_rest_by_least_squares() -> None:
    h, weight, bias, gain = _layer(16)
    target = h @ weight.T + bias
    kept = keep_units(weight, bias, _moments(h), 9, gain)
    inputs = torch.cat([h[:, kept.units], torch.ones(len(h), 1)], dim=1).double()
    best = torch.linalg.lstsq(inputs, target.double()).solution.T
    found = torch.cat([kept.weight, kept.bias[:, None]], dim=1)
    torch.testing.assert_close(found.double(), best, atol=1e-4, rtol=1e-4)
    rest = (gain * (inputs @ found.double().T - target)).square().sum()
    assert kept.error == pytest.approx(float(rest / (gain * target).square().sum()), rel=1e-4)


def test_the_first_unit_out_is_the_one_that_costs_least() -> None:
    h, weight, bias, gain = _layer(10)
    target = h @ weight.T + bias

    def cost(left_out: int) -> float:
        some = [i for i in range(10) if i != left_out]
        inputs = torch.cat([h[:, some], torch.ones(len(h), 1)], dim=1).double()
        fit = inputs @ torch.linalg.lstsq(inputs, target.double()).solution
        return float((gain * (fit - target)).square().sum())

    kept = keep_units(weight, bias, _moments(h), 9, gain)
    (out,) = set(range(10)) - set(kept.units.tolist())
    assert out == min(range(10), key=cost)


def test_all_units_change_nothing() -> None:
    h, weight, bias, gain = _layer(8)
    kept = keep_units(weight, bias, _moments(h), 8, gain)
    assert torch.equal(kept.weight, weight)
    assert torch.equal(kept.bias, bias)
    assert kept.error == 0


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    glow = {**GLOW, "regression_layers": 2, "regression_channels": 8, "regression_hidden": 40}
    networks = {"glow_tts": glow, "vocos": {**VOCOS, "hidden": 40}}
    made = {}
    for model, network in networks.items():
        values = {"model": model, "network": network, "training": {**TRAINING, "max_steps": 2}}
        made[model] = run(build(Recipe, values, "test"), [data], folder / model)
    return made


def test_a_pruned_voice_is_smaller_and_says_nearly_the_same(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    smaller = {name: tmp_path / name for name in runs}
    for name, before in runs.items():
        errors = prune_run(before, smaller[name], 24, seconds=LONG)
        assert errors
        assert all(0 < error < 0.2 for error in errors.values())
        key = "hidden" if name == "vocos" else "regression_hidden"
        assert json.loads((smaller[name] / "run.json").read_text())["network"][key] == 24
        # What a network of that size trains on from.
        model, _ = load_run(smaller[name])
        assert all(p.isfinite().all() for p in model.parameters())
    text = "Rice is often served in round bowls."
    sizes, said = [], []
    for number, each in enumerate((runs, smaller)):
        out = tmp_path / f"{number}.onnx"
        export_voice(each["glow_tts"], out, vocoder=each["vocos"], weights="float32")
        sizes.append(out.stat().st_size)
        said.append(torch.from_numpy(Voice.load(out).speak(text, seed=0).samples))
    assert sizes[1] < sizes[0]
    one, other = said
    assert len(one) == len(other)
    assert (one - other).square().mean() < 0.2 * one.square().mean()


def test_what_cannot_be_pruned_is_named(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--hidden takes 1 to 39"):
        prune_run(runs["vocos"], tmp_path / "a", 40)
    with pytest.raises(InputError, match="too few to choose among 40"):
        prune_run(runs["vocos"], tmp_path / "a", 24, seconds=0.1)
    for seconds in (0, -1, float("nan")):
        with pytest.raises(InputError, match="--seconds must be above 0"):
            prune_run(runs["vocos"], tmp_path / "a", 24, seconds=seconds)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(InputError, match="is not empty"):
        prune_run(runs["vocos"], tmp_path / "full", 24)
    values = {"model": "glow_tts", "network": GLOW, "training": {**TRAINING, "max_steps": 1}}
    plain = run(build(Recipe, values, "test"), [data], tmp_path / "plain")
    with pytest.raises(InputError, match="without ConvNeXt blocks"):
        prune_run(plain, tmp_path / "a", 24)
    imported = shutil.copytree(runs["vocos"], tmp_path / "imported")
    facts = json.loads((imported / "run.json").read_text()) | {"data": []}
    (imported / "run.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="--data"):
        prune_run(imported, tmp_path / "a", 24)
    assert not (tmp_path / "a").exists()
