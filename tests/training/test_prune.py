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


def test_each_speaker_keeps_units_of_their_own(tmp_path: Path, data: Path) -> None:
    """As a plain layer with that speaker's weights would, heard when that speaker is meant."""
    from glottis.blocks.convnext import ConvNeXtBlock
    from glottis.training.prune import _narrow

    torch.manual_seed(0)
    block, plain = ConvNeXtBlock(6, 12, 3, speakers=2), ConvNeXtBlock(6, 12, 3)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for i, layer in enumerate((plain.expand, plain.contract)):
            own = (block.expand, block.contract)[i]
            layer.weight.copy_(own.speaker_weight.view(2, *own.shape)[1])
            layer.bias.copy_(own.speaker_bias[1])
        plain.scale.copy_(block.scale)
        heard = [_moments(torch.rand(80, 12)) for _ in range(2)]
        x = torch.randn(3, 5, 6)
        error = _narrow(block, torch.stack(heard), 7)
        assert error >= _narrow(plain, heard[1][None], 7) > 0
        found = block.contract(block.expand(x, 1), 1)
        torch.testing.assert_close(found, plain.contract(plain.expand(x)))
        assert not torch.allclose(found, block.contract(block.expand(x, 0), 0), atol=1e-2)


def test_a_part_is_pruned_by_itself(tmp_path: Path) -> None:
    """Content of several speakers, in a run that speaks as before."""
    from glottis.corpus.prepare import PrepareConfig, prepare
    from small_recipes import VITS
    from synthetic_corpus import write_corpus

    folders = []
    for name in ("ann", "bob"):
        write_corpus(tmp_path / name, rows=6)
        config = PrepareConfig(speaker=name, test_share=0.0)
        prepare(tmp_path / name, tmp_path / f"data-{name}", config=config, jobs=1)
        folders.append(tmp_path / f"data-{name}")
    network = {
        **VITS,
        "latent": 80,
        "alignment_steps": 0,
        "pitch": True,
        "posterior_input": "log_mels",
        "mel_latents": True,
        "posterior_layers": 0,
        "conversion": "content",
        "content_width": 8,
        "content_hidden": 8,
        "content_decoder_hidden": 12,
        "content_layers": 1,
        "content_steps": 0,
        "content_frames": 8,
    }
    values = {"model": "vits", "network": network, "training": {**TRAINING, "max_steps": 2}}
    source = run(build(Recipe, values, "test"), folders, tmp_path / "run")
    prune_run(source, tmp_path / "slim", 6, part="content.decoder", seconds=LONG)
    (before, facts), (after, slim) = load_run(source), load_run(tmp_path / "slim")
    changed = {k for k in facts["network"] if facts["network"][k] != slim["network"][k]}
    assert changed == {"content_decoder_hidden"}
    ours = before.state_dict()
    for name, value in after.state_dict().items():
        if "content.decoder.layers" not in name:
            assert torch.equal(value, ours[name]), name
    assert after.content.decoder.layers[0].expand.shape == (6, 8)
    with pytest.raises(InputError, match=r"--part takes .*content\.decoder.* not content"):
        prune_run(source, tmp_path / "no", 6, part="content", seconds=LONG)
