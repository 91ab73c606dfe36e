"""Lattice and search in blocks beside lattice, then search: ``python benchmarks/lattice.py``.

Both are ours; the first never holds ``batch x text x frames``. Its floor is the time of torch's
matrix products alone, of as many cells as a path can pass. Peak memory is that of a fresh process
for each form, less what it held before.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from glottis.alignment import align
from glottis.likelihood.lattice import GaussianLattice
from harness import Claim, best_times, compare, machine, record, seconds

COMMAND = "python benchmarks/lattice.py"
SIZES = ((32, 192, 200, 1000), (64, 192, 400, 2000))
BLOCK = 256


def example(
    batch: int, channels: int, text: int, frames: int
) -> tuple[GaussianLattice, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(batch, channels, text, generator=generator)
    scale = 0.1 * torch.randn(batch, channels, text, generator=generator)
    return GaussianLattice(mean, scale), torch.randn(batch, channels, frames, generator=generator)


def products(batch: int, channels: int, text: int, frames: int) -> Callable[[], None]:
    """The products of the cells from which both ends can be reached, into memory that is there.

    A token can be reached from its own number of frames on, and must be left as early before the
    end, so that of each row ``frames - text + 1`` cells are left; rows of odd lengths are slower.
    """
    width = -(-(frames - text + 1) // 16) * 16
    left, right = torch.randn(text, 2 * channels), torch.randn(2 * channels, width)
    out = torch.empty(text, width)

    def run() -> None:
        for _ in range(batch):
            torch.mm(left, right, out=out)

    return run


def peak() -> float:
    """Megabytes, the most this process has held."""
    found = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1)) / 1024


def memory(size: tuple[int, ...], block: int | None) -> float:
    """Megabytes that one alignment adds, measured in a process of its own."""
    command = [sys.executable, __file__, "memory", *map(str, size), str(block or 0)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    for size in SIZES:
        lattice, latent = example(*size)
        batch, channels, text, frames = size
        name = f"{batch}x{text}x{frames}, {channels} channels"
        compare(
            Claim(f"lattice and search in blocks, {name}", COMMAND, "lattice, then search"),
            lambda lattice=lattice, latent=latent: align(lattice, latent, block=BLOCK),
            lambda lattice=lattice, latent=latent: align(lattice, latent),
            torch.equal,
            repeats=15,
            threads=1,
        )
        own, floor = best_times(
            lambda lattice=lattice, latent=latent: align(lattice, latent, block=BLOCK),
            products(*size),
            repeats=15,
            threads=1,
        )
        claim = Claim(
            f"lattice and search in blocks, {name}, over its product", COMMAND, "torch mm"
        )
        record(claim, seconds(own), seconds(floor), f"{own / floor:.2f}x the floor", machine(1))
        small, large = memory(size, BLOCK), memory(size, None)
        claim = Claim(f"memory of lattice and search, {name}", COMMAND, "lattice, then search")
        record(claim, f"{small:.1f} MB", f"{large:.1f} MB", f"{large / small:.3g}x", machine(1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["memory"]:
        *size, block = map(int, sys.argv[2:])
        align(*example(1, size[1], 9, 99), block=BLOCK)
        lattice, latent = example(*size)
        # Hand freed memory back and forget the peak so far, or the search would use it unseen.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        align(lattice, latent, block=block or None)
        print(peak() - before)
    else:
        main()
