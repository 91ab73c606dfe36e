"""Gaussian noise that an exported graph can draw from a seed.

ONNX's random operators take their seed when a session is made, so one session could not repeat a
sentence. Here noise is a function of the seed and the position, built from integer products and
remainders: the same in torch and in every runtime, on every machine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PRIME = 2**31 - 1
# (linear, constant) terms of the rounds below; primes, so that no round undoes another.
ROUNDS = ((1103515245, 12345), (69069, 362437), (1664525, 1013904223))


def uniform_from_seed(seed: Tensor, index: Tensor, stream: int) -> Tensor:
    """Uniform numbers in (0, 1), float32, shaped like ``index``.

    Each is a hash of ``(seed, index, stream)``: three quadratic maps ``u (u + a) + c`` modulo the
    prime 2^31 - 1, whose products stay below 2^63.

    Args:
        seed: int64 ``[1]``.
        index: int64, any shape, non-negative.
        stream: different streams of one seed are independent.
    """
    state = (index * 48271 + (seed % PRIME) * 16807 + (stream + 1) * 1299709) % PRIME
    for linear, constant in ROUNDS:
        state = (state * ((state + linear) % PRIME) + constant) % PRIME
    # 2^24 steps: a larger grid would round to 1 in float32, whose logarithm Box-Muller needs.
    return ((state // 128).float() + 0.5) / 2**24


def normal_from_seed(seed: Tensor, frames: int | Tensor, channels: int, stream: int = 0) -> Tensor:
    """Standard normal noise ``[1, channels, frames]``, float32 (Box & Muller 1958).

    Frame ``t`` does not depend on ``frames``. ``seed`` is int64 ``[1]``; ``channels`` is even;
    different streams of one seed are independent.
    """
    steps = torch.arange(frames, device=seed.device)  # type: ignore[arg-type]
    index = (
        steps[None, :] * (channels // 2) + torch.arange(channels // 2, device=seed.device)[:, None]
    )
    radius = torch.sqrt(-2.0 * torch.log(uniform_from_seed(seed, index, 2 * stream)))
    angle = 2.0 * math.pi * uniform_from_seed(seed, index, 2 * stream + 1)
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=0).unsqueeze(0)


def draw_normal(
    shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Standard normal noise of ``shape``; from a generator the same on every device."""
    if generator is None:
        return torch.randn(shape, device=device)
    return torch.randn(shape, generator=generator, device=generator.device).to(device)
