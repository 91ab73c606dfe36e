"""Durations to frames, the search over a lattice, and the measures of an alignment."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glottis.alignment import (
    _align_in_blocks,
    align,
    coverage,
    diagonality,
    expand,
    path,
    token_indices,
    token_nats,
)
from glottis.kernels import mas, mas_blocks
from glottis.likelihood.lattice import GaussianLattice

rows = st.integers(1, 6).flatmap(
    lambda text: st.lists(
        st.lists(st.integers(0, 5), min_size=text, max_size=text), min_size=1, max_size=4
    )
)


@settings(max_examples=50, deadline=None)
@given(rows=rows, channels=st.integers(1, 3), extra=st.integers(0, 4))
def test_expanding_is_the_product_with_the_path(
    rows: list[list[int]], channels: int, extra: int
) -> None:
    durations = torch.tensor(rows)
    frames = int(durations.sum(1).max()) + extra
    values = torch.randn(len(rows), channels, durations.shape[1])
    dense = path(durations, frames)
    assert torch.equal(dense.sum(2), durations)
    assert (dense.sum(1) == (torch.arange(frames) < durations.sum(1)[:, None])).all()
    torch.testing.assert_close(expand(values, durations, frames), values @ dense.float())
    for item, row in enumerate(rows):
        held = torch.arange(len(row)).repeat_interleave(torch.tensor(row))
        index = token_indices(durations, frames)[item]
        assert torch.equal(index[: len(held)], held)
        assert (index[len(held) :] == len(row)).all()


def test_expanding_cuts_at_the_frames_asked_for_and_counts_them_otherwise() -> None:
    durations, values = torch.tensor([[2, 3], [1, 0]]), torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
    assert expand(values, durations, 3).tolist() == [[[1, 1, 2]], [[3, 0, 0]]]
    assert expand(values, durations).shape == (2, 1, 5)
    assert expand(values[:0], durations[:0]).shape == (0, 1, 0)


def test_the_gradient_of_expanding_sums_over_the_frames_of_a_token() -> None:
    values = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    durations = torch.tensor([[1, 0, 2, 3], [2, 2, 0, 0]])
    assert torch.autograd.gradcheck(lambda v: expand(v, durations), values)
    expand(values, durations).sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad[:, 0], durations.double())


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="durations must be integers"):
        token_indices(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="values must be"):
        expand(torch.zeros(2, 3, 5), torch.ones(2, 4, dtype=torch.int64))


def test_diagonality_and_coverage_at_their_ends() -> None:
    durations = torch.tensor([[5, 5, 5, 5], [20, 0, 0, 0], [10, 10, 0, 0], [17, 1, 1, 1]])
    torch.testing.assert_close(coverage(durations)[:3], torch.tensor([1.0, 0.25, 0.5]))
    assert coverage(durations)[1] < coverage(durations)[3] < 0.5
    straight, start, _, late = diagonality(durations)
    assert straight > 0.8
    assert start < late < straight
    long = torch.full((1, 200), 10)
    torch.testing.assert_close(diagonality(long), torch.ones(1), atol=0.01, rtol=0)
    long[0, 1:] = 0
    torch.testing.assert_close(diagonality(long), torch.zeros(1), atol=0.01, rtol=0)


def test_measures_do_not_see_padding() -> None:
    durations = torch.tensor([[3, 4, 5]])
    padded = torch.tensor([[3, 4, 5, 0, 0], [6, 6, 6, 6, 6]])
    lengths = torch.tensor([3, 5])
    assert coverage(padded, lengths)[0] == coverage(durations)[0]
    assert diagonality(padded, lengths)[0] == diagonality(durations)[0]


def gaussians(ragged: bool, unit: bool = False) -> tuple[GaussianLattice, Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(3, 8, 20, generator=generator)
    scale = None if unit else 0.2 * torch.randn(3, 8, 20, generator=generator)
    latent = torch.randn(3, 8, 150, generator=generator)
    text = torch.tensor([20, 7, 1]) if ragged else None
    frames = torch.tensor([150, 60, 31]) if ragged else None
    return GaussianLattice(mean, scale, text_lengths=text), latent, frames


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("block", [None, 1, 7, 64, 1000])
def test_blocks_find_what_the_whole_lattice_finds(
    ragged: bool, unit: bool, block: int | None
) -> None:
    lattice, latent, frames = gaussians(ragged, unit)
    expected = mas(lattice.log_prob(latent, frames), lattice.text_lengths, frames)
    found = align(lattice, latent, frames, block=block)
    assert torch.equal(found, expected)
    # As for tensors on a GPU, whose products are made there.
    if block is not None:
        assert torch.equal(_align_in_blocks(lattice, latent, frames, block), expected)


@pytest.mark.parametrize("kind", ["numba", "reference"])
def test_blocks_of_integers_tie_alike(kind: str) -> None:
    cells = torch.randint(-2, 3, (1, 9, 40), generator=torch.Generator().manual_seed(1)).float()
    blocks = [(max(0, 9 - 40 + at), cells[0, max(0, 9 - 40 + at) :, at : at + 6].T.numpy())
              for at in range(0, 40, 6)]  # fmt: skip
    durations, score = mas_blocks(iter(blocks), 9, 40, kind=kind)
    assert durations.tolist() == mas(cells)[0].tolist()
    assert score == (path(mas(cells)).float() * cells).sum()


def test_blocks_name_the_item_that_cannot_be_used() -> None:
    lattice, latent, _ = gaussians(True)
    latent[1, 3, 30] = math.nan
    for form in (lambda frames: align(lattice, latent, frames, block=16),
                 lambda frames: _align_in_blocks(lattice, latent, frames, 16)):  # fmt: skip
        with pytest.raises(ValueError, match="batch item 1: a NaN"):
            form(torch.tensor([150, 60, 31]))
        form(torch.tensor([150, 30, 31]))
        with pytest.raises(ValueError, match="batch item 1: 7 tokens cannot be aligned with 6"):
            form(torch.tensor([150, 6, 31]))
    with pytest.raises(ValueError, match="batch item 0: 4 tokens cannot be aligned with 3"):
        mas_blocks([], 4, 3)


def test_noise_explores_reproducibly_and_in_proportion_to_the_spread() -> None:
    lattice, latent, frames = gaussians(True)
    plain = align(lattice, latent, frames)

    def noisy(scale: float, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return align(lattice, latent, frames, noise_scale=scale, generator=generator)

    assert torch.equal(noisy(1e-6), plain)
    assert torch.equal(noisy(3.0), noisy(3.0))
    assert not torch.equal(noisy(3.0), noisy(3.0, seed=1))
    assert not torch.equal(noisy(3.0), plain)
    assert frames is not None
    assert torch.equal(noisy(3.0).sum(1), frames)
    for bad in ({"noise_scale": -1.0}, {"noise_scale": 1.0, "block": 8}, {"block": 0}):
        with pytest.raises(ValueError, match=r"noise_scale|blocks"):
            align(lattice, latent, frames, **bad)


def test_the_spread_is_that_of_the_cells_inside_the_lengths() -> None:
    from glottis.alignment import _standard_deviation

    lattice, latent, frames = gaussians(True)
    assert frames is not None
    cells = lattice.log_prob(latent, frames).double()
    spread = _standard_deviation(cells, lattice.text_lengths, frames)
    for item, (text, length) in enumerate(zip([20, 7, 1], frames, strict=True)):
        expected = cells[item, :text, :length].std(correction=0)
        torch.testing.assert_close(spread[item, 0, 0], expected)
    whole = _standard_deviation(cells, None, None)
    torch.testing.assert_close(whole[:, 0, 0], cells.flatten(1).std(1, correction=0))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the kernel's peak size")
def test_blocks_never_hold_the_lattice() -> None:
    program = """
