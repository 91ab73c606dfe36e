"""The loss of a mixture of ten logistics at 16 bits against r9y9/wavenet_vocoder, on the CPU.

    git clone https://github.com/r9y9/wavenet_vocoder
    python benchmarks/mixture.py wavenet_vocoder

Forward and backward from a network's output ``[8, 30, 10240]`` in float32.
"""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import torch

from glottis.likelihood.mixtures import DiscretizedLogisticMixture, quantize
from harness import Claim, compare

BITS, FLOOR = 16, -14.0


def peer(checkout: Path) -> ModuleType:
    """The one file of the peer, without the rest of its package."""
    path = checkout / "wavenet_vocoder" / "mixture.py"
    spec = importlib.util.spec_from_file_location("peer_mixture", path)
    if not path.is_file() or spec is None or spec.loader is None:
        sys.exit(f"{path} is missing: name a checkout of r9y9/wavenet_vocoder")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main(checkout: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = peer(checkout)
    output = torch.randn(8, 30, 10240)
    output[:, 20:] -= 5
    output.requires_grad_()
    # Within 0.9 and with scales around a hundredth, where the peer's formula is right to a
    # thousandth of a nat; closer to the edges its probabilities do not sum to 1.
    audio = quantize(0.9 * torch.tanh(0.3 * torch.randn(8, 10240)), BITS)

    def ours():
        parts = output.transpose(1, 2).chunk(3, dim=-1)
        mixture = DiscretizedLogisticMixture(*parts, bits=BITS, minimum_log_scale=FLOOR)
        loss = -mixture.log_prob(audio).sum()
        return loss, *torch.autograd.grad(loss, output)

    def theirs():
        loss = module.discretized_mix_logistic_loss(output, audio[..., None], 2**BITS, FLOOR)
        return loss, *torch.autograd.grad(loss, output)

    def agree(mine, other) -> bool:
        near = math.isclose(mine[0].item(), other[0].item(), rel_tol=1e-4)
        error = (mine[1] - other[1]).abs() / (1 + mine[1].abs())
        return near and (error < 1e-2).double().mean().item() > 0.999

    claim = Claim(
        "mixture loss, 8 x 10,240 x 10, float32, forward and backward, one thread",
        "python benchmarks/mixture.py wavenet_vocoder",
        f"r9y9/wavenet_vocoder {commit(checkout)}",
        least=3,
    )
    compare(claim, ours, theirs, agree, repeats=15, threads=1)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
