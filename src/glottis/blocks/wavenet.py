"""A non-causal stack of gated convolutions (van den Oord et al. 2016; Prenger et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from glottis.blocks.convolution import Conv1d
from glottis.blocks.transformer import Transformer
from glottis.kernels import activation


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
                    Conv1d(
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
        last = len(self.gates) - 1
        layers = zip(self.gates, self.outs, conditions, strict=True)
        for layer, (gate, out, given) in enumerate(layers):
            y = gate(x)
            if given is not None:
                y = y + given
            y = out(self.dropout(activation.gated(y)))
            if layer < last:
                residual, skip = y.split([self.channels, self.channels], dim=1)
                x = (x + residual) * mask
            else:
                skip = y
            total = skip if total is None else total + skip
        assert total is not None
        return total * mask


class GatedNetwork(nn.Module):
    """A gated stack between two projections: VITS' posterior encoder and what decides its flow.

    ``x`` ``[batch, inputs, time]``, ``mask`` bool ``[batch, 1, time]``, ``condition`` as for
    :class:`GatedStack` -> ``[batch, outputs, time]``, zero for a new network with ``zero``. A
    ``transformer`` reads the input first and is added to it (Kong et al. 2023, VITS2, section 2.3).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: int,
        kernel_size: int,
        layers: int,
        condition_channels: int = 0,
        transformer: Transformer | None = None,
        zero: bool = False,
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.start = nn.Conv1d(inputs, channels, 1)
        self.stack = GatedStack(
            channels, kernel_size, layers, condition_channels=condition_channels
        )
        self.end = nn.Conv1d(channels, outputs, 1)
        if zero:
            nn.init.zeros_(self.end.weight)
            nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        x = torch.where(mask, x, 0.0)
        if self.transformer is not None:
            x = x + self.transformer(x, mask)
        x = self.start(x) * mask
        out: Tensor = self.end(self.stack(x, mask, condition)) * mask
        return out
