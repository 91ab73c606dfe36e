"""Waveform discriminators and least-squares adversarial losses.

Multi-period: Kong, Kim & Bae 2020 (HiFi-GAN). Multi-scale: Kumar et al. 2019 (MelGAN), as HiFi-GAN
has it. Multi-resolution: Jang et al. 2021 (UnivNet).
Losses: Mao et al. 2017 (LSGAN) and feature matching, Larsen et al. 2016; Kumar et al. 2019. They
are averaged over discriminators and layers, or summed as HiFi-GAN and VITS do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from glottis.blocks.convolution import Conv2d
from glottis.errors import InputError

Judged = tuple[Tensor, list[Tensor]]
"""What a discriminator says: scores ``[batch, n]`` and the hidden features that led to them."""
Reduction = Literal["mean", "sum"]


class PeriodDiscriminator(nn.Module):
    """Looks at every ``period``-th sample: audio as ``[batch, 1, time / period, period]``.

    ``score_is_feature`` counts the scores among the features, as HiFi-GAN's code does.
    """

    def __init__(
        self,
        period: int,
        channels: Sequence[int],
        kernel_size: int = 5,
        stride: int = 3,
        score_is_feature: bool = False,
    ) -> None:
        super().__init__()
        self.period, self.score_is_feature = period, score_is_feature
        sizes = [1, *channels]
        self.layers = nn.ModuleList(
            weight_norm(
                Conv2d(
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
        return _judge(x, self.layers, self.score, self.score_is_feature)


class ScaleDiscriminator(nn.Module):
    """Looks at audio smoothed and halved in rate ``halvings`` times, by long strided convolutions.

    The scores count among the features. ``spectral`` normalises weights by their largest singular
    value (Miyato et al. 2018) instead of their length. ``channels`` are of the ``layers``,
    which are kernel, stride and groups each, HiFi-GAN's by default.
    """

    LAYERS = (
        # kernel, stride, groups
        (15, 1, 1),
        (41, 2, 4),
        (41, 2, 16),
        (41, 4, 16),
        (41, 4, 16),
        (41, 1, 16),
        (5, 1, 1),
    )

    def __init__(
        self,
        halvings: int = 0,
        spectral: bool = False,
        channels: Sequence[int] = (128, 128, 256, 512, 1024, 1024, 1024),
        layers: Sequence[tuple[int, int, int]] = LAYERS,
    ) -> None:
        super().__init__()
        if len(channels) != len(layers):
            raise InputError(f"channels must name {len(layers)} sizes, not {list(channels)}")
        self.halvings = halvings
        normalized = spectral_norm if spectral else weight_norm
        self.layers = nn.ModuleList()
        before = 1
        for after, (kernel, stride, groups) in zip(channels, layers, strict=True):
            if before % groups or after % groups:
                raise InputError(f"channels {list(channels)} do not divide into groups of {groups}")
            self.layers.append(
                normalized(
                    nn.Conv1d(before, after, kernel, stride, padding=kernel // 2, groups=groups)
                )
            )
            before = after
        self.score = normalized(nn.Conv1d(before, 1, 3, padding=1))

    def forward(self, samples: Tensor) -> Judged:
        x = samples.unsqueeze(1)
        for _ in range(self.halvings):
            x = F.avg_pool1d(x, 4, 2, padding=2)
        return _judge(x, self.layers, self.score, True)


def multi_period(
    periods: Sequence[int] = (2, 3, 5, 7, 11),
    channels: Sequence[int] = (32, 128, 512, 1024, 1024),
) -> list[nn.Module]:
    """The members of HiFi-GAN's multi-period discriminator."""
    return [PeriodDiscriminator(period, channels, score_is_feature=True) for period in periods]


def multi_scale(
    scales: int = 3, channels: Sequence[int] = (128, 128, 256, 512, 1024, 1024, 1024)
) -> list[nn.Module]:
    """The members of HiFi-GAN's multi-scale discriminator; the first has spectral norms."""
    return [ScaleDiscriminator(i, spectral=i == 0, channels=channels) for i in range(scales)]


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

    def both(self, real: Tensor, fake: Tensor) -> tuple[list[Judged], list[Judged]]:
        """Verdicts of two batches of equal shape, heard as one: where samples are few, a
        convolution costs as much as reading its weights.
        """
        heard = self(torch.cat([real, fake]))
        verdicts: tuple[list[Judged], list[Judged]] = ([], [])
        for scores, features in heard:
            for part, verdict in enumerate(verdicts):
                verdict.append((scores.chunk(2)[part], [f.chunk(2)[part] for f in features]))
        return verdicts

    def against(self, real: Tensor, fake: Tensor) -> tuple[list[Judged], list[Judged]]:
        """Verdicts of two batches for a generator's losses: gradients flow to ``fake`` alone."""
        # Nothing moves in between, so that normalised weights need be computed once.
        with frozen(self), parametrize.cached():
            with torch.no_grad():
                heard = self(real)
            return heard, self(fake)

    def turn(self, step: int, turns: int) -> Discriminators:
        """Those whose turn it is when each judges every ``turns``-th step only."""
        return self if turns == 1 else Discriminators(list(self.members)[step % turns :: turns])


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


def discriminator_loss(
    real: list[Judged], fake: list[Judged], reduction: Reduction = "mean"
) -> Tensor:
    """Least squares: real scores to 1, fake ones to 0."""
    terms = [
        (r.float() - 1).square().mean() + f.float().square().mean()
        for (r, _), (f, _) in zip(real, fake, strict=True)
    ]
    return _reduce(terms, reduction)


def generator_loss(fake: list[Judged], reduction: Reduction = "mean") -> Tensor:
    """Least squares: fake scores to 1."""
    return _reduce([(f.float() - 1).square().mean() for f, _ in fake], reduction)


def feature_matching_loss(
    real: list[Judged], fake: list[Judged], reduction: Reduction = "mean"
) -> Tensor:
    """Mean absolute difference of hidden features, over layers and discriminators."""
    terms = [
        F.l1_loss(f.float(), r.detach().float())
        for (_, reals), (_, fakes) in zip(real, fake, strict=True)
        for r, f in zip(reals, fakes, strict=True)
    ]
    return _reduce(terms, reduction)


def _reduce(terms: list[Tensor], reduction: Reduction) -> Tensor:
    stacked = torch.stack(terms)
    return stacked.sum() if reduction == "sum" else stacked.mean()


def _judge(
    x: Tensor, layers: nn.ModuleList, score: nn.Module, score_is_feature: bool = False
) -> Judged:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), 0.1)
        features.append(x)
    scores = score(x)
    return scores.flatten(1), [*features, scores] if score_is_feature else features
