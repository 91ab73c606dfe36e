"""Speaking frame after frame: Tacotron 2's decoder and WaveNet, in step with each other.

Beside the graph that reads the text, such a voice has a file ``NAME.onnx.steps``: a numpy archive
with the graph of one decoder step, the graph of the post-net and WaveNet's weights. Frames go
through the post-net as soon as those around them are there, and WaveNet draws their samples as soon
as its own neighbours are; nothing waits for the end of the sentence, and nothing depends on how far
ahead the decoder has been.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glottis.audio.linear_prediction import LinearPrediction
from glottis.audio.mel import MelConfig
from glottis.audio.period import Period
from glottis.errors import InputError
from glottis.kernels import wavenet
from glottis.voice.attention import Failure, durations_of, find_failures

Array = NDArray[np.float32]

SUFFIX = ".steps"
BLOCK = 16
"""Frames that are refined and spoken at a time."""
LAYERS = 2
"""Of the pre-net."""
STATES = ("hidden", "cell", "context", "weights", "total", "state", "carry")
"""What a step gives to the next."""
WAVENET = "wavenet."
"""What the names of WaveNet's arrays begin with."""
SHARED = 65536
"""Gate weights of a layer from which on two threads share a sample."""
SPEAKERS = WAVENET + "speakers"
"""What speakers add to its gates: ``[speakers, L, G]``."""


@dataclass(frozen=True)
class StepSettings:
    """``glottis.steps`` of a voice's JSON.

    ``bound`` symbols and frames: an utterance of ``n`` symbols gets at most ``bound[0] + bound[1]
    n`` frames. ``prenet`` channels draw their dropout, ``reach`` frames to either side change what
    the post-net says of one; with ``pitch`` the decoder says two numbers more of each frame, which
    the post-net hears. ``digest`` is the SHA-256 of the file of steps. ``wavenet`` holds the
    numbers of :class:`glottis.kernels.wavenet.Weights`.
    """

    reduction: int
    bound: tuple[float, float]
    stop_threshold: float
    prenet: int
    reach: int
    digest: str
    wavenet: Mapping[str, Any]
    pitch: bool = False

    @classmethod
    def read(cls, values: Any, path: Path) -> StepSettings:
        """From the JSON at ``path``.

        Raises:
            InputError: a value is missing or impossible; names the file and the key.
        """
        where = f"{path}: glottis.steps"
        try:
            low, each = values["bound"]
            settings = cls(
                reduction=int(values["reduction"]),
                bound=(float(low), float(each)),
                stop_threshold=float(values["stop_threshold"]),
                prenet=int(values["prenet"]),
                reach=int(values["reach"]),
                digest=str(values["digest"]),
                wavenet=dict(values["wavenet"]),
                pitch=bool(values.get("pitch", False)),
            )
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{where}: {what}; give the JSON that belongs to this graph") from None
        if settings.reduction < 1 or settings.prenet < 1 or settings.reach < 0:
            raise InputError(f"{where}: reduction and prenet must be positive, reach not negative")
        return settings


def pack(step: bytes, refine: bytes, weights: wavenet.Weights, speakers: Array | None) -> bytes:
    """The file of steps. Matrices are kept as float16, which is finer than what they are drawn
    with (bfloat16); graphs as they are given."""
    arrays: dict[str, Any] = {
        "step": np.frombuffer(step, np.uint8),
        "refine": np.frombuffer(refine, np.uint8),
    }
    for name, value in _arrays(weights).items():
        arrays[WAVENET + name] = value.astype(np.float16) if value.size >= 1024 else value
    if speakers is not None:
        arrays[SPEAKERS] = speakers
    for name, value in arrays.items():
        if value.dtype == np.float16 and not np.isfinite(value).all():
            raise InputError(f"{name} does not fit into float16: it holds values beyond 65,504")
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def numbers(weights: wavenet.Weights) -> dict[str, Any]:
    """What ``glottis.steps.wavenet`` holds: all that is no array."""
    names = [field.name for field in fields(weights)]
    found = {
        name: getattr(weights, name)
        for name in names
        if name != "upsampling" and not isinstance(getattr(weights, name), np.ndarray)
    }
    for name in ("prediction", "period"):
        part = getattr(weights, name)
        found[name] = None if part is None else asdict(part)
    return found


def _arrays(weights: wavenet.Weights) -> dict[str, Array]:
    found = {field.name: getattr(weights, field.name) for field in fields(weights)}
    found |= {f"upsampling.{i}": taps for i, taps in enumerate(weights.upsampling)}
    return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}


