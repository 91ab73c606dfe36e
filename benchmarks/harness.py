"""What every benchmark shares: ours and the peer in one process, answers first, one row a claim.

    from harness import Claim, compare
    compare(Claim("mas, 32x200x1000, one thread", "python benchmarks/mas.py", "peer 1.2"),
            ours, peer, agree)

``compare`` first runs both and lets ``agree`` look at the two answers, so that no speed is reported
on a wrong result. It then alternates them, takes the best time of each, prints the ratio and writes
one row of ``benchmarks/RESULTS.md``, in place of the one that the same claim had.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "RESULTS.md"
HEADER = """# Measured

Each row is written by its command and replaced when that is run again. Times are the best of
alternating runs in one process, after the answers were compared: processor time for one thread,
so that a busy machine changes them little, and time on the wall for more.

| what | command | ours | peer | peer and version | ratio | machine | date |
|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Claim:
    """What is compared, the command that does it, and the peer with its version."""

    what: str
    command: str
    peer: str
    least: float | None = None


def version(distribution: str) -> str:
    """``"name 1.2.3"`` of an installed distribution."""
    return f"{distribution} {importlib.metadata.version(distribution)}"


def machine(threads: int | None = None) -> str:
    """Processor, cores and the threads used, and whether others were busy on it."""
    model = platform.processor() or platform.machine()
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        model = found.group(1).strip() if found else model
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = "" if threads is None else f", {threads} thread" + "s" * (threads != 1)
    busy = ", busy" if os.getloadavg()[0] > (cores or 1) else ""
    return f"{model}, {cores} cores{used}{busy}"


def best_times(
    *functions: Callable[[], Any], repeats: int = 9, warm: int = 1, threads: int | None = None
) -> list[float]:
    """Seconds of each function, run in turn so that a busy moment hits all of them.

    With ``threads=1`` the processor time of this thread, else the time on the wall.
    """
    clock = time.thread_time if threads == 1 else time.perf_counter
    for function in functions * warm:
        function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, row in zip(functions, times, strict=True):
            start = clock()
            function()
            row.append(clock() - start)
    return [min(row) for row in times]


def seconds(value: float) -> str:
    """A time with three digits and the unit that fits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"


def compare(
    claim: Claim,
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    agree: Callable[[Any, Any], bool],
    *,
    repeats: int = 9,
    threads: int | None = None,
    measure: Callable[[], tuple[float, float]] | None = None,
) -> float:
    """How many times faster ours is; see the module. ``measure`` replaces the timing of both.

    Raises:
        AssertionError: the answers differ, or the ratio is below the claim's ``least``.
    """
    assert agree(ours(), peer()), f"{claim.what}: the answers differ, so no speed is reported"
    own, other = measure() if measure else best_times(ours, peer, repeats=repeats, threads=threads)
    record(claim, seconds(own), seconds(other), f"{other / own:.3g}x", machine(threads))
    if claim.least is not None:
        assert other / own >= claim.least, f"{claim.what}: {other / own:.2f}x < {claim.least}x"
    return other / own


def record(claim: Claim, ours: str, peer: str, ratio: str, where: str | None = None) -> None:
    """Print a row and write it to RESULTS.md in place of the same claim's last one."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    cells = (claim.what, f"`{claim.command}`", ours, peer, claim.peer, ratio, where or machine())
    row = "| " + " | ".join((*cells, today)) + " |"
    print(row, flush=True)
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else HEADER
    # The first two lines of the table are its head; what stands above is written anew.
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    same = [i for i, line in enumerate(rows) if line.startswith(f"| {claim.what} |")]
    if same:
        rows[same[0]] = row
    else:
        rows.append(row)
    temporary = RESULTS.with_suffix(".tmp")
    temporary.write_text(HEADER + "\n".join(rows) + "\n", encoding="utf-8")
    temporary.replace(RESULTS)
