"""Speaking from a distribution over vocoder parameters: trajectory, global variance, synthesis.

What a graph of :mod:`glottis.models.spss` gives becomes sound here, in numpy alone: the most likely
trajectory, each coefficient stretched towards the variance that the speaker's recordings have
(Silén et al. 2012), the formants sharpened (Yoshimura et al. 2005), and the vocoder. Frames are
spoken as they come, a bounded number of frames behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glottis.audio.mel_cepstrum import postfiltered
from glottis.audio.vocoder import TIMBRES, Parameters, VocoderConfig, stream
from glottis.errors import InputError
from glottis.kernels import WINDOWS, TrajectoryStream
from glottis.voice.checks import checked

Array = NDArray[np.float32]

LOOKAHEAD = 30
"""Frames (150 ms) after which what comes later no longer moves a trajectory."""
BLOCK = 40
"""Frames that are solved at a time."""
PITCHES = (0.5, 2.0)
"""Lowest and highest factor on the pitch."""
_GAINS = (1.0, 2.0)  # a coefficient is never flattened, and noise not blown up
_COARSE = 256  # a transform that is long enough to say how loud an envelope is


@dataclass(frozen=True)
class ParameterVoice:
    """How the parameters of a voice are spoken.

    Attributes:
        config: the vocoder's settings.
        global_variance: ``[speakers, static]``, the variance of each parameter within an utterance
            of the speaker's recordings.
        spread: how far trajectories are stretched to it, from 0 (not) to 1.
        postfilter: how much formants are sharpened, from 0 (not) to 1.
    """

    config: VocoderConfig
    global_variance: NDArray[np.float64]
    spread: float = 1.0
    postfilter: float = 0.0

    @property
    def static(self) -> int:
        """Parameters of a frame: log pitch, mel-cepstrum, aperiodicity."""
        return 2 + self.config.order + self.config.bands

    @classmethod
    def read(cls, values: Any, sample_rate: int, speakers: int, path: Path) -> ParameterVoice:
        """From ``glottis.parameters`` of a voice's JSON at ``path``.

        Raises:
            InputError: a value is missing or impossible; names the file and the key.
        """
        where = f"{path}: glottis.parameters"
        try:
            config = VocoderConfig(
                sample_rate,
                order=int(values["order"]),
                low=float(values["low"]),
                high=float(values["high"]),
            )
            variance = np.array(values["global_variance"], dtype=np.float64)
            shares = [float(values[name]) for name in ("spread", "postfilter")]
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{where}: {what}; give the JSON that belongs to this graph") from None
        voice = cls(config, variance, *shares)
        if variance.shape != (speakers, voice.static) or not (variance > 0).all():
            raise InputError(
                f"{where}.global_variance: must be {voice.static} positive numbers for each of "
                f"{speakers} speakers; give the JSON that belongs to this graph"
            )
        if not all(0 <= share <= 1 for share in shares):
            raise InputError(f"{where}: spread and postfilter must be from 0 to 1, not {shares}")
        return voice

    def check(self, pitch: float, timbre: float) -> None:
        """Raises InputError for a factor out of range."""
        for name, value, (low, high) in (("pitch", pitch, PITCHES), ("timbre", timbre, TIMBRES)):
            checked(name, value, low, high)

    def speak(
        self,
        mean: Array,
        variance: Array,
        voicing: Array,
        *,
        speaker: int = 0,
        seed: int = 0,
        pitch: float = 1.0,
        timbre: float = 1.0,
    ) -> Array:
        """As :meth:`stream`, in one piece, and looking ahead to the end."""
        pieces = self.parameters(mean, variance, voicing, speaker, pitch=pitch, lookahead=None)
        made = stream(pieces, self.config, seed, timbre=timbre)
        return np.concatenate([*made, np.zeros(0, np.float32)])

    def stream(
        self,
        mean: Array,
        variance: Array,
        voicing: Array,
        *,
        speaker: int = 0,
        seed: int = 0,
        pitch: float = 1.0,
        timbre: float = 1.0,
        lookahead: int = LOOKAHEAD,
    ) -> Iterator[Array]:
        """Speak frame by frame.

        Args:
            mean, variance: ``[frames, windows * static]`` in the parameters' own units.
            voicing: log odds ``[frames]``.
            speaker: whose variance; a row of ``global_variance``.
            seed: of the noise.
            pitch: factor on the pitch, 0.5 to 2.
            timbre: factor on the formants, 0.7 to 1.4.
            lookahead: frames of ``mean`` that are waited for.

        Raises:
            InputError: a factor out of range, or shapes that do not fit.
        """
        pieces = self.parameters(mean, variance, voicing, speaker, pitch=pitch, lookahead=lookahead)
        yield from stream(pieces, self.config, seed, timbre=timbre)

    def parameters(
        self,
        mean: Array,
        variance: Array,
        voicing: Array,
        speaker: int = 0,
        *,
        pitch: float = 1.0,
        lookahead: int | None = None,
    ) -> Iterator[Parameters]:
        """What :meth:`stream` gives to the vocoder; by default all of ``mean`` is waited for."""
        if voicing.shape != mean.shape[:1]:
            raise InputError(f"voicing must be [{len(mean)}] frames, not {list(voicing.shape)}")
        solver = TrajectoryStream(self.static, WINDOWS, lookahead)
        centre, gain = self._stretch(mean, speaker)
        done = 0
        block = BLOCK if lookahead is not None else len(mean) + 1
        for start in range(0, len(mean) + 1, block):
            if start + block > len(mean):
                last = solver.push(mean[start:], variance[start:])
                tracks = np.concatenate([last, solver.finish()])
            else:
                tracks = solver.push(mean[start : start + block], variance[start : start + block])
            tracks = centre + (tracks - centre) * gain
            voiced = voicing[done : done + len(tracks)] > 0
            done += len(tracks)
            yield self._of(tracks, voiced, pitch)

    def _stretch(
        self, mean: Array, speaker: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What each parameter is stretched around and by: ``[static]`` both.

        Of the static means, which are there before the trajectory is; it hardly differs in spread.
        """
        static = mean[:, : self.static].astype(np.float64)
        if len(static) < 2:
            return np.zeros(self.static), np.ones(self.static)
        spread = np.maximum(static.var(0), 1e-8)
        gain = np.sqrt(self.global_variance[speaker] / spread).clip(*_GAINS)
        return static.mean(0), gain**self.spread

    def _of(
        self, tracks: NDArray[np.float64], voiced: NDArray[np.bool_], pitch: float
    ) -> Parameters:
        config = self.config
        hertz = np.exp(tracks[:, 0]).clip(config.low, config.high) * pitch
        hertz = np.minimum(hertz, config.sample_rate / 4)
        split = 2 + config.order
        cepstrum = tracks[:, 1:split]
        if self.postfilter:
            cepstrum = postfiltered(cepstrum, self.postfilter, config.alpha, _COARSE)
        return Parameters(
            np.where(voiced, hertz, 0).astype(np.float32),
            np.ascontiguousarray(cepstrum.T, dtype=np.float32),
            np.ascontiguousarray(tracks[:, split:].T.clip(-40.0, 0.0), dtype=np.float32),
        )