class StepVoice:
    """The second half of a voice whose graph only reads the text.

    Args:
        path: of the voice's graph; the file of steps lies beside it.
        settings: see :class:`StepSettings`.
        hop: samples a frame, as the voice's JSON says.
        threads: for one sentence; two share each sample of a WaveNet of wide layers.

    Raises:
        InputError: the file is missing or another voice's, or numba is not installed.
    """

    def __init__(self, path: Path, settings: StepSettings, hop: int | None, threads: int) -> None:
        self.settings, self.path = settings, path.with_name(path.name + SUFFIX)
        if wavenet.available()[0] == "reference":
            raise InputError(
                f"{path} draws its samples with WaveNet, which takes the package numba: "
                "pip install 'glottis[wavenet]'"
            )
        arrays = self._read()
        try:
            self._step = _session(arrays["step"].tobytes(), threads)
            self._refine = _session(arrays["refine"].tobytes(), threads)
            weights = _weights(arrays, settings.wavenet)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.path} does not fit its JSON: {error}; copy the voice's three files again"
            ) from error
        if hop != weights.hop:
            raise InputError(
                f"the vocoder does not fit the acoustic model: hop_length is {hop}, and a frame of "
                f"the WaveNet in {self.path.name} lasts {weights.hop} samples"
            )
        self._shapes = {
            node.name: [size if isinstance(size, int) else 1 for size in node.shape]
            for node in self._step.get_inputs()
        }
        channels = weights.context.shape[1]
        mels = self._shapes["frame"][1] - 2 * settings.pitch
        if mels != channels:
            raise InputError(
                f"the vocoder does not fit the acoustic model: the frames have {mels} log-mels, "
                f"and the WaveNet in {self.path.name} takes {channels}"
            )
        self.hop = weights.hop
        self._speakers = arrays.get(SPEAKERS)
        # Two threads meet at every layer, which takes longer than what a small layer has to share.
        shares = threads > 1 and weights.gate[0].size >= SHARED
        self._weights, self._threads = weights, 2 if shares else 1

    def begin(self, read: list[Any], seed: int, rate: float, speaker: int) -> SpokenSteps:
        """One utterance; ``read`` is what the voice's graph gave for its text."""
        bias = None if self._speakers is None else self._speakers[speaker : speaker + 1]
        return SpokenSteps(self, read, seed, rate, bias)

    def sampler(self) -> wavenet.Sampler:
        """A sampler for one utterance: it holds a state."""
        return wavenet.Sampler(self._weights, precision="bfloat16", threads=self._threads)

    def step(self, feeds: dict[str, Any]) -> list[Array]:
        """Run the decoder once: frames ``[1, said or more, reduction]``, the stop's logit, the
        states."""
        found: list[Array] = self._step.run(None, feeds)
        return found

    def refine(self, frames: Array) -> Array:
        """The post-net over ``[said or more, frames]``: log-mels ``[mels, frames]``."""
        return np.asarray(self._refine.run(None, {"mel": frames[None]})[0])[0]

    def state(self, name: str) -> Array:
        """Zeros of the shape of one of :data:`STATES`, for one symbol where it has one for each."""
        return np.zeros(self._shapes[name], np.float32)

    def _read(self) -> dict[str, Any]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            raise InputError(
                f"{self.path} is missing: this voice is three files, and speaks with the steps in "
                "that one"
            ) from None
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror or error}") from error
        if hashlib.sha256(data).hexdigest() != self.settings.digest:
            raise InputError(
                f"{self.path} is damaged or another voice's: its SHA-256 is not the one that the "
                "JSON names; copy the voice's three files again"
            )
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path} is not a numpy archive: {error}") from error


