"""Solvers and likelihood of a trained Grad-TTS: ``python benchmarks/diffusion.py RUN --data DIR``.

Held-out sentences are drawn from the same noise by each solver, and their log-mels compared with
100 steps of Heun's method, which is 200 scores: root mean square in nepers. With ``--beside GLOW``,
the run folder of a Glow-TTS, the likelihood of held-out recordings under both in bits a dimension:
exact by the flow, by the probability-flow equation and Hutchinson's trace for the diffusion.
"""

from __future__ import annotations

import argparse
import itertools
import math
from dataclasses import replace
from pathlib import Path

import torch

from glottis.corpus import Prepared
from glottis.corpus.batches import UtteranceBatch
from glottis.export import load_run
from glottis.likelihood.diffusion import evaluations
from glottis.text.symbols import DEFAULT
from glottis.training.config import TrainingConfig
from glottis.training.data import Batches
from harness import Claim, machine, record

COMMAND = "python benchmarks/diffusion.py RUN"
COMPARED = (("euler", 4), ("dpm2", 2), ("dpm2", 4), ("euler", 10), ("dpm2", 10), ("heun", 10))
REFERENCE = ("heun", 100)


def distances(
    model: torch.nn.Module, batches: list[UtteranceBatch]
) -> dict[tuple[str, int], float]:
    """Of each solver and number of steps from the reference, root mean square over all values."""

    def draw(batch: UtteranceBatch, solver: str, steps: int) -> torch.Tensor:
        mel, _, _ = model.synthesize(
            batch.text,
            batch.text_lengths,
            batch.speaker,
            solver=solver,
            n_timesteps=steps,
            generator=torch.Generator().manual_seed(1),
        )
        return mel

    squares = dict.fromkeys(COMPARED, 0.0)
    count = 0
    for batch in batches:
        reference = draw(batch, *REFERENCE)
        count += reference.numel()
        for each in COMPARED:
            squares[each] += float((draw(batch, *each) - reference).square().sum())
    return {each: math.sqrt(total / count) for each, total in squares.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--beside", type=Path, metavar="GLOW")
    parser.add_argument("--limit", type=int, default=8, help="sentences of each speaker")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, facts = load_run(arguments.run)
    model.eval()
    settings = TrainingConfig(batch_size=1, buckets=1)
    batches = []
    for data in arguments.data:
        corpus = Prepared([data])
        stream = Batches(corpus, "test", "utterances", settings, symbols=DEFAULT, once=True)
        for batch, _ in itertools.islice(stream, arguments.limit):
            name = corpus.speakers[int(batch.speaker[0])]
            batches.append(replace(batch, speaker=torch.tensor([facts["speakers"].index(name)])))
    for (solver, steps), distance in distances(model, batches).items():
        scores = evaluations(solver, steps)  # type: ignore[arg-type]
        what = f"Grad-TTS, {steps} steps of {solver} ({scores} scores) from 100 of Heun, nepers"
        print(f"{what}: {distance:.3f}")
        record(Claim(what, COMMAND, ""), f"{distance:.3f}", "", "", machine(1))
    if arguments.beside:
        glow, _ = load_run(arguments.beside)
        glow.eval()
        bits = {"Grad-TTS": 0.0, "Glow-TTS": 0.0}
        frames = 0
        for batch in batches:
            frames += int(batch.mel_lengths.sum())
            found = model.likelihood(batch, generator=torch.Generator().manual_seed(1))
            bits["Grad-TTS"] -= float(found.log_prob.sum()) / math.log(2)
            nats = glow.validate(batch)["nats_per_frame"]
            bits["Glow-TTS"] -= float(nats * batch.mel_lengths.sum()) / math.log(2)
        for name, total in bits.items():
            value = total / frames / model.config.mel.mels
            what = f"{name}, held-out log-mels given text, bits a dimension"
            print(f"{what}: {value:.3f}")
            record(Claim(what, COMMAND, ""), f"{value:.3f}", "", "", machine(1))


if __name__ == "__main__":
    main()
