r"""Who is heard in converted speech, as Resemblyzer hears it, and what is understood.

    pip install 'setuptools<81' webrtcvad-wheels librosa && pip install --no-deps resemblyzer
    python benchmarks/similarity.py runs/conversion --data data/kathleen --data data/lj

``runs/conversion`` is what ``glottis train conversion`` wrote, or a voice file that converts.
Held-out recordings of each speaker are converted to each other one. An utterance's embedding (Wan
et al. 2018, "Generalized end-to-end loss for speaker verification") is compared by its cosine with
the mean embedding of 60 training recordings of the target and of the source. Recordings of the
target's own, held out too, show what there is to reach. With ``--words``, word error rates of the
same utterances before and after, where the source speaks English.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from resemblyzer import VoiceEncoder, preprocess_wav

from conversion import recordings_of
from glottis import Voice
from glottis.conversion import conversion_file
from glottis.corpus import Prepared, load_audio
from glottis.evaluation.recognition import Recogniser, count_errors, error_rates
from glottis.models.voice_conversion import Conversion

Array = NDArray[np.float32]


def converter(path: Path) -> tuple[Callable[[Array, str, str], Array], list[str], int]:
    """How ``path`` converts audio at the rate it names, and between which speakers."""
    if file := conversion_file(path):
        conversion = Conversion.load(file)
        return conversion.convert, list(conversion.speakers), conversion.vocoder.sample_rate
    voice = Voice.load(path)

    def convert(samples: Array, source: str, target: str) -> Array:
        return voice.convert(samples, source=source, target=target).samples

    return convert, list(voice.speakers), voice.sample_rate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("conversion", type=Path)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--limit", type=int, default=15)
    parser.add_argument("--words", action="store_true")
    given = parser.parse_args()
    convert, names, rate = converter(given.conversion)
    corpus, encoder = Prepared(given.data), VoiceEncoder("cpu", verbose=False)

    def embedded(samples: Array) -> NDArray[np.float32]:
        made: NDArray[np.float32] = encoder.embed_utterance(preprocess_wav(samples, rate))
        return made

    names = [name for name in names if name in corpus.speakers]
    centres = {}
    for name in names:
        centre = np.mean([embedded(s) for s in recordings_of(corpus, "train", name, 60)], axis=0)
        centres[name] = centre / np.linalg.norm(centre)
    nearer: list[bool] = []
    for source, target in itertools.permutations(names, 2):
        cuts = [c for c in corpus.cuts("test") if c.supervisions[0].speaker == source]
        cuts = cuts[:: max(1, len(cuts) // given.limit)][: given.limit]
        before = [load_audio(cut) for cut in cuts]
        after = [convert(samples, source, target) for samples in before]
        own = recordings_of(corpus, "test", target, given.limit)

        sides = np.stack([centres[target], centres[source]])
        made, best = (
            np.stack([sides @ embedded(samples) for samples in side]) for side in (after, own)
        )
        nearer += (made[:, 0] > made[:, 1]).tolist()
        share = float(np.mean(nearer[-len(cuts) :]))
        line = (
            f"{source} to {target}: {100 * share:.0f}% of {len(cuts)} nearer to the target; "
            f"similarity {made[:, 0].mean():.2f} to it and {made[:, 1].mean():.2f} to the source "
            f"(the target's own recordings {best[:, 0].mean():.2f} and {best[:, 1].mean():.2f})"
        )
        if given.words and cuts[0].supervisions[0].language.startswith("en"):
            recogniser = Recogniser()
            rates = [
                error_rates(
                    [
                        count_errors(cut.supervisions[0].text, recogniser.transcribe(samples, rate))
                        for cut, samples in zip(cuts, side, strict=True)
                    ]
                )[0]
                for side in (before, after)
            ]
            line += f"; WER {100 * rates[0]:.1f}% before, {100 * rates[1]:.1f}% after"
        print(line, flush=True)
    print(f"all: {100 * float(np.mean(nearer)):.1f}% of {len(nearer)} nearer to the target")


if __name__ == "__main__":
    main()
