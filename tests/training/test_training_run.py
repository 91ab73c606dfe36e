"""Training: resumed equals unbroken, bad batches are skipped, bad input is named."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from glottis.cli import main
from glottis.config import build
from glottis.corpus import Prepared
from glottis.corpus.prepare import PrepareConfig, prepare
from glottis.corpus.prepared import read_manifest
from glottis.errors import InputError
from glottis.export import export_voice
from glottis.models.glow_tts import GlowTTS
from glottis.training.config import Recipe, TrainingConfig
from glottis.training.durations import write_durations
from glottis.training.recipe import list_recipes, read_recipe
from glottis.training.run import choose_precision, run, train
from small_recipes import GLOW, SPSS, TRAINING, VOCOS
from synthetic_corpus import write_corpus

GPU = torch.cuda.is_available() or torch.backends.mps.is_available()


def _recipe(model: str, **changes: Any) -> Recipe:
    network = {"glow_tts": GLOW, "spss": SPSS, "vocos": VOCOS}[model]
    training = {**TRAINING, **changes}
    return build(Recipe, {"model": model, "network": network, "training": training}, "test")


@pytest.mark.parametrize("model", ["glow_tts", "spss", "vocos"])
def test_resumed_equals_unbroken(
    model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(_recipe(model), [data], tmp_path / "whole")

    # The same run, killed after its checkpoint at step 4 (a schedule must not change, so that the
    # second half has the same settings) and started again.
    class Kill(Exception):
        pass

    from glottis.training.callbacks import Checkpoints

    save = Checkpoints.save

    def save_then_die(self: Any, trainer: Any, task: Any) -> None:
        save(self, trainer, task)
        if task.step == 4:
            raise Kill

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_then_die)
        with pytest.raises(Kill):
            run(_recipe(model), [data], tmp_path / "broken")
    broken = run(_recipe(model), [data], tmp_path / "broken")

    ours, theirs = (load_file(folder / "model.safetensors") for folder in (whole, broken))
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], msg=key)
    assert any(not torch.equal(v, torch.zeros_like(v)) for v in ours.values())


def test_a_run_folder_holds_what_it_promises(data: Path, tmp_path: Path) -> None:
    folder = run(_recipe("glow_tts"), [data], tmp_path / "run")
    facts = json.loads((folder / "run.json").read_text())
    assert facts["model"] == "glow_tts"
    assert facts["mel"]["hop"] == 256
    for name in ("recipe.yaml", "train.log", "state.ckpt", "model.safetensors", "alignment.png"):
        assert (folder / name).stat().st_size > 0
    assert list(folder.glob("events.*"))
    assert read_recipe(str(folder / "recipe.yaml")) == _recipe("glow_tts")


def test_finished_run_has_nothing_left_to_do(data: Path, tmp_path: Path) -> None:
    folder = run(_recipe("glow_tts"), [data], tmp_path / "run")
    before = (folder / "model.safetensors").read_bytes()
    run(_recipe("glow_tts"), [data], folder)
    assert (folder / "model.safetensors").read_bytes() == before


def test_nan_batch_is_skipped_and_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    steps = GlowTTS.steps
    spoiled: list[str] = []

    def spoil(self: GlowTTS, batch: Any, step: int) -> Iterator[Any]:
        for name, loss, logs in steps(self, batch, step):
            if step == 2:
                spoiled.extend(batch.names)
                loss = loss * float("nan")
            yield name, loss, logs

    monkeypatch.setattr(GlowTTS, "steps", spoil)
    folder = run(_recipe("glow_tts"), [data], tmp_path / "run")
    text = (folder / "train.log").read_text()
    assert "batch skipped" in text
    assert all(name in text for name in spoiled)
    assert all(torch.isfinite(v).all() for v in load_file(folder / "model.safetensors").values())


@pytest.mark.parametrize("model", ["glow_tts", "spss"])
def test_a_recording_shorter_than_its_transcript_is_named(
    model: str, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "old")  # prepared before such rows were left out
    cuts = list(read_manifest(data))
    cuts[3]["supervisions"][0]["custom"].update(phonemes="ab" * 500, split="train")
    with gzip.open(tmp_path / "old" / "cuts.jsonl.gz", "wt", encoding="utf-8") as manifest:
        manifest.writelines(json.dumps(cut) + "\n" for cut in cuts)
    with pytest.raises(InputError, match=rf"{cuts[3]['id']}: 1000 phonemes .*`glottis prepare"):
        run(_recipe(model), [tmp_path / "old"], tmp_path / "run")


@pytest.mark.parametrize("model", ["glow_tts", "vocos"])
def test_a_corpus_without_held_out_utterances_trains(
    model: str, data: Path, tmp_path: Path
) -> None:
    if model == "vocos":  # all that is held out is shorter than a window
        longest = {
            s: max(c.num_frames for c in Prepared([data]).cuts(s)) for s in ("train", "test")
        }
        settings = {"window_frames": longest["test"] + 1, "batch_size": 1}
        assert longest["train"] > longest["test"]
        corpus = data
    else:
        settings, corpus = {}, tmp_path / "prepared"
        write_corpus(tmp_path / "corpus", rows=8)
        prepare(tmp_path / "corpus", corpus, config=PrepareConfig(test_share=0), jobs=1)
    folder = run(_recipe(model, **settings), [corpus], tmp_path / "run")
    assert torch.load(folder / "state.ckpt", weights_only=True)["glottis"]["step"] == 6
    assert load_file(folder / "model.safetensors")
    assert (folder / "train.log").read_text().count("no held-out utterances") == 1
    if model == "glow_tts":
        assert write_durations(folder, [corpus], tmp_path / "durations.jsonl") == 8


def test_another_network_does_not_continue_a_run(data: Path, tmp_path: Path) -> None:
    folder = run(_recipe("glow_tts"), [data], tmp_path / "run")
    changed = build(
        Recipe,
        {"model": "glow_tts", "network": {**GLOW, "blocks": 3}, "training": TRAINING},
        "test",
    )
    with pytest.raises(InputError, match=r"another network \(blocks: 2 there, 3 here\); continue"):
        run(changed, [data], folder)
    facts = json.loads((folder / "run.json").read_text())
    for key, value, said in (
        ("speakers", ["anna"], r"\['anna'\] there, \['corpus'\] here"),
        ("languages", ["de", "en-us"], r"\['de', 'en-us'\] there, \['en-us'\] here"),
        ("model", "vits", "vits there, glow_tts here"),
    ):
        (folder / "run.json").write_text(json.dumps({**facts, key: value}))
        with pytest.raises(InputError, match=rf"another {key} \({said}\)"):
            run(_recipe("glow_tts"), [data], folder)


@pytest.fixture(scope="module")
def half(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left after two steps."""
    return run(_recipe("glow_tts", max_steps=2), [data], tmp_path_factory.mktemp("half") / "run")


