"""WaveNet sampling beside r9y9/wavenet_vocoder: ``python benchmarks/wavenet.py PATH``.

``PATH`` is a checkout of github.com/r9y9/wavenet_vocoder. Both hold the same random weights in the
LJSpeech mixture preset (24 layers, 4 stacks, 128/256/128 channels, three taps) and get the same
log-mels. The peer's ``incremental_forward`` and ours first hear the same recording, and the
parameters that they give each sample must agree to 1e-4; then both draw freely, in turn. Beside the
ratio the smaller weights' rows name their price: the divergence of the drawn distributions from
float32's, in nats a sample, over the recording. The last row is a roofline: the bytes and
products of one sample in the time that plain reading and plain products take here.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from glottis.export import load_run
from glottis.kernels.wavenet import PRECISIONS
from glottis.likelihood.mixtures import DiscretizedLogisticMixture
from glottis.originals import import_original
from harness import Claim, machine, record

COMMAND = "python benchmarks/wavenet.py PATH"
SETTINGS = {
    "input_type": "raw",
    "quantize_channels": 65536,
    "output_distribution": "Logistic",
    "out_channels": 30,
    "layers": 24,
    "stacks": 4,
    "residual_channels": 128,
    "gate_channels": 256,
    "skip_out_channels": 128,
    "kernel_size": 3,
    "dropout": 0.0,
    "cin_channels": 80,
    "cin_pad": 2,
    "gin_channels": -1,
    "n_speakers": 1,
    "upsample_conditional_features": True,
    "upsample_net": "ConvInUpsampleNetwork",
    "upsample_params": {"upsample_scales": [4, 4, 4, 4]},
    "log_scale_min": -16.0,
    "sample_rate": 22050,
    "fft_size": 1024,
    "hop_size": 256,
    "fmin": 125,
    "fmax": 7600,
}


def original(path: Path) -> torch.nn.Module:
    """The peer's network with random weights whose outputs look like a trained one's."""
    sys.path.insert(0, str(path))
    from wavenet_vocoder.wavenet import WaveNet as Original

    torch.manual_seed(0)
    names = (
        "out_channels layers stacks residual_channels gate_channels skip_out_channels kernel_size "
        "dropout cin_channels cin_pad upsample_conditional_features"
    )
    model = Original(
        **{name: SETTINGS[name] for name in names.split()},
        scalar_input=True,
        upsample_params={**SETTINGS["upsample_params"], "cin_channels": 80, "cin_pad": 2},
        output_distribution="Logistic",
    ).eval()
    with torch.no_grad():
        model.last_conv_layers[3].bias[20:] -= 4
    return model


def divergence(exact: np.ndarray, other: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence in nats a sample, by draws from ``exact``."""
    exact_, other_ = (
        DiscretizedLogisticMixture(*torch.from_numpy(p).double().chunk(3, -1), 16)
        for p in (exact, other)
    )
    draws = exact_.sample((200,), torch.Generator().manual_seed(0))
    return float((exact_.log_prob(draws) - other_.log_prob(draws)).mean())


def clock(threads: int) -> Callable[[], float]:
    """Of one thread's work, which other programs change little, or of the wall for several."""
    return time.thread_time if threads == 1 else time.perf_counter


class Timed:
    """Samples a second by so many samples a call."""

    def __init__(self, sampler, mels, count: int, threads: int) -> None:
        self.sampler, self.mels, self.count, self.best = sampler, mels, count, 0.0
        self.clock = clock(threads)
        sampler.start(mels)
        sampler.advance(64)  # compiled

    def run(self) -> None:
        self.sampler.start(self.mels)
        self.sampler.advance(64)
        start = self.clock()
        self.sampler.advance(self.count)
        made = self.count * len(self.mels)
        self.best = max(self.best, made / (self.clock() - start))


class Peer:
    """The same for ``incremental_forward``."""

    def __init__(self, model, mel, count: int, threads: int) -> None:
        self.model, self.mel, self.count, self.best = model, mel, count, 0.0
        self.threads, self.clock = threads, clock(threads)

    def run(self) -> None:
        torch.set_num_threads(self.threads)
        start = self.clock()
        with torch.no_grad():
            self.model.incremental_forward(c=self.mel, T=self.count)
        made = self.count * len(self.mel)
        self.best = max(self.best, made / (self.clock() - start))
        torch.set_num_threads(1)


