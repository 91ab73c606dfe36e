"""A Gaussian for each frame, given the frames around it, by a small convolutional network.

What :mod:`glottis.likelihood.joint_density` learns from single frames, learnt from their
surroundings. The network is a handful of dilated convolutions whose few lines are the same in
torch, which trains them, and in numpy, which is all that using them takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError

Array = NDArray[np.float32]
Float = NDArray[np.float64]

_LOG_VARIANCES = (-7.0, 3.0)  # of standardised features
_WINDOW = 400  # frames that are learnt from at a time


@dataclass(frozen=True)
class ConditionalNetwork:
    """The network's weights; layer ``l`` looks ``2**l`` frames to both sides.

    ``x_mean``, ``x_scale`` ``[inputs]`` and ``y_mean``, ``y_scale`` ``[outputs]`` standardise;
    ``start`` ``[inputs, channels]``, ``layers`` ``[layers, 3, channels, channels]`` and ``end``
    ``[channels, 2 * outputs]`` with their biases.
    """

    x_mean: Array
    x_scale: Array
    y_mean: Array
    y_scale: Array
    start: Array
    start_bias: Array
    layers: Array
    layers_bias: Array
    end: Array
    end_bias: Array

    def conditional(self, x: Float) -> tuple[Float, Float]:
        """Mean and variance of ``y`` for each frame of an utterance ``[frames, inputs]``:
        ``[frames, outputs]`` both."""
        weights = {field.name: getattr(self, field.name) for field in fields(self)}
        seen = ((x - self.x_mean) / self.x_scale).astype(np.float32)
        made = _applied(weights, seen, lambda h, d: np.pad(h, ((d, d), (0, 0))))
        mean, log_variance = np.split(made.astype(np.float64), 2, axis=1)
        variance: Float = np.exp(log_variance.clip(*_LOG_VARIANCES)) * self.y_scale**2
        return np.asarray(mean * self.y_scale + self.y_mean, np.float64), variance


def _applied(weights: dict[str, Any], x: Any, padded: Callable[[Any, int], Any]) -> Any:
    """``[..., frames, inputs] -> [..., frames, 2 * outputs]``, of numpy arrays or of tensors."""
    frames = x.shape[-2]
    h = x @ weights["start"] + weights["start_bias"]
    for layer in range(len(weights["layers"])):
        reach = 2**layer
        (before, here, after), bias = weights["layers"][layer], weights["layers_bias"][layer]
        wide = padded(h, reach)
        y = wide[..., :frames, :] @ before + h @ here + wide[..., 2 * reach :, :] @ after + bias
        h = h + y * (y > 0)
    return h @ weights["end"] + weights["end_bias"]


def fit(
    x: Sequence[Float],
    places: Sequence[NDArray[np.int64]],
    y: Sequence[Float],
    *,
    channels: int = 96,
    layers: int = 4,
    steps: int = 600,
    batch: int = 12,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> tuple[ConditionalNetwork, list[float]]:
    """Maximum likelihood by gradients; needs torch.

    Args:
        x: utterances ``[frames, inputs]`` each.
        places: for each, the frames ``[pairs]`` of which something is known.
        y: for each, what is known ``[pairs, outputs]``.
        channels, layers: the network's size.
        steps, batch: how many batches of how many windows of two seconds.
        learning_rate: at first; it falls as half a cosine.
        seed: of the weights and the windows.

    Returns:
        The network, and the mean negative log-likelihood of a standardised feature in each step.

    Raises:
        InputError: no pairs, shapes that do not fit, or values that are not finite.
    """
    import torch

    if not (len(x) == len(places) == len(y)) or not sum(map(len, places)):
        raise InputError("there are no pairs of frames to learn from")
    for frames, at, known in zip(x, places, y, strict=True):
        if len(at) != len(known) or not (np.isfinite(frames).all() and np.isfinite(known).all()):
            raise InputError("pairs must be as many places as values, all of them finite")
    seen, told = np.concatenate(x), np.concatenate(y)
    standards = [seen.mean(0), seen.std(0) + 1e-6, told.mean(0), told.std(0) + 1e-6]
    inputs, outputs = seen.shape[1], told.shape[1]
    items = []
    for frames, at, known in zip(x, places, y, strict=True):
        if not len(at):
            continue
        target = np.full((len(frames), outputs), np.nan, np.float32)
        target[at] = (known - standards[2]) / standards[3]
        items.append((((frames - standards[0]) / standards[1]).astype(np.float32), target))
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, scale: float) -> torch.Tensor:
        made = torch.randn(*shape, generator=generator) * scale
        return made.requires_grad_(True)

    weights = {
        "start": drawn(inputs, channels, scale=inputs**-0.5),
        "start_bias": drawn(channels, scale=0.0),
        "layers": drawn(layers, 3, channels, channels, scale=(3 * channels) ** -0.5),
        "layers_bias": drawn(layers, channels, scale=0.0),
        "end": drawn(channels, 2 * outputs, scale=0.0),
        "end_bias": drawn(2 * outputs, scale=0.0),
    }
    optimizer = torch.optim.AdamW(weights.values(), learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    random = np.random.default_rng(seed)
    history = []
    for _ in range(steps):
        windows = _windows(items, random.integers(len(items), size=batch), random)
        given, wanted = (torch.from_numpy(rows) for rows in windows)
        made = _applied(weights, given, lambda h, d: torch.nn.functional.pad(h, (0, 0, d, d)))
        mean, log_variance = made.chunk(2, dim=-1)
        log_variance = log_variance.clamp(*_LOG_VARIANCES)
        there = ~torch.isnan(wanted)
        apart = torch.where(there, wanted, mean) - mean
        loss = 0.5 * ((apart.square() * torch.exp(-log_variance)) + log_variance)[there].mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        schedule.step()
        history.append(float(loss.detach()) + 0.5 * float(np.log(2 * np.pi)))
    arrays = {key: value.detach().numpy() for key, value in weights.items()}
    return ConditionalNetwork(*(row.astype(np.float32) for row in standards), **arrays), history


def _windows(
    items: Sequence[tuple[Array, Array]], chosen: NDArray[np.int64], random: np.random.Generator
) -> tuple[Array, Array]:
    """Windows of the chosen utterances: inputs, zero beyond an end, and outputs, NaN there."""
    length = min(_WINDOW, max(len(items[item][0]) for item in chosen))
    shape = (len(chosen), length)
    x = np.zeros((*shape, items[0][0].shape[1]), np.float32)
    y = np.full((*shape, items[0][1].shape[1]), np.nan, np.float32)
    for row, item in enumerate(chosen):
        frames, target = items[item]
        start = int(random.integers(max(1, len(frames) - length + 1)))
        part = slice(start, start + length)
        x[row, : len(frames[part])], y[row, : len(frames[part])] = frames[part], target[part]
    return x, y
