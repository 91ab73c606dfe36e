"""The doctor's rules: from measured rows to findings.

Each rule gives one :class:`Issue` or a few or none: how bad, which rows, what it hurts, what to do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from glottis.corpus.measurements import Measurement, column
from glottis.corpus.prepare import PrepareConfig
from glottis.corpus.readers import Skipped
from glottis.text.guess import other_language

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


def judge(
    rows: Sequence[Measurement], skipped: Sequence[Skipped], config: PrepareConfig
) -> list[Issue]:
    """All findings about a corpus, the gravest first."""
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
        _language,
        _characters,
        _formats,
    )
    issues = list(_lost_rows(skipped))
    if rows:
        issues += [issue for rule in rules for issue in rule(rows, config)]
    return sorted(issues, key=lambda issue: SEVERITIES.index(issue.severity))


def _lost_rows(skipped: Sequence[Skipped]) -> Iterator[Issue]:
    kinds: defaultdict[str, list[Skipped]] = defaultdict(list)
    for row in skipped:
        kinds[row.kind].append(row)
    for kind, rows in kinds.items():
        yield Issue(
            code=kind.replace(" ", "-"),
            severity="error",
            finding=f"{'first ' if len(rows) > 1 else ''}{rows[0]}",
            hurts="these rows are lost to training",
            remedy="mend or remove the rows; preparation skips them and lists the reasons",
            ids=tuple(row.id for row in rows),
        )


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
    level = column(rows, "level")
    if np.median(level) < -27:
        yield Issue(
            "low-level",
            "note",
            f"quiet: speech at {np.median(level):.0f} dBFS (median), peak "
            f"{np.median(column(rows, 'peak')):.2f}",
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
    ratio = column(rows, "level") - column(rows, "floor")
    noisy = [row for row, value in zip(rows, ratio, strict=True) if value < 20]
    if noisy:
        many = len(noisy) > 0.1 * len(rows)
        yield Issue(
            "noise",
            "warning" if many else "note",
            "less than 20 dB between the speech and the quietest moment of the recording",
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
            f"{np.median(column(rows, 'rumble')):.0f} dB relative to the speech",
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
    width = float(np.median(column(rows, "bandwidth")))
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
            f"sentences that are read more than once: {len(texts)}",
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
        rate = np.log(column(group, "phonemes") / column(group, "speech_seconds"))
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


def _language(rows: Sequence[Measurement], config: PrepareConfig) -> Iterator[Issue]:
    counts = np.sum([row.common for row in rows], axis=0)
    if other := other_language(counts.tolist(), config.language):
        yield Issue(
            "other-language",
            "warning",
            f"the transcripts are read as {config.language}, and look like {other}",
            "phonemes of another language do not match the recordings",
            f"if so, say --language {other}, here and to 'glottis prepare'",
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
