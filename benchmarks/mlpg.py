"""Parameter generation beside nnmnkwii: ``python benchmarks/mlpg.py``.

nnmnkwii has no wheel; build it with ``setuptools<81``, ``cython<3.1``, ``scipy`` and
``scikit-learn`` in place. Both get the same values and one thread. Its backward pass gives
gradients of the means only; ours of means and variances.
"""

from __future__ import annotations

import numpy as np
import torch
from nnmnkwii import paramgen

from glottis.kernels import WINDOWS, mlpg
from harness import Claim, best_times, compare, machine, record, seconds, version

PEER = version("nnmnkwii")
COMMAND = "python benchmarks/mlpg.py"
DIMENSIONS = 60


def example(frames: int, items: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (items, frames, DIMENSIONS * len(WINDOWS))
    mean = torch.randn(shape, generator=generator, dtype=torch.float64)
    return mean, torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1


def forward_and_backward() -> None:
    windows = [(left, right, np.array(values)) for left, right, values in WINDOWS]
    mean, variance = (each[0] for each in example(1000))
    gradient = torch.randn(1000, DIMENSIONS, dtype=torch.float64)
    for dtype, least, tolerance in ((torch.float32, 5.0, 1e-5), (torch.float64, 5.0, 1e-10)):
        inputs = mean.to(dtype), variance.to(dtype)
        arrays = [each.numpy() for each in inputs]
        name = str(dtype).removeprefix("torch.")
        what = f"mlpg forward, 1,000 frames x 60, three windows, {name}"
        compare(
            Claim(what, COMMAND, PEER, least),
            lambda inputs=inputs: mlpg(*inputs),
            lambda arrays=arrays: paramgen.mlpg(*arrays, windows),
            lambda ours, theirs, t=tolerance: np.allclose(ours.numpy(), theirs, rtol=t, atol=t),
            repeats=31,
            threads=1,
        )
    mean.requires_grad_()
    variance.requires_grad_()
    made = mlpg(mean, variance)
    compare(
        Claim("mlpg backward, 1,000 frames x 60, three windows, float64", COMMAND, PEER, 1000.0),
        lambda: torch.autograd.grad(made, (mean, variance), gradient, retain_graph=True)[0],
        lambda: paramgen.mlpg_grad(
            mean.detach().numpy(), variance.detach().numpy(), windows, gradient.numpy()
        ),
        # The peer's gradient is float32 whatever comes in.
        lambda ours, theirs: np.allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-5),
        repeats=1,
        threads=1,
        measure=lambda: (
            best_times(
                lambda: torch.autograd.grad(made, (mean, variance), gradient, retain_graph=True),
                repeats=21,
                threads=1,
            )[0],
            best_times(
                lambda: paramgen.mlpg_grad(
                    mean.detach().numpy(), variance.detach().numpy(), windows, gradient.numpy()
                ),
                repeats=1,
                warm=0,
                threads=1,
            )[0],
        ),
    )


def scaling() -> None:
    short, long, batch = example(1000), example(100_000), example(1000, items=32)
    one, hundred, many = best_times(
        *(lambda pair=pair: mlpg(*pair) for pair in (short, long, batch)), repeats=9, threads=1
    )
    record(
        Claim("mlpg forward, 100,000 frames over 100 x 1,000 frames", COMMAND, "itself"),
        seconds(hundred),
        seconds(100 * one),
        f"{hundred / one / 100:.2f}x linear",
        machine(1),
    )
    record(
        Claim("mlpg forward, a batch of 32 over 32 x one item", COMMAND, "itself"),
        seconds(many),
        seconds(32 * one),
        f"{many / one / 32:.2f}x linear",
        machine(1),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    forward_and_backward()
    scaling()
