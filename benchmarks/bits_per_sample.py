"""Held-out bits a sample of a WaveNet: ``python benchmarks/bits_per_sample.py RUN --data data/lj``.

``RUN`` is the run folder of a WaveNet, and the data its prepared corpus. With ``--prediction``,
rows say what linear prediction alone is worth: one Gaussian around the prediction that the log-mels
give, whose deviation is the gain that they give too. Whole utterances, every sample, bits of one of
65,536 values: a class of mu-law is taken to be one of its values by chance.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from glottis.audio.linear_prediction import LinearPrediction
from glottis.corpus import Prepared, load_audio, load_mel
from glottis.export import load_run
from glottis.likelihood.mixtures import mu_law_encode, quantize
from harness import Claim, machine, record

COMMAND = "python benchmarks/bits_per_sample.py RUN"


def utterances(data: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Held-out recordings ``[samples]`` and their log-mels ``[mels, frames]``."""
    prepared = Prepared([data])
    for cut in prepared.cuts("test"):
        mel = load_mel(cut)
        yield load_audio(cut)[: mel.shape[1] * prepared.mel.hop], mel


def of_prediction(samples: np.ndarray, mel: np.ndarray, prediction: LinearPrediction) -> float:
    """Bits of all samples together under the prediction's own Gaussian."""
    coefficients, gains = prediction(mel)
    order, hop = prediction.order, prediction.mel.hop
    if order:
        past = np.pad(samples.astype(np.float64), (order, 0))[:-1]
        past = np.lib.stride_tricks.sliding_window_view(past, order).reshape(-1, hop, order)
        predicted = (past @ coefficients[:, ::-1, None]).reshape(-1)
    else:
        predicted = np.zeros(len(samples))
    deviation = np.repeat(gains, hop)
    nats = 0.5 * ((samples - predicted) / deviation) ** 2 + np.log(deviation * math.sqrt(math.tau))
    return float((nats / math.log(2) + math.log2((2**prediction.bits - 1) / 2)).sum())


def bits_within_classes(samples: torch.Tensor, bits: int) -> float:
    """What is left open of 16-bit samples ``[time]`` by their mu-law classes, in bits, together."""
    grid = quantize(torch.arange(-32768, 32768), 16)
    members = torch.bincount(mu_law_encode(grid, bits), minlength=2**bits).double()
    return float(members[mu_law_encode(samples, bits)].log2().sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--prediction", action="store_true", help="also of linear prediction alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, _ = load_run(arguments.run)
    model = model.eval()
    held = list(utterances(arguments.data))
    count = sum(len(samples) for samples, _ in held)
    for order in (0, 16, 32, 64, 128, 192, 256) if arguments.prediction else ():
        prediction = LinearPrediction(model.config.mel, order, model.config.bits)
        alone = sum(of_prediction(*each, prediction) for each in held) / count
        what = f"of order {order}" if order else "of order 0: the level alone"
        record(
            Claim(f"{arguments.data.name}, bits a sample, linear prediction {what}", COMMAND, ""),
            f"{alone:.2f}",
            "",
            "",
            machine(1),
        )
    state = torch.load(arguments.run / "state.ckpt", map_location="cpu", weights_only=False)
    steps = state["glottis"]["step"]
    total = 0.0
    with torch.no_grad():
        for samples, mel in held:
            nats = model.log_prob(torch.from_numpy(samples)[None], torch.from_numpy(mel)[None])
            total -= float(nats.double().sum()) / math.log(2)
            if model.config.output == "mulaw":
                total += bits_within_classes(torch.from_numpy(samples), model.config.bits)
    order, taps = model.config.linear_prediction, model.config.period_taps
    about = f" around linear prediction of order {order}" if order else ""
    about += ", one period ago heard" if taps else ""
    record(
        Claim(
            f"{arguments.data.name}, bits a sample, WaveNet, {model.config.output}{about}, "
            f"{steps} steps",
            COMMAND,
            "",
        ),
        f"{total / count:.3f}",
        "",
        "",
        machine(1),
    )


if __name__ == "__main__":
    main()
