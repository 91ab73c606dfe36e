"""Alignment search beside ``monotonic-alignment-search``: ``python benchmarks/mas.py``.

Both get the same contiguous ``[batch, text, frames]`` float32 tensor and one thread; ours gives
durations, the peer its dense path. The second row of each size gives ours the transposed view of a
contiguous ``[batch, frames, text]``. The floor is one pass over the same memory.
"""

from __future__ import annotations

import torch
from monotonic_alignment_search import maximum_path

from glottis.kernels import mas
from harness import Claim, best_times, compare, machine, record, seconds, version

PEER = version("monotonic-alignment-search")
COMMAND = "python benchmarks/mas.py"
# The least ratios, with frames next to each other in memory and with the text axis.
SIZES = {
    (16, 100, 500): (None, None),
    (32, 200, 1000): (8.0, 6.0),
    (64, 400, 2000): (15.0, 10.0),
}


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    for size, (by_frames, at_best) in SIZES.items():
        cells = torch.randn(size, generator=generator)
        by_text = cells.transpose(1, 2).contiguous().transpose(1, 2)
        mask = torch.ones(size)
        name = "x".join(map(str, size))
        for what, lattice in (("", cells), (", text axis fastest", by_text)):
            compare(
                Claim(
                    f"mas durations, {name}{what}", COMMAND, PEER, at_best if what else by_frames
                ),
                lambda lattice=lattice: mas(lattice),
                lambda cells=cells, mask=mask: maximum_path(cells, mask),
                lambda durations, path: torch.equal(durations, path.sum(2).long()),
                repeats=15,
                threads=1,
            )
    own, floor = best_times(lambda: mas(cells), lambda: cells.sum(), repeats=15, threads=1)
    claim = Claim(f"mas durations, {name}, over one pass of memory", COMMAND, "torch sum")
    record(claim, seconds(own), seconds(floor), f"{own / floor:.2f}x the floor", machine(1))


if __name__ == "__main__":
    main()
