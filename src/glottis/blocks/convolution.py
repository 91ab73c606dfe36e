"""Convolutions of stride 1, with fewer multiplications where that is quicker.

As torch's in all else: parameters, their names and initial values, and what is exported.
"""

from __future__ import annotations

from torch import Tensor, nn

from glottis.kernels.winograd import convolve


class Conv1d(nn.Conv1d):
    """``nn.Conv1d``, by minimal filters (:func:`glottis.kernels.winograd.convolve`)."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.stride != (1,) or self.groups != 1 or self.padding_mode != "zeros":
            return super()._conv_forward(input, weight, bias)
        assert not isinstance(self.padding, str)
        padding, dilation = self.padding[0], self.dilation[0]
        return convolve(input, weight, bias, padding=padding, dilation=dilation)


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``, as above: of 3 x 3 taps, and of columns that one convolution runs along."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        plain = self.stride == (1, 1) and self.groups == 1 and self.padding_mode == "zeros"
        assert not isinstance(self.padding, str)
        (high, wide), width = self.padding, input.shape[3]
        if plain and weight.shape[3] == 1 and wide == 0 and self.dilation == (1, 1):
            # What lies below a sample is one width later in the picture read line by line.
            padding, columns = high * width, weight.squeeze(3)
            lines = convolve(input.flatten(2), columns, bias, padding=padding, dilation=width)
            return lines.unflatten(2, (-1, width))
        if plain and high == wide and self.dilation == (1, 1):
            return convolve(input, weight, bias, padding=high)
        return super()._conv_forward(input, weight, bias)