class Floors:
    """A sample's products as fast as a large product makes them, its bytes as fast as a dot product
    reads them. The first bounds one thread; the second is what plain reading reaches.

    Of the matrices the newest tap, residual and skip are read for every sample, the older taps as
    often as their blocks begin.
    """

    def __init__(self) -> None:
        older = 4 * sum(1 / min(16, 2**i) for i in range(6)) * 65536
        self.weights = np.ones(int(24 * 65536 + older + 128 * 158), np.float32)
        self.square = torch.randn(512, 512)
        self.products = self.reading = 0.0

    def run(self) -> None:
        for _ in range(10):
            start = time.thread_time()
            self.square @ self.square
            macs = (24 * 131072 + 128 * 158) / 512**3
            self.products = max(self.products, 1 / (macs * (time.thread_time() - start)))
            start = time.thread_time()
            np.dot(self.weights, self.weights)
            self.reading = max(self.reading, 1 / (time.thread_time() - start))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    peer = original(arguments.path)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save({"state_dict": peer.state_dict()}, folder / "checkpoint.pth")
        (folder / "preset.json").write_text(json.dumps(SETTINGS))
        ours = load_run(import_original(folder / "checkpoint.pth", folder / "run").folder)[0]

    frames = arguments.samples // 256 + 1
    mel = torch.randn(1, 80, frames, generator=torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(mel, (2, 2), mode="replicate")
    count, version = frames * 256, "wavenet_vocoder"
    heard = ours.targets(torch.randn(1, count, generator=torch.Generator().manual_seed(2)) * 0.1)

    # Teacher forcing: what both would draw from, sample by sample. The peer hears sample t - 1 at
    # step t, as ours does, and its stages pass what they hold before they draw.
    shifted = torch.nn.functional.pad(heard, (1, -1))[:, None]
    held: list[torch.Tensor] = []
    layer = peer.last_conv_layers[3]
    forward = layer.incremental_forward

    def keep(x: torch.Tensor) -> torch.Tensor:
        held.append(forward(x).detach())
        return held[-1]

    layer.incremental_forward = keep
    with torch.no_grad():
        peer.incremental_forward(c=padded, T=count, test_inputs=shifted)
    layer.incremental_forward = forward
    expected = torch.cat(held, 1)[0].numpy()
    found = {}
    for precision in PRECISIONS:
        sampler = ours.sampler(precision)
        sampler.start([mel[0].numpy()])
        found[precision] = sampler.advance(count, heard.numpy(), parameters=True)[1][0]
    error = float(np.abs(found["float32"] - expected).max())
    assert error < 1e-4, f"the parameters differ by {error:.2g}, so no speed is reported"
    print(f"the same parameters for {count} samples, to {error:.1g}")

    short = torch.nn.functional.pad(mel[..., :1], (2, 2), mode="replicate")
    peers = {
        (batch, threads): Peer(peer, short.repeat(batch, 1, 1), 256, threads)
        for threads in (1, 2)
        for batch in (1, 8)
    }
    mels, floors = [mel[0].numpy()], Floors()
    runs = {
        (precision, batch, threads): Timed(
            ours.sampler(precision, threads), mels * batch, 4096 // batch, threads
        )
        for threads in (1, 2)
        for precision in PRECISIONS
        for batch in (1, 8)
    }
    for _ in range(arguments.repeats):  # in turn, so that a busy moment hits all of them
        for each in (floors, *peers.values(), *runs.values()):
            time.sleep(0.2)  # threads of the one before, which wait for work by spinning, give up
            each.run()
    for (precision, batch, threads), timed in runs.items():
        lost = divergence(found["float32"], found[precision])
        price = "" if precision == "float32" else f", KL to float32 {lost:.2g} nats a sample"
        sentences = "one sentence" if batch == 1 else f"{batch} sentences at once"
        shared = "" if threads == 1 else ", two threads"
        other = peers[batch, threads].best
        record(
            Claim(f"WaveNet 24 layers, {precision}, {sentences}{shared}", COMMAND, version),
            f"{timed.best:.0f}/s",
            f"{other:.0f}/s",
            f"{timed.best / other:.3g}x{price}",
            machine(threads),
        )
    record(
        Claim(
            "WaveNet 24 layers, what plain products and plain reading reach",
            COMMAND,
            "torch.mm, numpy.dot",
        ),
        f"{floors.products:.0f}/s by products, {floors.reading:.0f}/s by reading float32",
        "",
        "",
        machine(1),
    )


if __name__ == "__main__":
    main()
