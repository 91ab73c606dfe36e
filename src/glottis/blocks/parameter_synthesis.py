"""Speech from vocoder parameters in torch, differentiable: the twin of glottis.audio.vocoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glottis.audio.mel_cepstrum import response_matrix
from glottis.audio.vocoder import VocoderConfig, band_weights, crossfade, lead


class ParameterSynthesis(nn.Module):
    """Harmonics and noise through the minimum-phase filter of a mel-cepstrum.

    Equal to :func:`glottis.audio.vocoder.synthesize` for the same noise, within float32, and
    differentiable in everything: a network that gives parameters can learn from audio.
    """

    window: Tensor
    weights: Tensor
    real: Tensor
    imaginary: Tensor

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        response = response_matrix(config.order, config.alpha, config.fft_size)
        for name, value in (
            ("window", crossfade(config.hop)),
            ("weights", band_weights(config.sample_rate, config.fft_size)),
            ("real", response.real),
            ("imaginary", response.imag),
        ):
            self.register_buffer(name, torch.from_numpy(value.copy()).float(), persistent=False)

    def forward(
        self,
        pitch: Tensor,
        voicing: Tensor,
        cepstrum: Tensor,
        aperiodicity: Tensor,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Parameters to audio ``[batch, frames * hop]``.

        Args:
            pitch: ``[batch, frames]`` in Hz, above zero everywhere, at most a quarter of the rate.
            voicing: ``[batch, frames]``, 0 to 1; scales the power of what is not noise.
            cepstrum: ``[batch, order + 1, frames]`` in nepers.
            aperiodicity: ``[batch, bands, frames]``, dB up to 0.
            noise: white, ``[batch, (frames + 3) * hop]``; drawn when left out.
            generator: draws it.
        """
        config = self.config
        hop, size = config.hop, config.fft_size
        batch, frames = pitch.shape
        if noise is None:
            shape = (batch, (frames + 3) * hop)
            noise = torch.randn(shape, generator=generator, dtype=pitch.dtype).to(pitch.device)
        # Edges are repeated, so that windows overlap up to the ends.
        tone = self._harmonics(_repeated(pitch[:, None], 2)[:, 0])
        tone = F.pad(tone, (hop, 0))
        share = torch.exp(self.weights.T @ aperiodicity * (math.log(10) / 10)).clamp(max=1.0)
        periodic = voicing[:, None] * (1 - share)
        tonal = _root(_repeated(periodic, 1)).transpose(1, 2)
        noisy = _root(_repeated(1 - periodic, 1)).transpose(1, 2)
        given = _repeated(cepstrum, 1).transpose(1, 2)
        level, turn = given @ self.real.T, given @ self.imaginary.T
        response = torch.polar(torch.exp(level), turn)
        mixed = tonal * self._spectra(tone) + noisy * self._spectra(noise)
        made = torch.fft.irfft(mixed * response, n=size, dim=2)
        before = lead(size)
        made = torch.roll(made, before, dims=2).transpose(1, 2)
        length = (made.shape[2] - 1) * hop + size
        sums = F.fold(made, (1, length), (1, size), stride=(1, hop)).reshape(batch, length)
        first = 2 * hop - hop // 2 + before
        return sums[:, first : first + frames * hop]

    def _spectra(self, source: Tensor) -> Tensor:
        """``[batch, (n + 1) * hop] -> [batch, n, bins]`` of overlapping windows."""
        cut = source.unfold(1, 2 * self.config.hop, self.config.hop) * self.window
        return torch.fft.rfft(cut, n=self.config.fft_size, dim=2)

    def _harmonics(self, pitch: Tensor) -> Tensor:
        """``[batch, n + 1] -> [batch, n * hop]``; see :func:`glottis.audio.vocoder.harmonics`."""
        hop, rate = self.config.hop, self.config.sample_rate
        # Phases grow to thousands of periods: float32 would lose the upper harmonics.
        logs = pitch.double().log()
        steps = torch.arange(hop, device=pitch.device) / hop
        hertz = torch.exp(logs[:, :-1, None] + logs.diff(dim=1)[:, :, None] * steps).flatten(1)
        advance = F.pad((hertz / rate).cumsum(1), (1, 0))[:, :-1]
        angle = 2 * math.pi * (advance - advance.detach().floor())
        room = 0.5 * rate / hertz
        whole = room.detach().floor() - 1
        below = 2 * torch.sin(0.5 * angle)
        near = below.detach().abs() < 1e-6
        kernel = torch.sin((whole + 0.5) * angle) / torch.where(near, 1.0, below)
        kernel = torch.where(near, whole + 0.5, kernel) - 0.5
        kernel = kernel + (room - whole - 1) * torch.cos((whole + 1) * angle)
        return (2 * torch.sqrt(hertz / rate) * kernel).to(pitch.dtype)


def _repeated(values: Tensor, after: int) -> Tensor:
    """``[batch, channels, frames]`` with its first frame once more, its last ``after`` times."""
    return F.pad(values, (1, after), mode="replicate")


def _root(values: Tensor) -> Tensor:
    """The square root, with gradient zero at zero instead of infinity."""
    positive = values > 1e-10
    return torch.where(positive, torch.sqrt(torch.where(positive, values, 1.0)), 0.0)
