"""Times of words and phones as files that other programs read: TextGrid, CTM, HTS labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """``label`` from ``start`` to ``end``, in seconds."""

    start: float
    end: float
    label: str


def tiled(intervals: Sequence[Interval], duration: float, gap: str) -> list[Interval]:
    """The intervals with what lies between, before and after them named ``gap``.

    ``intervals`` are in order and do not overlap; the result covers 0 to ``duration`` seconds.
    """
    whole: list[Interval] = []
    position = 0.0
    for interval in (*intervals, Interval(duration, duration, "")):
        if interval.start > position:
            whole.append(Interval(position, interval.start, gap))
        if interval.end > interval.start:
            whole.append(interval)
        position = max(position, interval.end)
    return whole


def text_grid(tiers: dict[str, Sequence[Interval]], duration: float) -> str:
    """A Praat TextGrid in its long text format; pauses are empty intervals."""
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {duration:.6f}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, intervals) in enumerate(tiers.items(), start=1):
        whole = tiled(intervals, duration, "")
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(name)}",
            "        xmin = 0",
            f"        xmax = {duration:.6f}",
            f"        intervals: size = {len(whole)}",
        ]
        for index, interval in enumerate(whole, start=1):
            lines += [
                f"        intervals [{index}]:",
                f"            xmin = {interval.start:.6f}",
                f"            xmax = {interval.end:.6f}",
                f"            text = {_quoted(interval.label)}",
            ]
    return "\n".join(lines) + "\n"


def hts_label(intervals: Sequence[Interval], duration: float, gap: str) -> str:
    """An HTS (HTK) label file: ``start end name`` a line in units of 100 ns, pauses as ``gap``."""
    return "".join(
        f"{round(interval.start * 1e7)} {round(interval.end * 1e7)} {_unspaced(interval.label)}\n"
        for interval in tiled(intervals, duration, gap)
    )


def ctm(utterance: str, intervals: Sequence[Interval]) -> str:
    """NIST's time-marked conversation: ``utterance 1 start duration label`` a line, seconds."""
    return "".join(
        f"{_unspaced(utterance)} 1 {interval.start:.3f} {interval.end - interval.start:.3f} "
        f"{_unspaced(interval.label)}\n"
        for interval in intervals
    )


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _unspaced(text: str) -> str:
    return "_".join(text.split())
