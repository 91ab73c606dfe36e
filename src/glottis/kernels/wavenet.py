"""WaveNet, one sample after another: weights, argument checks and the choice of a form.

The forms live in files of their own and are imported when they are first used, so this module
needs neither torch nor numba.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from glottis.audio.linear_prediction import LinearPrediction
from glottis.audio.mel import between_frames
from glottis.audio.period import Period
from glottis.errors import InputError
from glottis.kernels.choice import choose

Array = NDArray[np.float32]
Double = NDArray[np.float64]
Predictors = tuple[Double, Double, NDArray[np.int64]]
"""Of each part of a frame coefficients ``[batch, frames * parts, order]``, gains and periods in
samples, ``[batch, frames * parts]`` both."""
Output = Literal["mulaw", "gaussian", "gaussian_mixture", "logistic_mixture"]
Precision = Literal["float32", "bfloat16", "int8"]

KINDS = ("triton", "numba", "reference")
OUTPUTS: tuple[Output, ...] = ("mulaw", "gaussian", "gaussian_mixture", "logistic_mixture")
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
CHUNK = 32
"""Frames whose conditioning is held at once; a multiple of a block in samples, whatever the hop."""
BLOCK = 16
"""Samples for which a form may look ahead."""
HIGHEST_ECHO = 1.5
"""Absolute weights of what comes again after a period sum up to less. Above 1, so that a voice that
has become too quiet can rise."""
ECHO_SCALE = 8.0
"""Of the outputs that say these weights: one of 0.1 is near the bound already."""
LOUDEST = 8.0
"""No excess is heard as larger, in gains; a recording's seldom are."""
UNIFORMS = 3
"""Uniform numbers that one sample takes, whatever its distribution."""


