"""Triton's form of the search, in Triton's interpreter where there is no GPU.

A process of its own, because the interpreter must be asked for before Triton is first imported and
would then also take over whatever else compiles with it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)

PROGRAM = """
import numpy as np
import torch
from glottis.kernels import mas, mas_with_score

device = "cuda" if torch.cuda.is_available() else "cpu"
rng = np.random.default_rng(0)
for seed in range(24):
    batch, text = int(rng.integers(1, 4)), int(rng.integers(1, 10))
    frames = text + int(rng.integers(0, 20))
    cells = torch.from_numpy(rng.standard_normal((batch, text, frames)))
    cells = cells.to([torch.float16, torch.bfloat16, torch.float32, torch.float64][seed % 4])
    if seed % 3 == 0:
        cells = cells.round()  # ties
    lengths = torch.from_numpy(rng.integers(1, text + 1, batch))
    counts = torch.from_numpy(rng.integers(text, frames + 1, batch))
    expected = mas_with_score(cells, lengths, counts, kind="reference")
    for item in range(batch):
        cells[item, lengths[item]:] = torch.nan
        cells[item, :, counts[item]:] = torch.nan
    if seed % 2:
        cells = cells.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    before = cells.clone()
    found = mas_with_score(cells.to(device), lengths, counts, kind="triton")
    assert torch.equal(found[0].cpu(), expected[0]), seed
    assert torch.equal(found[1].cpu(), expected[1]), seed
    assert torch.equal(cells.nan_to_num(9), before.nan_to_num(9))

assert mas(torch.zeros(1, 3, 7, device=device), kind="triton").tolist() == [[1, 1, 5]]
assert mas(torch.zeros(0, 3, 7, device=device), kind="triton").shape == (0, 3)

def refused(cells, message, **options):
    try:
        mas(cells, kind="triton", **options)
    except ValueError as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)

cells = torch.zeros(2, 3, 9, device=device)
cells[1, 0, 8] = torch.nan
refused(cells, "batch item 1: a NaN")
cells[1, 0, 8] = torch.inf
refused(cells, "batch item 1: a NaN or +inf")
cells[1, :, 8] = -torch.inf
refused(cells, "batch item 1: every path")
refused(cells, "batch item 0: 3 tokens", frame_lengths=[2, 9])
refused(cells, "cannot run as 'triton'", optional=torch.zeros(2, 3, dtype=torch.bool))
refused(cells.cpu().numpy(), "cannot run as 'triton'")
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from glottis.kernels.mas_triton import _search

names = _search.arg_names
known = {"text_lengths": "*i64", "frame_lengths": "*i64", "scores": "*fp64", "moved": "*i8"}
known |= {"durations": "*i64", "best": "*fp64", "WIDTH": "constexpr"}
for cells in ("*fp32", "*bf16"):
    types = {name: "i32" for name in names} | known | {"cells": cells}
    source = ASTSource(fn=_search, signature=types, constexprs={(names.index("WIDTH"),): 64})
    made = triton.compile(source, target=GPUTarget("cuda", 80, 32))
    assert "add.f64" in made.asm["ptx"] or "add.rn.f64" in made.asm["ptx"]
"""


def run(program: str = PROGRAM, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_it_gives_what_the_reference_gives() -> None:
    import torch

    result = run() if torch.cuda.is_available() else run(TRITON_INTERPRET="1")
    assert result.returncode == 0, result.stderr


def test_it_compiles_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    # The interpreter lets pass what the compiler does not.
    result = run(COMPILED, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert result.returncode == 0, result.stderr


def test_it_does_not_run_on_a_cpu_unasked() -> None:
    import torch

    from glottis.kernels import mas

    if os.environ.get("TRITON_INTERPRET") != "1":
        with pytest.raises(ValueError, match="cannot run as 'triton'"):
            mas(torch.zeros(1, 2, 3), kind="triton")
