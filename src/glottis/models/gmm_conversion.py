"""Voice conversion by a joint-density mixture and the most likely trajectory.

Toda, Black & Tokuda 2007, "Voice conversion based on maximum-likelihood estimation of spectral
parameter trajectory": recordings of the same words by two speakers are paired frame by frame by
dynamic time warping; a mixture of Gaussians over pairs of mel-cepstra with their slopes says what a
frame of one speaker means in the voice of the other; the converted utterance is the most likely
trajectory, stretched to the variance that the target's recordings have (their section IV, in the
closed form of Silén et al. 2012). The pitch is carried over by mean and spread of its logarithm;
level and aperiodicity stay the source's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glottis.audio.vocoder import Parameters, VocoderConfig, analyse, synthesize
from glottis.audio.warping import warp
from glottis.config import build
from glottis.errors import InputError
from glottis.files import replacing
from glottis.kernels import WINDOWS, mlpg
from glottis.likelihood.joint_density import JointDensity, fit

Array = NDArray[np.float32]
Float = NDArray[np.float64]

CONVERTED = WINDOWS[:2]
"""Statics and slopes, as in the paper."""
FORMAT = 1


@dataclass(frozen=True)
class ConversionConfig:
    """``mixtures``: Gaussians; ``rounds``: of training them, each time; ``alignments``: how often
    frames are paired, the first time as they are and then as converted so far; ``silence``: frames
    so many dB below an utterance's loud ones take no part."""

    mixtures: int = 32
    rounds: int = 15
    alignments: int = 3
    silence: float = 40.0

    def __post_init__(self) -> None:
        if min(self.mixtures, self.rounds, self.alignments) < 1 or not self.silence > 0:
            raise InputError("mixtures, rounds and alignments must be at least 1, silence above 0")


@dataclass(frozen=True)
class Conversion:
    """From one speaker's voice to another's.

    ``density`` over cepstra (without level) and slopes; ``source_pitch`` and ``target_pitch``: mean
    and standard deviation of log Hz; ``global_variance`` ``[order]`` of the target's cepstra within
    an utterance.
    """

    vocoder: VocoderConfig
    density: JointDensity
    source_pitch: tuple[float, float]
    target_pitch: tuple[float, float]
    global_variance: Float

    def convert(self, samples: Array, *, seed: int = 0) -> Array:
        """``[samples]`` of the source speaker -> float32 in the target's voice, whole frames.

        Raises:
            InputError: as :func:`glottis.audio.vocoder.analyse`.
        """
        return synthesize(self.parameters(analyse(samples, self.vocoder)), self.vocoder, seed)

    def parameters(self, spoken: Parameters) -> Parameters:
        """The source's parameters as the target's."""
        track = _trajectory(self.density, _statics(spoken))
        spread = np.maximum(track.var(0), 1e-10)
        gain = np.sqrt(self.global_variance / spread).clip(1.0, 2.0)
        track = track.mean(0) + (track - track.mean(0)) * gain
        pitch = spoken.pitch.astype(np.float64)
        voiced = pitch > 0
        (mean, deviation), (to_mean, to_deviation) = self.source_pitch, self.target_pitch
        logs = (np.log(np.where(voiced, pitch, 1.0)) - mean) * (to_deviation / deviation) + to_mean
        hertz = np.exp(logs).clip(self.vocoder.low, self.vocoder.high)
        cepstrum = np.concatenate([spoken.cepstrum[:1], track.T.astype(np.float32)])
        return Parameters(
            np.where(voiced, hertz, 0).astype(np.float32), cepstrum, spoken.aperiodicity
        )

    def save(self, path: Path) -> None:
        """Write one ``.npz``, a few hundred kilobytes, read back by :meth:`load`."""
        arrays: dict[str, Any] = {
            f"density.{field.name}": getattr(self.density, field.name)
            for field in fields(self.density)
        }
        arrays |= {f"vocoder.{key}": value for key, value in asdict(self.vocoder).items()}
        for name in ("source_pitch", "target_pitch", "global_variance"):
            arrays[name] = getattr(self, name)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, format=FORMAT, **arrays)

    @classmethod
    def load(cls, path: Path) -> Conversion:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is missing, or is not a conversion.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                values = {name: stored[name] for name in stored.files}
            if int(values["format"]) != FORMAT:
                raise InputError(f"{path} was written by another version of glottis; train again")
            density = JointDensity(*(values[f"density.{f.name}"] for f in fields(JointDensity)))
            settings = {
                field.name: values[f"vocoder.{field.name}"].item()
                for field in fields(VocoderConfig)
            }
            vocoder = build(VocoderConfig, settings, f"{path}: vocoder")
            source, target = (
                (float(values[name][0]), float(values[name][1]))
                for name in ("source_pitch", "target_pitch")
            )
            return cls(vocoder, density, source, target, values["global_variance"])
        except FileNotFoundError:
            raise InputError(f"there is no conversion at {path}") from None
        except (OSError, ValueError, KeyError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} is not a conversion ({error}); train it again") from error


