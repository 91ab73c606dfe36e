"""A voice: text in, speech out, by one ONNX graph in Piper's format."""

from __future__ import annotations

import itertools
import logging
import math
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glottis import voices
from glottis.audio.files import as_float, read, resample
from glottis.audio.limiter import limit
from glottis.audio.mel import MelConfig, magnitude_spectrogram
from glottis.audio.pitch import f0
from glottis.errors import InputError
from glottis.text import FrontEnd, Utterance
from glottis.voice.checks import (
    SEEDS,
    checked_factor,
    checked_seconds,
    checked_seed,
    is_number,
    is_whole,
)
from glottis.voice.description import check_graph, read_description
from glottis.voice.embedded import embeds
from glottis.voice.fading import faded, faded_in, faded_whole
from glottis.voice.manner import (
    Manner,
    asked_language,
    choose_manner,
    own_language,
    speaker_number,
)
from glottis.voice.marks import LENGTH, STRESS, phoneme_marks, word_marks
from glottis.voice.pieces import cut_phonemes
from glottis.voice.plan import Part, Say, Silence, plan
from glottis.voice.session import open_session
from glottis.voice.speech import Mark, Speech
from glottis.voice.stepwise import StepVoice

Array = NDArray[np.float32]
FADE = 0.002
"""Seconds over which a piece fades in and out, so that it meets silence without a click."""

_STOPS = ".?!;:,"
_log = logging.getLogger(__name__)


