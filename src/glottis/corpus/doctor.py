"""What in a corpus will hurt a voice trained on it, found before any training.

:func:`examine` measures every row (:mod:`glottis.corpus.measurements`), judges the numbers
(:mod:`glottis.corpus.judgement`) and gives a :class:`Report`.
"""

from __future__ import annotations

import contextlib
import json
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glottis.corpus.judgement import SEVERITIES, Issue, judge
from glottis.corpus.measurements import Measurement, column, measure
from glottis.corpus.prepare import PrepareConfig, front_end
from glottis.corpus.processes import choose_jobs, ordered_map
from glottis.corpus.readers import Skipped, count_lines, metadata_file, read_rows


@dataclass(frozen=True)
class Report:
    """Everything :func:`examine` found.

    ``str(report)`` is plain text, :meth:`json` the same for programs, :meth:`pictures` draws the
    distributions. ``usable`` is false when no row, or less than half of them, can be used.
    """

    corpus: Path
    rows: int
    measurements: tuple[Measurement, ...] = field(repr=False)
    issues: tuple[Issue, ...]

    @property
    def usable(self) -> bool:
        """Whether training on the corpus makes sense as it is."""
        return len(self.measurements) > 0 and 2 * len(self.measurements) >= self.rows

    @property
    def minutes(self) -> float:
        """Minutes of speech without silent ends, in the rows that can be used."""
        return sum(row.speech_seconds for row in self.measurements) / 60

    @property
    def speakers(self) -> dict[str, float]:
        """Minutes of speech by speaker, sorted by name."""
        minutes: defaultdict[str, float] = defaultdict(float)
        for row in self.measurements:
            minutes[row.speaker] += row.speech_seconds / 60
        return dict(sorted(minutes.items()))

    def __str__(self) -> str:
        return "\n".join([self._head(), *self._figures(), *map(_issue_text, self.issues)])

    def json(self) -> str:
        """The report as JSON: figures, quantiles of the distributions, and all issues."""
        return json.dumps(
            {
                "corpus": str(self.corpus),
                "usable": self.usable,
                "rows": self.rows,
                "usable_rows": len(self.measurements),
                "minutes": round(self.minutes, 2),
                "speakers": {name: round(m, 2) for name, m in self.speakers.items()},
                "distributions": {
                    name: _quantiles(values) for name, values in self.distributions().items()
                },
                "issues": [{**asdict(issue), "count": len(issue.ids)} for issue in self.issues],
            },
            indent=2,
            ensure_ascii=False,
        )

    def distributions(self) -> dict[str, NDArray[np.float64]]:
        """Measured values by name, each ``[usable rows]``; the name's end says the unit."""
        rows = self.measurements
        return {
            "duration_seconds": column(rows, "seconds"),
            "speech_dbfs": column(rows, "level"),
            "signal_to_noise_db": column(rows, "level") - column(rows, "floor"),
            "phonemes_per_second": column(rows, "phonemes") / column(rows, "speech_seconds"),
            "bandwidth_hz": column(rows, "bandwidth"),
            "rumble_db": column(rows, "rumble"),
            "leading_silence_seconds": column(rows, "leading"),
            "trailing_silence_seconds": column(rows, "trailing"),
        }

    def pictures(self, folder: Path) -> list[Path]:
        """Draw the distributions as PNG files into ``folder`` and return their paths.

        Raises:
            InputError: the folder cannot be written.
        """
        from glottis.corpus.pictures import draw

        return draw(self, Path(folder))

    def _head(self) -> str:
        verdict = "usable" if self.usable else "NOT usable"
        counts = Counter(issue.severity for issue in self.issues)
        found = ", ".join(
            f"{counts[severity]} {severity}{'s' * (counts[severity] != 1)}"
            for severity in SEVERITIES
            if counts[severity]
        )
        return (
            f"{self.corpus}: {verdict}; {len(self.measurements)} of {self.rows} rows, "
            f"{self.minutes:.1f} minutes of speech; {found or 'nothing to remark'}"
        )

    def _figures(self) -> Iterator[str]:
        if not self.measurements:
            return
        if len(self.speakers) > 1:
            listed = ", ".join(f"{name} {minutes:.1f}" for name, minutes in self.speakers.items())
            yield textwrap.shorten(f"  minutes by speaker: {listed}", 300, placeholder=" ...")
        for name, values in self.distributions().items():
            q = _quantiles(values)
            label = name.replace("_", " ")
            yield f"  {label:26} median {q['50%']:9.2f}   5-95% {q['5%']:9.2f} to {q['95%']:9.2f}"


def examine(
    corpus: Path,
    *,
    language: str = "en-us",
    config: PrepareConfig | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Examine a corpus folder.

    Memory grows by about two kilobytes a row: distributions need all rows.

    Args:
        corpus: a folder as :mod:`glottis.corpus.readers` describes, or its transcript file.
        language: what the transcripts are read as.
        config: the settings it will be prepared with, instead of ``language`` and the defaults.
        jobs: processes; as many as cores when left out.
        progress: called as ``progress(done, total)`` after each row.

    Raises:
        InputError: there is no corpus to examine, or the language is unknown.
    """
    config = config or PrepareConfig(language=language)
    corpus = Path(corpus)
    metadata = metadata_file(corpus)
    front_end(config.language, config.lexicon, config.phonemes)  # a wrong language fails here
    total = count_lines(metadata)
    rows = read_rows(corpus, layout=config.layout, speaker=config.speaker)
    results = ordered_map(partial(measure, config), rows, choose_jobs(jobs, total))
    measured: list[Measurement] = []
    skipped: list[Skipped] = []
    with contextlib.closing(results):
        for done, result in enumerate(results, start=1):
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                measured.append(result)
            if progress is not None:
                progress(done, total)
    issues = tuple(judge(measured, skipped, config))
    return Report(corpus, len(measured) + len(skipped), tuple(measured), issues)


def _quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    if len(values) == 0:
        return {}
    points = (0, 5, 50, 95, 100)
    return {
        f"{point}%": round(float(value), 3)
        for point, value in zip(points, np.percentile(values, points), strict=True)
    }


def _issue_text(issue: Issue) -> str:
    count = f"{len(issue.ids)} rows: " if len(issue.ids) != 1 else "1 row: "
    lines = [f"{issue.severity}: {issue.code}: {count if issue.ids else ''}{issue.finding}"]
    details = [f"hurts: {issue.hurts}", f"remedy: {issue.remedy}"]
    if issue.ids:
        more = f" and {len(issue.ids) - 6} more" if len(issue.ids) > 6 else ""
        details.insert(0, f"rows: {', '.join(issue.ids[:6])}{more}")
    wrap: Any = partial(textwrap.fill, width=100, subsequent_indent="      ")
    return "\n".join([wrap(lines[0]), *(wrap(line, initial_indent="    ") for line in details)])
