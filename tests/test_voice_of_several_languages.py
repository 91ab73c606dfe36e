"""A VITS of several languages as a voice file: the graph is told the language, Piper's need not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from glottis.audio.mel import MelConfig
from glottis.config import as_dict, build
from glottis.export import export_voice
from glottis.models.vits import VITS, Config
from glottis.voice import Voice
from small_recipes import VITS as SMALL

LANGUAGES = ["de", "en-us", "nl"]
SPOKEN = {"ann": "en-us", "bob": "nl", "cyd": "de"}


def _write(folder: Path, speakers: list[str], languages: list[str], noted: bool = True) -> Path:
    """A run folder as training writes it; its weights are random."""
    folder.mkdir()
    torch.manual_seed(0)
    counts = {"speakers": len(speakers), "languages": len(languages)}
    model = VITS(build(Config, {**SMALL, **counts, "mel": as_dict(MelConfig())}))
    if len(languages) > 1:
        with torch.no_grad():
            model.languages.weight.mul_(20)  # so that it can be heard
            heard = [languages.index(SPOKEN[name]) for name in speakers]
            model.speaker_language.copy_(torch.tensor(heard))
    save_file(model.state_dict(), folder / "model.safetensors")
    facts = {
        "model": "vits",
        "network": as_dict(model.config),
        "data": [],
        "speakers": speakers,
        "languages": languages,
        "speaker_languages": {name: SPOKEN[name] for name in speakers},
        "mel": as_dict(model.config.mel),
    }
    if not noted:
        del facts["speaker_languages"]
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    run = _write(folder / "run", list(SPOKEN), LANGUAGES)
    return export_voice(run, folder / "several.onnx", weights="float32")


def test_the_file_names_languages_and_who_speaks_which(several: Path) -> None:
    values = json.loads(several.with_name("several.onnx.json").read_text(encoding="utf-8"))
    assert values["espeak"]["voice"] == "en-us"
    assert values["glottis"]["languages"] == {"de": 0, "en-us": 1, "nl": 2}
    assert values["glottis"]["speaker_languages"] == SPOKEN
    voice = Voice.load(several)
    assert voice.languages == ("en-us", "de", "nl")
    assert {name: voice.language_of(name) for name in voice.speakers} == SPOKEN


def test_the_graph_is_told_the_language(several: Path) -> None:
    """The same phonemes sound different in another language, and the speaker's is the default."""
    voice = Voice.load(several)

    def spoken(**how: str) -> np.ndarray:
        return voice.speak("[[hˈaloː]].", seed=3, noise_scale=0.0, noise_w=0.0, **how).samples

    own = {name: spoken(speaker=name) for name in SPOKEN}
    for name, language in SPOKEN.items():
        np.testing.assert_array_equal(own[name], spoken(speaker=name, language=language))
        other = next(known for known in LANGUAGES if known != language)
        changed = spoken(speaker=name, language=other)
        assert changed.shape != own[name].shape or np.abs(changed - own[name]).max() > 1e-3


def test_a_program_that_knows_only_pipers_inputs_hears_the_speakers_own(several: Path) -> None:
    graph = onnx.load(str(several)).graph
    defaults = {tensor.name: tensor for tensor in graph.initializer}
    required = [value.name for value in graph.input if value.name not in defaults]
    assert required == ["input", "input_lengths", "scales", "sid"]
    assert onnx.numpy_helper.to_array(defaults["language"]).tolist() == [-1]
    session = onnxruntime.InferenceSession(str(several), providers=["CPUExecutionProvider"])
    feeds = {
        "input": np.array([[1, 0, 14, 0, 24, 0, 2]]),
        "input_lengths": np.array([7]),
        "scales": np.array([0.0, 1.0, 0.0], np.float32),
    }
    for speaker, language in enumerate(SPOKEN.values()):
        feeds["sid"] = np.array([speaker])
        plain = session.run(["output"], feeds)[0]
        index = np.array([LANGUAGES.index(language)])
        np.testing.assert_array_equal(
            plain, session.run(["output"], feeds | {"language": index})[0]
        )


def test_runs_that_did_not_note_who_speaks_which_have_heard_it(tmp_path: Path) -> None:
    run = _write(tmp_path / "run", ["bob", "cyd"], LANGUAGES, noted=False)
    voice = Voice.load(export_voice(run, tmp_path / "v.onnx"))
    assert voice.languages[0] == "nl"
    assert [voice.language_of(name) for name in ("bob", "cyd")] == ["nl", "de"]


def test_one_language_leaves_no_trace(tmp_path: Path) -> None:
    run = _write(tmp_path / "run", ["ann"], ["en-us"])
    out = export_voice(run, tmp_path / "v.onnx")
    values = json.loads((tmp_path / "v.onnx.json").read_text(encoding="utf-8"))
    assert not {"languages", "speaker_languages"} & set(values["glottis"])
    assert "language" not in [value.name for value in onnx.load(str(out)).graph.input]
    assert Voice.load(out).languages == ("en-us",)
