"""The settings of WaveNet."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from glottis.audio.linear_prediction import LinearPrediction
from glottis.audio.mel import MelConfig
from glottis.audio.period import Period
from glottis.errors import InputError
from glottis.kernels import wavenet


@dataclass(frozen=True)
class Config:
    """Sizes in channels; ``gate_channels`` counts the tanh and the sigmoid halves together.

    ``output`` names the distribution of a sample: ``mulaw`` (classes of ``bits`` bits, 8 as a
    rule), ``gaussian``, ``gaussian_mixture`` or ``logistic_mixture`` (of ``components``, over the
    values of ``bits`` bits). ``layers`` are divided into ``stacks``, and dilations double within
    a stack. ``upsampling`` multiplies to the hop; ``context`` frames on either side are mixed into
    each frame before. ``minimum_log_scale`` is left to the distribution when None.
    ``linear_prediction`` is the order of a linear predictor that the log-mels of a frame give, of
    which the network then learns what remains; 0 for none, and not for ``mulaw``. A frame has
    ``prediction_parts`` such predictors, from log-mels between its own and its neighbours': where
    one predictor gives way to a very different one there is a click, softer from part to part. With
    it, ``period_taps`` (an odd number, 0 for none) of what was heard around one period of the voice
    earlier are heard again, the period being what log-mels tell: dilations that are the same for
    all voices need many layers to find it (Wu et al. 2021, "Quasi-Periodic WaveNet"). And for each
    sample the network says with which weights the excesses that stood there come again: a long-term
    predictor as in speech coders.

    ``past_noise`` and ``past_level``, with linear prediction: while learning, the network hears
    excesses with white noise, in each window up to so many gains, and at a level that is up to so
    many nepers too high or too low, and says the next excess as it was. Its own draws are never
    quite what a recording would have gone on with; so it learns to lead back instead of going on
    from there (after Valin & Skoglund 2019, section 3.3). Held-out likelihoods are those of clean
    samples.
    ``residual_scale`` multiplies the input of each layer but the first; below 1 it keeps the sum's
    variance, and what is heard reaches the last layers weakened so many times.
    ``temperature`` multiplies scales (and divides mu-law's logits) when samples are drawn; 1 draws
    from the distribution itself, and likelihoods are always its own.
    """

    output: wavenet.Output = "logistic_mixture"
    bits: int = 16
    components: int = 10
    layers: int = 24
    stacks: int = 4
    kernel_size: int = 3
    residual_channels: int = 128
    gate_channels: int = 256
    skip_channels: int = 128
    dropout: float = 0.0
    speakers: int = 1
    speaker_channels: int = 64
    upsampling: tuple[int, ...] = (4, 4, 4, 4)
    context: int = 2
    minimum_log_scale: float | None = None
    linear_prediction: int = 0
    prediction_parts: int = 4
    period_taps: int = 0
    past_noise: float = 0.0
    past_level: float = 0.0
    residual_scale: float = math.sqrt(0.5)
    temperature: float = 1.0
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        if self.layers % self.stacks:
            raise InputError(f"{self.layers} layers cannot be divided into {self.stacks} stacks")
        if math.prod(self.upsampling) != self.mel.hop:
            raise InputError(
                f"upsampling {list(self.upsampling)} makes {math.prod(self.upsampling)} samples of "
                f"a frame, and the log-mels have a hop of {self.mel.hop}: let the factors multiply "
                "to the hop"
            )
        if self.output == "mulaw" and not 2 <= self.bits <= 12:
            raise InputError(f"mulaw takes 2 to 12 bits (8 as a rule), not {self.bits}")
        if self.residual_channels % 4 or self.gate_channels % 8 or self.skip_channels % 4:
            raise InputError(
                "residual_channels and skip_channels must be multiples of 4 and gate_channels of "
                f"8, not {self.residual_channels}, {self.skip_channels} and {self.gate_channels}"
            )
        if self.linear_prediction and self.output == "mulaw":
            raise InputError(
                "linear_prediction shifts amplitudes, and mulaw gives classes: choose gaussian, "
                "gaussian_mixture or logistic_mixture, or leave linear_prediction at 0"
            )
        if self.prediction_parts < 1 or self.mel.hop % self.prediction_parts:
            raise InputError(
                f"prediction_parts must divide the hop of {self.mel.hop} samples, and "
                f"{self.prediction_parts} does not"
            )
        if not 0 < self.temperature < math.inf:
            raise InputError(f"temperature must be a number above 0, not {self.temperature}")
        _ = self.prediction  # refuses an order that cannot be
        for name in ("past_noise", "past_level"):
            value = getattr(self, name)
            if value < 0 or (value and not self.linear_prediction):
                raise InputError(
                    f"{name} spoils excesses over a linear prediction: set "
                    f"network.linear_prediction, and a {name} of 0 or more, not {value}"
                )
        period = self.period
        if period is not None:
            if not self.linear_prediction:
                raise InputError("period_taps go with linear_prediction: set both, or neither")
            if self.period_taps % 2 == 0 or not 0 < self.period_taps < 2 * period.shortest:
                raise InputError(
                    f"period_taps takes 0 (none) or an odd number below {2 * period.shortest}, "
                    f"twice the shortest period, not {self.period_taps}"
                )

    @property
    def prediction(self) -> LinearPrediction | None:
        """The linear predictor of the samples, if there is one."""
        if not self.linear_prediction:
            return None
        return LinearPrediction(self.mel, self.linear_prediction, self.bits)

    @property
    def period(self) -> Period | None:
        """What tells the period of the voice, if it is listened for."""
        return Period(self.mel) if self.period_taps else None

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of each layer, in samples."""
        return tuple(2 ** (i % (self.layers // self.stacks)) for i in range(self.layers))

    @property
    def outputs(self) -> int:
        """Parameters of one sample's distribution."""
        if self.output == "mulaw":
            return 2**self.bits
        return 2 if self.output == "gaussian" else 3 * self.components

    @property
    def receptive_field(self) -> int:
        """Past samples that a sample's distribution depends on."""
        field = (self.kernel_size - 1) * sum(self.dilations) + 1
        prediction = self.prediction
        if prediction is None:
            return field
        if self.period is not None:
            field += self.period.longest + self.period_taps // 2
        return field + prediction.order
