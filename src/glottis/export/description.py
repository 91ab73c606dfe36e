"""What a voice file says of itself: the JSON beside it, and the graph's metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import glottis
from glottis.export.graphs import languages_of
from glottis.files import replacing
from glottis.text.symbols import DEFAULT, NUM_SYMBOLS, Symbols

if TYPE_CHECKING:
    from torch import nn


def languages_spoken(facts: dict[str, Any], model: nn.Module) -> dict[str, str]:
    """The language of each speaker, in the speakers' order."""
    known = facts["languages"]
    if "speaker_languages" in facts:
        return {name: facts["speaker_languages"][name] for name in facts["speakers"]}
    if languages_of(model) > 1:  # A run from before training noted it: the model has heard it.
        heard = cast(Any, model).speaker_language.tolist()
        return {name: known[heard[i]] for i, name in enumerate(facts["speakers"])}
    return dict.fromkeys(facts["speakers"], known[0])


def phonemes_of(facts: dict[str, Any]) -> str:
    """What a run reads, ``"espeak"``'s phonemes or plain ``"text"``, by its ``run.json``."""
    return str(facts.get("phonemes", "espeak"))


def symbols_of(facts: dict[str, Any]) -> Symbols:
    """The ids of what a run reads, by its ``run.json``."""
    return Symbols(facts["phoneme_id_map"]) if "phoneme_id_map" in facts else DEFAULT


def metadata_of(facts: dict[str, Any], spoken: dict[str, str]) -> dict[str, str]:
    """What sherpa-onnx reads from the graph itself."""
    language = next(iter(spoken.values()))
    return {
        "model_type": "vits",
        "comment": "piper",
        "language": language,
        "voice": language,
        "has_espeak": str(int(phonemes_of(facts) == "espeak")),
        "n_speakers": str(len(facts["speakers"])),
        "sample_rate": str(facts["mel"]["sample_rate"]),
    }


def description_of(
    facts: dict[str, Any],
    spoken: dict[str, str],
    name: str,
    license: str | None,
    chance: tuple[float, float],
    out: Path,
) -> dict[str, Any]:
    """The JSON beside the graph. What Piper reads tells of the first speaker's language alone.

    ``chance`` are the default temperatures, of the voice and of its durations.
    """
    speakers: Sequence[str] = facts["speakers"]
    language = next(iter(spoken.values()))
    languages: dict[str, Any] = {}
    if len(facts["languages"]) > 1:
        languages["languages"] = {name: i for i, name in enumerate(facts["languages"])}
        if len(speakers) > 1:
            languages["speaker_languages"] = spoken
    return {
        "audio": {"sample_rate": facts["mel"]["sample_rate"], "quality": "medium"},
        "espeak": {"voice": language},
        "language": {"code": language},
        "inference": {"noise_scale": chance[0], "length_scale": 1.0, "noise_w": chance[1]},
        "phoneme_type": phonemes_of(facts),
        "phoneme_map": {},
        "phoneme_id_map": symbols_of(facts).phoneme_id_map,
        "num_symbols": NUM_SYMBOLS,
        "num_speakers": len(speakers),
        "speaker_id_map": {s: i for i, s in enumerate(speakers)} if len(speakers) > 1 else {},
        "hop_length": facts["mel"]["hop"],
        "dataset": ", ".join(Path(path).name for path in facts["data"]),
        "piper_version": "1.0.0",
        "glottis": {
            "version": glottis.__version__,
            "name": name,
            "model": facts["model"],
            "license": license,
            "card": f"{out.stem}.md",
            "date": date.today().isoformat(),
            **languages,
        },
    }


def write_description(description: dict[str, Any], out: Path) -> None:
    """Write ``NAME.onnx.json`` beside the voice ``out``."""
    with replacing(out.with_name(out.name + ".json")) as path:
        path.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", "utf-8")
