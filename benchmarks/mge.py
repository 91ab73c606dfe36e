"""A step of trajectory-error training beside nnmnkwii: ``python benchmarks/mge.py``.

The same network, batch and optimiser; only what turns means into a trajectory differs: ours for
the whole ragged batch, nnmnkwii's autograd function an utterance at a time, as it takes no batches.
nnmnkwii is built as ``benchmarks/mlpg.py`` says.
"""

from __future__ import annotations

import numpy as np
import torch
from nnmnkwii.autograd import MLPG
from torch import nn

from glottis.kernels import WINDOWS, mlpg
from harness import Claim, best_times, compare, version

ITEMS, FRAMES, STATIC, INPUTS = 4, 500, 47, 64
COMMAND = "python benchmarks/mge.py"


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    windows = [(left, right, np.array(values)) for left, right, values in WINDOWS]
    size = STATIC * len(WINDOWS)
    lengths = [FRAMES - 40 * item for item in range(ITEMS)]
    inputs, targets = torch.randn(ITEMS, FRAMES, INPUTS), torch.randn(ITEMS, FRAMES, STATIC)
    variance = torch.rand(size) + 0.1
    inside = torch.arange(FRAMES)[None, :, None] < torch.tensor(lengths)[:, None, None]

    def network() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(INPUTS, 256), nn.Tanh(), nn.Linear(256, size))

    def step(made_by) -> torch.Tensor:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        made = made_by(model(inputs))
        loss = torch.where(inside, made - targets, 0.0).square().sum() / sum(lengths)
        loss.backward()
        optimizer.step()
        return model[2].weight.detach()

    def ours() -> torch.Tensor:
        return step(lambda mean: mlpg(mean, variance, WINDOWS, torch.tensor(lengths)))

    def peer() -> torch.Tensor:
        def each(mean: torch.Tensor) -> torch.Tensor:
            rows = []
            for item, length in enumerate(lengths):
                spread = variance.expand(length, size).contiguous()
                row = MLPG.apply(mean[item, :length], spread, windows)
                rows.append(nn.functional.pad(row, (0, 0, 0, FRAMES - length)))
            return torch.stack(rows)

        return step(each)

    what = f"MGE training step, {ITEMS} utterances of up to {FRAMES} frames x {STATIC}"
    compare(
        Claim(what, COMMAND, version("nnmnkwii"), 50.0),
        ours,
        peer,
        lambda one, other: torch.allclose(one, other, rtol=1e-3, atol=1e-5),
        threads=1,
        measure=lambda: (
            best_times(ours, repeats=7, threads=1)[0],
            best_times(peer, repeats=1, warm=0, threads=1)[0],
        ),
    )


if __name__ == "__main__":
    main()
