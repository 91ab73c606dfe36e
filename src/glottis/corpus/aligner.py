"""A hidden Markov model that finds where phones begin, trained on the speech that it aligns.

Each phone is three states, each state a Gaussian over what a frame of speech looks like; between
words a pause may stand. Training is Viterbi training (Rabiner 1989, section V): find the best path
of every utterance, estimate the Gaussians anew from the frames they got, and again. It begins with
equal durations, over mel cepstra and their slopes. Once the paths have settled, the features become
the linear discriminants of the states over a window of frames (Haeb-Umbach & Ney 1992), and the
outer states of a phone get means of their own for each neighbour, which lean on those of the phone
where a neighbour is rare (maximum a posteriori, Gauvain & Lee 1994).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glottis.audio.mel import MelConfig, log_mel
from glottis.errors import InputError
from glottis.kernels import mas_with_score

Array = NDArray[np.float32]
Float = NDArray[np.float64]
Index = NDArray[np.int64]

RATE = 16000
STATES = 3
"""States of a phone, each of at least one frame."""
PAUSE = "sil"
_LEAN = 20.0  # frames that the spread of all speech counts for in a state's own


@dataclass(frozen=True)
class AlignerConfig:
    """How the aligner sees and learns.

    Attributes:
        hop: seconds between frames; boundaries lie on this grid.
        window: seconds that a frame looks at.
        mels, cepstra: bands of the spectrum, and coefficients kept, the level among them.
        context, stride: frames on either side that the discriminants see, so far apart.
        discriminants: how many of them.
        rounds: passes over cepstra, over discriminants, and with neighbours.
        prior: frames that the mean of a phone counts for in the mean beside a neighbour.
    """

    hop: float = 0.005
    window: float = 0.016
    mels: int = 32
    cepstra: int = 14
    context: int = 5
    stride: int = 2
    discriminants: int = 40
    rounds: tuple[int, int, int] = (12, 4, 3)
    prior: float = 40.0

    def __post_init__(self) -> None:
        if not 0.001 <= self.hop <= self.window <= 0.1:
            raise InputError(
                f"hop and window must rise from 0.001 to 0.1 s, not {self.hop} and {self.window}"
            )
        if not 1 <= self.cepstra <= self.mels:
            raise InputError(f"cepstra must be 1 to {self.mels} (mels), not {self.cepstra}")
        if min(self.context, self.stride, self.discriminants, *self.rounds) < 1:
            raise InputError("context, stride, discriminants and each of rounds must be at least 1")

    @property
    def mel(self) -> MelConfig:
        """The spectrogram under the cepstra, at :data:`RATE`."""
        hop, size = round(self.hop * RATE), round(self.window * RATE)
        return MelConfig(RATE, size + (size - hop) % 2, hop, self.mels, 60.0, 7600.0)


def mel_cepstra(samples: Array, config: AlignerConfig) -> Array:
    """``[samples]`` at :data:`RATE` -> float32 ``[frames, cepstra]``.

    The first is the level, relative to the utterance's loud frames.
    """
    spectrum = log_mel(samples, config.mel).astype(np.float64)
    order = np.arange(config.cepstra)[:, None]
    basis = np.cos(np.pi * order * (np.arange(config.mels) + 0.5) / config.mels)
    found = (basis @ spectrum).T * (2.0 / config.mels)
    found[:, 0] -= np.percentile(found[:, 0], 90)
    return found.astype(np.float32)


@dataclass(frozen=True)
class Speech:
    """An utterance for the aligner: ``cepstra`` ``[frames, cepstra]`` of :func:`mel_cepstra`, the
    ``phones`` that are said, and the positions in ``phones`` where ``words`` begin."""

    cepstra: Array
    phones: tuple[str, ...]
    words: tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """Where an utterance's phones are: ``starts`` and ``ends`` int64 ``[phones]`` in frames, and
    ``score``, the mean log-likelihood of a frame in nats.

    Between one phone's end and the next one's start lies a pause.
    """

    starts: Index
    ends: Index
    score: float


@dataclass(frozen=True)
class _Tokens:
    """The states of an utterance in order, pauses among them, all ``[tokens]``.

    ``label``: the number of the phone; ``position``: which of its states; ``beside``: the number
    of the neighbour that an outer state touches, -1 elsewhere; ``pause``: may be left out.
    """

    label: Index
    position: Index
    beside: Index
    pause: NDArray[np.bool_]


class Aligner:
    """Gaussians of states, and the search with them; made by :func:`train`."""

    def __init__(self, config: AlignerConfig, phones: Sequence[str]) -> None:
        self.config = config
        self.labels = (PAUSE, *sorted(set(phones) - {PAUSE}))
        self._number = {label: number for number, label in enumerate(self.labels)}
        self._offset: Float = np.zeros(0)
        self._scale: Float = np.zeros(0)
        self._basis: Float | None = None
        self._mean: Float = np.zeros((0, 0))
        self._precision: Float = np.zeros((0, 0))
        self._beside: dict[int, Float] = {}  # means beside a neighbour, by the number of _keys

    def align(self, speech: Speech) -> Found:
        """The most likely path of an utterance.

        Raises:
            InputError: a phone that training did not have, no phone, or fewer frames than states.
        """
        tokens = self._tokens(speech)
        frames, least = len(speech.cepstra), STATES * len(speech.phones)
        if frames < least:
            raise InputError(
                f"{len(speech.phones)} phones take at least {least * self.config.hop:.2f} s, and "
                f"the recording has {frames * self.config.hop:.2f} s; does the transcript fit it?"
            )
        durations, score = self._search(self._observed(speech.cepstra), tokens)
        ends = np.cumsum(durations)
        first = ~tokens.pause & (tokens.position == 0)
        last = ~tokens.pause & (tokens.position == STATES - 1)
        return Found((ends - durations)[first], ends[last], score / frames)

    def _tokens(self, speech: Speech) -> _Tokens:
        unknown = sorted(set(speech.phones) - set(self._number))
        if unknown or not speech.phones:
            raise InputError(
                f"the aligner has not heard {' '.join(unknown) or 'anything'} in training; "
                "train it on more of the corpus"
            )
        spoken = [0, *(self._number[phone] for phone in speech.phones), 0]
        begins = {0, *speech.words}
        rows: list[tuple[int, int, int]] = []
        for place, label in enumerate(spoken[1:-1]):
            if place in begins:
                rows.append((0, 0, -1))
            for state in range(STATES):
                left, right = state == 0, state == STATES - 1
                beside = spoken[place] if left else spoken[place + 2] if right else -1
                rows.append((label, state, beside))
        rows.append((0, 0, -1))
        label, position, beside = np.array(rows, dtype=np.int64).T
        return _Tokens(label, position, beside, label == 0)

    def _states(self, tokens: _Tokens) -> Index:
        """The number of each token's state, neighbours aside."""
        return tokens.label * STATES + tokens.position

    def _keys(self, tokens: _Tokens) -> Index:
        """One number for each token's state and neighbour; divisible by labels + 1 without one."""
        return self._states(tokens) * (len(self.labels) + 1) + tokens.beside + 1

    def _observed(self, cepstra: Array) -> Array:
        """What the Gaussians are over: float32 ``[frames, dimensions]``."""
        if self._basis is None:
            return ((with_slopes(cepstra) - self._offset) * self._scale).astype(np.float32)
        seen = spliced(cepstra, self.config.context, self.config.stride)
        return (((seen - self._offset) * self._scale) @ self._basis).astype(np.float32)

    def _search(self, observed: Array, tokens: _Tokens) -> tuple[Index, float]:
        """Durations of the tokens, and the log-likelihood of the best path."""
        mean, precision = self._gaussians(tokens)
        half = 0.5 * precision
        constant = 0.5 * np.log(precision / (2 * np.pi)).sum(1) - (half * mean**2).sum(1)
        frames = observed.astype(np.float64)
        cells = frames @ (precision * mean).T - frames**2 @ half.T + constant
        durations, score = mas_with_score(
            cells[None].transpose(0, 2, 1), optional=tokens.pause[None]
        )
        return durations[0], float(score[0])

    def _gaussians(self, tokens: _Tokens) -> tuple[Float, Float]:
        """Means and precisions of the tokens, ``[tokens, dimensions]``."""
        states = self._states(tokens)
        mean = self._mean[states]
        for token, key in enumerate(self._keys(tokens)):
            special = self._beside.get(int(key))
            if special is not None:
                mean[token] = special
        return mean, self._precision[states]

    def _flat_start(self, speech: Speech, tokens: _Tokens) -> Index:
        """Durations to begin with: quiet ends are pauses, all states between equally long."""
        level = speech.cepstra[:, 0]
        low, high = np.percentile(level, (5, 90))
        loud = np.flatnonzero(level >= low + 0.4 * (high - low))
        states = int((~tokens.pause).sum())
        begin, end = int(loud[0]), int(loud[-1]) + 1
        if end - begin < states:
            begin, end = 0, len(level)
        durations = np.zeros(len(tokens.label), dtype=np.int64)
        durations[~tokens.pause] = np.diff(np.rint(np.linspace(begin, end, states + 1)))
        durations[0], durations[-1] = begin, len(level) - end
        return durations

    def _estimate(
        self,
        observed: Sequence[Array],
        tokens: Sequence[_Tokens],
        durations: Sequence[Index],
        beside: bool,
    ) -> None:
        """Gaussians from the frames that each state got."""
        states = [self._states(item) for item in tokens]
        count, total, square = _sums(observed, states, durations, len(self.labels) * STATES)
        whole = count.sum()
        self._mean = (total + total.sum(0) / whole) / (count + 1)[:, None]
        within = square - 2 * self._mean * total + count[:, None] * self._mean**2
        common = within.sum(0) / whole + 1e-6
        self._precision = (count + _LEAN)[:, None] / (within + _LEAN * common)
        self._beside = {}
        if not beside:
            return
        keys, rows = np.unique(np.concatenate([self._keys(t) for t in tokens]), return_inverse=True)
        places = np.split(rows, np.cumsum([len(item.label) for item in tokens])[:-1])
        count, total, _ = _sums(observed, places, durations, len(keys))
        prior, neighbours = self.config.prior, len(self.labels) + 1
        for row in np.flatnonzero(keys % neighbours):
            own = self._mean[keys[row] // neighbours]
            self._beside[int(keys[row])] = (total[row] + prior * own) / (count[row] + prior)

    def _discriminate(
        self, speech: Sequence[Speech], tokens: Sequence[_Tokens], durations: Sequence[Index]
    ) -> None:
        """Find the linear discriminants of the states over windows of frames."""
        config = self.config
        width = config.cepstra * (2 * config.context + 1)
        count = np.zeros(len(self.labels) * STATES)
        total, square = np.zeros((len(count), width)), np.zeros((width, width))
        for item, token, lasting in zip(speech, tokens, durations, strict=True):
            seen = spliced(item.cepstra, config.context, config.stride)
            found = _sums([seen], [self._states(token)], [lasting], len(count))
            count, total = count + found[0], total + found[1]
            square += seen.T @ seen
        whole = count.sum()
        mean = total.sum(0) / whole
        between = (total / np.maximum(count, 1)[:, None]).T @ total / whole
        within = square / whole - between
        between -= np.outer(mean, mean)
        scale = 1 / np.sqrt(np.maximum(np.diag(within), 0) + 1e-6)
        # Neighbouring frames say almost the same: without the ridge the rest is inflated noise.
        values, vectors = np.linalg.eigh(within * np.outer(scale, scale) + 1e-4 * np.eye(width))
        white = vectors / np.sqrt(values)
        _, turned = np.linalg.eigh(white.T @ (between * np.outer(scale, scale)) @ white)
        self._offset, self._scale = mean, scale
        self._basis = (white @ turned)[:, ::-1][:, : config.discriminants]


def train(
    speech: Sequence[Speech],
    config: AlignerConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Aligner:
    """Train an aligner on utterances, nothing else; ``progress(round, rounds)`` after each pass.

    Utterances with fewer frames than states take no part.

    Raises:
        InputError: no utterance is left.
    """
    config = config or AlignerConfig()
    speech = [item for item in speech if len(item.cepstra) >= STATES * len(item.phones) > 0]
    if not speech:
        raise InputError("no recording is long enough for its transcript; do the two fit together?")
    aligner = Aligner(config, [label for item in speech for label in item.phones])
    tokens = [aligner._tokens(item) for item in speech]
    durations = [aligner._flat_start(*pair) for pair in zip(speech, tokens, strict=True)]
    seen = [with_slopes(item.cepstra) for item in speech]
    frames = sum(len(item) for item in seen)
    aligner._offset = np.sum([item.sum(0, dtype=np.float64) for item in seen], 0) / frames
    spread = np.sum([((item - aligner._offset) ** 2).sum(0) for item in seen], 0) / frames
    aligner._scale = 1 / np.sqrt(spread + 1e-6)
    del seen
    observed = [aligner._observed(item.cepstra) for item in speech]
    plain, discriminating, _ = config.rounds
    for number in range(total := sum(config.rounds)):
        if number in (plain, plain + discriminating):
            aligner._discriminate(speech, tokens, durations)
            observed = [aligner._observed(item.cepstra) for item in speech]
        aligner._estimate(observed, tokens, durations, number > plain + discriminating)
        durations = [aligner._search(*pair)[0] for pair in zip(observed, tokens, strict=True)]
        if progress is not None:
            progress(number + 1, total)
    aligner._estimate(observed, tokens, durations, True)
    return aligner


def with_slopes(cepstra: Array) -> Array:
    """Cepstra, their slopes and the slopes of those: ``[frames, 3 * cepstra]``."""
    slope = _slope(cepstra)
    return np.concatenate([cepstra, slope, _slope(slope)], axis=1)


def _slope(frames: Array) -> Array:
    """The least-squares slope over five frames, ends held."""
    padded = np.pad(frames, ((2, 2), (0, 0)), mode="edge")
    return np.float32(0.1) * (2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3])


def spliced(cepstra: Array, context: int, stride: int) -> Array:
    """Each frame with ``context`` others on either side, ``stride`` apart, ends held:
    ``[frames, (2 * context + 1) * cepstra]``."""
    reach, count = context * stride, len(cepstra)
    padded = np.pad(cepstra, ((reach, reach), (0, 0)), mode="edge")
    return np.concatenate([padded[at : at + count] for at in range(0, 2 * reach + 1, stride)], 1)


def _sums(
    observed: Sequence[Array], states: Sequence[Index], durations: Sequence[Index], size: int
) -> tuple[Float, Float, Float]:
    """Frames of each of ``size`` states ``[size]``, and the sums of their values and squares."""
    width = observed[0].shape[1]
    count, total, square = np.zeros(size), np.zeros((size, width)), np.zeros((size, width))
    for frames, state, lasting in zip(observed, states, durations, strict=True):
        used = lasting > 0
        starts = (np.cumsum(lasting) - lasting)[used]
        np.add.at(count, state[used], lasting[used])
        for into, values in ((total, frames), (square, frames**2)):
            np.add.at(into, state[used], np.add.reduceat(values, starts, axis=0, dtype=np.float64))
    return count, total, square
