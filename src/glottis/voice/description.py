"""What the JSON beside a voice's graph says, read strictly and compared with the graph."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glottis.errors import InputError
from glottis.text.symbols import Symbols
from glottis.voice.parametric import ParameterVoice
from glottis.voice.stepwise import StepSettings

REQUIRED_INPUTS = ("input", "input_lengths", "scales")
OPTIONAL_INPUTS = ("sid", "language", "seed", "frames")


@dataclass(frozen=True)
class Description:
    """A voice file's JSON, in Piper's format.

    ``sample_rate`` in Hz; ``hop`` in samples a frame, none when the file does not say (Piper);
    ``speakers`` maps each name to its id, lowest id first, and is empty for an unnamed single
    speaker; ``languages`` maps each espeak-ng language that the voice speaks to its id, the default
    one first, and ``speaker_languages`` a speaker's id to what is spoken unless asked otherwise,
    where that is not ``espeak_voice``; ``noise_scale``, ``length_scale`` and ``noise_w`` are the
    defaults of ``scales``; ``ours`` says that glottis has written the voice; ``parameters`` how the
    vocoder parameters that its graph gives are spoken, ``steps`` how the text that it has read is,
    and both are none for a graph that gives audio.
    """

    path: Path
    name: str
    sample_rate: int
    hop: int | None
    language: str
    espeak_voice: str
    phoneme_type: str
    num_symbols: int
    num_speakers: int
    speakers: Mapping[str, int]
    languages: Mapping[str, int]
    speaker_languages: Mapping[int, str]
    symbols: Symbols
    noise_scale: float
    length_scale: float
    noise_w: float
    license: str | None
    ours: bool
    parameters: ParameterVoice | None = None
    steps: StepSettings | None = None


def read_description(graph: Path) -> Description:
    """Read ``NAME.onnx.json`` beside ``graph`` (``NAME.onnx``).

    Raises:
        InputError: the file is missing, not JSON, or a value is missing or impossible; the message
            names the file and the key.
    """
    path = graph.with_name(graph.name + ".json")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: a voice is two files, {graph.name} and {path.name}"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not valid JSON (line {error.lineno}: {error.msg}); truncated? Copy it again"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: byte {error.start}") from error
    return _Reader(path, values).description(graph.stem)


class _Reader:
    """Takes values out of the JSON and names file and key when one is wrong."""

    def __init__(self, path: Path, values: Any) -> None:
        self.path = path
        if not isinstance(values, dict):
            raise InputError(f"{path}: expected a JSON object, found {type(values).__name__}")
        self.values = values

    def fail(self, key: str, what: str) -> InputError:
        return InputError(f"{self.path}: {key}: {what}")

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """The value at the dotted ``key``; ``default`` (none: required) when it is not there."""
        value: Any = self.values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            if default is None:
                raise self.fail(key, "is missing")
            return default
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            names = {int: "a whole number", float: "a number", str: "a text", dict: "an object"}
            raise self.fail(key, f"expected {names[kind]}, found {value!r}")
        return value

    def positive(self, key: str, default: int | None = None) -> int:
        value = int(self.get(key, int, default))
        if value <= 0:
            raise self.fail(key, f"must be positive, not {value}")
        return value

    def scale(self, key: str, default: float) -> float:
        value = float(self.get(key, float, default))
        if not math.isfinite(value) or value < 0:
            raise self.fail(key, f"must be a finite number, zero or more, not {value}")
        return value

    def description(self, name: str) -> Description:
        symbols = self.symbols()
        num_symbols = self.positive("num_symbols", len(symbols))
        if len(symbols) > num_symbols:
            raise self.fail(
                "phoneme_id_map",
                f"its largest id is {len(symbols) - 1}, but num_symbols is {num_symbols}",
            )
        phoneme_type = self.get("phoneme_type", str, "espeak")
        if phoneme_type not in ("espeak", "text"):
            raise self.fail("phoneme_type", f"{phoneme_type!r} is not known. Known: espeak, text")
        num_speakers = self.positive("num_speakers", 1)
        length_scale = self.scale("inference.length_scale", 1.0)
        if length_scale == 0:
            raise self.fail("inference.length_scale", "must be more than zero")
        ours = self.get("glottis", dict, {})
        espeak_voice = self.get("espeak.voice", str, "en-us" if phoneme_type == "text" else None)
        speakers = self.speakers(num_speakers)
        languages = self.languages(espeak_voice)
        return Description(
            path=self.path,
            name=str(ours.get("name") or name),
            sample_rate=self.positive("audio.sample_rate"),
            hop=self.positive("hop_length") if "hop_length" in self.values else None,
            language=self.get("language.code", str, espeak_voice),
            espeak_voice=espeak_voice,
            phoneme_type=phoneme_type,
            num_symbols=num_symbols,
            num_speakers=num_speakers,
            speakers=speakers,
            languages=languages,
            speaker_languages=self.speaker_languages(speakers, languages),
            symbols=symbols,
            noise_scale=self.scale("inference.noise_scale", 0.667),
            length_scale=length_scale,
            noise_w=self.scale("inference.noise_w", 0.8),
            license=str(ours["license"]) if ours.get("license") else None,
            ours=bool(ours),
            parameters=None
            if ours.get("parameters") is None
            else ParameterVoice.read(
                ours["parameters"], self.positive("audio.sample_rate"), num_speakers, self.path
            ),
            steps=None
            if ours.get("steps") is None
            else StepSettings.read(ours["steps"], self.path),
        )

    def symbols(self) -> Symbols:
        try:
            return Symbols(self.get("phoneme_id_map", dict))
        except InputError as error:
            if str(error).startswith(str(self.path)):
                raise
            raise InputError(f"{self.path}: {error}") from error

    def speakers(self, number: int) -> dict[str, int]:
        names = self.get("speaker_id_map", dict, {})
        for name, speaker in names.items():
            if type(speaker) is not int or not 0 <= speaker < number:
                raise self.fail(
                    f"speaker_id_map.{name}",
                    f"{speaker!r} is not an id from 0 to {number - 1} (num_speakers is {number})",
                )
        if not names and number > 1:
            names = {str(speaker): speaker for speaker in range(number)}
        return dict(sorted(names.items(), key=lambda item: item[1]))

    def languages(self, default: str) -> dict[str, int]:
        known = self.get("glottis.languages", dict, {})
        for name, language in known.items():
            if type(language) is not int or language < 0:
                raise self.fail(f"glottis.languages.{name}", f"{language!r} is not an id from 0 on")
        if known and default not in known:
            raise self.fail("espeak.voice", f"{default!r} is not among {', '.join(known)}")
        known = known or {default: 0}
        return {name: known[name] for name in sorted(known, key=lambda n: (n != default, known[n]))}

    def speaker_languages(
        self, speakers: Mapping[str, int], languages: Mapping[str, int]
    ) -> dict[int, str]:
        found = {}
        for name, language in self.get("glottis.speaker_languages", dict, {}).items():
            key = f"glottis.speaker_languages.{name}"
            if name not in speakers:
                raise self.fail(key, f"is no speaker; there are {', '.join(speakers) or 'none'}")
            if language not in languages:
                raise self.fail(key, f"{language!r} is not among {', '.join(languages)}")
            found[speakers[name]] = str(language)
        return found


def check_graph(
    description: Description,
    graph: Path,
    inputs: Collection[str],
    outputs: Collection[str],
    metadata: Mapping[str, str],
) -> None:
    """Compare the JSON with what the graph says of itself.

    ``inputs`` are those that must be fed; ``metadata`` is the graph's, which sherpa-onnx's
    convention fills with ``sample_rate`` and ``n_speakers``.

    Raises:
        InputError: the graph is not a voice, or the JSON contradicts it; names file and key.
    """
    missing = [name for name in REQUIRED_INPUTS if name not in inputs]
    if missing:
        raise InputError(
            f"{graph} is not a voice in Piper's format: its graph lacks the input "
            f"{', '.join(missing)} (it takes {', '.join(inputs) or 'nothing'})"
        )
    foreign = [name for name in inputs if name not in (*REQUIRED_INPUTS, *OPTIONAL_INPUTS)]
    if foreign:
        raise InputError(
            f"{graph}: its graph asks for the input {', '.join(foreign)}, which Piper's format "
            "does not have"
        )
    if not outputs:
        raise InputError(f"{graph}: its graph has no output")
    where = description.path
    if description.parameters is not None and not {"mean", "variance", "voicing"} <= {*outputs}:
        raise InputError(
            f"{where}: glottis.parameters: the graph gives {', '.join(outputs)} instead of mean, "
            "variance and voicing; give the JSON that belongs to this graph"
        )
    if description.steps is not None and not {"memory", "keys", "weights", "kept"} <= {*outputs}:
        raise InputError(
            f"{where}: glottis.steps: the graph gives {', '.join(outputs)} instead of memory, "
            "keys, weights and kept; give the JSON that belongs to this graph"
        )
    if "sid" in inputs and description.num_speakers == 1:
        raise InputError(
            f"{where}: num_speakers: is 1, but the graph asks for a speaker (input 'sid'); "
            "give the JSON that belongs to this graph"
        )
    if "sid" not in inputs and description.num_speakers > 1:
        raise InputError(
            f"{where}: num_speakers: is {description.num_speakers}, but the graph takes no "
            "speaker (no input 'sid'); give the JSON that belongs to this graph"
        )
    claims = {
        "sample_rate": ("audio.sample_rate", description.sample_rate),
        "n_speakers": ("num_speakers", description.num_speakers),
        "hop_length": ("hop_length", description.hop),
        "num_symbols": ("num_symbols", description.num_symbols),
    }
    for name, (key, value) in claims.items():
        if value is not None and name in metadata and metadata[name] != str(value):
            raise InputError(
                f"{where}: {key}: is {value}, but the graph's metadata say {metadata[name]}; "
                "give the JSON that belongs to this graph"
            )
