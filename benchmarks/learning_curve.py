"""Words understood and quality against steps: ``python benchmarks/learning_curve.py RUNS``.

``RUNS`` holds copies of one run folder (``model.safetensors`` and ``run.json``), each named by its
step. Each is exported and speaks the same sentences, which ``glottis evaluate``'s programs judge;
what was judged before is read from the file that the numbers go to, so that a curve can grow while
its run goes on. ``--vocoder`` for models that need one. Writes ``OUT.csv`` and ``OUT.png``.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from glottis.evaluation.report import MEASURES
from glottis.evaluation.run import evaluate
from glottis.export import export_voice
from glottis.files import replacing

SHOWN = ("wer", "p808", "plcmos")
FIELDS = ("step", "speaker", *(f"{key}{end}" for key in SHOWN for end in ("", "_low", "_high")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("runs", type=Path)
    parser.add_argument("--texts", type=Path, default=Path("benchmarks/texts/plain.txt"))
    parser.add_argument("--speaker", action="append", default=[])
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--vocoder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    table = given.out.with_suffix(".csv")
    rows = list(csv.DictReader(table.open())) if table.is_file() else []
    done = {(row["step"], row["speaker"]) for row in rows}
    folders = sorted(
        (f for f in given.runs.iterdir() if f.name.isdigit()), key=lambda f: int(f.name)
    )
    for folder in folders:
        wanted = [name for name in given.speaker or [""] if (folder.name, name) not in done]
        if not wanted:
            continue
        with tempfile.TemporaryDirectory() as place:
            voice = export_voice(
                folder, Path(place) / "voice.onnx", vocoder=given.vocoder, weights="float32"
            )
            for name in wanted:
                rows.append(_judged(voice, folder.name, name, given.texts, given.limit))
                print(rows[-1], flush=True)
        with replacing(table) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
    _draw(rows, given.out.with_suffix(".png"))


def _judged(voice: Path, step: str, speaker: str, texts: Path, limit: int) -> dict[str, str]:
    report = evaluate(voice, texts=texts, speaker=speaker or None, limit=limit, timing=False)
    row = {"step": step, "speaker": speaker}
    summary = report.summary()
    for key in SHOWN:
        estimate = summary[key]
        for end, value in (("", estimate.mean), ("_low", estimate.low), ("_high", estimate.high)):
            row[key + end] = f"{value:.4f}"
    return row


def _draw(rows: list[dict[str, str]], path: Path) -> None:
    labels = {measure.key: measure.label for measure in MEASURES}
    figure, axes = plt.subplots(1, len(SHOWN), figsize=(11, 3), layout="constrained")
    for speaker in sorted({row["speaker"] for row in rows}):
        own = sorted((r for r in rows if r["speaker"] == speaker), key=lambda r: int(r["step"]))
        steps = [int(row["step"]) for row in own]
        for axis, key in zip(axes, SHOWN, strict=True):
            mean, low, high = (
                [float(row[key + end]) for row in own] for end in ("", "_low", "_high")
            )
            axis.plot(steps, mean, "o-", markersize=3, label=speaker or None)
            axis.fill_between(steps, low, high, alpha=0.2)
            axis.set(xlabel="step", title=labels[key])
    if any(row["speaker"] for row in rows):
        axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
