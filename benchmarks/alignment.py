"""How well forced alignment finds boundaries: ``python benchmarks/alignment.py TEXTS [MINUTES]``.

The reference is speech that espeak-ng makes of TEXTS (an LJSpeech-style ``metadata.csv``), whose
phoneme times it tells; see ``espeak_reference.py``. A boundary is where a phone of the front end
begins with a phoneme of espeak-ng. espeak-ng marks a stop where its burst begins and leaves the
closure before it, so that the whole closure counts as our error there.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

import numpy as np

from espeak_reference import make
from glottis.corpus.forced_alignment import AlignConfig, align_corpus, read_row
from glottis.corpus.readers import read_rows
from harness import Claim, machine, record, version

COMMAND = "python benchmarks/alignment.py lj/metadata.csv"
NO_SOUND = " ,.?!;:ˈˌ"


def sounds(symbols: str) -> str:
    decomposed = unicodedata.normalize("NFD", symbols)
    return "".join(symbol for symbol in decomposed if symbol not in NO_SOUND)


def errors(corpus: Path, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds by which phones begin too late, and whether each begins a word."""
    events = json.loads((corpus / "events.json").read_text(encoding="utf-8"))
    found: dict[str, list[float]] = {}
    for line in (out / "phones.ctm").read_text(encoding="utf-8").splitlines():
        name, _, start, _, _ = line.split(" ")
        found.setdefault(name, []).append(float(start))
    late, word = [], []
    for row in read_rows(corpus):
        item = read_row(AlignConfig(), row)
        reference, position = {}, 0
        for seconds, label in events[item.row.id]:
            if sounds(label):
                reference[position] = seconds
                position += len(sounds(label))
        phonemes = item.utterance.phonemes
        if position != len(sounds("".join(phonemes))):
            continue  # espeak-ng said another sentence than the front end
        starts = found[item.row.id]
        for phone, start in zip(item.phones, starts, strict=True):
            place = len(sounds("".join(phonemes[: phone.start])))
            if place in reference:
                late.append(start - reference[place])
                word.append(phone.start == item.utterance.words[phone.word].start)
    return np.array(late), np.array(word)


def main(texts: Path, minutes: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        corpus, out = Path(folder, "corpus"), Path(folder, "out")
        make(texts, corpus, minutes)
        started = time.perf_counter()
        summary = align_corpus(corpus, out, jobs=1)
        spent = time.perf_counter() - started
        late, word = errors(corpus, out)
    off = np.abs(late)
    for what, values in (("phone", off), ("word", off[word])):
        record(
            Claim(f"boundaries of {what}s, {len(values):,}, median error", COMMAND, _peer()),
            f"{1000 * np.median(values):.1f} ms",
            "0",
            "20 ms {:.1%}, 25 ms {:.1%}, 50 ms {:.1%}".format(
                *((values <= limit).mean() for limit in (0.020, 0.025, 0.050))
            ),
        )
    record(
        Claim("forced alignment, training included, an hour of speech", COMMAND, "the clock"),
        f"{spent / summary.minutes:.2f} min",
        "60 min",
        f"{60 * summary.minutes / spent:.0f}x real time",
        machine(1),
    )
    assert np.median(off) <= 0.015, "median boundary error above 15 ms"
    assert (off <= 0.025).mean() >= 0.8, "fewer than 80% of boundaries within 25 ms"
    assert spent / summary.minutes <= 10, "an hour of speech takes more than ten minutes"


def _peer() -> str:
    return f"times told by espeak-ng, {version('espeakng-loader')}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if sys.argv[2:] else 60.0)
