"""What an evaluation found: rows of sentences, means with intervals, a table, JSON and HTML."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from glottis.errors import InputError
from glottis.evaluation.recognition import Errors
from glottis.evaluation.speed import Speed
from glottis.files import replacing


@dataclass(frozen=True)
class Measure:
    """How a measure is called and shown; ``better`` is "low" or "high", ``scale`` for display."""

    key: str
    label: str
    better: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 2

    def show(self, value: float | None) -> str:
        """The value in its unit, or a dash where there is none."""
        if value is None or not math.isfinite(value):
            return "–"
        return f"{value * self.scale:.{self.digits}f}{self.unit}"


MEASURES = (
    Measure("wer", "Word error rate", "low", "%", 100.0, 1),
    Measure("cer", "Character error rate", "low", "%", 100.0, 1),
    Measure("p808", "DNSMOS P.808", "high"),
    Measure("plcmos", "PLCMOS", "high"),
    Measure("mcd", "Mel-cepstral distortion", "low", " dB"),
    Measure("f0_rmse", "F0 RMSE", "low", " cents", 1.0, 0),
    Measure("voicing_error", "Voicing error", "low", "%", 100.0, 1),
    Measure("spectral_convergence", "Spectral convergence", "low", "", 1.0, 3),
)


@dataclass(frozen=True)
class Judgement:
    """What the programs say of one piece of audio: recogniser's errors and scores by key."""

    errors: Errors | None
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One evaluated sentence.

    ``recording`` judges the reference by itself, where there is one. ``problem`` says why audio
    could not be judged (then every word counts as an error). ``picture`` is a PNG, ``audio`` and
    ``recording_audio`` are MP3, for the HTML report.
    """

    id: str
    text: str
    speaker: str
    seconds: float
    judgement: Judgement
    recording: Judgement | None = None
    problem: str | None = None
    picture: bytes | None = field(default=None, repr=False)
    audio: bytes | None = field(default=None, repr=False)
    recording_audio: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Estimate:
    """A mean over ``count`` sentences with its 95% bootstrap interval ``low`` to ``high``."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Report:
    """The result of :func:`glottis.evaluation.run.evaluate`.

    ``about`` holds what was evaluated (voice, texts, speaker, seed) as plain values.
    """

    title: str
    rows: Sequence[Row]
    speed: Sequence[Speed] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Estimate]:
        """Means of the audio's measures by key, with 95% intervals."""
        return summarise([row.judgement for row in self.rows])

    def recordings(self) -> dict[str, Estimate]:
        """The same of the reference recordings; empty without references."""
        return summarise([row.recording for row in self.rows if row.recording is not None])

    def __str__(self) -> str:
        """The table as text, and the sentences that could not be judged."""
        text = io.StringIO()
        Console(file=text, width=110).print(self.table())
        for row in self.rows:
            if row.problem is not None:
                text.write(f"{row.id}: {row.problem}\n")
        return text.getvalue().rstrip()

    def table(self) -> Table:
        """A rich table: one line a measure, recordings beside, speed below."""
        recordings = self.recordings()
        table = Table(title=self.title, title_justify="left")
        table.add_column("Measure")
        table.add_column("Audio", justify="right")
        table.add_column("95%", justify="right", style="dim")
        if recordings:
            table.add_column("Recordings", justify="right")
            table.add_column("95%", justify="right", style="dim")
        table.add_column("Sentences", justify="right")
        summary = self.summary()
        for measure in MEASURES:
            if measure.key not in summary:
                continue
            cells = [measure.label, *_shown(measure, summary.get(measure.key))]
            if recordings:
                cells += _shown(measure, recordings.get(measure.key))
            table.add_row(*cells, str(summary[measure.key].count))
        for speed in self.speed:
            gap = [""] * (4 if recordings else 2)
            for label, shown in speed.lines():
                table.add_row(label, shown, *gap[1:], "")
        return table

    def as_dict(self) -> dict[str, Any]:
        """Everything but pictures and audio, as JSON can hold it."""
        return {
            "title": self.title,
            "about": dict(self.about),
            "summary": {key: vars(value) for key, value in self.summary().items()},
            "recordings": {key: vars(value) for key, value in self.recordings().items()},
            "speed": [vars(speed) for speed in self.speed],
            "sentences": [_row_as_dict(row) for row in self.rows],
        }

    def save_json(self, path: str | Path) -> None:
        """Write :meth:`as_dict` to ``path``."""
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False)
        with replacing(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def save_html(self, path: str | Path) -> None:
        """Write one self-contained page with tables, pictures and players to ``path``."""
        from glottis.evaluation.page import page

        with replacing(path) as temporary:
            temporary.write_text(page(self), encoding="utf-8")


def summarise(judgements: Sequence[Judgement]) -> dict[str, Estimate]:
    """Means over sentences by measure, in the order of :data:`MEASURES`.

    Error rates are sums of errors over sums of lengths; the rest are plain means over the sentences
    that have the measure.
    """
    errors = [j.errors for j in judgements if j.errors is not None]
    result = {}
    for measure in MEASURES:
        if measure.key == "wer" and errors:
            result["wer"] = bootstrap([e.word_errors for e in errors], [e.words for e in errors])
        elif measure.key == "cer" and errors:
            result["cer"] = bootstrap(
                [e.character_errors for e in errors], [e.characters for e in errors]
            )
        else:
            values = [j.scores[measure.key] for j in judgements if measure.key in j.scores]
            if values:
                result[measure.key] = bootstrap(values)
    return result


def bootstrap(
    values: Sequence[float],
    weights: Sequence[float] | None = None,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Percentile bootstrap of ``sum(values) / sum(weights)`` over sentences (Efron 1979).

    Args:
        values: ``[sentences]``.
        weights: ``[sentences]``, ones when left out (then the ratio is the mean).

    Raises:
        InputError: no values.
    """
    numerator = np.asarray(values, dtype=np.float64)
    if numerator.size == 0:
        raise InputError("no sentences to take a mean over")
    denominator = np.ones_like(numerator) if weights is None else np.asarray(weights, np.float64)
    generator = np.random.default_rng(seed)
    count = len(numerator)
    ratios: NDArray[np.float64] = np.empty(draws)
    # In blocks, so that memory stays small for large corpora.
    block = max(1, min(draws, 4_000_000 // count))
    for start in range(0, draws, block):
        chosen = generator.integers(0, count, (min(block, draws - start), count))
        ratios[start : start + block] = numerator[chosen].sum(1) / denominator[chosen].sum(1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    mean = numerator.sum() / denominator.sum()
    return Estimate(float(mean), float(low), float(high), count)


def worst_first(rows: Sequence[Row]) -> list[Row]:
    """Rows by falling word error rate, then by rising P.808; rows with a problem come first."""
    key: Callable[[Row], tuple[bool, float, float]] = lambda row: (  # noqa: E731
        row.problem is None,
        -row.judgement.scores.get("wer", 0.0),
        row.judgement.scores.get("p808", 0.0),
    )
    return sorted(rows, key=key)


def _shown(measure: Measure, estimate: Estimate | None) -> list[str]:
    if estimate is None:
        return ["–", ""]
    interval = f"{measure.show(estimate.low)} to {measure.show(estimate.high)}"
    return [measure.show(estimate.mean), interval]


def _row_as_dict(row: Row) -> dict[str, Any]:
    result: dict[str, Any] = {
        "id": row.id,
        "text": row.text,
        "speaker": row.speaker,
        "seconds": row.seconds,
        **_judgement_as_dict(row.judgement),
    }
    if row.recording is not None:
        result["recording"] = _judgement_as_dict(row.recording)
    if row.problem is not None:
        result["problem"] = row.problem
    return result


def _judgement_as_dict(judgement: Judgement) -> dict[str, Any]:
    result: dict[str, Any] = {"scores": dict(judgement.scores)}
    if judgement.errors is not None:
        result["errors"] = vars(judgement.errors)
    return result
