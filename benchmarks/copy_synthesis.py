"""Speech through the vocoder of parameters: ``python benchmarks/copy_synthesis.py PREPARED...``.

Held-out recordings of prepared corpora are analysed and spoken again: predicted opinion scores
beside those of the recordings, mel-cepstral distortion, and processor time a second of speech.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from glottis.audio.vocoder import VocoderConfig, analyse, synthesize
from glottis.corpus import Prepared, load_audio
from glottis.evaluation.distance import distances
from glottis.evaluation.quality import Judges
from harness import Claim, machine, record

UTTERANCES = 12
COMMAND = "python benchmarks/copy_synthesis.py lj kathleen kerstin nathalie flemishguy"


def main(folders: list[Path]) -> None:
    judges = Judges()
    for folder in folders:
        corpus = Prepared([folder])
        config = VocoderConfig(corpus.mel.sample_rate)
        rows = []
        for cut in list(corpus.cuts("test"))[:UTTERANCES]:
            samples = load_audio(cut)
            seconds = len(samples) / config.sample_rate
            started = time.thread_time()
            parameters = analyse(samples, config)
            analysed = time.thread_time()
            made = synthesize(parameters, config)
            spoken = time.thread_time()
            apart = distances(made, samples, config.sample_rate, aligned=True)
            rows.append(
                (
                    judges.p808(made, config.sample_rate),
                    judges.p808(samples, config.sample_rate),
                    apart.mcd,
                    (analysed - started) / seconds,
                    (spoken - analysed) / seconds,
                )
            )
        ours, recorded, mcd, analysis, synthesis = np.mean(rows, axis=0)
        name = f"copy synthesis from 40 mel-cepstra at 5 ms, {folder.name}, P.808"
        record(
            Claim(name, COMMAND, "the recordings"),
            f"{ours:.2f}",
            f"{recorded:.2f}",
            f"MCD {mcd:.2f} dB, real-time factors {analysis:.4f} and {synthesis:.4f}",
            machine(1),
        )


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
