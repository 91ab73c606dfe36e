"""What in a corpus will hurt a voice trained on it, found before any training.

:func:`examine` measures every row (:mod:`glottis.corpus.measurements`) and judges the numbers. Each
rule below gives one :class:`Issue` or none: how bad, which rows, what it hurts, what to do.
"""

from __future__ import annotations

import contextlib
import json
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glottis.corpus.measurements import Measurement, measure
from glottis.corpus.prepare import PrepareConfig
from glottis.corpus.processes import choose_jobs, ordered_map
from glottis.corpus.readers import Skipped, count_lines, metadata_file, read_rows

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

RATE_OUTLIER = 4.5  # robust standard deviations of log phonemes per second


@dataclass(frozen=True)
class Issue:
    """One finding.

    Attributes:
        code: a short name that does not change, such as ``"clipping"``.
        severity: ``"error"`` for rows that are lost or a corpus that cannot be used, ``"warning"``
            for what will be heard or will cost training, ``"note"`` for what one should know.
        finding: what was found.
        hurts: what it does to the voice or the training.
        remedy: what to do about it.
        ids: the rows concerned; empty when it is about the corpus as a whole.
    """

    code: str
    severity: Severity
    finding: str
    hurts: str
    remedy: str
    ids: tuple[str, ...] = ()


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
            "duration_seconds": _column(rows, "seconds"),
            "speech_dbfs": _column(rows, "level"),
            "signal_to_noise_db": _column(rows, "level") - _column(rows, "floor"),
            "phonemes_per_second": _column(rows, "phonemes") / _column(rows, "speech_seconds"),
            "bandwidth_hz": _column(rows, "bandwidth"),
            "rumble_db": _column(rows, "rumble"),
            "leading_silence_seconds": _column(rows, "leading"),
            "trailing_silence_seconds": _column(rows, "trailing"),
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
    issues = [*_lost_rows(skipped), *_judge(measured, config)]
    issues.sort(key=lambda issue: SEVERITIES.index(issue.severity))
    return Report(corpus, len(measured) + len(skipped), tuple(measured), tuple(issues))


def _lost_rows(skipped: Sequence[Skipped]) -> Iterator[Issue]:
    kinds: defaultdict[str, list[Skipped]] = defaultdict(list)
    for row in skipped:
        kinds[row.kind].append(row)
    for kind, rows in kinds.items():
        yield Issue(
            code=kind.replace(" ", "-"),
            severity="error",
            finding=f"{kind}; first {rows[0]}",
            hurts="these rows are lost to training",
            remedy="mend or remove the rows; preparation skips them and lists the reasons",
            ids=tuple(row.id for row in rows),
        )


