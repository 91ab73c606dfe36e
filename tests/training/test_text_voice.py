"""Voices of letters: a corpus prepared with ``phonemes=text`` becomes a voice that reads text."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from glottis.config import build
from glottis.corpus import Prepared
from glottis.corpus.prepare import PrepareConfig, prepare
from glottis.errors import InputError
from glottis.export import export_voice
from glottis.text.symbols import DEFAULT
from glottis.training.config import Recipe
from glottis.training.durations import write_durations
from glottis.training.run import run
from glottis.voice import Voice
from glottis.voice.description import read_description
from small_recipes import GLOW, TRAINING, VOCOS
from synthetic_corpus import write_corpus

TEXTS = (
    "Die Straße ist naß und schön.",
    "Über den Flüssen liegt Nebel.",
    "Wir grüßen die Mädchen.",
    "Der Bär frißt Äpfel und Öl.",
    "Fünf Vögel saßen auf dem Dach.",
    "Morgen früh kommt der Zug.",
)


def _recipe(model: str = "glow_tts", **changes: Any) -> Recipe:
    network = {"glow_tts": GLOW, "vocos": VOCOS}[model]
    training = {**TRAINING, "max_steps": 2, "validate_every": 2, **changes}
    return build(Recipe, {"model": model, "network": network, "training": training}, "test")


def _prepare(folder: Path, **settings: Any) -> Path:
    corpus = write_corpus(folder / "corpus", rows=6, texts=TEXTS)
    config = PrepareConfig(language="de", test_share=0.2, **settings)
    prepare(corpus, folder / "prepared", config=config, jobs=1)
    return folder / "prepared"


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six German sentences, as letters."""
    return _prepare(tmp_path_factory.mktemp("letters"), phonemes="text")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, as espeak's phonemes."""
    return _prepare(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def trained(letters: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An acoustic model and a vocoder of the letters, in a folder."""
    folder = tmp_path_factory.mktemp("runs")
    for model in ("glow_tts", "vocos"):
        run(_recipe(model), [letters], folder / model)
    return folder


def test_letters_beyond_pipers_have_ids_of_their_own(letters: Path) -> None:
    ids = Prepared([letters]).symbols.phoneme_id_map
    assert {key: value for key, value in ids.items() if key not in DEFAULT} == {
        "ß": [161],
        "\u0308": [162],
    }
    assert {key: ids[key] for key in DEFAULT.phoneme_id_map} == DEFAULT.phoneme_id_map


def test_a_voice_of_letters_reads_letters(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = export_voice(trained / "glow_tts", tmp_path / "v.onnx", vocoder=trained / "vocos")
    description = read_description(out)
    assert description.phoneme_type == "text"
    metadata = {each.key: each.value for each in onnx.load(str(out)).metadata_props}
    assert metadata["has_espeak"] == "0"
    voice = Voice.load(out)
    logging.getLogger("glottis").propagate = True  # training has sent it elsewhere
    with caplog.at_level(logging.WARNING, "glottis"):
        said = voice.speak(" ".join(TEXTS), seed=1)
    assert not [each for each in caplog.messages if "skipped" in each]
    assert np.isfinite(said.samples).all()
    assert "ß" in {mark.text for mark in said.marks if mark.kind == "phoneme"}


def test_a_run_goes_on_with_its_own_letters_alone(
    letters: Path, sounds: Path, tmp_path: Path
) -> None:
    folder = run(_recipe(), [letters], tmp_path / "run")
    facts = json.loads((folder / "run.json").read_text())
    assert facts["phonemes"] == "text"
    with pytest.raises(InputError, match="another phonemes .text there, espeak here"):
        run(_recipe(max_steps=3), [sounds], folder)
    facts["phoneme_id_map"]["\u0308"] = [163]
    (folder / "run.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"another phoneme_id_map \(\u0308: \[163\] there, \[162"):
        run(_recipe(max_steps=3), [letters], folder)
    # A run from before the kind was noted reads phonemes.
    folder = run(_recipe(), [sounds], tmp_path / "old")
    facts = json.loads((folder / "run.json").read_text())
    assert facts.pop("phonemes") == "espeak"
    (folder / "run.json").write_text(json.dumps(facts))
    run(_recipe(max_steps=3), [sounds], folder)
    # A vocoder reads neither.
    run(_recipe("vocos"), [letters], tmp_path / "vocos")
    assert "phonemes" not in json.loads((tmp_path / "vocos" / "run.json").read_text())


def test_letters_and_phonemes_do_not_mix(
    letters: Path, sounds: Path, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="phonemes=text.*phonemes=espeak"):
        Prepared([letters, sounds])
    with pytest.raises(InputError, match="reads phonemes=text.*phonemes=espeak"):
        write_durations(trained / "glow_tts", [sounds], tmp_path / "d.jsonl")
    assert write_durations(trained / "glow_tts", [letters], tmp_path / "d.jsonl") == 6
