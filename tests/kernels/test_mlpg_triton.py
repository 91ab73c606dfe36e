"""Triton's form of parameter generation, in Triton's interpreter where there is no GPU.

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
import torch
from glottis.kernels import mlpg
from test_mlpg import WINDOW_SETS, example

device = "cuda" if torch.cuda.is_available() else "cpu"

def solved(kind, mean, variance, windows, lengths=None, twice=False):
    # The trajectory, and the gradients of mean and variance, of their own gradient if twice.
    at = device if kind == "triton" else "cpu"
    inputs = [each.detach().clone().to(at).requires_grad_() for each in (mean, variance)]
    found = mlpg(*inputs, windows, lengths, kind=kind)
    of = torch.autograd.grad(found.square().sum(), inputs, create_graph=twice)
    if twice:
        of = torch.autograd.grad(sum(each.square().sum() for each in of), inputs)
    return [each.cpu() for each in (found, *of)]

def same(mean, variance, windows, *rest, rtol=1e-9, atol=1e-9):
    found = solved("triton", mean, variance, windows, *rest)
    expected = solved("reference", mean.double(), variance.double(), windows, *rest)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == mean.dtype
        torch.testing.assert_close(one.double(), other, rtol=rtol, atol=atol)

for seed, windows in enumerate(WINDOW_SETS):
    frames = 2 * max(max(left, right) for left, right, _ in windows) + 2
    mean, variance = map(torch.from_numpy, example(windows, frames=frames, seed=seed))
    same(mean, variance, windows)

windows = WINDOW_SETS[2]
mean, variance = map(torch.from_numpy, example(windows, 2, frames=5))
for dtype, rtol in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
    same(mean[0].to(dtype), variance[0].to(dtype), windows, rtol=rtol, atol=rtol)
mean[1, 4:], variance[1, 4:] = torch.nan, torch.nan
lengths = torch.tensor([5, 4])
found = solved("triton", mean, variance, windows, lengths)
expected = solved("reference", mean, variance, windows, lengths)
for one, other in zip(found, expected, strict=True):
    assert one.isfinite().all()
    torch.testing.assert_close(one, other)
same(mean[0, :4], variance[0, :4], windows, None, True)  # double backward

# More dimensions than a program has lanes, strides, a variance for all frames.
mean, variance = map(torch.from_numpy, example(WINDOW_SETS[1], frames=4, static=33))
same(mean.T.contiguous().T, variance[0], WINDOW_SETS[1])
assert mlpg(torch.zeros(0, 5, 6, device=device), torch.ones(6), kind="triton").shape == (0, 5, 2)

for value in (0.0, -1.0, float("nan")):
    variance = torch.ones(2, 5, 4, device=device)
    variance[1, 2, 1] = value
    try:
        mlpg(torch.zeros(2, 5, 4, device=device), variance, WINDOW_SETS[1], kind="triton")
    except ValueError as error:
        assert "around frame 2 are not all positive" in str(error), error
    else:
        raise AssertionError(value)
print("agree")
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from glottis.kernels.trajectory_triton import _solve, laid_out
from test_mlpg import WINDOW_SETS

names = _solve.arg_names
memory = {name: "*fp64" for name in ("mean", "precision", "lower", "pivot", "out", "factors")}
for index, precision, weighted in ((0, "*fp64", False), (2, "*fp32", True), (4, "*fp32", False)):
    windows = WINDOW_SETS[index]
    band = max(left + right for left, right, _ in windows)
    known = {"weighted": weighted, "band": band, "windows": laid_out(windows)[1], "lanes": 32}
    types = {name: "i32" for name in names} | memory | {name: "constexpr" for name in known}
    types |= {"wrong": "*i32", "mean": precision, "precision": precision}
    constants = {(names.index(name),): value for name, value in known.items()}
    source = ASTSource(fn=_solve, signature=types, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": 1})
    assert "f64" in made.asm["ptx"]
print("compiled")
"""


def run(program: str, **environment: str) -> str:
    environment = {**os.environ, **environment}
    paths = [str(Path(__file__).parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_gives_what_the_reference_gives_and_its_gradients() -> None:
    import torch

    interpreted = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    assert run(PROGRAM, **interpreted) == "agree"


def test_it_compiles_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    # The interpreter lets pass what the compiler does not.
    environment = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    assert run(COMPILED, **environment) == "compiled"


def test_it_does_not_run_on_a_cpu_unasked() -> None:
    import torch

    from glottis.kernels import mlpg

    if os.environ.get("TRITON_INTERPRET") != "1":
        with pytest.raises(ValueError, match="cannot run as 'triton'"):
            mlpg(torch.zeros(5, 6), torch.ones(6), kind="triton")