def train(
    pairs: Sequence[tuple[Array, Array]],
    vocoder: VocoderConfig,
    config: ConversionConfig | None = None,
    *,
    seed: int = 0,
) -> Conversion:
    """Learn a conversion from recordings of the same sentences by both speakers.

    Args:
        pairs: ``(source, target)``, each ``[samples]`` at the vocoder's rate.
        vocoder: the parameters.
        config: the defaults when left out.
        seed: of the mixture's beginning.

    Raises:
        InputError: no pairs, too few frames for the mixtures, or a speaker without a voice.
    """
    config = config or ConversionConfig()
    if not pairs:
        raise InputError("no pairs of recordings were given; conversion learns from parallel ones")
    analysed = [tuple(analyse(side, vocoder) for side in pair) for pair in pairs]
    sides = [[_statics(each[side]) for each in analysed] for side in (0, 1)]
    loud = [[_loud(each[side], config.silence) for each in analysed] for side in (0, 1)]
    features = [[_with_slopes(track) for track in side] for side in sides]
    nearest = sides[0]
    density = None
    for _ in range(config.alignments):
        chosen: tuple[list[Float], list[Float]] = ([], [])
        for number, (near, target) in enumerate(zip(nearest, sides[1], strict=True)):
            places = [np.flatnonzero(loud[side][number]) for side in (0, 1)]
            first, second = warp(near[places[0]].T, target[places[1]].T)
            chosen[0].append(features[0][number][places[0][first]])
            chosen[1].append(features[1][number][places[1][second]])
        x, y = np.concatenate(chosen[0]), np.concatenate(chosen[1])
        density, _ = fit(x, y, config.mixtures, rounds=config.rounds, seed=seed)
        nearest = [_trajectory(density, track) for track in sides[0]]
    assert density is not None
    variances = [track[inside].var(0) for track, inside in zip(sides[1], loud[1], strict=True)]
    return Conversion(
        vocoder,
        density,
        _pitch([each[0] for each in analysed], "source"),
        _pitch([each[1] for each in analysed], "target"),
        np.mean(variances, axis=0),
    )


def _statics(spoken: Parameters) -> Float:
    """Cepstra without the level: ``[frames, order]``."""
    return spoken.cepstrum[1:].T.astype(np.float64)


def _with_slopes(track: Float) -> Float:
    """``[frames, order] -> [frames, 2 * order]``, ends held."""
    padded = np.pad(track, ((1, 1), (0, 0)), mode="edge")
    return np.concatenate([track, 0.5 * (padded[2:] - padded[:-2])], axis=1)


def _trajectory(density: JointDensity, track: Float) -> Float:
    """The most likely target for a source, ``[frames, order]`` both."""
    mean, variance = density.conditional(_with_slopes(track))
    made: Float = mlpg(mean, variance, CONVERTED)
    return made


def _loud(spoken: Parameters, silence: float) -> NDArray[np.bool_]:
    """Frames that are speech; all when an utterance has no others."""
    level = 20 / np.log(10) * spoken.cepstrum[0]
    loud: NDArray[np.bool_] = level > np.percentile(level, 95) - silence
    return loud


def _pitch(spoken: Sequence[Parameters], whose: str) -> tuple[float, float]:
    logs = np.log(np.concatenate([each.pitch[each.pitch > 0] for each in spoken]).astype(float))
    if len(logs) < 2:
        raise InputError(f"the {whose} speaker's recordings hold no voice; are they speech?")
    return float(logs.mean()), max(float(logs.std()), 1e-3)
