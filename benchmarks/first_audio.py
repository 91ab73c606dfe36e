r"""How long until the first audio of a sentence, beside the whole of it.

    python benchmarks/first_audio.py src/glottis/voices/english.onnx

One thread. First checks that the beginning is what it is in the whole; then times, in turn,
``Voice.speak`` and the first chunk of ``Voice.stream`` with ``lead``, text analysis included. Best
and median of so many runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from glottis import Speech, Voice

TEXT = (
    "The birch canoe slid on the smooth planks, and the sheet was glued to the dark blue "
    "background."
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("voice", type=Path, nargs="+")
    parser.add_argument("--speaker")
    parser.add_argument("--lead", type=float, default=0.5)
    parser.add_argument("--runs", type=int, default=30)
    given = parser.parse_args()
    for path in given.voice:
        voice = Voice.load(path)
        whole = voice.speak(TEXT, seed=1, speaker=given.speaker)
        chunks = list(voice.stream(TEXT, seed=1, speaker=given.speaker, lead=given.lead))
        joined = Speech.join(chunks)
        difference = float(np.abs(joined.samples - whole.samples).max())
        assert difference < 5e-3, f"the beginning differs from the whole by {difference}"
        if not (len(chunks) == 2 and len(chunks[0].samples)):
            raise SystemExit(f"{path} does not make beginnings: export it anew")
        first, all_ = [], []
        for run in range(given.runs):
            start = time.perf_counter()
            next(voice.stream(TEXT, seed=run, speaker=given.speaker, lead=given.lead))
            first.append(time.perf_counter() - start)
            start = time.perf_counter()
            voice.speak(TEXT, seed=run, speaker=given.speaker)
            all_.append(time.perf_counter() - start)
        print(
            f"{path.name}: sentence of {whole.duration:.2f} s, first {given.lead} s after "
            f"{1e3 * min(first):.1f} ms (median {1e3 * statistics.median(first):.1f}), all after "
            f"{1e3 * min(all_):.1f} ms (median {1e3 * statistics.median(all_):.1f}); "
            f"difference {difference:.1g}"
        )


if __name__ == "__main__":
    main()
