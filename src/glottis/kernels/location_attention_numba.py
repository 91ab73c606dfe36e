"""Scores of location-sensitive attention on the CPU: products by torch, all between them by numba.

Of each step the weights' neighbourhoods are one matrix ``[batch text, taps]``, so that filtering
them, and both gradients of that, are products; what lies between is one pass over the places where
torch's operations are many. float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from glottis.kernels.vector_math import compiled, exponentials, single

# Filters are filled up with zeros to a multiple of as many taps.
GROUP = 16


@compiled
def _gather(past, taps, windows):  # type: ignore[no-untyped-def]
    """Both rows of ``past`` ``[batch, 2, text]`` around each place, to ``[batch, text, 2, taps]``;
    zero beyond the ends."""
    batch, rows, text = past.shape
    side = taps // 2
    for item in range(batch):
        for place in range(text):
            low, high = max(0, side - place), min(taps, text + side - place)
            for row in range(rows):
                to, source = windows[item, place, row], past[item, row]
                to[:low] = single(0.0)
                for k in range(low, high):
                    to[k] = source[place + k - side]
                to[high:taps] = single(0.0)


@compiled
def _spread(of_windows, taps, of_past):  # type: ignore[no-untyped-def]
    """The transpose of :func:`_gather`."""
    batch, rows, text = of_past.shape
    side = taps // 2
    for item in range(batch):
        for place in range(text):
            low, high = max(0, side - place), min(taps, text + side - place)
            for row in range(rows):
                source, to = of_windows[item, place, row], of_past[item, row]
                for k in range(low, high):
                    to[place + k - side] += source[k]


@compiled
def _energy(told, keys, sought, bits, powers, held, out):  # type: ignore[no-untyped-def]
    """One place's ``tanh(told + keys + sought)`` to ``out`` ``[size]``."""
    for i in range(out.size):
        value = told[i] + keys[i] + sought[i]
        held[i] = single(-2.0) * min(max(value, single(-12.0)), single(12.0))
    exponentials(held, bits, powers, out)
    for i in range(out.size):
        out[i] = (single(1.0) - out[i]) / (single(1.0) + out[i])


@compiled
def _scores(told, keys, mask, score, sought, found):  # type: ignore[no-untyped-def]
    batch, text, size = keys.shape
    bits, held, energy = (
        np.empty(size, np.int32), np.empty(size, np.float32), np.empty(size, np.float32),
    )  # fmt: skip
    powers = bits.view(np.float32)
    for item in range(batch):
        for place in range(text):
            if not mask[item, place]:
                found[item, place] = -np.inf
                continue
            here = told[item, place]
            _energy(here, keys[item, place], sought[item], bits, powers, held, energy)
            total = 0.0
            for i in range(size):
                total += score[i] * energy[i]
            found[item, place] = total


@compiled
def _differentiate(  # type: ignore[no-untyped-def]
    told, keys, score, sought, of_scores, of_sought, of_keys, of_score
):
    """Add to what is ``of_`` but ``of_scores``; ``told`` becomes its own gradient."""
    batch, text, size = keys.shape
    bits, held, energy = (
        np.empty(size, np.int32), np.empty(size, np.float32), np.empty(size, np.float32),
    )  # fmt: skip
    powers = bits.view(np.float32)
    for item in range(batch):
        there = of_sought[item]
        for place in range(text):
            of, of_told = of_scores[item, place], told[item, place]
            if of == 0:
                of_told[:] = single(0.0)
                continue
            _energy(of_told, keys[item, place], sought[item], bits, powers, held, energy)
            here = of_keys[item, place]
            for i in range(size):
                of_score[i] += of * energy[i]
            for i in range(size):
                value = of * score[i] * (single(1.0) - energy[i] * energy[i])
                of_told[i] = value
                here[i] += value
                there[i] += value


class Fast:
    """See :class:`glottis.kernels.location_attention.Form`."""

    def __init__(self, keys: Tensor, mask: Tensor, location: Tensor, score: Tensor) -> None:
        size, rows, self.taps = location.shape
        padded = -(-self.taps // GROUP) * GROUP
        filters = torch.zeros(rows, padded, size)
        filters[:, : self.taps] = location.detach().permute(1, 2, 0)
        self.filters = filters.flatten(0, 1)
        self.keys, self.mask, self.score = _array(keys), mask.numpy(), _array(score)
        self._begin()
        # Written again at each step.
        batch, text, _ = keys.shape
        self.windows = torch.zeros(batch, text, rows, padded)
        self.told = torch.empty(batch * text, size)

    def scores(self, sought: Tensor, past: Tensor) -> Tensor:
        found = np.empty(self.mask.shape, np.float32)
        told = self._filter(past)
        _scores(told, self.keys, self.mask, self.score, _array(sought), found)
        return torch.from_numpy(found)

    def differentiate(
        self, sought: Tensor, past: Tensor, of_scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        of_sought, of_past = np.zeros(sought.shape, np.float32), np.zeros(past.shape, np.float32)
        told = self._filter(past)
        _differentiate(
            told, self.keys, self.score, _array(sought), _array(of_scores), of_sought,
            self.of_keys, self.of_score,
        )  # fmt: skip
        of_windows = (self.told @ self.filters.T).view(self.windows.shape)
        self.of_filters.addmm_(self.windows.view(len(self.told), -1).T, self.told)
        _spread(of_windows.numpy(), self.taps, of_past)
        return torch.from_numpy(of_sought), torch.from_numpy(of_past)

    def gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        of_location = self.of_filters.view(2, -1, len(self.score))[:, : self.taps]
        keys, score = (torch.from_numpy(part) for part in (self.of_keys, self.of_score))
        self._begin()
        return keys, of_location.permute(2, 0, 1), score

    def _begin(self) -> None:
        self.of_keys, self.of_score = np.zeros_like(self.keys), np.zeros_like(self.score)
        self.of_filters = torch.zeros_like(self.filters)

    def _filter(self, past: Tensor) -> Any:
        """The filtered weights ``[batch, text, size]``, in the memory of ``told``."""
        _gather(_array(past), self.taps, self.windows.numpy())
        torch.mm(self.windows.view(len(self.told), -1), self.filters, out=self.told)
        return self.told.numpy().reshape(self.keys.shape)


def _array(tensor: Tensor) -> Any:
    return np.ascontiguousarray(tensor.detach().float().numpy())
