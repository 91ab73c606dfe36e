"""Where a training step's time goes: ``python benchmarks/training_profile.py``.

Glow-TTS and VITS at their papers' sizes on batches of noise, one thread (``--device cuda`` on a
GPU): seconds a step, the share of each kind of work, and memory. Writes nothing; the table is for
docs/performance.md.
"""

from __future__ import annotations

import argparse
import re
import resource
import time
from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from glottis.corpus.batches import UtteranceBatch
from glottis.models import glow_tts, vits
from glottis.models.vits import model as vits_model

SYMBOLS = 150
# The first that fits; what a minimal filter does is inside its own two operations.
KINDS = {
    "alignment: lattice and search": r"^alignment$",
    "convolutions by minimal filters": r"^_Minimal",
    "other convolutions": r"convolution|conv2d|conv_transpose",
    "matrix products": r"^aten::(bmm|mm|addmm|baddbmm)",
    "gates": r"^_FusedGated",
    "dropout": r"bernoulli|dropout",
    "spectra": r"fft|stft",
    "splines": r"^_Fused$",
}


def noise(frames: tuple[int, ...], hop: int) -> UtteranceBatch:
    """Utterances of noise, six frames a token."""
    random = torch.Generator().manual_seed(0)
    lengths = torch.tensor(frames)
    tokens = lengths // 6
    text = torch.randint(1, SYMBOLS, (len(frames), int(tokens.max())), generator=random)
    text *= torch.arange(text.shape[1]) < tokens[:, None]
    mel = torch.randn(len(frames), 80, max(frames), generator=random) * 2 - 5
    mel *= (torch.arange(max(frames)) < lengths[:, None])[:, None]
    audio = torch.randn(len(frames), max(frames) * hop, generator=random) * 0.1
    names = [str(i) for i in range(len(frames))]
    speaker = torch.zeros(len(frames), dtype=torch.long)
    return UtteranceBatch(names, text, tokens, mel, lengths, speaker, audio=audio)


def named(module: Any, function: str) -> None:
    """Make a function of a module show as ``alignment``."""
    plain = getattr(module, function)

    def recorded(*args: Any, **more: Any) -> Any:
        with record_function("alignment"):
            return plain(*args, **more)

    setattr(module, function, recorded)


def measure(what: str, network: nn.Module, batch: UtteranceBatch, device: str) -> None:
    network.train().to(device)
    batch = batch.to(device)
    groups = getattr(network, "optimized", lambda: {"generator": list(network.parameters())})()

    def step() -> None:
        for name, loss, _ in network.steps(batch, 10**6):
            for parameter in groups[name]:
                parameter.grad = None
            loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    before = time.process_time(), time.perf_counter()
    step()
    taken = (
        (time.perf_counter() - before[1]) if device == "cuda" else time.process_time() - before[0]
    )
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as found:
        step()
    spent: Counter[str] = Counter()
    for event in found.events():
        if _inside(event, r"^_Minimal|^alignment$"):
            continue
        whole = re.search(r"^_Minimal|^alignment$", event.name) is not None
        kind = next((k for k, v in KINDS.items() if re.search(v, event.name)), "all else")
        own = "cpu_time_total" if whole else "self_cpu_time_total"
        if device == "cuda":
            own = own.replace("cpu", "device")
        spent[kind] += getattr(event, own)
    total = sum(spent.values())
    if device == "cuda":
        memory = torch.cuda.max_memory_allocated() / 2**30
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n{what}: {taken:.2f} s a step, {memory:.1f} GiB at most\n")
    print("| work | share |\n|---|---|")
    for kind, amount in spent.most_common():
        print(f"| {kind} | {amount / total:.1%} |")


def _inside(event: Any, pattern: str) -> bool:
    parent = event.cpu_parent
    while parent is not None:
        if re.search(pattern, parent.name):
            return True
        parent = parent.cpu_parent
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    named(glow_tts, "align")
    named(vits_model, "align")
    glow = glow_tts.GlowTTS(glow_tts.Config(symbols=SYMBOLS))
    four = noise((600, 560, 520, 480), 256)
    measure("Glow-TTS, paper's size, 4 utterances of 6 s", glow, four, given.device)
    two = noise((300, 280), 256)
    network = vits.VITS(vits.Config(symbols=SYMBOLS))
    measure("VITS, paper's size, 2 utterances of 3.4 s", network, two, given.device)


if __name__ == "__main__":
    main()