class SpokenSteps:
    """An utterance being spoken: iterate over its samples ``[samples]``, in pieces, once.

    Afterwards ``failures`` says what its attention shows, in symbols that the model reads, and
    ``durations`` how many samples each of the graph's kept symbols lasts; ``kept`` are the places
    of those symbols among the ids.
    """

    def __init__(
        self, voice: StepVoice, read: list[Any], seed: int, rate: float, bias: Array | None
    ) -> None:
        self._voice, self._seed, self._rate, self._bias = voice, seed, rate, bias
        self._memory, self._keys, self._first, kept = read
        self.kept = kept
        self.failures: list[Failure] = []
        self.durations = np.zeros(len(kept))
        self.frames = 0

    def __iter__(self) -> Iterator[Array]:
        sampler = self._voice.sampler()
        begun = False
        for mel, more in _at_rate(self._refined(), self._rate):
            if begun:
                sampler.feed([mel], more=more)
            else:
                sampler.start([mel], self._seed, self._bias, more=more)
            begun = True
            self.frames += mel.shape[1]
            if sampler.remaining:
                yield _amplitudes(sampler.advance(sampler.remaining)[0][0], self._voice)

    def _refined(self) -> Iterator[tuple[Array, bool]]:
        """Frames ``[mels, frames]`` after the post-net, and whether more follow."""
        reach = self._voice.settings.reach
        before: Array | None = None
        done = dropped = 0
        for frames, more in self._decoded():
            before = frames if before is None else np.concatenate([before, frames], axis=1)
            end = dropped + before.shape[1]
            known = end - reach if more else end
            if known - done < BLOCK and more:
                continue
            # What lies further away than the post-net reaches is not needed any more.
            low = max(0, done - reach)
            before, dropped = before[:, low - dropped :], low
            after = self._voice.refine(before)
            yield after[:, done - low : known - low], more
            done = known

    def _decoded(self) -> Iterator[tuple[Array, bool]]:
        """Frames ``[said, reduction]`` as the decoder makes them, with what the post-net is told
        besides on further channels, and whether more follow."""
        voice, settings = self._voice, self._voice.settings
        symbols = self._memory.shape[1]
        low, each = settings.bound
        bound = max(1, int((low + each * symbols) / settings.reduction))
        states = {name: voice.state(name) for name in STATES}
        states |= {"weights": self._first, "total": np.zeros_like(self._first)}
        frame = voice.state("frame")
        draws = np.random.Generator(np.random.Philox(self._seed ^ 0x7AC07201))
        looked, stopped = [], False
        for step in range(bound):
            uniforms = draws.random((LAYERS, 1, settings.prenet), np.float32)
            frames, stop, *after = voice.step(
                {
                    "frame": frame,
                    "uniforms": uniforms,
                    "memory": self._memory,
                    "keys": self._keys,
                    **states,
                }
            )
            states = dict(zip(STATES, after, strict=True))
            looked.append(states["weights"][0])
            stopped = 1 / (1 + np.exp(-np.float64(stop[0]))) > settings.stop_threshold
            frame = frames[:, : frame.shape[1], -1]
            last = bool(stopped) or step + 1 == bound
            if last:
                attention = np.stack(looked, axis=1)
                self.failures = find_failures(attention, bool(stopped))
                steps = durations_of(attention)
                self.durations = steps * settings.reduction * voice.hop / self._rate
            yield frames[0], not last
            if last:
                return


def _at_rate(pieces: Iterator[tuple[Array, bool]], rate: float) -> Iterator[tuple[Array, bool]]:
    """Frames so much faster: each between the two that it falls between, in log-mels."""
    if rate == 1.0:
        yield from pieces
        return
    held: Array | None = None
    first = made = 0
    for piece, more in pieces:
        held = piece if held is None else np.concatenate([held, piece], axis=1)
        end = first + held.shape[1]
        # The last frame stands for itself alone, when nothing follows it.
        count = int(np.floor((end - 1) / rate)) + 1 if not more else int((end - 1) / rate)
        places = np.arange(made, max(count, made)) * rate
        low = np.minimum(places.astype(int), end - 1)
        share = (places - low).astype(np.float32)
        high = np.minimum(low + 1, end - 1)
        yield held[:, low - first] * (1 - share) + held[:, high - first] * share, more
        made = max(count, made)
        keep = min(int(made * rate), end - 1)
        held, first = held[:, keep - first :], keep


def _amplitudes(samples: Array, voice: StepVoice) -> Array:
    if voice._weights.output != "mulaw":
        return samples
    classes = 2.0**voice._weights.bits - 1
    compressed = 2 * samples.astype(np.float64) / classes - 1
    loud = np.expm1(np.abs(compressed) * np.log1p(classes)) / classes
    return (np.sign(compressed) * loud).astype(np.float32)


def _weights(arrays: Mapping[str, Any], values: Mapping[str, Any]) -> wavenet.Weights:
    found = {
        name.removeprefix(WAVENET): np.ascontiguousarray(value, np.float32)
        for name, value in arrays.items()
        if name.startswith(WAVENET) and name != SPEAKERS
    }
    taps = [name for name in found if name.startswith("upsampling.")]
    upsampling = tuple(found.pop(f"upsampling.{i}") for i in range(len(taps)))
    given: dict[str, Any] = {**found, **values, "upsampling": upsampling}
    for name, kind in (("prediction", LinearPrediction), ("period", Period)):
        if given.get(name) is not None:
            told = dict(given[name])
            given[name] = kind(**{**told, "mel": MelConfig(**told["mel"])})
    return wavenet.Weights(**{**given, "dilations": tuple(values["dilations"])})


def _session(graph: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
