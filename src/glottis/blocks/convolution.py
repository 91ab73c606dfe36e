"""Convolutions of stride 1, with fewer multiplications where that is quicker.

As torch's in all else: parameters, their names and initial values, and what is exported.
"""

from __future__ import annotations

from torch import Tensor, nn

from glottis.kernels import winograd


class Conv1d(nn.Conv1d):
    """``nn.Conv1d``, by minimal filters (:func:`glottis.kernels.winograd.convolve`)."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not _is_plain(self):
            return super()._conv_forward(input, weight, bias)
        padding, dilation = self.padding[0], self.dilation[0]
        return winograd.convolve(input, weight, bias, padding=int(padding), dilation=dilation)


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``, as above: of 3 x 3 taps, and of columns that one convolution runs along."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not _is_plain(self) or self.dilation != (1, 1):
            return super()._conv_forward(input, weight, bias)
        high, wide = (int(padding) for padding in self.padding)
        if weight.shape[3] == 1 and wide == 0:
            # What lies below a sample is one width later in the picture read line by line.
            width, columns = input.shape[3], weight.squeeze(3)
            lines = winograd.convolve(
                input.flatten(2), columns, bias, padding=high * width, dilation=width
            )
            return lines.unflatten(2, (-1, width))
        if high == wide:
            return winograd.convolve(input, weight, bias, padding=high)
        return super()._conv_forward(input, weight, bias)


def _is_plain(module: nn.Conv1d | nn.Conv2d) -> bool:
    return (
        set(module.stride) == {1}
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )
