"""Public checkpoints of VITS: read without executing them, and computing what they computed.

``tests/data/vits_original.json`` holds names and shapes of the authors' weights for a tiny network
and a few of its results; ``benchmarks/vits_original.py`` wrote it, and compares everything else.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glottis.config import as_dict, build
from glottis.corpus.batches import UtteranceBatch
from glottis.errors import InputError
from glottis.export import export_voice, load_run
from glottis.models.vits import VITS, Config
from glottis.originals import import_original
from glottis.originals.names import fitted
from glottis.originals.vits import PIPER, SYMBOLS, from_authors, from_piper
from glottis.text.symbols import DEFAULT
from glottis.voice import Voice

RECORD: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "data" / "vits_original.json").read_text(encoding="utf-8")
)


def _weights() -> dict[str, torch.Tensor]:
    """By name and shape alone, as the benchmark made them."""
    weights = {}
    for name, shape in RECORD["shapes"].items():
        random = np.random.default_rng(zlib.crc32(name.encode()))
        values = random.standard_normal(shape) * 0.5 / max(1.0, np.prod(shape[1:])) ** 0.5
        if name.endswith(("weight_g", "gamma")):
            values = 1 + 0.1 * np.abs(values)
        weights[name] = torch.from_numpy(np.asarray(values, np.float32).reshape(shape))
    return weights


# The authors' discriminators have one size, a hundred times the rest of this network.
SMALL_JUDGES = {"periods": [2], "period_channels": [4], "waveform_channels": []}


def _loaded(network: Any, state: Any) -> VITS:
    model = VITS(build(Config, {**network, **SMALL_JUDGES}))
    missing, unexpected = model.load_state_dict(fitted(state, model.state_dict()), strict=False)
    assert not unexpected
    assert all(name.startswith("discriminators.") for name in missing)
    return model.eval()


def test_the_authors_weights_compute_what_they_computed() -> None:
    model = _loaded(*from_authors(_weights(), RECORD["settings"]))
    wanted = RECORD["outputs"]
    random = torch.Generator().manual_seed(0)
    text = torch.randint(1, 40, (2, 13), generator=random)
    text[1, 9:] = 0
    audio = torch.randn(2, 60 * 256, generator=random) * 0.1
    audio[1, 44 * 256 :] = 0
    batch = UtteranceBatch(
        ["a", "b"],
        text,
        torch.tensor([13, 9]),
        torch.zeros(2, 80, 60),
        torch.tensor([60, 44]),
        torch.tensor([1, 2]),
        audio=audio,
    )
    with torch.no_grad():
        torch.manual_seed(3)
        found = model.explain(batch)
        noise = torch.randn(2, 2, 13, generator=torch.Generator().manual_seed(7))
        mask = torch.arange(13) < batch.text_lengths[:, None, None]
        speaker = model.embed(batch.speaker)
        drawn = model.log_frames(found.prior.hidden, mask, speaker, noise * 0.8)

    def close(ours: torch.Tensor, name: str) -> None:
        theirs = torch.tensor(wanted[name])
        torch.testing.assert_close(ours.flatten(), theirs, atol=1e-4, rtol=1e-4)

    close(found.flowed[0, :, :3], "latent")
    assert found.durations[0].tolist() == wanted["durations"]
    close(drawn[0], "log_frames")
    token = int(torch.repeat_interleave(torch.arange(13), found.durations[0])[10])
    close(found.prior.mean[0, :, token], "prior")


def test_pipers_defaults_are_the_medium_recipe() -> None:
    from glottis.training.recipe import read_recipe

    network = read_recipe("vits/medium").network
    assert network["upsample_rates"] == list(PIPER["upsample_rates"])
    assert network["upsample_kernels"] == list(PIPER["upsample_kernel_sizes"])
    assert network["upsample_channels"] == PIPER["upsample_initial_channel"]
    assert network["resblock_dilations"] == list(map(list, PIPER["resblock_dilation_sizes"]))


def _authors(folder: Path, symbols: int, **data: Any) -> Path:
    """A ``G_7.pth`` with its JSON; the embedding has as many rows as the authors' symbols."""
    weights = _weights()
    torch.manual_seed(0)
    weights["enc_p.emb.weight"] = torch.randn(symbols, 4)
    if data.get("n_speakers") == 0:
        weights = {k: v for k, v in weights.items() if "cond" not in k and "emb_g" not in k}
    settings = {**RECORD["settings"], "data": {**RECORD["settings"]["data"], **data}}
    torch.save({"model": weights, "iteration": 3, "learning_rate": 1e-4}, folder / "G_7.pth")
    (folder / "config.json").write_text(json.dumps(settings))
    return folder / "G_7.pth"


