"""Features to audio through spectra: a ConvNeXt stack and the inverse transform, as Vocos does."""

from __future__ import annotations

from torch import Tensor, nn

from glottis.audio.mel import MelConfig
from glottis.blocks.convnext import ConvNeXtStack
from glottis.blocks.pitch import PitchInput, harmonic_phase, recorded_bells
from glottis.blocks.reach import reach
from glottis.blocks.spectral import SpectrumHead


class SpectralDecoder(nn.Module):
    """Frames of any features to audio.

    ``x`` ``[batch, inputs, frames]``, ``pitch`` ``[batch, frames]`` in Hz, 0 where unvoiced, for a
    decoder that is told it, and ``condition`` ``[batch, condition_channels, 1]`` for one that has
    a condition -> audio ``[batch, frames * hop]``. ``mel`` says the rate and the transform.

    Told the pitch, it predicts phases as differences from those of that pitch's harmonics. A stack
    that sees half a second cannot keep count of the cycles that went before, and what it guesses
    slips and is heard as roughness.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        hidden: int,
        layers: int,
        mel: MelConfig,
        *,
        pitch: bool = False,
        condition_channels: int = 0,
    ) -> None:
        super().__init__()
        self.framing = mel
        self.stack = ConvNeXtStack(inputs, channels, hidden, layers)
        self.head = SpectrumHead(channels, mel.fft_size, mel.hop)
        # Both are added to the features, and nothing at first, so that a network that learnt
        # without them goes on from there.
        self.pitch = PitchInput(inputs) if pitch else None
        self.condition = nn.Conv1d(condition_channels, inputs, 1) if condition_channels else None
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
            nn.init.zeros_(self.condition.bias)  # type: ignore[arg-type]

    @property
    def reach(self) -> int:
        """Frames to either side that a frame of audio depends on."""
        return reach(self.stack) + self.framing.fft_size // self.framing.hop

    def forward(
        self, x: Tensor, pitch: Tensor | None = None, condition: Tensor | None = None
    ) -> Tensor:
        reference = None
        if self.condition is not None:
            if condition is None:
                raise ValueError("this decoder was built with a condition and needs one")
            x = x + self.condition(condition)
        if self.pitch is not None:
            if pitch is None:
                raise ValueError("this decoder is told the pitch, and was given none")
            x = x + self.pitch(recorded_bells(pitch))
            framing = self.framing
            reference = harmonic_phase(pitch, framing.fft_size, framing.hop, framing.sample_rate)
        samples: Tensor = self.head(self.stack(x), reference)
        return samples
