"""Invertible layers over sequences and the logarithms of their Jacobian determinants.

Every layer maps ``[batch, channels, time]`` to the same shape. ``mask`` is bool ``[batch, 1, time]``;
padding stays zero and counts for nothing. ``call_and_ladj`` returns the image and
``log|det dy/dx|`` of each batch item, in nats; ``inverse`` undoes it.

Sources: Kingma & Dhariwal 2018 (Glow) for ActNorm and the invertible convolution, Dinh,
Sohl-Dickstein & Bengio 2017 (RealNVP) for the coupling, Kim et al. 2020 (Glow-TTS) for the groups.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ActNorm(nn.Module):
    """A gain and an offset for each channel, set by the first batch so that it leaves standardised.

    ``y = offset + exp(log_scale) * x``. The first call in training mode measures mean and standard
    deviation in two passes (the one-pass formula cancels), and remembers in the state dict that it
    did; loading a state therefore never initialises again.
    """

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialized", torch.tensor(False))

    def call_and_ladj(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.initialized:
            self._initialize(x, mask)
        y = (self.offset[:, None] + self.log_scale.exp()[:, None] * x) * mask
        return y, self.log_scale.sum() * mask.sum((1, 2))

    def inverse(self, y: Tensor, mask: Tensor) -> Tensor:
        return (y - self.offset[:, None]) * (-self.log_scale).exp()[:, None] * mask

    @torch.no_grad()
    def _initialize(self, x: Tensor, mask: Tensor) -> None:
        count = mask.sum()
        x = torch.where(mask, x, 0.0).double()
        mean = x.sum((0, 2)) / count
        variance = (torch.where(mask, x - mean[:, None], 0.0)).square().sum((0, 2)) / count
        log_scale = -0.5 * variance.clamp_min(1e-12).log()
        self.log_scale.copy_(log_scale)
        self.offset.copy_(-mean * log_scale.exp())
        self.initialized.fill_(True)


class InvertibleConv1x1(nn.Module):
    """One matrix that mixes channels within groups.

    Channels are dealt to ``channels / group`` groups so that each group takes half of its members
    from either half of the channels, which a coupling treats differently; the same
    ``[group, group]`` matrix mixes each of them (Glow-TTS, section B.2). ``group == channels``
    is Glow's layer. The determinant may have either sign: ``slogdet`` is taken.
    """

    def __init__(self, channels: int, group: int = 4) -> None:
        super().__init__()
        if channels % group or group % 2:
            raise ValueError(f"group {group} must be even and divide channels {channels}")
        self.channels, self.group = channels, group
        rotation = torch.linalg.qr(torch.randn(group, group))[0]
        self.weight = nn.Parameter(rotation)
        self.stored_inverse: Tensor | None = None

    def call_and_ladj(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        # Factorisations exist only from float32 on; autocast must not reach them.
        log_abs_det = torch.linalg.slogdet(self.weight.float())[1]
        groups = self.channels // self.group
        return self._mix(x, self.weight) * mask, log_abs_det * groups * mask.sum((1, 2))

    def inverse(self, y: Tensor, mask: Tensor) -> Tensor:
        return self._mix(y, self.inverse_weight()) * mask

    def inverse_weight(self) -> Tensor:
        """The inverse matrix, ``[group, group]``."""
        if self.stored_inverse is not None:
            return self.stored_inverse
        return torch.linalg.inv(self.weight.double()).to(self.weight.dtype)

    def store_inverse(self) -> None:
        """Keep the inverse as it is now: a graph to be exported cannot compute it."""
        inverse = self.inverse_weight().detach()
        del self.stored_inverse
        self.register_buffer("stored_inverse", inverse)

    def _mix(self, x: Tensor, weight: Tensor) -> Tensor:
        batch, channels, time = x.shape
        half = self.group // 2
        # [batch, 2 halves, groups, half of a group, time] -> members of a group side by side.
        x = x.view(batch, 2, channels // self.group, half, time).transpose(1, 2)
        x = x.reshape(batch, channels // self.group, self.group, time)
        x = torch.matmul(weight.to(x.dtype), x)
        x = x.view(batch, channels // self.group, 2, half, time).transpose(1, 2)
        return x.reshape(batch, channels, time)


class AffineCoupling(nn.Module):
    """Half of the channels decide a shift and a log scale for the other half.

    ``y1 = x1``, ``y2 = shift(x1) + exp(log_scale(x1)) * x2``. ``network(x1, mask, condition)``
    returns ``[batch, channels, time]``: the shift, then the log scale; or, when ``mean_only``, a
    shift of half the channels, and the map keeps volumes (Dinh, Krueger & Bengio 2015, NICE).
    """

    def __init__(self, network: nn.Module, mean_only: bool = False) -> None:
        super().__init__()
        self.network, self.mean_only = network, mean_only

    def call_and_ladj(
        self, x: Tensor, mask: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        first, second = _halves(x)
        shift, log_scale = self._shift_and_log_scale(first, mask, condition)
        second = (shift + log_scale.exp() * second) * mask
        return torch.cat([first, second], dim=1), (log_scale * mask).sum((1, 2))

    def inverse(self, y: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        first, second = _halves(y)
        shift, log_scale = self._shift_and_log_scale(first, mask, condition)
        second = (second - shift) * (-log_scale).exp() * mask
        return torch.cat([first, second], dim=1)

    def _shift_and_log_scale(
        self, first: Tensor, mask: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        out = self.network(first, mask, condition).float()
        if self.mean_only:
            return out, torch.zeros_like(out)
        shift, log_scale = _halves(out)
        return shift, log_scale


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    # Unlike chunk, known sizes become one node of an exported graph.
    half = int(x.shape[1]) // 2
    first, second = x.split([half, half], dim=1)
    return first, second
