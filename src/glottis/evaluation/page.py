"""The HTML report: one self-contained page, readable without a network."""

from __future__ import annotations

import base64
from html import escape

from glottis.evaluation.report import MEASURES, Estimate, Measure, Report, Row, worst_first

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em;
  color: #1c1c1c; background: #fff; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { text-align: left; padding: .25em .7em; border-bottom: 1px solid #ddd; }
td { vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th[data-sort] { cursor: pointer; } .dim { color: #777; } .problem { color: #b00020; }
article { border-top: 1px solid #ddd; padding: .8em 0; } article img { max-width: 100%; }
audio { height: 2em; vertical-align: middle; margin-right: 1em; } .heard { color: #555; }
"""

# Sorts a table by the clicked column; the first click puts the worst first.
_SCRIPT = """
document.querySelectorAll('th[data-sort]').forEach(head => head.onclick = () => {
  const table = head.closest('table'), body = table.tBodies[0], column = head.cellIndex;
  const sign = (head.dataset.sort = -head.dataset.sort);
  const value = row => { const v = row.cells[column].dataset.v;
    return v === undefined ? row.cells[column].textContent : parseFloat(v); };
  [...body.rows].sort((a, b) => { const x = value(a), y = value(b);
    return x === y ? 0 : (x !== x || x < y ? -1 : 1) * sign; }).forEach(r => body.append(r));
});
"""


def page(report: Report) -> str:
    """The report as HTML: summary, a sortable table of sentences, then each with its picture."""
    rows = worst_first(report.rows)
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{escape(report.title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(report.title)}</h1>",
        _about(report),
        _summary(report),
        _speed(report),
        "<h2>Sentences, worst first</h2>",
        _sentences(rows),
        *(_article(row) for row in rows),
        f"<script>{_SCRIPT}</script></body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _about(report: Report) -> str:
    items = [f"{escape(str(k))}: {escape(str(v))}" for k, v in report.about.items()]
    return f"<p class='dim'>{' · '.join(items)}</p>" if items else ""


def _summary(report: Report) -> str:
    summary, recordings = report.summary(), report.recordings()
    columns = [("Audio", summary)] + ([("Recordings", recordings)] if recordings else [])
    heads = "".join(f"<th class='n'>{name}</th><th class='n'>95%</th>" for name, _ in columns)
    lines = []
    for measure in MEASURES:
        if measure.key not in summary:
            continue
        cells = "".join(_estimate(measure, values.get(measure.key)) for _, values in columns)
        better = "lower is better" if measure.better == "low" else "higher is better"
        lines.append(
            f"<tr><td>{measure.label}</td>{cells}<td class='n'>{summary[measure.key].count}</td>"
            f"<td class='dim'>{better}</td></tr>"
        )
    return (
        f"<table><thead><tr><th>Measure</th>{heads}<th class='n'>Sentences</th><th></th></tr>"
        f"</thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _estimate(measure: Measure, estimate: Estimate | None) -> str:
    if estimate is None:
        return "<td class='n'>–</td><td></td>"
    return (
        f"<td class='n'><b>{measure.show(estimate.mean)}</b></td><td class='n dim'>"
        f"{measure.show(estimate.low)} to {measure.show(estimate.high)}</td>"
    )


def _speed(report: Report) -> str:
    lines = [
        f"<tr><td>{escape(label)}</td><td class='n'>{escape(shown)}</td></tr>"
        for speed in report.speed
        for label, shown in speed.lines()
    ]
    return f"<table><tbody>{''.join(lines)}</tbody></table>" if lines else ""


def _sentences(rows: list[Row]) -> str:
    present = [m for m in MEASURES if any(m.key in row.judgement.scores for row in rows)]
    heads = "".join(
        f"<th class='n' data-sort='{'1' if measure.better == 'low' else '-1'}'>{measure.label}</th>"
        for measure in present
    )
    lines = []
    for row in rows:
        cells = "".join(
            f"<td class='n' data-v='{row.judgement.scores.get(m.key, float('nan'))}'>"
            f"{m.show(row.judgement.scores.get(m.key))}</td>"
            for m in present
        )
        speaker = f"<td>{escape(row.speaker)}</td>"
        lines.append(
            f"<tr><td><a href='#{escape(row.id)}'>{escape(row.id)}</a></td>{speaker}{cells}"
            f"<td class='n' data-v='{row.seconds}'>{row.seconds:.1f} s</td>"
            f"<td>{escape(row.text)}</td></tr>"
        )
    return (
        "<table><thead><tr><th data-sort='-1'>Id</th><th data-sort='-1'>Speaker</th>"
        f"{heads}<th class='n' data-sort='1'>Length</th><th>Text</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _article(row: Row) -> str:
    parts = [f"<article id='{escape(row.id)}'><h3>{escape(row.id)}</h3><p>{escape(row.text)}</p>"]
    if row.problem is not None:
        parts.append(f"<p class='problem'>{escape(row.problem)}</p>")
    if row.judgement.errors is not None:
        heard = escape(row.judgement.errors.heard) or "nothing"
        parts.append(f"<p class='heard'>Heard: {heard}</p>")
    for name, audio in (("", row.audio), ("Recording: ", row.recording_audio)):
        if audio is not None:
            data = base64.b64encode(audio).decode("ascii")
            parts.append(
                f"{name}<audio controls preload='none' src='data:audio/mpeg;base64,{data}'></audio>"
            )
    if row.picture is not None:
        data = base64.b64encode(row.picture).decode("ascii")
        parts.append(
            f"<p><img alt='Spectrogram of {escape(row.id)}' src='data:image/png;base64,{data}'></p>"
        )
    return "".join(parts) + "</article>"
