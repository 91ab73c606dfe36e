"""What Grad-TTS' prior loss is for: ``python benchmarks/prior_loss.py ALIGNER --data DIR [...]``.

A small Grad-TTS is trained for the same steps from the same start with each ``prior_loss``,
aligned by itself (``durations: mas``) and with the alignments of ``ALIGNER``, the run folder of a
model that aligns, as given (``durations: given``). Held-out sentences then say what each is worth:
the likelihood of their log-mels in bits a dimension (probability-flow equation, Hutchinson's
trace), how far four steps end from a hundred, and how their alignment agrees with the aligner's.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from glottis.alignment import token_indices
from glottis.corpus import Prepared
from glottis.corpus.batches import UtteranceBatch
from glottis.export import load_run
from glottis.text.symbols import DEFAULT
from glottis.training.config import TrainingConfig
from glottis.training.data import Batches
from glottis.training.durations import read_durations, write_durations
from glottis.training.run import train
from harness import Claim, machine, record

COMMAND = "python benchmarks/prior_loss.py ALIGNER"
NETWORK = {
    "channels": 96,
    "filter_channels": 192,
    "encoder_layers": 2,
    "score_channels": 16,
    "segment_frames": 64,
    "alignment_steps": 0,
    "predicts": "velocity",
    "pitch": "false",
}
CASES = (
    *(("mas", prior) for prior in ("gaussian", "l1", "l2", "none")),
    *(("given", prior) for prior in ("gaussian", "none")),
)


def held_out(data: list[Path], durations: Path, limit: int) -> list[UtteranceBatch]:
    """Sentences of all speakers, each a batch, with the aligner's durations."""
    corpus, settings = Prepared(data), TrainingConfig(batch_size=1, buckets=1)
    known = read_durations(durations)
    stream = Batches(
        corpus, "test", "utterances", settings, symbols=DEFAULT, durations=known, once=True
    )
    by_speaker: dict[int, list[UtteranceBatch]] = {}
    for batch, _ in stream:
        by_speaker.setdefault(int(batch.speaker[0]), []).append(batch)
    return [batch for speaker in sorted(by_speaker) for batch in by_speaker[speaker][:limit]]


def agreement(model: torch.nn.Module, batch: UtteranceBatch) -> float:
    """The share of frames that belong to the same token as the aligner says."""
    found = model.align(batch).durations
    given = replace_durations(model, batch)
    frames = int(batch.mel_lengths[0])
    pairs = (token_indices(found)[0, :frames], token_indices(given)[0, :frames])
    return float((pairs[0] == pairs[1]).float().mean())


def replace_durations(model: torch.nn.Module, batch: UtteranceBatch) -> torch.Tensor:
    """The aligner's durations of the tokens that the model reads."""
    before = model.config
    model.config = replace(before, durations="given")
    try:
        return model.align(batch).durations
    finally:
        model.config = before


def measured(run: Path, batches: list[UtteranceBatch]) -> dict[str, float]:
    model, _ = load_run(run)
    model.eval()
    nats = count = 0.0
    squares = values = same = 0.0
    for batch in batches:
        generator = torch.Generator().manual_seed(1)
        found = model.likelihood(batch, tolerance=1e-2, generator=generator)
        nats -= float(found.log_prob.sum())
        count += float(found.dimensions.sum())
        with torch.no_grad():
            same += agreement(model, batch) / len(batches)
            drawn = [
                model.synthesize(
                    batch.text,
                    batch.text_lengths,
                    batch.speaker,
                    durations=replace_durations(model, batch),
                    solver="euler",
                    n_timesteps=steps,
                    temperature=0.667,
                    generator=torch.Generator().manual_seed(1),
                )[0]
                for steps in (4, 100)
            ]
        squares += float((drawn[0] - drawn[1]).square().sum())
        values += drawn[0].numel()
    return {
        "bits": nats / count / math.log(2),
        "few": math.sqrt(squares / values),
        "same": same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("aligner", type=Path)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--limit", type=int, default=3, help="held-out sentences of each speaker")
    parser.add_argument("--out", type=Path, help="keep the runs here, and go on with them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        durations = out / "durations.jsonl"
        if not durations.exists():
            write_durations(arguments.aligner, arguments.data, durations)
        for how, prior in CASES:
            words = [f"network.{key}={value}" for key, value in NETWORK.items()]
            words += [f"network.prior_loss={prior}", f"network.durations={how}"]
            words += [f"max_steps={arguments.steps}", "warmup_steps=100", "threads=1"]
            words += ["batch_seconds=32", "validate_every=100000", "checkpoint_every=200"]
            words += [f"durations={durations}"] if how == "given" else []
            run = train("grad_tts/small", arguments.data, words, out / f"{how}-{prior}")
            batches = held_out(arguments.data, durations, arguments.limit)
            found = measured(run, batches)
            record(
                Claim(
                    f"Grad-TTS, small, {arguments.steps} steps, durations {how}, "
                    f"prior loss {prior}: bits a dimension, held out",
                    COMMAND,
                    "",
                ),
                f"{found['bits']:.3f}",
                "",
                f"4 Euler steps {found['few']:.2f} nepers from 100; "
                f"{100 * found['same']:.0f}% of frames aligned as given",
                machine(1),
            )


if __name__ == "__main__":
    main()
