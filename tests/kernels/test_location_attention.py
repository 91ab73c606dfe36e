"""Scores of attention: the compiled form equals torch's operations, and these the equation."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from glottis.errors import InputError
from glottis.kernels import location_attention

SIZES = [(1, 1, 4, 1), (2, 5, 8, 3), (3, 40, 20, 31)]


def _given(batch: int, text: int, size: int, taps: int, kind: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(text)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(kind)

    return [
        *(some(batch, text, size), some(size, 2, taps) / math.sqrt(taps), some(size)),
        *(some(batch, size), some(batch, 2, text), some(batch, text)),
    ]


def _mask(batch: int, text: int) -> Tensor:
    return torch.arange(text) <= torch.arange(batch)[:, None] * text // batch


@pytest.mark.parametrize("sizes", SIZES)
def test_the_equation_and_its_gradients(sizes: tuple[int, int, int, int]) -> None:
    keys, location, score, sought, past, of = _given(*sizes, torch.float64)
    mask = _mask(*sizes[:2])
    learnt = [each.requires_grad_() for each in (sought, past, keys, location, score)]
    told = sought[:, None] + keys
    told = told + F.conv1d(past, location, padding=sizes[3] // 2).transpose(1, 2)
    expected = torch.tanh(told) @ score
    form = location_attention.form(keys.detach(), mask, location.detach(), score.detach())
    with torch.no_grad():
        found = form.scores(sought, past)
        torch.testing.assert_close(found[mask], expected[mask])
        assert bool((found[~mask] == -math.inf).all())
        some = form.differentiate(sought, past, torch.where(mask, of, 0.0))
    gradients = torch.autograd.grad((expected * of)[mask].sum(), learnt)
    torch.testing.assert_close([*some, *form.gradients()], list(gradients))


@pytest.mark.parametrize("sizes", SIZES)
def test_the_compiled_form_adds_up_the_same_gradients(sizes: tuple[int, int, int, int]) -> None:
    pytest.importorskip("numba")
    mask, found = _mask(*sizes[:2]), {}
    for kind, numbers in (("numba", torch.float32), ("torch", torch.float64)):
        keys, location, score, sought, past, of = _given(*sizes, numbers)
        form = location_attention.form(keys, mask, location, score, kind=kind)
        results = []
        for shift in (0.0, 1.0):  # two steps
            scores = form.scores(sought + shift, past)
            results += [scores[mask]]
            results += form.differentiate(sought + shift, past, torch.where(mask, of, 0.0))
        found[kind] = [each.double() for each in (*results, *form.gradients())]
    torch.testing.assert_close(found["numba"], found["torch"], rtol=1e-5, atol=1e-5)


def test_a_form_that_cannot_run_is_refused() -> None:
    keys, location, score, *_ = _given(*SIZES[1], torch.float64)
    for kind in ("numba", "cuda"):
        with pytest.raises(InputError, match="location_attention"):
            location_attention.form(keys, _mask(2, 5), location, score, kind=kind)