def _piper(folder: Path, config: dict[str, Any] | None, rows: int = 256) -> Path:
    settings = RECORD["settings"]["model"]
    names = {k: settings[k] for k in settings if k.startswith(("resblock", "upsample"))}
    weights = _weights()
    torch.manual_seed(0)
    weights["enc_p.emb.weight"] = torch.randn(rows, 4)
    checkpoint = {
        "state_dict": {f"model_g.{name}": value for name, value in weights.items()},
        "hyper_parameters": {"num_symbols": rows, "dataset": [folder / "dataset.jsonl"], **names},
        "epoch": 7,
        "callbacks": {"ModelCheckpoint": {"best_model_path": ""}},
    }
    torch.save(checkpoint, folder / "epoch=7.ckpt")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder / "epoch=7.ckpt"


SPOKEN = {"text_cleaners": ["english_cleaners2"], "add_blank": True}
PIPER_JSON = {
    "espeak": {"voice": "de"},
    "phoneme_type": "espeak",
    "phoneme_id_map": DEFAULT.phoneme_id_map,
    "speaker_id_map": {"cy": 2, "ann": 0, "bob": 1},
}


@pytest.mark.parametrize("speakers", [3, 0], ids=["vctk", "ljspeech"])
def test_the_authors_layouts_become_voices_of_ours(speakers: int, tmp_path: Path) -> None:
    source = _authors(tmp_path, len(SYMBOLS), n_speakers=speakers, **SPOKEN)
    imported = import_original(source, tmp_path / "run")
    assert "VITS of its authors" in imported.found
    assert "en-us" in imported.found
    model, facts = load_run(imported.folder)
    assert facts["speakers"] == [str(i) for i in range(max(1, speakers))]
    rows = torch.load(source, weights_only=True)["model"]["enc_p.emb.weight"]
    ours = model.encoder.embed.weight
    for symbol in "_ ,aɹˈː":
        assert torch.equal(ours[DEFAULT.phoneme_id_map[symbol][0]], rows[SYMBOLS.index(symbol)])
    assert torch.equal(ours[DEFAULT.phoneme_id_map["^"][0]], rows[0])
    voice = Voice.load(export_voice(imported.folder, tmp_path / "v.onnx", weights="float32"))
    assert voice.language == "en-us"
    spoken = voice.speak("Rice.", seed=1)
    assert np.isfinite(spoken.samples).all()
    assert spoken.words[0].text == "Rice"


def test_symbols_that_are_not_known_stay_as_they_are(tmp_path: Path) -> None:
    for symbols, cleaners in ((40, "english_cleaners2"), (len(SYMBOLS), "korean_cleaners")):
        folder = tmp_path / cleaners
        folder.mkdir()
        source = _authors(folder, symbols, n_speakers=3, text_cleaners=[cleaners])
        imported = import_original(source, folder / "run")
        assert "cannot be exported" in imported.found
        model, _ = load_run(imported.folder)
        assert model.config.symbols == symbols
        with pytest.raises(InputError, match="authors' text front end"):
            export_voice(imported.folder, folder / "v.onnx")


def test_pipers_checkpoints_become_voices_of_ours(tmp_path: Path) -> None:
    imported = import_original(_piper(tmp_path, PIPER_JSON), tmp_path / "run")
    assert "Piper" in imported.found
    _, facts = load_run(imported.folder)
    assert facts["speakers"] == ["ann", "bob", "cy"]
    assert facts["languages"] == ["de"]
    voice = Voice.load(export_voice(imported.folder, tmp_path / "v.onnx"))
    assert voice.language == "de"
    assert voice.speakers == ("ann", "bob", "cy")
    assert np.isfinite(voice.speak("Reis.", seed=1).samples).all()


def test_piper_without_its_json_needs_a_language(tmp_path: Path) -> None:
    source = _piper(tmp_path, None)
    with pytest.raises(InputError, match="--language en-us"):
        import_original(source, tmp_path / "run")
    _, facts = load_run(import_original(source, tmp_path / "run", language="nl").folder)
    assert facts["languages"] == ["nl"]


