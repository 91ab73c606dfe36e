"""Waveform discriminators and least-squares adversarial losses.

Multi-period: Kong, Kim & Bae 2020 (HiFi-GAN). Multi-resolution: Jang et al. 2021 (UnivNet).
Losses: Mao et al. 2017 (LSGAN) and feature matching, Larsen et al. 2016; Kumar et al. 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

Judged = tuple[Tensor, list[Tensor]]
"""What a discriminator says: scores ``[batch, n]`` and the hidden features that led to them."""


class PeriodDiscriminator(nn.Module):
    """Looks at every ``period``-th sample: audio as ``[batch, 1, time / period, period]``."""

    def __init__(self, period: int, channels: Sequence[int], kernel_size: int = 5, stride: int = 3):
        super().__init__()
        self.period = period
        sizes = [1, *channels]
        self.layers = nn.ModuleList(
            weight_norm(
                nn.Conv2d(
                    before,
                    after,
                    (kernel_size, 1),
                    (stride if i + 1 < len(channels) else 1, 1),
                    padding=(kernel_size // 2, 0),
                )
            )
            for i, (before, after) in enumerate(zip(sizes, channels, strict=False))
        )
        self.score = weight_norm(nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, samples: Tensor) -> Judged:
        x = samples.unsqueeze(1)
        rest = -x.shape[-1] % self.period
        if rest:
            x = F.pad(x, (0, rest), mode="reflect")
        x = x.unflatten(-1, (-1, self.period))
        return _judge(x, self.layers, self.score)


class ResolutionDiscriminator(nn.Module):
    """Looks at the magnitude spectrogram of one window size, strided along frequency."""

    window: Tensor

    def __init__(self, fft_size: int, channels: int) -> None:
        super().__init__()
        self.fft_size = fft_size
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)
        self.layers = nn.ModuleList(
            weight_norm(
                nn.Conv2d(
                    1 if i == 0 else channels,
                    channels,
                    kernel,
                    stride,
                    padding=(kernel[0] // 2, kernel[1] // 2),
                )
            )
            for i, (kernel, stride) in enumerate(
                [((7, 5), (2, 2)), ((5, 3), (2, 1)), ((5, 3), (2, 2)), ((3, 3), (2, 1))]
            )
        )
        self.score = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, samples: Tensor) -> Judged:
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(
                samples.float(),
                self.fft_size,
                hop_length=self.fft_size // 4,
                window=self.window,
                return_complex=True,
            )
            # Compressed magnitudes: quiet bins matter to the ear, and to the gradient.
            x = (spectrum.real.square() + spectrum.imag.square() + 1e-9).pow(0.15)
        return _judge(x.unsqueeze(1), self.layers, self.score)


class Discriminators(nn.Module):
    """Several discriminators over the same audio: ``[batch, samples]`` -> one verdict each."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, samples: Tensor) -> list[Judged]:
        return [member(samples) for member in self.members]


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Compute no gradients for the parameters of ``module`` inside the block.

    Gradients still flow through it to its input: a generator's loss needs those, but not the
    discriminators' own, which cost a third of the backward pass.
    """
    wanted = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


def discriminator_loss(real: list[Judged], fake: list[Judged]) -> Tensor:
    """Least squares, averaged over discriminators: real scores to 1, fake ones to 0."""
    terms = [
        (r.float() - 1).square().mean() + f.float().square().mean()
        for (r, _), (f, _) in zip(real, fake, strict=True)
    ]
    return torch.stack(terms).mean()


def generator_loss(fake: list[Judged]) -> Tensor:
    """Least squares, averaged over discriminators: fake scores to 1."""
    return torch.stack([(f.float() - 1).square().mean() for f, _ in fake]).mean()


def feature_matching_loss(real: list[Judged], fake: list[Judged]) -> Tensor:
    """Mean absolute difference of hidden features, averaged over layers and discriminators."""
    terms = [
        F.l1_loss(f.float(), r.detach().float())
        for (_, reals), (_, fakes) in zip(real, fake, strict=True)
        for r, f in zip(reals, fakes, strict=True)
    ]
    return torch.stack(terms).mean()


def _judge(x: Tensor, layers: nn.ModuleList, score: nn.Module) -> Judged:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), 0.1)
        features.append(x)
    return score(x).flatten(1), features