def _without(path: Path, key: str) -> None:
    state = torch.load(path, weights_only=True)
    del (state["state_dict"] if key in state["state_dict"] else state)[key]
    torch.save(state, path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), ""),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_text("text"), "no state"),
        (lambda path: torch.save([1, 2], path), "no state"),
        (lambda path: _without(path, "glottis"), "no glottis"),
        (lambda path: _without(path, "loops"), "no loops"),
        (lambda path: _without(path, "model.encoder.embed.weight"), "first model.encoder.embed"),
    ],
    ids=["truncated", "empty", "text", "list", "no step", "no loops", "no embedding"],
)
def test_a_damaged_state_is_named_with_the_remedy(
    half: Path, data: Path, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    damage(folder / "state.ckpt")
    remedy = r"state.ckpt cannot be continued: .*Move it away .* initialize=\S+run, or"
    with pytest.raises(InputError, match=f"(?s){remedy}") as error:
        run(_recipe("glow_tts"), [data], folder)
    assert said in str(error.value)
    (folder / "state.ckpt").unlink()
    run(_recipe("glow_tts", initialize=str(folder)), [data], folder)
    assert torch.load(folder / "state.ckpt", weights_only=True)["glottis"]["step"] == 6


def test_a_run_goes_on_with_the_parts_that_were_learning(half: Path, data: Path) -> None:
    with pytest.raises(InputError, match=r"training\.freeze"):
        run(_recipe("glow_tts", freeze=["encoder"]), [data], half)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ('{"model": "glow_', "Unterminated"),
        ('{"model": "glow_tts", "speakers": ["corpus"], "languages": []}', "lacks network"),
        ("3", "lacks model, network"),
    ],
)
def test_a_state_of_which_nobody_says_what_it_is_is_not_continued(
    half: Path, data: Path, tmp_path: Path, text: str | None, said: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    (folder / "run.json").unlink()
    if text is not None:
        (folder / "run.json").write_text(text)
    with pytest.raises(InputError, match=rf"run\.json does not say .*{said}.*move the state away"):
        run(_recipe("glow_tts"), [data], folder)


def test_a_run_goes_on_without_the_weights_that_it_began_with(
    half: Path, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(half, tmp_path / "first")
    recipe = _recipe("glow_tts", max_steps=2, initialize=str(tmp_path / "first"))
    run(recipe, [data], tmp_path / "run")
    shutil.rmtree(tmp_path / "first")
    recipe = _recipe("glow_tts", max_steps=3, initialize=str(tmp_path / "first"))
    run(recipe, [data], tmp_path / "run")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as in a terminal; what runs in the background may have inherited to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_is_one_and_leaves_its_state(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = GlowTTS.steps

    def interrupted(self: GlowTTS, batch: Any, step: int) -> Iterator[Any]:
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        yield from steps(self, batch, step)

    monkeypatch.setattr(GlowTTS, "steps", interrupted)
    settings = [f"network.{key}={value}" for key, value in GLOW.items()]
    settings += [f"{key}={value}" for key, value in TRAINING.items()]
    out = str(tmp_path / "run")
    words = ["train", "glow_tts/small", "--data", str(data), "--out", out, *settings]
    assert main([*words, "checkpoint_every=100"]) == 130
    assert torch.load(tmp_path / "run" / "state.ckpt", weights_only=True)["glottis"]["step"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_weights_of_another_run_start_a_new_one(data: Path, tmp_path: Path) -> None:
    first = run(_recipe("vocos"), [data], tmp_path / "first")
    again = run(
        _recipe("vocos", initialize=str(first), learning_rate=0.0, max_steps=1),
        [data],
        tmp_path / "again",
    )
    ours, theirs = (load_file(f / "model.safetensors") for f in (first, again))
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key])
    with pytest.raises(InputError, match="none of the weights"):
        run(_recipe("glow_tts", initialize=str(first)), [data], tmp_path / "other")


def test_frozen_parts_keep_their_weights(data: Path, tmp_path: Path) -> None:
    first = run(_recipe("glow_tts", max_steps=2), [data], tmp_path / "first")
    kept = {"initialize": str(first), "freeze": ["encoder", "decoder.norms"]}
    second = run(_recipe("glow_tts", max_steps=2, **kept), [data], tmp_path / "second")
    before, after = (load_file(folder / "model.safetensors") for folder in (first, second))
    frozen = {name for name in before if name.startswith(("encoder.", "decoder.norms."))}
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert frozen <= same
    learnt = {name for name in before if name.startswith("decoder.couplings.")}
    assert learnt
    assert not learnt & same
    for parts, said in ((["encode"], "no part 'encode'"), (["encoder", "decoder"], "nothing")):
        wrong = _recipe("glow_tts", freeze=parts)
        with pytest.raises(InputError, match=said):
            run(wrong, [data], tmp_path / "third")


def test_a_voice_file_is_enough_to_train_on(data: Path, tmp_path: Path) -> None:
    runs = {m: run(_recipe(m, max_steps=2), [data], tmp_path / m) for m in ("glow_tts", "vocos")}
    # Stored whole, so that what is compared is which weights come back, not their rounding.
    voice = export_voice(
        runs["glow_tts"], tmp_path / "v.onnx", vocoder=runs["vocos"], weights="float32"
    )
    for model, before in runs.items():
        again = run(
            _recipe(model, initialize=str(voice), learning_rate=0.0, max_steps=1),
            [data],
            tmp_path / f"{model}-again",
        )
        ours, theirs = (load_file(f / "model.safetensors") for f in (before, again))
        for key in ours:
            if key.endswith("weight.original1"):  # of normalised weights: a direction, any length
                for weights in (ours, theirs):
                    weights[key] = torch.nn.functional.normalize(weights[key].flatten(1), dim=1)
            if not key.startswith("discriminators."):
                torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=1e-5)
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match="cannot be read as a voice"):
        run(_recipe("vocos", initialize=str(tmp_path / "broken.onnx")), [data], tmp_path / "b")


def test_bf16_trains(data: Path, tmp_path: Path) -> None:
    folder = run(_recipe("glow_tts", precision="bf16", max_steps=2), [data], tmp_path / "run")
    weights = load_file(folder / "model.safetensors")
    assert all(torch.isfinite(v).all() for v in weights.values())
    assert all(v.dtype != torch.bfloat16 for v in weights.values())


@pytest.mark.parametrize("native", [True, False])
def test_precision_is_what_the_processor_multiplies_in(
    native: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": native}, raising=False
    )
    chosen = {
        asked: choose_precision(TrainingConfig(precision=asked, accelerator="cpu"))
        for asked in ("auto", "bf16", "fp32")
    }
    assert chosen == {"auto": "bf16" if native else "fp32", "bf16": "bf16", "fp32": "fp32"}
    assert ("emulates" in caplog.text) == (not native)


def test_every_shipped_recipe_is_valid_and_says_how_to_run_it() -> None:
    from importlib import resources

    from glottis.models import model_class

    names = list_recipes()
    assert {"glow_tts/small", "glow_tts/paper", "vocos/small"} <= set(names)
    for name in names:
        recipe = read_recipe(name)
        _, config = model_class(recipe.model)
        build(config, recipe.network, name)
        text = resources.files("glottis.recipes").joinpath(f"{name}.yaml").read_text()
        assert text.startswith(f"# glottis train {name} ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["max_stepz=3"], "max_stepz.*max_steps"),
        (["training.precision=fp8"], "precision.*bf16"),
        (["max_steps"], "key=value"),
        (["model=glow_ttz"], "glow_ttz.*glow_tts"),
        (["network.blockz=3"], "blockz.*blocks"),
        (["max_steps=0"], "max_steps"),
        (["seed=-5"], "seed must be at least 0"),
        (["seed=5000000000"], "seed must be below"),
        (["betas=[0.9, 1.5]"], "betas"),
        (["batch_seconds=0"], "batch_seconds must be above 0"),
        (["network.symbols=160"], "symbols must be at least 161"),
        (["network.speakers=3"], "speakers must be 1, as many as the data has .*not 3"),
        (["network.channels=33"], "glow_tts network: .*33"),
        (["network.encoder_dropout=3"], "glow_tts network: .*3"),
    ],
)
def test_wrong_keys_are_named(words: list[str], said: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        train("glow_tts/small", [data], words, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name", ["xyz", pytest.param("gpu", marks=pytest.mark.skipif(GPU, reason="there is one"))]
)
def test_an_accelerator_that_is_not_there_is_named(name: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"training.accelerator={name} .*accelerator=auto"):
        run(_recipe("glow_tts", accelerator=name), [data], tmp_path / "run")


def test_missing_recipe_lists_the_shipped_ones(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="glow_tts/small"):
        train("glow_tts/tiny", [data], [], tmp_path)
    with pytest.raises(InputError, match="no recipe file"):
        train(str(tmp_path / "none.yaml"), [data], [], tmp_path)
    broken = tmp_path / "broken.yaml"
    broken.write_text("model: [1, 2")
    with pytest.raises(InputError, match="line 1"):
        train(str(broken), [data], [], tmp_path)
    broken.write_bytes("model: größer".encode("latin-1"))
    with pytest.raises(InputError, match="broken.yaml is not UTF-8: byte 9 is 0xf6"):
        train(str(broken), [data], [], tmp_path)
    for text, kind in (("3", "int 3"), ("[]", "list"), ("- model", "list"), ("glow_tts", "str")):
        broken.write_text(text)
        with pytest.raises(InputError, match=f"broken.yaml: a recipe is a table .* not {kind}"):
            train(str(broken), [data], [], tmp_path)
    broken.write_text("")
    with pytest.raises(InputError, match="'model' is missing"):
        train(str(broken), [data], [], tmp_path)


def test_the_run_of_a_recipe_file_has_its_name(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"model": "glow_tts", "network": GLOW, "training": {**TRAINING, "max_steps": 1}}
    (tmp_path / "recipes").mkdir()
    path = tmp_path / "recipes" / "mine.v2.yaml"
    path.write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    assert train(str(path), [data]) == Path("runs/mine.v2")
    assert (tmp_path / "runs" / "mine.v2" / "model.safetensors").is_file()
    assert [each.name for each in (tmp_path / "recipes").iterdir()] == ["mine.v2.yaml"]


def test_folders_that_are_not_prepared_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="glottis prepare"):
        run(_recipe("glow_tts"), [tmp_path], tmp_path / "run")
    with pytest.raises(InputError, match="--data"):
        run(_recipe("glow_tts"), [], tmp_path / "run")


def test_log_goes_to_the_run(data: Path, tmp_path: Path) -> None:
    run(_recipe("vocos", max_steps=1), [data], tmp_path / "one")
    run(_recipe("vocos", max_steps=1), [data], tmp_path / "two")
    assert (tmp_path / "one" / "train.log").read_text().count("training vocos") == 1
    assert logging.getLogger("glottis").handlers
