"""The score of log-mels: a U-Net over mels and frames that is told the time.

Source: Popov et al. 2021, "Grad-TTS", section 3.2, after Ho, Jain & Abbeel 2020, "Denoising
Diffusion Probabilistic Models".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glottis.blocks.convolution import Conv2d
from glottis.blocks.pitch import PitchInput
from glottis.kernels import activation


class Convolution(nn.Module):
    """3 x 3 convolution, group normalisation, Mish.

    ``x`` ``[batch, before, mels, frames]`` -> ``[batch, after, mels, frames]``; ``mask`` bool
    ``[batch, 1, 1, frames]`` or None when all is real; ``counted`` is the mask of what the
    normalisation averages over, or None for everything.
    """

    def __init__(self, before: int, after: int, groups: int) -> None:
        super().__init__()
        self.convolve = Conv2d(before, after, 3, padding=1)
        self.norm = nn.GroupNorm(groups, after)

    def forward(self, x: Tensor, mask: Tensor | None, counted: Tensor | None) -> Tensor:
        x = self.convolve(_inside(x, mask))
        if counted is None:
            return _inside(activation.mish(self.norm(x)), mask)
        batch, channels, mels, frames = x.shape
        groups = self.norm.num_groups
        x = x.float().view(batch, groups, -1, frames)
        where = counted.view(batch, 1, 1, frames)
        count = where.sum((2, 3), keepdim=True) * x.shape[2]
        mean = (x * where).sum((2, 3), keepdim=True) / count
        variance = ((x - mean).square() * where).sum((2, 3), keepdim=True) / count
        x = ((x - mean) * torch.rsqrt(variance + self.norm.eps)).view(batch, channels, mels, frames)
        x = x * self.norm.weight[:, None, None] + self.norm.bias[:, None, None]
        return _inside(activation.mish(x), mask)


class ResidualBlock(nn.Module):
    """Two convolutions with the time added between, and a shortcut."""

    def __init__(self, before: int, after: int, time: int, groups: int) -> None:
        super().__init__()
        self.time = nn.Linear(time, after)
        self.first = Convolution(before, after, groups)
        self.second = Convolution(after, after, groups)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | None, counted: Tensor | None, t: Tensor) -> Tensor:
        y = self.first(x, mask, counted) + self.time(activation.mish(t))[:, :, None, None]
        out: Tensor = self.second(y, mask, counted) + self.shortcut(_inside(x, mask))
        return out


class LinearAttention(nn.Module):
    """Attention without a softmax over queries, added by a gain that starts at 0.

    Source: Shen et al. 2021, as the authors' code has it. With keys ``K = softmax_n(W_k X)`` a head
    gives ``(W_v X K^T)^T``-weighted queries; every map but the softmax is linear, so the whole is
    one ``[channels, channels]`` matrix for each item, made from ``X K^T`` and applied to ``X``:
    values and queries are never computed at each position.
    """

    def __init__(self, channels: int, heads: int = 4, size: int = 32) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.query_key_value = nn.Conv2d(channels, 3 * heads * size, 1, bias=False)
        self.out = nn.Conv2d(heads * size, channels, 1)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, counted: Tensor | None) -> Tensor:
        batch, channels, mels, frames = x.shape
        query, key, value = self.query_key_value.weight.view(3, self.heads, self.size, channels)
        flat = x.flatten(2)
        # A product of batches: one with a matrix on the left turns its result around, by a copy.
        scores = key.reshape(1, -1, channels).expand(batch, -1, -1) @ flat
        if counted is not None:
            scores = scores.view(batch, -1, mels, frames).masked_fill(~counted, -math.inf)
            scores = scores.flatten(2)
            flat = torch.where(counted, x, 0.0).flatten(2)
        weights = scores.softmax(-1)
        # [batch, heads, size, channels]: what each key gathers of the input. In this order the
        # gradient to the weights comes out in their own, which the softmax's needs.
        gathered = (weights @ flat.transpose(1, 2)).unflatten(1, (self.heads, self.size))
        context = torch.einsum("hec,bhdc->bhde", value, gathered)
        out = self.out.weight.view(channels, self.heads, self.size)
        matrix = torch.einsum("ohe,bhde,hdc->boc", out, context, query)
        mixed = matrix @ x.flatten(2) + self.out.bias[:, None]  # type: ignore[index]
        return x + self.gain * mixed.view(batch, channels, mels, frames)


class Stage(nn.Module):
    """Two residual blocks and attention at one resolution; ``resize`` leads to the next."""

    def __init__(self, before: int, after: int, time: int, groups: int, resize: nn.Module) -> None:
        super().__init__()
        self.first = ResidualBlock(before, after, time, groups)
        self.second = ResidualBlock(after, after, time, groups)
        self.attention = LinearAttention(after)
        self.resize = resize

    def forward(self, x: Tensor, mask: Tensor | None, counted: Tensor | None, t: Tensor) -> Tensor:
        x = self.second(self.first(x, mask, counted, t), mask, counted, t)
        attended: Tensor = self.attention(x, counted)
        return attended


class ScoreNetwork(nn.Module):
    """``grad log p_t(x)``: a U-Net over mels and frames, given the mean and the time.

    ``x`` and ``mean`` ``[batch, mels, frames]``, ``t`` ``[batch]``, ``mask`` bool
    ``[batch, 1, frames]`` or None when everything is real, ``speaker`` ``[batch,
    speaker_channels]`` and ``bells`` of pitch ``[batch, PITCH_BELLS + 1, frames]``, None where it
    was built without -> like ``x``, zero outside the mask. Mels and frames are multiples of
    ``2 ** (len(multipliers) - 1)``.

    ``channels`` times each of ``multipliers`` are the sizes from fine to coarse, normalised in
    ``groups``; ``time_scale`` multiplies time before its sinusoids; ``padding_counts`` lets
    averages run over padding too.
    """

    def __init__(
        self,
        mels: int,
        channels: int,
        multipliers: Sequence[int],
        groups: int,
        *,
        time_scale: float = 1000.0,
        padding_counts: bool = False,
        speaker_channels: int = 0,
        pitch: bool = False,
    ) -> None:
        super().__init__()
        time = channels
        self.time_scale, self.time_channels = time_scale, time
        self.padding_counts = padding_counts
        self.speaker = None
        if speaker_channels:
            self.speaker = nn.Sequential(
                nn.Linear(speaker_channels, 4 * speaker_channels),
                nn.Mish(),
                nn.Linear(4 * speaker_channels, mels),
            )
        self.pitch = PitchInput(mels) if pitch else None
        self.time = nn.Sequential(nn.Linear(time, 4 * time), nn.Mish(), nn.Linear(4 * time, time))
        rows = 2 + bool(speaker_channels) + pitch
        sizes = [rows, *(time * factor for factor in multipliers)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        pairs = list(itertools.pairwise(sizes))
        for before, after in pairs[:-1]:
            halve = nn.Conv2d(after, after, 3, 2, 1)
            self.down.append(Stage(before, after, time, groups, halve))
        self.down.append(Stage(*pairs[-1], time, groups, nn.Identity()))
        deepest = sizes[-1]
        self.middle_first = ResidualBlock(deepest, deepest, time, groups)
        self.middle_attention = LinearAttention(deepest)
        self.middle_second = ResidualBlock(deepest, deepest, time, groups)
        for before, after in reversed(pairs[1:]):
            double = nn.ConvTranspose2d(before, before, 4, 2, 1)
            self.up.append(Stage(2 * after, before, time, groups, double))
        self.final = Convolution(time, time, groups)
        self.project = nn.Conv2d(time, 1, 1)

    def forward(
        self,
        x: Tensor,
        mean: Tensor,
        t: Tensor,
        mask: Tensor | None = None,
        speaker: Tensor | None = None,
        bells: Tensor | None = None,
    ) -> Tensor:
        t = self.time(self._sinusoids(t))
        rows = [mean, x]
        if self.speaker is not None:
            if speaker is None:
                raise ValueError("this score network was built with speakers and needs one")
            rows.append(self.speaker(speaker)[:, :, None].expand_as(x))
        if self.pitch is not None:
            if bells is None:
                raise ValueError("this score network was built with pitch and needs it")
            rows.append(self.pitch(bells))
        x = torch.stack(rows, dim=1)
        inside = None if mask is None else mask.unsqueeze(1)
        if inside is not None:
            # Not a product: what padding holds may be NaN.
            x = torch.where(inside, x, 0.0)
        masks, skips = [inside], []
        for stage in self.down:
            inside = masks[-1]
            x = stage(x, inside, self._counted(inside), t)
            skips.append(x)
            x = stage.resize(_inside(x, inside))  # type: ignore[operator]
            masks.append(None if inside is None else inside[..., ::2])
        masks.pop()
        inside = masks[-1]
        x = self.middle_first(x, inside, self._counted(inside), t)
        x = self.middle_attention(x, self._counted(inside))
        x = self.middle_second(x, inside, self._counted(inside), t)
        for stage in self.up:
            inside = masks.pop()
            x = stage(torch.cat([x, skips.pop()], dim=1), inside, self._counted(inside), t)
            x = stage.resize(_inside(x, inside))  # type: ignore[operator]
        inside = masks[0]
        x = self.final(x, inside, self._counted(inside))
        score: Tensor = _inside(self.project(_inside(x, inside)), inside).squeeze(1)
        return score

    def _counted(self, mask: Tensor | None) -> Tensor | None:
        return None if self.padding_counts else mask

    def _sinusoids(self, t: Tensor) -> Tensor:
        half = self.time_channels // 2
        steps = torch.arange(half, device=t.device, dtype=torch.float32)
        rates = torch.exp(-math.log(10000) / (half - 1) * steps)
        angles = self.time_scale * t.float()[:, None] * rates[None, :]
        return torch.cat([angles.sin(), angles.cos()], dim=1)


def _inside(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask
