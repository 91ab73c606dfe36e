"""Scores of location-sensitive attention, one step after another: the choice of a form.

The score of a place is ``score . tanh(keys + sought + location * past)`` (Chorowski et al. 2015,
eqs. 8 and 9), where ``past`` are the last weights and their sum so far and ``*`` filters them along
the places. The forms live in files of their own and are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from glottis.kernels.choice import choose, has_numba

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("numba", "torch")


class Form(Protocol):
    """What the forms have alike; they add up gradients over the steps that are differentiated."""

    def scores(self, sought: Tensor, past: Tensor) -> Tensor:
        """``sought`` ``[batch, size]`` and ``past`` ``[batch, 2, text]`` to scores ``[batch,
        text]``, float32 at least; minus infinity outside the mask."""

    def differentiate(
        self, sought: Tensor, past: Tensor, of_scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients of ``sought`` and ``past`` from that of the scores they gave, which is zero
        outside the mask; those of keys, location and score are added up."""

    def gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of keys, location and score, over the steps differentiated since the last call."""


def form(
    keys: Tensor, mask: Tensor, location: Tensor, score: Tensor, *, kind: str = "auto"
) -> Form:
    """Attention to one memory.

    Args:
        keys: ``[batch, text, size]``.
        mask: bool ``[batch, text]``.
        location: ``[size, 2, taps]``, an odd number of taps.
        score: ``[size]``.
        kind: ``"auto"``, ``"numba"`` (on the CPU, in float32 whatever the tensors are, if not
            float64) or ``"torch"``.

    Raises:
        InputError: a kind that does not exist or cannot run on these tensors.
    """
    import torch

    fast = has_numba() and keys.device.type == "cpu" and keys.dtype != torch.float64
    chosen = choose("location_attention", kind, KINDS, KINDS if fast else ("torch",))
    if chosen == "numba":
        from glottis.kernels.location_attention_numba import Fast

        return Fast(keys, mask, location, score)
    from glottis.kernels.location_attention_torch import Plain

    return Plain(keys, mask, location, score)
