"""Scores of location-sensitive attention in torch's operations, on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


class Plain:
    """See :class:`glottis.kernels.location_attention.Form`."""

    def __init__(self, keys: Tensor, mask: Tensor, location: Tensor, score: Tensor) -> None:
        # Places last, as the weights' neighbourhoods lie.
        self.keys, self.mask = keys.transpose(1, 2).contiguous(), mask
        self.location, self.score, self.taps = location.flatten(1), score, location.shape[2]
        self.wide = torch.promote_types(keys.dtype, torch.float32)
        self._begin()

    def scores(self, sought: Tensor, past: Tensor) -> Tensor:
        found = torch.matmul(self.score, self._energy(sought, self._around(past)))
        return found.to(self.wide).masked_fill(~self.mask, -math.inf)

    def differentiate(
        self, sought: Tensor, past: Tensor, of_scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        around = self._around(past)
        energy, of_scores = self._energy(sought, around), of_scores.to(self.keys.dtype)
        self.of_score += torch.bmm(energy, of_scores[..., None]).sum((0, 2))
        of_energy = (1 - energy * energy) * self.score[:, None] * of_scores[:, None]
        self.of_keys += of_energy
        self.of_location += torch.bmm(of_energy, around.transpose(1, 2)).sum(0)
        of_around = torch.matmul(self.location.T, of_energy).to(self.wide)
        size, side = (1, past.shape[2]), (0, self.taps // 2)
        of_past = F.fold(of_around, size, (1, self.taps), padding=side)[:, :, 0]
        return of_energy.sum(2), of_past

    def gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        of_location = self.of_location.view(len(self.score), 2, self.taps)
        found = self.of_keys.transpose(1, 2), of_location, self.of_score
        self._begin()
        return found

    def _begin(self) -> None:
        self.of_keys = torch.zeros_like(self.keys, dtype=self.wide)
        self.of_location = torch.zeros_like(self.location, dtype=self.wide)
        self.of_score = torch.zeros_like(self.score, dtype=self.wide)

    def _around(self, past: Tensor) -> Tensor:
        """What each place has around it, ``[batch, 2 taps, text]``."""
        padded = F.pad(past, (self.taps // 2, self.taps // 2)).to(self.keys.dtype)
        return padded.unfold(2, self.taps, 1).transpose(2, 3).flatten(1, 2)

    def _energy(self, sought: Tensor, around: Tensor) -> Tensor:
        """``[batch, size, text]``, between -1 and 1."""
        told = torch.matmul(self.location, around)
        return (told.add_(self.keys).add_(sought[..., None].to(told.dtype))).tanh_()