class Voice:
    """A loaded voice. Get one with :meth:`load`; it may speak in several threads at once."""

    def __init__(self, path: Path, *, threads: int, lexicon: Path | None) -> None:
        self.path, self._threads = path, threads
        self._conversion: Any = None
        self._description = read_description(path)
        self._session = open_session(path, threads, simplify=not self._description.ours)
        self._frames = "durations" in [node.name for node in self._session.get_outputs()]
        free = [node.name for node in self._session.get_overridable_initializers()]
        needed = [node.name for node in self._session.get_inputs()]
        self._parameters = self._description.parameters
        self._seeds = "seed" in free or "seed" in needed
        self._several_languages = "language" in free or "language" in needed
        self._begins = "frames" in free
        self._inputs = frozenset(needed)
        check_graph(
            self._description,
            path,
            needed,
            [node.name for node in self._session.get_outputs()],
            self._session.get_modelmeta().custom_metadata_map,
        )
        own = self._description
        self._steps = StepVoice(path, own.steps, own.hop, threads) if own.steps else None
        self._frames = self._frames or self._steps is not None
        self._seeded = self._seeds or self._parameters is not None or self._steps is not None
        self._front_ends: dict[str, FrontEnd] = {}
        for language in own.languages:
            try:
                self._front_ends[language] = FrontEnd(language, lexicon, own.phoneme_type)
            except InputError as error:
                if lexicon is not None:
                    raise
                raise InputError(f"{own.path}: espeak.voice: {error}") from error

    @classmethod
    def load(
        cls,
        name: str | os.PathLike[str] | None = None,
        *,
        threads: int = 1,
        lexicon: str | os.PathLike[str] | None = None,
    ) -> Voice:
        """Load a voice by name, by the path of its ``.onnx``, or the default one.

        Args:
            name: see :func:`glottis.voices.find`.
            threads: processor threads for one sentence. One speaks a hundred times as fast as one
                hears, and leaves the others to whoever else speaks.
            lexicon: a file of pronunciations that win over the front end's, in every language of
                the voice.

        Raises:
            InputError: no such voice, a damaged file, or a JSON that contradicts its graph.
        """
        if not is_whole(threads) or threads < 1:
            raise InputError(f"threads must be a whole number from 1 on, not {threads}")
        return cls(
            voices.find(name),
            threads=int(threads),
            lexicon=Path(lexicon) if lexicon is not None else None,
        )

    def __repr__(self) -> str:
        number = self._description.num_speakers
        spoken = ", ".join(self.languages) if len(self.languages) > 1 else self.language
        return f"Voice({self.name!r}, {spoken}, {number} speaker{'s' * (number > 1)})"

    @property
    def name(self) -> str:
        """The voice's name."""
        return self._description.name

    @property
    def language(self) -> str:
        """Code of the default language, such as ``en_US`` or ``en-us``."""
        return self._description.language

    @property
    def languages(self) -> tuple[str, ...]:
        """espeak-ng's codes of all languages that the voice speaks, the default one first."""
        return tuple(self._description.languages)

    def language_of(self, speaker: str | int | None = None) -> str:
        """espeak-ng's code of what a speaker speaks unless asked otherwise.

        Raises:
            InputError: an unknown speaker.
        """
        own = self._description
        return own_language(own, speaker_number(own, speaker))

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self._description.sample_rate

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names of the speakers, the default one first; empty for one without a name."""
        return tuple(self._description.speakers)

    @property
    def license(self) -> str | None:
        """The licence of the voice, as its file states it."""
        return self._description.license

    @property
    def noise_scale(self) -> float:
        """How much the voice varies unless asked otherwise."""
        return self._description.noise_scale

    @property
    def parametric(self) -> bool:
        """Whether it speaks from vocoder parameters, so that pitch and timbre can be set."""
        return self._parameters is not None

    @cached_property
    def converts(self) -> bool:
        """Whether the file holds what :meth:`convert` needs."""
        return embeds(self.path.read_bytes())

    def speak(
        self,
        text: str,
        *,
        speaker: str | int | None = None,
        language: str | None = None,
        rate: float = 1.0,
        seed: int | None = None,
        noise_scale: float | None = None,
        noise_w: float | None = None,
        pitch: float = 1.0,
        timbre: float = 1.0,
        pause: float = 0.25,
        paragraph_pause: float = 0.5,
        ssml: bool | None = None,
    ) -> Speech:
        """Speak a text of any length.

        Args:
            text: what to say; blank lines separate paragraphs. ``[[dʒˈɪf]]`` gives phonemes.
            speaker: a name from :attr:`speakers`, or its id; the first when left out.
            language: one of :attr:`languages`, as ``de``, ``de-DE`` or ``de_DE``; the speaker's own
                when left out. SSML may change it within the text (``xml:lang``).
            rate: speed of speaking, 0.25 to 4.
            seed: the same seed gives the same audio (with voices that draw from it); a new one for
                every call when left out.
            noise_scale: how much the voice varies; its own default when left out.
            noise_w: how much its rhythm varies; its own default when left out.
            pitch: factor on the pitch, 0.5 to 2; for voices that speak from vocoder parameters.
            timbre: factor on the formants, 0.7 to 1.4; for the same voices.
            pause: seconds of silence between sentences.
            paragraph_pause: seconds of silence between paragraphs.
            ssml: whether ``text`` is SSML (see :mod:`glottis.text.markup`); by default it is if it
                begins with ``<speak``. Its ``<mark>``s appear in the marks of the speech.

        Raises:
            InputError: nothing to say, SSML that is not well formed, a value out of range, or a
                speaker or language that the voice does not have (it lists those that it has).
        """
        return Speech.join(
            self.stream(
                text,
                speaker=speaker,
                language=language,
                rate=rate,
                seed=seed,
                noise_scale=noise_scale,
                noise_w=noise_w,
                pitch=pitch,
                timbre=timbre,
                pause=pause,
                paragraph_pause=paragraph_pause,
                ssml=ssml,
            )
        )

    def stream(
        self,
        text: str,
        *,
        speaker: str | int | None = None,
        language: str | None = None,
        rate: float = 1.0,
        seed: int | None = None,
        noise_scale: float | None = None,
        noise_w: float | None = None,
        pitch: float = 1.0,
        timbre: float = 1.0,
        pause: float = 0.25,
        paragraph_pause: float = 0.5,
        ssml: bool | None = None,
        lead: float = 0.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Speech]:
        """Speak sentence by sentence: each chunk is a sentence and the silence before it.

        With ``lead`` the first sentence comes in two chunks, the first so many seconds long, which
        is made in a third of the time that the sentence takes; the sentence is then made whole, so
        choose it longer than that takes. For voices that glottis exported from Glow-TTS and VITS;
        others pass it over. A voice that makes one frame after another gives each sentence in
        several chunks, the first long before its end is known. The last chunk of a sentence holds
        its text and all its marks, whose times count from there and so may be negative.

        Joined, the chunks are what :meth:`speak` gives for the same seed (with ``lead`` but for
        rounding in single precision). Arguments as there; ``progress(done, total)`` is called after
        each sentence. Wrong arguments raise at once, text in which nothing can be said when that is
        known.
        """
        manner = choose_manner(
            self._description,
            self._seeded,
            speaker=speaker,
            language=language,
            rate=rate,
            seed=seed,
            noise_scale=noise_scale,
            noise_w=noise_w,
            pitch=pitch,
            timbre=timbre,
        )
        parts = self._plan(
            text,
            manner.language,
            ssml,
            checked_seconds("pause", pause),
            checked_seconds("paragraph_pause", paragraph_pause),
        )
        return self._stream(parts, manner, checked_seconds("lead", lead), progress)

    def convert(
        self,
        recording: str | os.PathLike[str] | NDArray[Any],
        *,
        source: str | int,
        target: str | int,
        rate: int | None = None,
        seed: int | None = 0,
        noise_scale: float = 1.0,
    ) -> Speech:
        """Say a recording again with another speaker's voice: the same words, at the same times.

        Args:
            recording: a sound file, or ``[samples]``, floats in [-1, 1] or the whole numbers of a
                sound file (:func:`glottis.audio.files.as_float`).
            source: who speaks in it, a name from :attr:`speakers` or its id.
            target: who shall.
            rate: of samples, in Hz; the voice's own when left out.
            seed: the same seed gives the same audio; a new one for every call when None.
            noise_scale: how far from the most likely latents the voice draws.

        Raises:
            InputError: the voice was exported without its conversion, does not know a speaker, or
                the recording cannot be read, holds no samples of sound or is too short.
        """
        speakers = [speaker_number(self._description, name) for name in (source, target)]
        if rate is None:
            rate = self.sample_rate
        elif not is_number(rate) or not 0 < rate < math.inf:
            raise InputError(f"rate must be above 0 Hz, or left out, not {rate}")
        number = checked_seed(seed)
        if self._conversion is None:
            self._conversion = open_session(self.path, self._threads, simplify=False, second=True)
        known = self._conversion.get_modelmeta().custom_metadata_map
        config = MelConfig(
            sample_rate=self.sample_rate,
            fft_size=int(known["fft_size"]),
            hop=int(known["hop"]),
            mel_high=self.sample_rate / 2,
        )
        if isinstance(recording, np.ndarray):
            samples = resample(as_float(recording), rate, self.sample_rate)
        else:
            samples, _ = read(recording, self.sample_rate)
        if len(samples) < config.fft_size:
            raise InputError(
                f"the recording lasts {len(samples) / self.sample_rate:.3f} s, less than the "
                f"{config.fft_size / self.sample_rate:.3f} s of one analysis window"
            )
        # Whole frames, so that the reflection at the end is that of training.
        samples = samples[: len(samples) // config.hop * config.hop]
        feeds = {
            "spectrogram": magnitude_spectrogram(samples, config)[None],
            "source": np.array(speakers[:1], np.int64),
            "target": np.array(speakers[1:], np.int64),
            "scale": np.array([checked_factor("noise_scale", noise_scale)], np.float32),
            "seed": np.array([number], np.int64),
        }
        if "pitch" in {given.name for given in self._conversion.get_inputs()}:
            feeds["pitch"] = f0(samples, config.sample_rate, config.hop)[0][None]
        audio = np.asarray(self._conversion.run(None, feeds)[0], np.float32).reshape(-1)
        return Speech(audio, self.sample_rate)

    def analyse(
        self,
        text: str,
        *,
        speaker: str | int | None = None,
        language: str | None = None,
        ssml: bool | None = None,
    ) -> list[Utterance]:
        """The phonemes and words of each sentence, as :meth:`speak` says them; arguments as there.

        Raises:
            InputError: as there.
        """
        own = self._description
        spoken = asked_language(own, language, speaker_number(own, speaker))
        parts = self._plan(text, spoken, ssml, 0.0, 0.0)
        return [
            self._front_ends[part.language].analyse(part.text)
            for part in parts
            if isinstance(part, Say) and part.text.strip()
        ]

    def _plan(
        self, text: str, language: str, ssml: bool | None, pause: float, paragraph_pause: float
    ) -> list[Part]:
        if not isinstance(text, str):
            raise InputError(f"the text must be str, not {type(text).__name__}")
        # Undecodable bytes of a command line arrive as lone surrogates, which no encoder takes.
        text = text.encode("utf-8", "ignore").decode("utf-8")
        parts = plan(
            text,
            self._front_ends,
            language,
            ssml=ssml,
            pause=pause,
            paragraph_pause=paragraph_pause,
        )
        if not any(isinstance(part, Say) and part.text.strip() for part in parts):
            raise InputError("the text is empty: there is nothing to say")
        return parts

    def _stream(
        self,
        parts: Sequence[Part],
        manner: Manner,
        lead: float,
        progress: Callable[[int, int], None] | None,
    ) -> Iterator[Speech]:
        # Every piece needs a noise of its own.
        seeds = ((manner.seed + i * 0x9E3779B97F4A7C15) & SEEDS for i in itertools.count())
        said = False
        # Silence that is due before what is said next, and marks that fall into it.
        silence = 0.0
        waiting: list[tuple[str, float]] = []
        # A pause of a sentence gives way to a break, and is due only if something follows.
        pause = 0.0
        for done, part in enumerate(parts, 1):
            if isinstance(part, Silence):
                silence, pause = silence + part.seconds, 0.0
            else:
                utterance = self._front_ends[part.language].analyse(part.text)
                if self._sayable(utterance.phonemes):
                    for speech in self._sentence(part, utterance, manner, seeds, lead):
                        yield self._after_silence(speech, silence + pause, waiting)
                        silence, pause, waiting = 0.0, 0.0, []
                    # While one is heard, the next is made.
                    said, pause, lead = True, part.pause, 0.0
                else:
                    if not _only_punctuation(part.text):
                        _log.warning("nothing to say in %r; skipped", part.text.strip()[:80])
                    waiting += [(name, silence + pause) for name, _ in part.marks]
                    pause = max(pause, part.pause) if said else 0.0
            if progress is not None:
                progress(done, len(parts))
        if not said:
            shown = " ".join(part.text.strip() for part in parts if isinstance(part, Say))
            raise InputError(
                f"the voice {self.name} ({manner.language}) can say nothing of "
                f"{shown[:40] + '...' if len(shown) > 40 else shown!r}: it holds no words"
            )
        if silence or waiting:
            empty = Speech(np.zeros(0, np.float32), self.sample_rate)
            yield self._after_silence(empty, silence, waiting)

    def _after_silence(
        self, speech: Speech, seconds: float, waiting: Sequence[tuple[str, float]]
    ) -> Speech:
        if not seconds and not waiting:
            return speech
        silence = Speech(np.zeros(round(seconds * self.sample_rate), np.float32), self.sample_rate)
        # A pause that a mark was to fall into may not have come: a break, or the end, did.
        places = [(name, min(at, silence.duration)) for name, at in waiting]
        marks = tuple(Mark("mark", name, at, at) for name, at in places)
        joined = Speech.join([replace(silence, marks=marks), speech])
        return replace(joined, text=speech.text)

    def _sayable(self, phonemes: Sequence[str]) -> bool:
        known = self._description.symbols
        return any(
            phoneme in known
            and phoneme not in STRESS + LENGTH
            and unicodedata.category(phoneme[0])[0] in "LN"
            for phoneme in phonemes
        )

    def _sentence(
        self, part: Say, utterance: Utterance, manner: Manner, seeds: Iterator[int], lead: float
    ) -> Iterator[Speech]:
        """Speak one utterance, as it comes; the last chunk holds the marks."""
        times: list[tuple[float, float]] = []
        given = samples = 0
        audio: list[Array] = []
        for start, end in cut_phonemes(utterance.phonemes):
            phonemes = list(utterance.phonemes[start:end])
            spans = [(0, 0)] * len(phonemes)
            before = samples
            if self._sayable(phonemes):
                stop = "." if part.ended and end == len(utterance.phonemes) else ","
                seed = next(seeds)
                if self._steps is None:
                    if lead and self._begins and not samples:
                        begun = self._begin(phonemes, stop, manner.at(part), seed, lead)
                        given = len(begun)
                        if given:
                            yield Speech(begun, self.sample_rate)
                    spoken, spans = self._run(phonemes, stop, manner.at(part), seed)
                    audio.append(spoken if samples else spoken[given:])
                    samples += len(spoken)
                else:
                    words = [word for word in utterance.words if word.start < word.end]
                    found: list[tuple[int, int]] = []
                    for spoken in self._run_steps(
                        phonemes, stop, manner.at(part), seed, found,
                        [(w.text, w.start - start, w.end - start) for w in words],
                    ):  # fmt: skip
                        yield Speech(spoken, self.sample_rate)
                        samples += len(spoken)
                    given = samples
                    spans = found
            times += [
                ((before + a) / self.sample_rate, (before + b) / self.sample_rate) for a, b in spans
            ]
        text = " ".join(part.text.split())
        marks = [Mark("sentence", text, 0.0, samples / self.sample_rate)]
        if self._frames:
            marks += word_marks(utterance, times) + phoneme_marks(utterance.phonemes, times)
        for name, place in part.marks:
            analysed = self._front_ends[part.language].analyse(part.before(place))
            words_before = len(analysed.words)
            at = samples / self.sample_rate if place else 0.0
            if self._frames and words_before < len(utterance.words):
                at = times[utterance.words[words_before].start][0]
            marks.append(Mark("mark", name, at, at))
        marks.sort(key=lambda mark: (mark.start, -mark.end))
        shift = given / self.sample_rate
        yield Speech(
            limit(np.concatenate([np.zeros(0, np.float32), *audio]), self.sample_rate),
            self.sample_rate,
            tuple(replace(mark, start=mark.start - shift, end=mark.end - shift) for mark in marks),
            text,
        )

    def _run_steps(
        self,
        phonemes: list[str],
        stop: str,
        manner: Manner,
        seed: int,
        spans: list[tuple[int, int]],
        words: Sequence[tuple[str, int, int]],
    ) -> Iterator[Array]:
        """Phonemes -> float32 ``[samples]`` in pieces; each phoneme's range is put into ``spans``.

        ``words`` with their ranges of phonemes name what attention failed at.
        """
        assert self._steps is not None
        symbols = self._description.symbols
        feeds, phonemes, number = self._feeds(phonemes, stop, manner, seed)
        read = self._infer(feeds)
        # Log-mels are stretched, so that any rate goes; the decoder's own is one.
        spoken = self._steps.begin(read, seed, 1.0 / manner.length_scale, manner.speaker)
        samples = 0
        for piece in faded(iter(spoken), round(FADE * self.sample_rate)):
            samples += len(piece)
            yield piece
        ids = np.zeros(feeds["input"].shape[1])
        ids[spoken.kept] = spoken.durations
        ends = np.minimum(np.rint(np.concatenate([[0.0], np.cumsum(ids)])), samples).astype(int)
        ranges = symbols.spans(phonemes)
        spans += [(int(ends[a]), int(ends[b])) for a, b in ranges[:number]]
        for failure in spoken.failures:
            first, last = spoken.kept[failure.first], spoken.kept[failure.last]
            hit = [i for i, (a, b) in enumerate(ranges) if a <= last and first < b]
            if failure.kind == "skips" and not hit:
                continue  # Marks of the text's end: nothing that could be heard.
            said = [text for text, a, b in words if hit and a <= hit[-1] and hit[0] < b]
            elsewhere = "the end" if last >= ids.size - 2 else "a pause"
            place = repr(" ".join(said)) if said else elsewhere
            sounds = "".join(phonemes[i] for i in hit)
            _log.warning(
                "%s: attention %s at %s (phonemes %r); another seed may help",
                *(self.name, failure.kind, place, sounds),
            )

    def _begin(
        self, phonemes: list[str], stop: str, manner: Manner, seed: int, seconds: float
    ) -> Array:
        """The first so many seconds of what :meth:`_run` gives, or nothing if that is all of it."""
        feeds, _, _ = self._feeds(phonemes, stop, manner, seed)
        assert self._description.hop is not None
        frames = math.ceil(seconds * self.sample_rate / self._description.hop)
        feeds["frames"] = np.array([frames], np.int64)
        samples, durations = self._infer(feeds)
        if durations.sum() <= frames + 1:  # the end fades out, which nothing here does
            return np.zeros(0, np.float32)
        begun = np.asarray(samples, np.float32).reshape(-1)
        return faded_in(begun, round(FADE * self.sample_rate))

    def _run(
        self, phonemes: list[str], stop: str, manner: Manner, seed: int
    ) -> tuple[Array, list[tuple[int, int]]]:
        """Phonemes -> float32 ``[samples]``, and each phoneme's range of samples."""
        symbols = self._description.symbols
        feeds, phonemes, number = self._feeds(phonemes, stop, manner, seed)
        outputs = self._infer(feeds)
        if self._parameters is not None:
            law = [np.asarray(value)[0] for value in outputs[:3]]
            spoken = self._parameters.speak(
                *law,
                speaker=manner.speaker,
                seed=seed,
                pitch=manner.pitch,
                timbre=manner.timbre,
            )
            outputs = [spoken, outputs[3]]
        samples = np.asarray(outputs[0], dtype=np.float32).reshape(-1)
        if not np.isfinite(samples).all():
            raise InputError(f"{self.path}: the graph gave NaN or infinite samples; is it damaged?")
        spans = [(0, 0)] * len(phonemes)
        if self._frames:
            durations, texts = np.asarray(outputs[1]).reshape(-1), feeds["input"].shape[1]
            ends = self._ends(durations, texts, len(samples))
            spans = [(int(ends[a]), int(ends[b])) for a, b in symbols.spans(phonemes)]
        return faded_whole(samples, round(FADE * self.sample_rate)), spans[:number]

    def _feeds(
        self, phonemes: list[str], stop: str, manner: Manner, seed: int
    ) -> tuple[dict[str, Any], list[str], int]:
        """What the graph takes, the phonemes with the stop that they end in, and how many of them
        were there before."""
        symbols = self._description.symbols
        number = len(phonemes)
        if phonemes[-1] not in _STOPS and stop in symbols:
            # Sentences of a corpus end with a stop; without one the last word is cut off or noisy.
            phonemes = [*phonemes[: number - (phonemes[-1] == " ")], stop]
        ids = np.array([symbols.ids(phonemes)], dtype=np.int64)
        feeds: dict[str, Any] = {
            "input": ids,
            "input_lengths": np.array([ids.shape[1]], dtype=np.int64),
            "scales": np.array(
                [manner.noise_scale, manner.length_scale, manner.noise_w], dtype=np.float32
            ),
        }
        if "sid" in self._inputs:
            feeds["sid"] = np.array([manner.speaker], dtype=np.int64)
        if self._several_languages:
            feeds["language"] = np.array([self._description.languages[manner.language]], np.int64)
        if self._seeds:
            feeds["seed"] = np.array([seed], dtype=np.int64)
        return feeds, phonemes, number

    def _infer(self, feeds: dict[str, Any]) -> list[Any]:
        names = [self._session.get_outputs()[0].name, *(["durations"] if self._frames else [])]
        if self._parameters is not None:
            names = ["mean", "variance", "voicing", "durations"]
        if self._steps is not None:
            names = ["memory", "keys", "weights", "kept"]
        try:
            return list(self._session.run(names, feeds))
        except Exception as error:  # onnxruntime's errors have no common class of their own.
            if isinstance(error, MemoryError):
                raise
            said = str(error)
            if "out of data bounds" in said:
                raise InputError(
                    f"{self._description.path}: phoneme_id_map or speaker_id_map holds an id that "
                    f"the graph has no embedding for ({said[said.find('idx=') :][:60]}); give the "
                    "JSON that belongs to this graph"
                ) from error
            raise InputError(f"{self.path}: the graph failed: {said[:300]}") from error

    def _ends(self, durations: NDArray[Any], texts: int, samples: int) -> NDArray[np.int64]:
        """Where each id begins, in samples, and last the end: ``[text]`` -> ``[text + 1]``."""
        if len(durations) != texts:
            raise InputError(
                f"{self.path}: the graph gave {len(durations)} durations for {texts} phoneme ids"
            )
        frames = np.concatenate([[0.0], np.cumsum(durations.astype(np.float64))])
        hop = self._description.hop
        # A graph may round its last frame; a wrong hop is off everywhere.
        if hop is not None and abs(frames[-1] * hop - samples) > hop:
            raise InputError(
                f"{self._description.path}: hop_length: is {hop}, but the graph gave {samples} "
                f"samples for {frames[-1]:g} frames; give the JSON that belongs to this graph"
            )
        scale = samples / frames[-1] if frames[-1] > 0 else 0.0
        return np.rint(frames * scale).astype(np.int64)


def _only_punctuation(text: str) -> bool:
    """Whether nobody misses a text that is not said, such as a stop that markup left over."""
    return all(c.isspace() or unicodedata.category(c)[0] == "P" for c in text)


def speak(text: str, voice: str | os.PathLike[str] | None = None, **manner: Any) -> Speech:
    """Speak a text with a voice given by name or path, the default voice otherwise.

    The voice is loaded for this one call; keep a :class:`Voice` to speak more. Further arguments
    as :meth:`Voice.speak`.
    """
    return Voice.load(voice).speak(text, **manner)