def _judge(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    if not rows:
        return
    rules: tuple[Callable[[Sequence[Measurement], PrepareConfig], Iterable[Issue]], ...] = (
        _length,
        _amount,
        _speakers,
        _clipping,
        _levels,
        _noise,
        _low_frequencies,
        _band_limit,
        _ends,
        _duplicates,
        _rate_outliers,
        _characters,
        _formats,
    )
    for rule in rules:
        yield from rule(rows, config)


def _length(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    short = [row for row in rows if row.speech_seconds < config.minimum_seconds]
    long = [row for row in rows if row.speech_seconds > config.maximum_seconds]
    if short:
        yield Issue(
            "too-short",
            "warning",
            f"less than {config.minimum_seconds} s of speech",
            "preparation leaves these rows out",
            "check that the recordings are whole, or set minimum_seconds lower",
            _ids(short),
        )
    if long:
        yield Issue(
            "too-long",
            "warning",
            f"more than {config.maximum_seconds} s of speech",
            "preparation leaves these rows out: alignment and memory suffer",
            "cut them into sentences, or set maximum_seconds higher",
            _ids(long),
        )


def _amount(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    minutes = sum(row.speech_seconds for row in rows) / 60
    if minutes < 10:
        yield Issue(
            "little-speech",
            "warning",
            f"{minutes:.1f} minutes of speech in all",
            "a voice trained from scratch on less than 10 minutes stays unclear",
            "record more, or train together with a larger corpus of the language",
        )
    elif minutes < 30:
        yield Issue(
            "little-speech",
            "note",
            f"{minutes:.1f} minutes of speech in all",
            "from scratch, an hour and more gives clearer voices",
            "train together with a larger corpus of the language",
        )


def _speakers(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    seconds: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        seconds[row.speaker] += row.speech_seconds
    if len(seconds) < 2:
        return
    ordered = sorted(seconds.items(), key=lambda item: item[1])
    (least, low), (most, high) = ordered[0], ordered[-1]
    if high > 10 * low:
        yield Issue(
            "unbalanced-speakers",
            "warning",
            f"{most} has {high / 60:.1f} minutes, {least} {low / 60:.1f}",
            "the voices with little speech will take on the sound of the others",
            "add recordings of the small ones, or leave them out",
        )


def _clipping(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    # A handful of samples at the limit is inaudible.
    clipped = [row for row in rows if row.clipped > 8]
    if clipped:
        many = len(clipped) > 0.05 * len(rows)
        yield Issue(
            "clipping",
            "warning" if many else "note",
            "clipped: more than 8 samples lie at the limit",
            "the voice learns the distortion",
            "record with less gain, or leave these rows out",
            _ids(sorted(clipped, key=lambda row: -row.clipped)),
        )


def _levels(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    level = _column(rows, "level")
    if np.median(level) < -27:
        yield Issue(
            "low-level",
            "note",
            f"quiet: speech at {np.median(level):.0f} dBFS (median), peak "
            f"{np.median(_column(rows, 'peak')):.2f}",
            "quiet recordings bring more of their noise into training",
            "preparation raises the loudness; record with more gain next time",
        )
    deviation = np.abs(level - np.median(level))
    uneven = [row for row, value in zip(rows, deviation, strict=True) if value > 10]
    if uneven:
        yield Issue(
            "uneven-level",
            "note",
            "more than 10 dB louder or quieter than the median recording",
            "without levelling the voice would change its loudness between sentences",
            "preparation levels them; listen whether these are whispered, shouted or far away",
            _ids(uneven),
        )


def _noise(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    ratio = _column(rows, "level") - _column(rows, "floor")
    noisy = [row for row, value in zip(rows, ratio, strict=True) if value < 15]
    if noisy:
        many = len(noisy) > 0.1 * len(rows)
        yield Issue(
            "noise",
            "warning" if many else "note",
            "less than 15 dB between the speech and the quietest tenth of the recording",
            "the voice will carry the noise (or the recording has no pause to measure it in)",
            "listen to some; denoise or leave out the bad ones",
            _ids(sorted(noisy, key=lambda row: row.level - row.floor)),
        )


def _low_frequencies(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    rumbling = [row for row in rows if row.rumble > -20]
    if len(rumbling) > 0.1 * len(rows):
        yield Issue(
            "rumble",
            "note" if config.conditioning.highpass else "warning",
            f"rumble below {config.conditioning.highpass or 60:.0f} Hz, median "
            f"{np.median(_column(rows, 'rumble')):.0f} dB relative to the speech",
            "the lowest mels learn the room instead of the voice",
            "keep the high-pass of preparation on (conditioning.highpass)",
            _ids(rumbling),
        )
    offset = [row for row in rows if abs(row.offset) > 0.02 * row.peak]
    if offset:
        yield Issue(
            "dc-offset",
            "note",
            "a constant offset of more than 2% of the peak (DC)",
            "it wastes headroom and disturbs the lowest mel",
            "keep the high-pass of preparation on (conditioning.highpass)",
            _ids(offset),
        )


def _band_limit(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    target = config.mel.sample_rate / 2
    width = float(np.median(_column(rows, "bandwidth")))
    if width < 0.85 * target:
        yield Issue(
            "band-limit",
            "warning",
            f"band-limited: nothing above about {width / 1000:.1f} kHz (median), while training at "
            f"{config.mel.sample_rate} Hz reaches {target / 1000:.1f} kHz",
            "the voice sounds dull, and duller than others it is trained together with",
            f"prepare it with mel.sample_rate={_rate_for(width)}, or accept the sound; enlarging "
            "the sample rate does not bring the band back",
        )
    else:
        narrow = [row for row in rows if row.bandwidth < 0.7 * width]
        if narrow:
            yield Issue(
                "uneven-band",
                "note",
                f"much narrower band than the others (median {width / 1000:.1f} kHz)",
                "the voice changes between bright and dull",
                "look whether these come from another microphone or encoding",
                _ids(narrow),
            )


def _ends(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    silent = [row for row in rows if max(row.leading, row.trailing) > 0.5]
    if silent:
        yield Issue(
            "silent-ends",
            "note" if config.conditioning.trim else "warning",
            "more than half a second of silence at an end",
            "alignments begin with silence that no phoneme explains",
            "keep trimming on (conditioning.trim)",
            _ids(sorted(silent, key=lambda row: -max(row.leading, row.trailing))),
        )
    abrupt = [row for row in rows if row.abrupt]
    if len(abrupt) > 0.05 * len(rows):
        yield Issue(
            "abrupt-ends",
            "note",
            "begins or ends at full level",
            "first or last sounds may be cut off, and pauses at sentence ends are not learned",
            "cut recordings with a tenth of a second to spare on both sides",
            _ids(abrupt),
        )


def _duplicates(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    audio = _groups(rows, lambda row: row.audio)
    if audio:
        differing = [group for group in audio if len({row.text for row in group}) > 1]
        yield Issue(
            "same-audio",
            "warning",
            f"{len(audio)} recordings stand under several ids"
            + (f", {len(differing)} of them with different transcripts" if differing else ""),
            "training counts them twice; with different transcripts at least one is wrong",
            "remove the copies",
            tuple(row.id for group in audio for row in group),
        )
    texts = _groups(rows, lambda row: row.text)
    if texts:
        yield Issue(
            "same-text",
            "note",
            f"{len(texts)} {'sentences are' if len(texts) > 1 else 'sentence is'} read more than once",
            "a split by rows would test on sentences that were trained on",
            "nothing: preparation splits by sentence",
            tuple(row.id for group in texts for row in group),
        )


def _rate_outliers(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    """Robust z-score of log phonemes per second, by speaker: median and 1.4826 x MAD."""
    speakers: defaultdict[str, list[Measurement]] = defaultdict(list)
    for row in rows:
        speakers[row.speaker].append(row)
    found: list[tuple[float, Measurement]] = []
    for group in speakers.values():
        if len(group) < 10:
            continue
        rate = np.log(_column(group, "phonemes") / _column(group, "speech_seconds"))
        spread = 1.4826 * float(np.median(np.abs(rate - np.median(rate))))
        scores = (rate - np.median(rate)) / max(spread, 0.02)
        found += [
            (abs(score), row)
            for score, row in zip(scores, group, strict=True)
            if abs(score) > RATE_OUTLIER
        ]
    if found:
        found.sort(key=lambda item: -item[0])
        yield Issue(
            "speaking-rate",
            "warning",
            f"phonemes per second more than {RATE_OUTLIER} robust standard deviations from the "
            "speaker's median",
            "transcript and recording may differ, and no alignment can mend that",
            "listen to them: correct the transcripts or leave the rows out; long pauses do no harm",
            _ids(row for _, row in found),
        )


def _characters(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    concerned = [row for row in rows if row.unsayable]
    if concerned:
        counts = Counter(sign for row in concerned for sign in row.unsayable)
        listed = " ".join(
            f"{sign if sign.isprintable() else ''}(U+{ord(sign):04X}) x{count}"
            for sign, count in counts.most_common(12)
        )
        yield Issue(
            "characters",
            "warning",
            f"characters that cannot be said in {config.language}: {listed}",
            "they are dropped or spelled out, so the phonemes do not match the recording",
            "write what is said, or choose the right language",
            _ids(concerned),
        )
    digits = [row for row in rows if row.digits]
    if digits:
        yield Issue(
            "digits",
            "note",
            "digits in the transcript",
            "the speaker may have read the number in another way than it is spelled out here",
            "write numbers in words, as they were said",
            _ids(digits),
        )


def _formats(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    rates = Counter(row.rate for row in rows)
    if len(rates) > 1:
        listed = ", ".join(f"{rate} Hz x{count}" for rate, count in rates.most_common())
        common = rates.most_common(1)[0][0]
        yield Issue(
            "mixed-rates",
            "note",
            f"several sample rates: {listed}",
            "recordings of lower rate lack the upper band and sound duller",
            "nothing if the lowest rate reaches the training rate; else leave the low ones out",
            _ids(row for row in rows if row.rate != common),
        )
    low = [row for row in rows if row.rate < config.mel.sample_rate]
    if low:
        yield Issue(
            "low-rate",
            "warning",
            f"recorded below the training rate of {config.mel.sample_rate} Hz",
            "the upper band is empty",
            f"prepare with mel.sample_rate={min(row.rate for row in low)}, or leave them out",
            _ids(low),
        )
    several = [row for row in rows if row.channels > 1]
    if several:
        yield Issue(
            "several-channels",
            "note",
            "more than one channel",
            "channels are averaged, which cancels sound that arrives out of phase",
            "nothing, or export the better channel alone",
            _ids(several),
        )


def _rate_for(width: float) -> int:
    """The usual sample rate that just holds a bandwidth of ``width`` Hz."""
    usual = (8000, 11025, 16000, 22050, 24000, 44100, 48000)
    return next((rate for rate in usual if rate / 2 >= 0.95 * width), usual[-1])


def _groups(
    rows: Sequence[Measurement], key: Callable[[Measurement], bytes]
) -> list[list[Measurement]]:
    """Rows that share a key with another row, by key."""
    groups: defaultdict[bytes, list[Measurement]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return [group for group in groups.values() if len(group) > 1]


def _ids(rows: Iterable[Measurement]) -> tuple[str, ...]:
    return tuple(row.id for row in rows)


def _column(rows: Sequence[Measurement], name: str) -> NDArray[np.float64]:
    return np.array([getattr(row, name) for row in rows], dtype=np.float64)


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