def test_pipers_map_of_phonemes_decides_the_order(tmp_path: Path) -> None:
    swapped = {**DEFAULT.phoneme_id_map, "a": [15], "b": [14]}
    config = {**PIPER_JSON, "phoneme_id_map": swapped}
    plain, other = tmp_path / "plain", tmp_path / "other"
    embeddings = []
    for folder, values in ((plain, PIPER_JSON), (other, config)):
        folder.mkdir()
        model, _ = load_run(import_original(_piper(folder, values), folder / "run").folder)
        embeddings.append(model.encoder.embed.weight)
    a, b = (DEFAULT.phoneme_id_map[letter][0] for letter in "ab")
    assert torch.equal(embeddings[0][[b, a]], embeddings[1][[a, b]])
    assert torch.equal(embeddings[0][b + 1 :], embeddings[1][b + 1 :])
    text = {**PIPER_JSON, "phoneme_type": "text"}
    (other / "config.json").write_text(json.dumps(text))
    assert "cannot be exported" in import_original(other / "epoch=7.ckpt", other / "b").found


def test_discriminators_of_the_same_number_come_along(tmp_path: Path) -> None:
    source = _authors(tmp_path, len(SYMBOLS), n_speakers=3, **SPOKEN)
    judges = {"discriminators.0.convs.0.bias": torch.zeros(1)}
    torch.save({"model": judges}, tmp_path / "D_7.pth")
    with pytest.raises(InputError, match=r"are missing: discriminators\."):
        import_original(source, tmp_path / "run")
    with pytest.raises(InputError, match="discriminators alone"):
        import_original(tmp_path / "D_7.pth", tmp_path / "run")
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "D_7.pth")
    with pytest.raises(InputError, match="D_7.pth holds no discriminators"):
        import_original(source, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fine_tuning_starts_from_all_of_an_imported_network(tmp_path: Path) -> None:
    """A run of the imported settings takes every weight; only discriminators start anew."""
    from glottis.training.initialize import load_weights
    from glottis.training.recipe import read_recipe

    imported = import_original(_piper(tmp_path, PIPER_JSON), tmp_path / "run")
    model, _ = load_run(imported.folder)
    fresh = VITS(build(Config, {**as_dict(model.config), **SMALL_JUDGES}))
    load_weights(fresh, imported.folder)
    ours, theirs = fresh.state_dict(), model.state_dict()
    names = [name for name in ours if not name.startswith("discriminators.")]
    assert all(torch.equal(ours[name], theirs[name]) for name in names)
    given, _ = from_piper({f"model_g.{k}": v for k, v in _weights().items()}, {})
    for recipe in ("vits/finetune", "vits/paper"):
        network = read_recipe(recipe).network
        for name in ("spline_minimum_bin", "spline_minimum_derivative", "power_floor"):
            assert network[name] == given[name]


def test_the_papers_recipe_ends_at_the_authors_rate() -> None:
    from glottis.training.recipe import read_recipe

    training = read_recipe("vits/paper").training
    epochs = training.max_steps * training.batch_size / 12_500  # utterances of LJ Speech
    assert training.final_rate == pytest.approx(0.999875**epochs, abs=0.005)


def test_single_speaker_layout_has_no_embedding() -> None:
    weights = {k: v for k, v in _weights().items() if "cond" not in k and "emb_g" not in k}
    model = _loaded(*from_authors(weights, RECORD["settings"]))
    assert model.speakers is None
    samples, lengths, _ = model.synthesize(torch.tensor([[5, 0, 6]]), torch.tensor([3]))
    assert samples.shape == (1, int(lengths))
    assert torch.isfinite(samples).all()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    more = {**_weights(), "enc_p.extra.weight": torch.zeros(1)}
    with pytest.raises(InputError, match=r"enc_p\.extra\.weight has no place"):
        from_authors(more, RECORD["settings"])
    short = {**RECORD["settings"], "data": {**RECORD["settings"]["data"], "win_length": 800}}
    with pytest.raises(InputError, match="window of 800"):
        from_authors(_weights(), short)
    source = _authors(tmp_path, 40, n_speakers=3, **SPOKEN)
    values = torch.load(source, weights_only=True)
    for name in ("enc_p.proj.weight", "dec.conv_pre.weight", "enc_q.proj.bias"):
        lacking = {k: v for k, v in values["model"].items() if k != name}
        torch.save({"model": lacking}, source)
        with pytest.raises(InputError, match=r"G_7\.pth.*(lack|missing)"):
            import_original(source, tmp_path / "run")
    (tmp_path / "config.json").write_text('{"model": {}}')
    with pytest.raises(InputError, match=r"config\.json.* lack 'train'"):
        import_original(source, tmp_path / "run")
