"""Voice conversion: frames of one speaker as another's, and the most likely trajectory.

Toda, Black & Tokuda 2007, "Voice conversion based on maximum-likelihood estimation of spectral
parameter trajectory": frames of two speakers that say the same (:mod:`glottis.corpus.pairing`)
teach what a mel-cepstrum with its slope means in the voice of the other, by a mixture of Gaussians
over pairs or by a small network that sees the frames around; the converted utterance is the most
likely trajectory, stretched to the variance that the target's recordings have (their section IV, in
the closed form of Silén et al. 2012). The pitch is carried over by mean and spread of its
logarithm (median and quartiles, which creak and wrong octaves hardly move); level and aperiodicity
stay the source's. Converting takes neither torch nor a compiler.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glottis.audio.vocoder import Parameters, VocoderConfig, analyse, synthesize
from glottis.config import build
from glottis.corpus.pairing import Pairs, Spoken, by_phones, by_words
from glottis.errors import InputError
from glottis.files import replacing
from glottis.kernels import WINDOWS, TrajectoryStream, mlpg
from glottis.likelihood import conditional_network, joint_density
from glottis.likelihood.conditional_network import ConditionalNetwork
from glottis.likelihood.joint_density import JointDensity

log = logging.getLogger(__name__)

Array = NDArray[np.float32]
Float = NDArray[np.float64]
Law = JointDensity | ConditionalNetwork
LAWS: dict[str, type[JointDensity] | type[ConditionalNetwork]] = {
    "mixture": JointDensity,
    "network": ConditionalNetwork,
}

CONVERTED = WINDOWS[:2]
"""Statics and slopes, as in the paper."""
FILE = "conversion.npz"
"""Its name in a run folder."""
FORMAT = 2
_QUARTILES = 1.349  # between the quartiles of a Gaussian, in standard deviations
_SILENCE = 40.0  # frames so many dB below an utterance's loud ones take no part


@dataclass(frozen=True)
class ConversionConfig:
    """How conversions are learnt.

    Attributes:
        method: ``mixture`` of Gaussians, which does both directions at once, or ``network``.
        pairs: from recordings of the same ``words``, or by ``phones``; ``auto`` takes words where
            the two speakers have any in common.
        mixtures, rounds: Gaussians, and rounds of training them.
        alignments: how often frames are paired, each time with what is converted so far.
        channels, layers, steps: of the network, which is trained on the last pairs.
        minutes: of each speaker's recordings, chosen by chance.
        seed: of all chance.
    """

    method: Literal["mixture", "network"] = "mixture"
    pairs: Literal["auto", "words", "phones"] = "auto"
    mixtures: int = 32
    rounds: int = 15
    alignments: int = 3
    channels: int = 96
    layers: int = 4
    steps: int = 600
    minutes: float = 15.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("mixtures", "rounds", "alignments", "channels", "layers", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.minutes > 0:
            raise InputError(f"minutes must be above 0, not {self.minutes}")


@dataclass(frozen=True)
class Speaker:
    """``pitch``: middle and spread of log Hz, for a Gaussian its mean and standard deviation;
    ``global_variance`` ``[order]`` of cepstra
    within an utterance."""

    pitch: tuple[float, float]
    global_variance: Float


@dataclass(frozen=True)
class Conversion:
    """From one speaker's voice to another's.

    ``laws`` say for each pair of names what cepstra (without level) and slopes of the first mean in
    the voice of the second; a mixture is used both ways.
    """

    vocoder: VocoderConfig
    speakers: Mapping[str, Speaker]
    laws: Mapping[tuple[str, str], Law]

    def convert(self, samples: Array, source: str, target: str, *, seed: int = 0) -> Array:
        """``[samples]`` of ``source`` -> float32 in ``target``'s voice, whole frames.

        Raises:
            InputError: a speaker that is not known, or as :func:`glottis.audio.vocoder.analyse`.
        """
        made = self.parameters(analyse(samples, self.vocoder), source, target)
        return synthesize(made, self.vocoder, seed)

    def parameters(self, spoken: Parameters, source: str, target: str) -> Parameters:
        """The parameters of ``source`` as those of ``target``; to itself nothing changes."""
        for name in (source, target):
            if name not in self.speakers:
                known = ", ".join(self.speakers)
                raise InputError(f"this conversion knows no speaker {name!r}. Speakers: {known}")
        if source == target:
            return spoken
        before, after = self.speakers[source], self.speakers[target]
        track = _trajectory(self.law(source, target), _statics(spoken))
        loud = track[_loud(spoken)]
        gain = np.sqrt(after.global_variance / np.maximum(loud.var(0), 1e-10)).clip(1.0, 2.0)
        track = loud.mean(0) + (track - loud.mean(0)) * gain
        pitch = spoken.pitch.astype(np.float64)
        voiced = pitch > 0
        logs = (np.log(np.where(voiced, pitch, 1.0)) - before.pitch[0]) / before.pitch[1]
        hertz = np.exp(logs * after.pitch[1] + after.pitch[0])
        hertz = hertz.clip(self.vocoder.low, self.vocoder.high)
        cepstrum = np.concatenate([spoken.cepstrum[:1], track.T.astype(np.float32)])
        return Parameters(
            np.where(voiced, hertz, 0).astype(np.float32), cepstrum, spoken.aperiodicity
        )

    def law(self, source: str, target: str) -> Law:
        """What ``source`` says of ``target``.

        Raises:
            InputError: it was not learnt.
        """
        if (source, target) in self.laws:
            return self.laws[source, target]
        other = self.laws.get((target, source))
        if not isinstance(other, JointDensity):
            raise InputError(f"this conversion has not learnt {source} to {target}")
        return other.turned()

    def save(self, path: Path) -> None:
        """Write one ``.npz``, up to a few megabytes, read back by :meth:`load`."""
        arrays: dict[str, Any] = {
            f"vocoder.{key}": value for key, value in asdict(self.vocoder).items()
        }
        arrays["speakers"] = np.array(list(self.speakers))
        arrays["pitch"] = np.array([each.pitch for each in self.speakers.values()])
        arrays["global_variance"] = [each.global_variance for each in self.speakers.values()]
        names = {kind: name for name, kind in LAWS.items()}
        arrays["laws"] = np.array([[*pair, names[type(law)]] for pair, law in self.laws.items()])
        for number, law in enumerate(self.laws.values()):
            for field in fields(law):
                arrays[f"law.{number}.{field.name}"] = getattr(law, field.name)
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
            settings = {
                field.name: values[f"vocoder.{field.name}"].item()
                for field in fields(VocoderConfig)
            }
            vocoder = build(VocoderConfig, settings, f"{path}: vocoder")
            rows = zip(values["pitch"], values["global_variance"], strict=True)
            speakers = {
                str(name): Speaker((float(pitch[0]), float(pitch[1])), variance)
                for name, (pitch, variance) in zip(values["speakers"], rows, strict=True)
            }
            laws: dict[tuple[str, str], Law] = {}
            for number, (source, target, kind) in enumerate(values["laws"]):
                law = LAWS[str(kind)]
                arrays = [values[f"law.{number}.{field.name}"] for field in fields(law)]
                laws[str(source), str(target)] = law(*arrays)
            return cls(vocoder, speakers, laws)
        except FileNotFoundError:
            raise InputError(f"there is no conversion at {path}") from None
        except (OSError, ValueError, KeyError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} is not a conversion ({error}); train it again") from error


def train(
    speech: Mapping[str, Sequence[Spoken]],
    vocoder: VocoderConfig,
    config: ConversionConfig | None = None,
) -> Conversion:
    """Learn conversions between all pairs of speakers.

    Args:
        speech: each speaker's utterances; ``minutes`` of the settings is the caller's affair.
        vocoder: of their parameters.
        config: the defaults when left out.

    Raises:
        InputError: one speaker alone, a speaker without a voice, two who share neither words nor
            phones, or too few frames for the mixtures.
    """
    config = config or ConversionConfig()
    if len(speech) < 2:
        raise InputError("a conversion needs the recordings of at least two speakers")
    speakers = {name: _speaker(spoken, name) for name, spoken in speech.items()}
    laws: dict[tuple[str, str], Law] = {}
    ways = itertools.permutations if config.method == "network" else itertools.combinations
    for source, target in ways(speech, 2):
        log.info("learning %s to %s", source, target)
        laws[source, target] = _learn(speech[source], speech[target], config, (source, target))
    return Conversion(vocoder, speakers, laws)


def _learn(
    sources: Sequence[Spoken],
    targets: Sequence[Spoken],
    config: ConversionConfig,
    names: tuple[str, str],
) -> Law:
    sides = [[_statics(each.parameters) for each in side] for side in (sources, targets)]
    loud = [[_loud(each.parameters) for each in side] for side in (sources, targets)]
    features = [[_with_slopes(track) for track in side] for side in sides]
    near = _matched(sides, loud)
    words = {each.words for each in targets if each.words}
    parallel = any(each.words in words for each in sources)
    if config.pairs == "phones" or (config.pairs == "auto" and not parallel):
        what = "phones"
    else:
        what = "words"
    density = None
    for alignment in range(config.alignments):
        if what == "words":
            pairs = by_words(sources, targets, near, sides[1], (loud[0], loud[1]))
        else:
            pairs = by_phones(sources, targets, near, sides[1], config.seed + alignment)
        if not pairs:
            raise InputError(f"{names[0]} and {names[1]} have no {what} in common to learn from")
        told = [_told(features[1], each) for each in pairs]
        x = np.concatenate([features[0][each.source][each.frames] for each in pairs])
        density, history = joint_density.fit(
            x, np.concatenate(told), config.mixtures, rounds=config.rounds, seed=config.seed
        )
        log.info("%d pairs of frames by %s, %.2f nats each", len(x), what, history[-1])
        near = [mlpg(*density.conditional(each), CONVERTED) for each in features[0]]
    assert density is not None
    if config.method == "mixture":
        return density
    found, losses = conditional_network.fit(
        [features[0][each.source] for each in pairs],
        [each.frames for each in pairs],
        told,
        channels=config.channels,
        layers=config.layers,
        steps=config.steps,
        seed=config.seed,
    )
    log.info("the network: %.3f nats a feature", np.mean(losses[-50:]))
    return found


def _matched(sides: Sequence[Sequence[Float]], loud: Sequence[Sequence[Any]]) -> list[Float]:
    """The sources' tracks with mean and spread of the targets'."""
    heard = [
        np.concatenate([track[inside] for track, inside in zip(*side, strict=True)])
        for side in zip(sides, loud, strict=True)
    ]
    gain = heard[1].std(0) / np.maximum(heard[0].std(0), 1e-10)
    return [(track - heard[0].mean(0)) * gain + heard[1].mean(0) for track in sides[0]]


def _told(features: Sequence[Float], pairs: Pairs) -> Float:
    """What the target says at the pairs: ``[pairs, 2 * order]``."""
    told = np.empty((len(pairs.others), features[0].shape[1]))
    for other in np.unique(pairs.others):
        here = pairs.others == other
        told[here] = features[other][pairs.places[here]]
    return told


def _statics(spoken: Parameters) -> Float:
    """Cepstra without the level: ``[frames, order]``."""
    return spoken.cepstrum[1:].T.astype(np.float64)


def _with_slopes(track: Float) -> Float:
    """``[frames, order] -> [frames, 2 * order]``, ends held."""
    padded = np.pad(track, ((1, 1), (0, 0)), mode="edge")
    return np.concatenate([track, 0.5 * (padded[2:] - padded[:-2])], axis=1)


def _trajectory(law: Law, track: Float) -> Float:
    """The most likely target for a source, ``[frames, order]`` both; as ``mlpg``, uncompiled."""
    solver = TrajectoryStream(track.shape[1], CONVERTED, None)
    first = solver.push(*law.conditional(_with_slopes(track)))
    return np.concatenate([first, solver.finish()])


def _loud(spoken: Parameters) -> NDArray[np.bool_]:
    """Frames that are speech; all when an utterance has no others."""
    level = 20 / np.log(10) * spoken.cepstrum[0]
    loud: NDArray[np.bool_] = level > np.percentile(level, 95) - _SILENCE
    return loud


def _speaker(spoken: Sequence[Spoken], name: str) -> Speaker:
    if not spoken:
        raise InputError(f"there are no recordings of the speaker {name}")
    pitches = [each.parameters.pitch for each in spoken]
    logs = np.log(np.concatenate([each[each > 0] for each in pitches]).astype(float))
    if len(logs) < 2:
        raise InputError(f"the recordings of the speaker {name} hold no voice; are they speech?")
    variances = [_statics(each.parameters)[_loud(each.parameters)].var(0) for each in spoken]
    low, middle, high = (float(value) for value in np.percentile(logs, (25, 50, 75)))
    spread = max((high - low) / _QUARTILES, 1e-3)
    return Speaker((middle, spread), np.mean(variances, axis=0))
