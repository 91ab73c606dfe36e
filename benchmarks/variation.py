"""How much readings of one sentence differ: ``python benchmarks/variation.py VOICE --data FOLDER``.

A corpus whose sentences were read more than once (CMU ARCTIC's prompts often were) says how much a
person's readings differ in length: the standard deviation of log durations within a sentence,
pooled over sentences. The voice speaks the same sentences with as many seeds, at several
temperatures of its durations. Also whether a seed gives the same audio twice.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from glottis import Voice
from glottis.corpus import Prepared


def pooled(groups: Iterable[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation within groups of log durations, and how many groups there were."""
    squares, freedom, count = 0.0, 0, 0
    for group in groups:
        logs = np.log(group)
        squares += float(((logs - logs.mean()) ** 2).sum())
        freedom += len(logs) - 1
        count += 1
    return math.sqrt(squares / freedom), count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("voice")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--speaker")
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--samples", type=int, default=10)
    given = parser.parse_args()
    voice, corpus = Voice.load(given.voice), Prepared([given.data])
    readings = defaultdict(list)
    for cut in [*corpus.cuts("train"), *corpus.cuts("test")]:
        readings[cut.supervisions[0].text].append(cut.duration)
    repeated = {text: lengths for text, lengths in readings.items() if len(lengths) > 1}
    spread, count = pooled(repeated.values())
    print(f"recordings: {100 * spread:.1f}% ({count} sentences read more than once)")
    texts = sorted(repeated)[:: max(1, len(repeated) // given.sentences)][: given.sentences]
    for noise in (0.0, 0.33, 0.667, 0.8, 1.0):
        spoken = [
            [
                len(voice.speak(text, speaker=given.speaker, seed=seed, noise_w=noise).samples)
                for seed in range(given.samples)
            ]
            for text in texts
        ]
        spread, count = pooled(spoken)
        ratio = np.mean([np.mean(s) / voice.sample_rate for s in spoken])
        ratio /= np.mean([np.mean(repeated[text]) for text in texts])
        print(
            f"{given.voice}, noise_w {noise}: {100 * spread:.1f}% ({count} sentences, "
            f"{given.samples} seeds), {ratio:.2f} times as long as recorded"
        )
    one, two = (voice.speak(texts[0], speaker=given.speaker, seed=3).samples for _ in range(2))
    print("the same seed, the same audio:", np.array_equal(one, two))


if __name__ == "__main__":
    main()
