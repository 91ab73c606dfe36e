"""Pictures of what the doctor measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glottis.corpus.measurements import SPECTRUM_HZ, SPECTRUM_POINTS
from glottis.errors import InputError
from glottis.files import replacing

if TYPE_CHECKING:
    from glottis.corpus.doctor import Report

_SPEECH, _NOISE, _MARK = "#2a6f97", "#b08968", "#9b2226"


def draw(report: Report, folder: Path) -> list[Path]:
    """Write ``durations``, ``levels``, ``speaking-rate`` and ``bandwidth`` as PNG into ``folder``.

    Raises:
        InputError: nothing was measured, matplotlib is missing, or the folder cannot be written.
    """
    if not report.measurements:
        raise InputError(f"no row of {report.corpus} could be measured: there is nothing to draw")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("pictures need matplotlib: pip install 'glottis[train]'") from error
    paths = []
    for name, painter in (
        ("durations", _durations),
        ("levels", _levels),
        ("speaking-rate", _speaking_rate),
        ("bandwidth", _bandwidth),
    ):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        painter(axes, report)
        axes.spines[["top", "right"]].set_visible(False)
        path = folder / f"{name}.png"
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=120)
        paths.append(path)
    return paths


def _durations(axes: Any, report: Report) -> None:
    seconds = report.distributions()["duration_seconds"]
    axes.hist(seconds, bins=50, color=_SPEECH)
    axes.set(
        title=f"{report.corpus.name}: {len(seconds)} recordings, {report.minutes:.1f} minutes of "
        "speech",
        xlabel="duration (s)",
        ylabel="recordings",
    )


def _levels(axes: Any, report: Report) -> None:
    speech = np.array([row.level for row in report.measurements])
    floor = np.array([row.floor for row in report.measurements])
    bins = np.arange(np.floor(floor.min()) - 1, 2, 1.0)
    axes.hist(speech, bins=bins, color=_SPEECH, label="speech")
    axes.hist(floor, bins=bins, color=_NOISE, alpha=0.8, label="noise floor")
    axes.set(title=f"{report.corpus.name}: levels", xlabel="dBFS", ylabel="recordings")
    axes.legend(frameon=False)


def _speaking_rate(axes: Any, report: Report) -> None:
    outliers = {
        name for issue in report.issues if issue.code == "speaking-rate" for name in issue.ids
    }
    seconds = np.array([row.speech_seconds for row in report.measurements])
    phonemes = np.array([row.phonemes for row in report.measurements])
    far = np.array([row.id in outliers for row in report.measurements])
    axes.scatter(seconds[~far], phonemes[~far], s=6, color=_SPEECH, linewidths=0)
    axes.scatter(
        seconds[far], phonemes[far], s=18, color=_MARK, marker="x", label=f"outliers ({far.sum()})"
    )
    rate = float(np.median(phonemes / seconds))
    ends = np.array([0, seconds.max()])
    axes.plot(ends, rate * ends, color="0.6", linewidth=1, label=f"{rate:.1f} phonemes/s")
    axes.set(
        title=f"{report.corpus.name}: speaking rate",
        xlabel="duration of the speech (s)",
        ylabel="phonemes in the transcript",
    )
    axes.legend(frameon=False)


def _bandwidth(axes: Any, report: Report) -> None:
    spectra = np.stack([row.spectrum for row in report.measurements]).astype(np.float64)
    spectra -= np.nanmax(spectra, axis=1, keepdims=True)
    present = np.isfinite(spectra).mean(axis=0) > 0.5
    frequency = (np.arange(SPECTRUM_POINTS) + 0.5) * SPECTRUM_HZ / 1000
    low, middle, high = np.nanpercentile(spectra[:, present], (5, 50, 95), axis=0)
    axes.fill_between(frequency[present], low, high, color=_SPEECH, alpha=0.25, linewidth=0)
    axes.plot(frequency[present], middle, color=_SPEECH)
    width = float(np.median([row.bandwidth for row in report.measurements])) / 1000
    axes.axvline(width, color=_MARK, linewidth=1)
    axes.annotate(f" {width:.1f} kHz", (width, -8), color=_MARK)
    axes.axhline(-60, color="0.7", linewidth=0.8, linestyle=":")
    axes.set(
        title=f"{report.corpus.name}: spectrum of the louder half (median, 5-95%)",
        xlabel="frequency (kHz)",
        ylabel="dB below the peak",
        ylim=(-100, 3),
    )
