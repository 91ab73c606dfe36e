"""Durations as a distribution: the stochastic duration predictor of VITS.

Source: Kim, Kong & Son 2021, "Conditional Variational Autoencoder with Adversarial Learning for
End-to-End Text-to-Speech", sections 2.2.2 and A.1. A duration ``d`` in frames becomes a positive
real number by taking off noise ``u`` in [0, 1) and, because a flow over one channel has nothing to
couple, gets a second channel ``nu`` without data. Both come from a posterior, and (eq. 7)::

    log p(d | text) >= E_q [log p(d - u, nu | text) - log q(u, nu | d, text)]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import ExpTransform, SigmoidTransform
from torch.nn import functional as F

from glottis.blocks.lengths import mask_from_lengths
from glottis.blocks.transformer import ChannelNorm
from glottis.likelihood.dequantization import VariationalDequantization
from glottis.likelihood.flows import (
    ActNorm,
    Flip,
    Flow,
    FlowDistribution,
    Layer,
    Pointwise,
    SequenceNormal,
    SplineCoupling,
)


class SeparableStack(nn.Module):
    """Dilated depthwise convolutions, each mixed by a pointwise one and added (DDSConv).

    ``x`` ``[batch, channels, time]``, ``mask`` bool ``[batch, 1, time]``, ``condition`` like ``x``
    or None, added first -> like ``x``, zero outside the mask. Dilations are powers of the kernel
    size, so that every step within reach is read once.
    """

    def __init__(
        self, channels: int, kernel_size: int, layers: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.depthwise, self.pointwise = nn.ModuleList(), nn.ModuleList()
        for layer in range(layers):
            dilation = kernel_size**layer
            self.depthwise.append(
                nn.Conv1d(
                    channels,
                    channels,
                    kernel_size,
                    dilation=dilation,
                    padding=dilation * (kernel_size - 1) // 2,
                    groups=channels,
                )
            )
            self.pointwise.append(nn.Conv1d(channels, channels, 1))
        self.first_norms = nn.ModuleList(ChannelNorm(channels, 1e-5) for _ in range(layers))
        self.second_norms = nn.ModuleList(ChannelNorm(channels, 1e-5) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        if condition is not None:
            x = x + condition
        if torch.jit.is_tracing():
            for depthwise, first, pointwise, second in self._layers():
                y = F.gelu(first(depthwise(x * mask)))
                x = x + self.dropout(F.gelu(second(pointwise(y))))
            return x * mask
        # Channels last: normalisation, GELU and products then see neighbours in memory, where
        # torch is several times faster, its gradients above all.
        x, inside = x.transpose(1, 2).contiguous(), mask.transpose(1, 2)
        for depthwise, first, pointwise, second in self._layers():
            y = F.gelu(_normalised(_along(depthwise, x * inside), first))
            y = F.linear(y, pointwise.weight.squeeze(2), pointwise.bias)
            x = x + self.dropout(F.gelu(_normalised(y, second)))
        return (x * inside).transpose(1, 2)

    def _layers(self) -> Iterator[tuple[nn.Conv1d, ChannelNorm, nn.Conv1d, ChannelNorm]]:
        parts = (self.depthwise, self.first_norms, self.pointwise, self.second_norms)
        yield from cast(Any, zip(*parts, strict=True))


def _along(depthwise: nn.Conv1d, x: Tensor) -> Tensor:
    """A depthwise convolution of ``[batch, time, channels]``, tap by tap."""
    (size,), (dilation,), (padding,) = (
        depthwise.kernel_size,
        depthwise.dilation,
        cast(tuple[int], depthwise.padding),
    )
    padded, time = F.pad(x, (0, 0, padding, padding)), x.shape[1]
    assert depthwise.bias is not None
    total = depthwise.bias
    for tap in range(size):
        start = tap * dilation
        total = total + padded[:, start : start + time] * depthwise.weight[:, 0, tap]
    return total


def _normalised(x: Tensor, norm: ChannelNorm) -> Tensor:
    return F.layer_norm(x, norm.gamma.shape, norm.gamma, norm.beta, norm.eps)


class SplineNetwork(nn.Module):
    """What decides the splines: ``3 bins - 1`` raw parameters for each step, zero at first."""

    def __init__(self, channels: int, kernel_size: int, bins: int) -> None:
        super().__init__()
        self.bins, self.scale = bins, channels**-0.5
        self.start = nn.Conv1d(1, channels, 1)
        self.stack = SeparableStack(channels, kernel_size)
        self.end = nn.Conv1d(channels, 3 * bins - 1, 1)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        raw = self.end(self.stack(self.start(x), mask, condition))
        sizes, slopes = raw.split([2 * self.bins, self.bins - 1], dim=1)
        return torch.cat([sizes * self.scale, slopes], dim=1)


class ConditionEncoder(nn.Module):
    """Two projections around a separable stack; its result conditions the couplings."""

    def __init__(self, inputs: int, channels: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.start = nn.Conv1d(inputs, channels, 1)
        self.stack = SeparableStack(channels, kernel_size, dropout=dropout)
        self.end = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        encoded: Tensor = self.end(self.stack(self.start(x), mask, condition)) * mask
        return encoded


class StochasticDurationPredictor(nn.Module):
    """A distribution over durations, given hidden text ``[batch, channels, text]``.

    The text, and the speaker's ``condition`` ``[batch, condition_channels, 1]``, learn nothing from
    durations: their gradient is stopped, as the paper does.

    Args:
        channels: of the hidden text, and inside.
        kernel_size: of the separable convolutions.
        dropout: in the condition encoders.
        couplings: splines in each of the two flows.
        condition_channels: 0 for none.
        bins: of a spline; ``options`` are :class:`RationalQuadraticSpline`'s.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        dropout: float = 0.5,
        couplings: int = 4,
        condition_channels: int = 0,
        bins: int = 10,
        **options: Any,
    ) -> None:
        super().__init__()
        self.text = ConditionEncoder(channels, channels, kernel_size, dropout)
        self.condition = nn.Conv1d(condition_channels, channels, 1) if condition_channels else None
        self.durations = ConditionEncoder(1, channels, kernel_size, dropout)

        def flow() -> Flow:
            layers: list[nn.Module] = [ActNorm(2, standardize=False)]
            for _ in range(couplings):
                network = SplineNetwork(channels, kernel_size, bins)
                layers += [SplineCoupling(network, bins, **options), Flip()]
            return Flow(layers)

        self.flow, self.posterior = flow(), flow()

    def distribution(
        self, text: Tensor, lengths: Tensor, condition: Tensor | None = None
    ) -> VariationalDequantization:
        """Durations ``[batch, 1, text]`` as a distribution; ``lengths`` int64 ``[batch]``.

        Its ``evidence_bound(durations)`` is the paper's equation 7, ``sample()`` draws whole
        frames, at least one for each token.
        """
        mask = mask_from_lengths(lengths, text.shape[2])
        hidden = self._hidden(text, mask, condition)
        base = SequenceNormal(2, lengths, text.shape[2], self.text.start.weight.dtype)
        density = FlowDistribution(
            base,
            [
                self.flow.transform(lengths, hidden).inv,
                Pointwise(ExpTransform(), lengths, slice(0, 1)),
            ],
        )

        def posterior(durations: Tensor) -> FlowDistribution:
            given = hidden + self.durations(durations, mask)
            return FlowDistribution(
                base,
                [
                    self.posterior.transform(lengths, given),
                    # torch keeps it below 1, so that d - u has a logarithm.
                    Pointwise(SigmoidTransform(), lengths, slice(0, 1)),
                ],
            )

        return VariationalDequantization(density, posterior, augmented=1)

    def log_frames(
        self, text: Tensor, mask: Tensor, noise: Tensor, condition: Tensor | None = None
    ) -> Tensor:
        """A draw of ``log(d - u)``, ``[batch, text]``, zero outside the mask.

        ``noise`` is standard normal ``[batch, 2, text]``, or smaller, for less variation.
        """
        hidden = self._hidden(text, mask, condition)
        layers = list(self.flow.layers)
        # The first coupling changes only the channel that is thrown away.
        for layer in reversed([layers[0], *layers[2:]]):
            noise = cast(Layer, layer).inverse(noise, mask, hidden)
        return noise[:, 0]

    def _hidden(self, text: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        given = None
        if self.condition is not None:
            if condition is None:
                raise ValueError("this predictor was built with a condition and needs one")
            given = self.condition(condition.detach())
        return self.text(text.detach(), mask, given)