@dataclass(frozen=True)
class Weights:
    """A WaveNet as arrays, float32; ``L`` layers with ``K`` taps.

    ``R`` residual channels, ``G`` gate channels (first half tanh, second half sigmoid), ``S`` skip
    channels, ``O`` outputs, ``C`` conditioning channels:

    ``first`` ``[R, 1]`` for amplitudes, ``[R, 1 + E]`` with a ``period``, or ``[R, classes]``;
    ``first_bias`` ``[R]``;
    ``gate`` ``[L, G, R, K]`` (the last tap is the current sample), ``gate_bias`` ``[L, G]``;
    ``condition`` ``[L, G, C]``; ``residual`` ``[L, R, G/2]`` and ``residual_bias`` ``[L, R]``;
    ``skip`` ``[L, S, G/2]`` and ``skip_bias`` ``[L, S]``; ``hidden`` ``[S, S]``, ``hidden_bias``;
    ``last`` ``[O, S]`` (``[O + E, S]`` with a ``period``), ``last_bias``. ``context``
    ``[C, C, 2 n + 1]`` mixes neighbouring frames, and each of ``upsampling`` is a filter of
    ``2 s + 1`` taps after every frame was repeated ``s`` times.

    Each layer's sum is multiplied by ``residual_scale``, the sum of skips by ``skip_scale``.
    Outputs are ``logits, loc, log_scale`` (``loc, log_scale`` for one Gaussian) or class logits.
    ``start`` is what stands before the first sample: an amplitude, or a class.

    With a linear ``prediction`` the network does not hear the last sample but what it had in excess
    of its prediction, in units of the gain and never more than ``LOUDEST``: ``e / (1 + |e| /
    LOUDEST)``. ``loc`` and ``exp(log_scale)`` are in units of the gain too, ``loc`` from the
    prediction on. A frame has ``parts`` predictors, one after another, from log-mels between its
    own and its neighbours'; see :func:`glottis.audio.mel.between_frames`.

    With a ``period`` as well, it also hears what it heard around one period before the sample to be
    drawn: ``E`` values, an odd number, from ``E // 2`` samples earlier to as many later. ``last``
    has ``E`` outputs more; times ``ECHO_SCALE``, divided by one more than the sum of their absolute
    values, and times ``HIGHEST_ECHO``, they weigh the excesses that stood there as amplitudes, and
    ``loc`` counts from prediction and echo together.
    """

    first: Array
    first_bias: Array
    gate: Array
    gate_bias: Array
    condition: Array
    residual: Array
    residual_bias: Array
    skip: Array
    skip_bias: Array
    hidden: Array
    hidden_bias: Array
    last: Array
    last_bias: Array
    context: Array
    upsampling: tuple[Array, ...]
    dilations: tuple[int, ...]
    residual_scale: float
    skip_scale: float
    output: Output
    bits: int
    minimum_log_scale: float
    start: float
    prediction: LinearPrediction | None = None
    period: Period | None = None
    parts: int = 1

    def __post_init__(self) -> None:
        layers, gates, residual, _ = self.gate.shape
        skips, outputs = self.hidden.shape[0], self.last.shape[0]
        heard = 2**self.bits if self.output == "mulaw" else 1
        if self.period is not None:
            heard = self.first.shape[1]
            if self.prediction is None or self.period.mel != self.prediction.mel:
                raise ValueError("a period goes with linear prediction from the same log-mels")
            if heard % 2 or not 1 <= heard // 2 <= self.period.shortest:
                raise ValueError(
                    f"around a period an odd number of values is heard, below twice the shortest "
                    f"period, not {heard - 1}"
                )
        wanted = {
            "first": (residual, heard),
            "first_bias": (residual,),
            "gate_bias": (layers, gates),
            "condition": (layers, gates, self.context.shape[0]),
            "residual": (layers, residual, gates // 2),
            "residual_bias": (layers, residual),
            "skip": (layers, skips, gates // 2),
            "skip_bias": (layers, skips),
            "hidden": (skips, skips),
            "hidden_bias": (skips,),
            "last": (outputs, skips),
            "last_bias": (outputs,),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape}, not {getattr(self, name).shape}")
        if len(self.dilations) != layers:
            raise ValueError(f"{layers} layers need as many dilations, not {self.dilations}")
        if self.prediction is not None:
            made = self.prediction.mel
            if self.output == "mulaw" or (made.hop, made.mels) != (self.hop, self.context.shape[1]):
                raise ValueError(
                    f"linear prediction is of amplitudes from {self.context.shape[1]} log-mels "
                    f"every {self.hop} samples, not of {self.output} from {made}"
                )
        if self.parts < 1 or self.hop % self.parts:
            raise ValueError(f"{self.hop} samples cannot be divided into {self.parts} parts")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and not np.isfinite(value).all():
                raise InputError(f"the weights {field.name!r} hold NaN or infinity")

    def at_temperature(self, temperature: float) -> Weights:
        """The same, but for scales that are multiplied by ``temperature`` (mu-law's logits divided
        by it): 1 draws from what was learnt, less from what is more likely there.

        Raises:
            InputError: a temperature that is not above 0.
        """
        if not 0 < temperature < math.inf:
            raise InputError(f"temperature must be a number above 0, not {temperature}")
        bias = self.last_bias.copy()
        if self.output == "mulaw":
            scaled = np.float32(1 / temperature)
            return replace(self, last=self.last * scaled, last_bias=bias * scaled)
        # The last half of one Gaussian's outputs, the last third of a mixture's.
        scales = self.outputs // (2 if self.output == "gaussian" else 3)
        bias[self.outputs - scales : self.outputs] += np.float32(math.log(temperature))
        return replace(self, last_bias=bias)

    @property
    def hop(self) -> int:
        """Samples of a conditioning frame."""
        return int(np.prod([len(taps) // 2 for taps in self.upsampling], initial=1))

    @property
    def receptive_field(self) -> int:
        """Past samples that one sample's distribution depends on."""
        field = (self.gate.shape[3] - 1) * sum(self.dilations) + 1
        if self.prediction is None:
            return field
        if self.period is not None:
            field += self.period.longest + self.around
        return field + self.prediction.order

    @property
    def echoes(self) -> int:
        """Values around one period ago that are heard, and come again; 0 without a period."""
        return self.first.shape[1] - 1 if self.period is not None else 0

    @property
    def around(self) -> int:
        """Of these, those on either side."""
        return self.echoes // 2

    @property
    def outputs(self) -> int:
        """Parameters of a sample's distribution."""
        return len(self.last) - self.echoes


class Form(Protocol):
    """What the reference and the fast forms have alike."""

    def start(self, batch: int, bias: Array) -> None:
        """Forget all samples; take gate biases ``[batch, L, G]``."""

    def hear(self, first: int, features: Double, shares: Double, predictors: Predictors) -> None:
        """Take the conditioning of the frames from ``first`` on, in place of what was there.

        ``features`` ``[batch, C, frames + window - 1]`` mixed log-mels, half a window more on
        either side; ``shares`` ``[batch, frames, hop, window]``; ``predictors`` of the frames,
        of order 0 when the weights have none, ``parts`` of each.
        """

    def advance(
        self, uniforms: Double, teacher: Array | None, parameters: bool
    ) -> tuple[Array, Array | None]:
        """Samples for ``uniforms`` ``[batch, time, UNIFORMS]``; see :meth:`Sampler.advance`."""


@lru_cache(maxsize=1)
def available() -> tuple[str, ...]:
    """The kinds that can run here, fastest first; Triton's in its interpreter alone."""
    forms = ("numba", "reference") if importlib.util.find_spec("numba") else ("reference",)
    return (*forms, "triton") if os.environ.get("TRITON_INTERPRET") == "1" else forms


def _on_gpu() -> bool:
    if importlib.util.find_spec("triton") is None or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


class Sampler:
    """Draws samples of a WaveNet one after another.

    Args:
        weights: copied into the layout of the form; later changes do not reach the sampler.
        precision: how matrices are stored. Sums are always float32. ``bfloat16`` halves and
            ``int8`` (one scale for each output) quarters what has to be read for each sample.
        threads: 1, or 2. They share every sample of one utterance and meet at each layer; of a
            batch each takes a half. All give the same bits.
        kind: ``"auto"``, ``"numba"``, ``"triton"`` (on a GPU) or ``"reference"`` (numpy, float64,
            one thread).

    Raises:
        InputError: a kind, precision or number of threads that does not exist or cannot run here.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        precision: Precision = "float32",
        threads: int = 1,
        kind: str = "auto",
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"precision takes {', '.join(PRECISIONS)}, not {precision!r}")
        if threads not in (1, 2):
            raise InputError(f"one sample can be shared by 1 or 2 threads, not {threads}")
        self.weights = weights
        forms = available()
        # So far it has run in its interpreter alone, so "auto" does not choose it.
        if kind == "triton" and kind not in forms and _on_gpu():
            forms = (*forms, kind)
        self.kind = choose("wavenet", kind, KINDS, forms)
        self._one: Form
        self._several: Form | None = None
        if self.kind == "numba":
            from glottis.kernels.wavenet_numba import Divided, Fast

            self._one = Fast(weights, precision, threads)
            self._several = Divided(self._one, threads) if threads > 1 else None
        elif precision != "float32":
            raise InputError(f"{self.kind!r} computes with the weights as they are: float32")
        elif self.kind == "triton":
            import torch

            from glottis.kernels.wavenet_triton import Persistent

            self._one = Persistent(weights, "cuda" if torch.cuda.is_available() else "cpu")
        else:
            from glottis.kernels.wavenet_reference import Reference

            self._one = Reference(weights)
        self._form: Form = self._one
        self._mels: list[Array] = []

    def start(
        self,
        mels: list[Array],
        seed: int | list[int] = 0,
        bias: Array | None = None,
        *,
        more: bool = False,
    ) -> None:
        """Begin a batch of utterances.

        Args:
            mels: log-mels ``[C, frames]`` for each item; shorter items go on with silence's
                conditioning (zeros) until the longest ends, and are cut by the caller.
            seed: one for each item, or one from which the items' are counted up. An item's audio
                depends on its own seed alone, not on its batch.
            bias: what speakers add to the gates, ``[batch, L, G]``; nothing when left out.
            more: whether :meth:`feed` will bring more frames. What is drawn is then the same as
                if all had been there at once.

        Raises:
            InputError: no item, other channels than the model's, no frames, NaN or infinity.
        """
        if not mels:
            raise InputError("there is nothing to speak: give at least one log-mel spectrogram")
        layers, gates = self.weights.gate_bias.shape
        if bias is None:
            bias = np.zeros((len(mels), layers, gates), np.float32)
        if bias.shape != (len(mels), layers, gates):
            raise ValueError(f"bias must be {(len(mels), layers, gates)}, not {bias.shape}")
        seeds = [seed + i for i in range(len(mels))] if isinstance(seed, int) else seed
        if len(seeds) != len(mels):
            raise InputError(f"{len(mels)} items need as many seeds, not {len(seeds)}")
        channels = self.weights.context.shape[1]
        self._mels = [np.zeros((channels, 0), np.float32) for _ in mels]
        self._draws = [np.random.Generator(np.random.Philox(each)) for each in seeds]
        self._now = self._heard = 0
        self._form = self._one if len(mels) == 1 or self._several is None else self._several
        self._form.start(len(mels), bias)
        self.feed(mels, more=more)

    def feed(self, mels: list[Array], *, more: bool = False) -> None:
        """Go on with further frames of each item, after :meth:`start` with ``more``.

        Raises:
            InputError: as there. Frames may be missing as long as more will come.
        """
        channels = self.weights.context.shape[1]
        if len(mels) != len(self._mels):
            raise ValueError(f"{len(self._mels)} items need as many log-mels, not {len(mels)}")
        for item, mel in enumerate(mels):
            if mel.ndim != 2 or mel.shape[0] != channels:
                raise InputError(
                    f"item {item}: log-mels must be [{channels}, frames] for this model, not "
                    f"{list(mel.shape)}"
                )
            before = self._mels[item].shape[1]
            if not more and before + mel.shape[1] == 0:
                raise InputError(f"item {item}: the log-mels have no frames")
            if not np.isfinite(mel).all():
                frame = before + int(np.flatnonzero(~np.isfinite(mel).all(0))[0])
                raise InputError(f"item {item}: frame {frame} of the log-mels is NaN or infinite")
            self._mels[item] = np.concatenate([self._mels[item], mel.astype(np.float32)], axis=1)
        frames = [mel.shape[1] for mel in self._mels]
        if more:
            # The last frames are smoothed otherwise than those before them, and any may be last.
            side = reach([len(taps) // 2 for taps in self.weights.upsampling])
            known = min(frames) - side - max(1, self.weights.context.shape[2] // 2)
            self._frames = max(0, known if min(frames) > 2 * side + 2 else 0)
        else:
            self._frames = max(frames)
        self._more = more

    @property
    def remaining(self) -> int:
        """Samples that can be drawn of the frames that are there."""
        if not self._mels:
            return 0
        unit = BLOCK // math.gcd(BLOCK, self.weights.hop) if self._more else 1
        return self._frames // unit * unit * self.weights.hop - self._now

    def advance(
        self, count: int, teacher: Array | None = None, *, parameters: bool = False
    ) -> tuple[Array, Array | None]:
        """Up to ``count`` more samples of every item.

        Args:
            count: how many; fewer come when the log-mels end.
            teacher: float32 ``[batch, time]`` of samples to hear instead of one's own draws.
            parameters: also give the distributions' parameters.

        Returns:
            Samples float32 ``[batch, time]`` (amplitudes on the grid of ``bits``, or classes) and
            parameters float32 ``[batch, time, O]`` or None. With a teacher the samples are still
            draws, each given the teacher's past.
        """
        batch, count = len(self._mels), min(count, self.remaining)
        if teacher is not None and teacher.shape != (batch, count):
            raise ValueError(f"teacher must be {(batch, count)}, not {teacher.shape}")
        samples = np.zeros((batch, count), np.float32)
        given = np.zeros((batch, count, self.weights.outputs), np.float32) if parameters else None
        done = 0
        while done < count:
            if self._now == self._heard * self.weights.hop:
                self._hear()
            some = min(count - done, self._heard * self.weights.hop - self._now)
            part = slice(done, done + some)
            uniforms = np.stack([draw.random((some, UNIFORMS)) for draw in self._draws])
            # Half a step up: never 0, whose logarithm is wanted, and still below 1.
            uniforms += 2.0**-54
            np.minimum(uniforms, 1 - 2.0**-53, out=uniforms)
            heard = None if teacher is None else teacher[:, part]
            samples[:, part], found = self._form.advance(uniforms, heard, parameters)
            if given is not None:
                given[:, part] = found
            self._now += some
            done += some
        return samples, given

    def _hear(self) -> None:
        """Give the form the conditioning of the next frames."""
        first, hop = self._heard, self.weights.hop
        last = min(first + CHUNK, (self._now + self.remaining) // hop)
        taps, context = self.weights.upsampling, self.weights.context
        side, mixing = reach([len(each) // 2 for each in taps]), context.shape[2] // 2
        features = np.zeros((len(self._mels), context.shape[0], last - first + 2 * side))
        shares = np.zeros((len(self._mels), last - first, hop, 2 * side + 1))
        prediction = self.weights.prediction
        order = 0 if prediction is None else prediction.order
        parts = self.weights.parts
        many = (len(self._mels), (last - first) * parts)
        # Where there is no period, any that lies in the past.
        predictors = np.zeros((*many, order)), np.ones(many), np.full(many, self.weights.around + 1)
        for item, mel in enumerate(self._mels):
            frames = mel.shape[1]
            # Beyond its end an item hears nothing of its log-mels.
            low, high = max(0, first - side), min(frames, last + side)
            if low >= high:
                continue
            outer = max(0, low - mixing), min(frames, high + mixing)
            around = mixed(mel[:, slice(*outer)], context)[:, low - outer[0] : high - outer[0]]
            features[item, :, low - first + side : high - first + side] = around
            # While more may come, no frame that is drawn is near the end.
            table, case = cases_of(taps, frames)
            shares[item, : max(0, frames - first)] = table[case[first:last]]
            if prediction is not None and first < frames:
                start = max(0, first - 1)
                here = between_frames(mel[:, start : last + 1], parts)[:, (first - start) * parts :]
                here = here[:, : many[1]]
                coefficients, gains = prediction(here)
                predictors[0][item, : len(gains)] = coefficients
                predictors[1][item, : len(gains)] = gains
                if self.weights.period is not None:
                    predictors[2][item, : len(gains)] = self.weights.period(here)
        self._form.hear(first, features, shares, predictors)
        self._heard = last


def in_segments(
    sampler: Sampler,
    mel: Array,
    *,
    segments: int = 8,
    seed: int = 0,
    bias: Array | None = None,
    fade: int = 4,
) -> Array:
    """One long utterance as a batch of segments, cross-faded: -> samples ``[frames * hop]``.

    A batch costs each of its items a fraction of what one alone costs, so this is for speed where
    all log-mels are there. Cuts lie in the quietest frames near even division. A segment begins
    early, by what its conditioning reaches and the network hears, and what overlaps is faded with
    equal power, because draws of their own are not in phase.

    Args:
        sampler: of a model whose samples are amplitudes.
        mel: log-mels ``[C, frames]``.
        segments: at most so many; fewer when a segment would be shorter than 16 fades.
        seed: of the first segment; the others count up.
        bias: what the speaker adds to the gates, ``[1, L, G]``.
        fade: frames of a cross-fade.

    Raises:
        InputError: classes of mu-law, which cannot be mixed, or as :meth:`Sampler.start`.
    """
    w, frames = sampler.weights, mel.shape[1]
    if w.output == "mulaw":
        raise InputError("segments are mixed as amplitudes; mulaw's classes cannot be")
    count = max(1, min(segments, frames // (16 * fade)))
    lead = -(-w.receptive_field // w.hop) + w.context.shape[2] // 2
    lead += reach([len(taps) // 2 for taps in w.upsampling])
    cuts = [0, *quiet_places(mel, count, fade), frames]
    spans = [
        (max(0, a - fade // 2 - lead), min(frames, b + fade - fade // 2 + lead))
        for a, b in itertools.pairwise(cuts)
    ]
    biases = None if bias is None else np.repeat(bias, count, axis=0)
    sampler.start([mel[:, a:b] for a, b in spans], seed, biases)
    made = sampler.advance(sampler.remaining)[0]
    whole = np.zeros(frames * w.hop, np.float32)
    turn = (np.arange(fade * w.hop) + 0.5) / (fade * w.hop) * (np.pi / 2)
    for segment, (span, samples) in enumerate(zip(spans, made, strict=True)):
        low, high = cuts[segment] - fade // 2, cuts[segment + 1] + fade - fade // 2
        low, high = (max(0, low) if segment else 0), min(frames, high)
        part = samples[(low - span[0]) * w.hop : (high - span[0]) * w.hop].copy()
        if segment:
            part[: len(turn)] *= np.sin(turn)
        if segment + 1 < count:
            part[-len(turn) :] *= np.cos(turn)
        whole[low * w.hop : high * w.hop] += part
    return np.clip(whole, -1.0, 1.0)


def quiet_places(mel: Array, count: int, width: int) -> list[int]:
    """``count - 1`` frames of ``[C, frames]`` that divide it about evenly: each the quietest within
    a quarter of a part, by the mean log-mel over ``width`` frames."""
    frames = mel.shape[1]
    level = np.convolve(mel.mean(0), np.ones(width) / width, mode="same")
    places = []
    for part in range(1, count):
        middle, side = part * frames // count, frames // (4 * count)
        places.append(middle - side + int(np.argmin(level[middle - side : middle + side + 1])))
    return places


def interpolation(upsampling: tuple[Array, ...]) -> tuple[Double, int, int]:
    """Upsampling as weights of neighbouring frames: it is linear and the same for every channel.

    A sample of frame ``f`` is the sum over ``m`` of ``table[case, sample, m]`` times frame
    ``f - side + m``. The filters end in zeros at both ends of an utterance, so the first and last
    ``edge`` frames have cases of their own: ``case = f``, for the last ones ``cases - frames + f``,
    else ``edge``.

    Returns:
        ``table`` ``[cases, hop, 2 side + 1]``, ``side`` and ``edge``, for utterances of at least
        ``cases = 2 edge + 1`` frames; :func:`cases_of` serves shorter ones.
    """
    side = reach([len(taps) // 2 for taps in upsampling])
    edge = side + 1
    return _table(upsampling, 2 * edge + 1, side), side, edge


def reach(scales: Sequence[int]) -> int:
    """Frames to either side that upsampling in stages of these ``scales`` looks at."""
    ahead, rate = 0.0, 1
    for scale in scales:
        rate *= scale
        ahead += scale / rate
    return int(np.ceil(ahead))


def _table(upsampling: tuple[Array, ...], frames: int, side: int) -> Double:
    """The weights of every frame of an utterance of so many frames: ``[frames, hop, window]``."""
    response = np.eye(frames)
    for taps in upsampling:
        size = len(taps) // 2
        response = np.repeat(response, size, axis=0)
        padded = np.pad(response, ((size, size), (0, 0)))
        response = sum(
            taps[i] * padded[i : i + len(response)] for i in range(len(taps))
        )  # the filter of a convolution layer: not turned around
    hop = len(response) // frames
    wide = np.pad(response.reshape(frames, hop, frames), ((0, 0), (0, 0), (side, side)))
    return np.stack([wide[f, :, f : f + 2 * side + 1] for f in range(frames)])


def cases_of(upsampling: tuple[Array, ...], frames: int) -> tuple[Double, NDArray[np.int64]]:
    """The table and, for each of ``frames`` frames, its case; see :func:`interpolation`."""
    table, side, edge = interpolation(upsampling)
    if frames < len(table):
        return _table(upsampling, frames, side), np.arange(frames)
    index = np.full(frames, edge)
    index[:edge] = np.arange(edge)
    index[frames - edge :] = np.arange(len(table) - edge, len(table))
    return table, index


def mixed(mel: Array, context: Array) -> Double:
    """``[C, frames]`` with each frame a mixture of its neighbours; ends are repeated.

    ``context`` ``[C, C, 2 n + 1]``; float64.
    """
    side = context.shape[2] // 2
    padded = np.pad(mel.astype(np.float64), ((0, 0), (side, side)), mode="edge")
    frames = mel.shape[1]
    taps = (
        context[:, :, i].astype(np.float64) @ padded[:, i : i + frames] for i in range(2 * side + 1)
    )
    return np.asarray(sum(taps))
