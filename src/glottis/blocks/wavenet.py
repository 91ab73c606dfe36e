"""A non-causal stack of gated convolutions (van den Oord et al. 2016; Prenger et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class GatedStack(nn.Module):
    """Dilated convolutions with tanh-sigmoid gates, residual and skip connections.

    ``x`` ``[batch, channels, time]``, ``mask`` bool ``[batch, 1, time]``, ``condition``
    ``[batch, condition_channels, 1 or time]`` or None -> the sum of skips, like ``x``.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        layers: int,
        dilation_rate: int = 1,
        condition_channels: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.dropout = nn.Dropout(dropout)
        self.gates, self.outs = nn.ModuleList(), nn.ModuleList()
        for layer in range(layers):
            dilation = dilation_rate**layer
            self.gates.append(
                weight_norm(
                    nn.Conv1d(
                        channels,
                        2 * channels,
                        kernel_size,
                        dilation=dilation,
                        padding=dilation * (kernel_size - 1) // 2,
                    )
                )
            )
            # The last layer has nothing to pass on but its skip.
            outs = 2 * channels if layer < layers - 1 else channels
            self.outs.append(weight_norm(nn.Conv1d(channels, outs, 1)))
        self.condition = (
            weight_norm(nn.Conv1d(condition_channels, 2 * channels * layers, 1))
            if condition_channels
            else None
        )

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        conditions: list[Tensor | None] = [None] * len(self.gates)
        if self.condition is not None:
            if condition is None:
                raise ValueError("this stack was built with a condition and needs one")
            sizes = [2 * self.channels] * len(self.gates)
            conditions = list(self.condition(condition).split(sizes, dim=1))
        total: Tensor | None = None
        for gate, out, given in zip(self.gates, self.outs, conditions, strict=True):
            y = gate(x)
            if given is not None:
                y = y + given
            filtered, opened = y.split([self.channels, self.channels], dim=1)
            y = out(self.dropout(torch.tanh(filtered) * torch.sigmoid(opened)))
            if y.shape[1] > self.channels:
                residual, skip = y.split([self.channels, self.channels], dim=1)
                x = (x + residual) * mask
            else:
                skip = y
            total = skip if total is None else total + skip
        assert total is not None
        return total * mask