import re, sys, torch
from glottis.alignment import align
from glottis.likelihood.lattice import GaussianLattice
torch.set_num_threads(1)
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read()).group(1)) / 1024
mean, latent = torch.randn(8, 4, 500), torch.randn(8, 4, 4000)
align(GaussianLattice(mean[:, :, :9]), latent[:, :, :99], block=64)
before = peak()
align(GaussianLattice(mean), latent, block=int(sys.argv[1]) or None)
print(peak() - before)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    used = [
        float(
            subprocess.run(
                [sys.executable, "-c", program, block],
                capture_output=True, text=True, check=True, env=environment,
            ).stdout
        )
        for block in ("64", "0")
    ]  # fmt: skip
    whole = 8 * 500 * 4000 * 4 / 2**20
    assert used[0] < whole / 4, "a byte a cell of one item, and one block"
    assert used[1] > whole * 0.9


def test_nats_of_tokens_are_those_of_unit_gaussians_whatever_the_padding() -> None:
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(2, 5, 4, generator=generator)
    durations, lengths = torch.tensor([[2, 1, 3, 1], [1, 3, 0, 0]]), torch.tensor([7, 4])
    values = torch.full((2, 5, 9), math.nan)
    total = 0.0
    for i, length in enumerate(lengths.tolist()):
        values[i, :, :length] = torch.randn(5, length, generator=generator)
        held = mean[i].repeat_interleave(durations[i], dim=1)
        total -= torch.distributions.Normal(held, 1.0).log_prob(values[i, :, :length]).sum()
    found = token_nats(mean.requires_grad_(), durations, values, lengths)
    torch.testing.assert_close(found, total / (5 * lengths.sum()))
    (gradient,) = torch.autograd.grad(found, mean)
    assert torch.isfinite(gradient).all()
