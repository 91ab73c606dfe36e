"""Evaluating a voice, or any audio: speak, judge, report."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError
from glottis.evaluation.quality import Judges
from glottis.evaluation.recognition import (
    Errors,
    Recogniser,
    count_errors,
    letters,
    listening_copy,
)
from glottis.evaluation.report import Judgement, Report, Row
from glottis.files import replacing

Array = NDArray[np.float32]

#: Changes when judging changes, so that cached scores of an older way are not taken.
_SCORES_VERSION = 1


@dataclass(frozen=True)
class Spoken:
    """A piece of audio to be judged.

    Args:
        id: names the sentence in the report.
        text: the words it should say, numbers written out.
        samples: ``[samples]``, mono, in [-1, 1].
        sample_rate: in Hz, of ``samples`` and ``reference``.
        reference: ``[samples]``, a recording of the same text, or None.
        aligned: the reference runs in step with the audio (copy-synthesis), so frames are compared
            one to one; otherwise both are first aligned by dynamic time warping.
        speaker: who speaks, for the report.
        marks: phonemes as (symbol, start, end) in seconds, drawn into the pictures.
    """

    id: str
    text: str
    samples: Array
    sample_rate: int
    reference: Array | None = None
    aligned: bool = False
    speaker: str = ""
    marks: tuple[tuple[str, float, float], ...] = field(default=(), repr=False)


def evaluate_audio(
    spoken: Iterable[Spoken],
    *,
    title: str = "Evaluation",
    jobs: int = 1,
    pictures: bool = False,
    cache: Path | None = None,
) -> Report:
    """Judge audio that already exists: recordings, copy-synthesis, another program's speech.

    Args:
        spoken: taken one by one, so a generator may synthesise as it goes.
        jobs: processes that judge; with more than one, call from under ``if __name__ ==
            "__main__"``, as :mod:`multiprocessing` asks for.
        pictures: also make the spectrogram pictures and compressed audio of the HTML report.
        cache: folder that keeps what the recogniser and the networks said, by hash of audio and
            text, so that the same audio is judged once.

    Raises:
        InputError: nothing to judge, or a package of ``glottis[evaluate]`` is missing. Audio that
            cannot be judged (empty, NaN) does not raise: its row names the problem, and all of its
            words count as errors.
    """
    _programs()  # a missing package should be named before any time is spent
    if jobs <= 1:
        rows = [_row(item, pictures, cache) for item in spoken]
    else:
        rows = list(_parallel(spoken, jobs, pictures, cache))
    if not rows:
        raise InputError("nothing to evaluate: there are no sentences")
    return Report(title=title, rows=rows)


def _parallel(
    spoken: Iterable[Spoken], jobs: int, pictures: bool, cache: Path | None
) -> Iterator[Row]:
    # Spawned, because onnxruntime's threads do not survive a fork; few in flight, because audio is
    # large and may be made as it is asked for.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting: deque[Future[Row]] = deque()
        for item in spoken:
            waiting.append(pool.submit(_row, item, pictures, cache))
            if len(waiting) > 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@lru_cache(maxsize=1)
def _programs() -> tuple[Recogniser, Judges]:
    return Recogniser(), Judges()


def _row(item: Spoken, pictures: bool, cache: Path | None) -> Row:
    seconds = len(item.samples) / item.sample_rate
    try:
        judgement = judge(item.text, item.samples, item.sample_rate, cache=cache)
    except InputError as error:
        errors = _errors(item.text, "")
        judgement = Judgement(errors, _rates(errors))
        return Row(item.id, item.text, item.speaker, seconds, judgement, problem=str(error))
    recording = None
    if item.reference is not None:
        recording = judge(item.text, item.reference, item.sample_rate, cache=cache)
    return Row(
        id=item.id,
        text=item.text,
        speaker=item.speaker,
        seconds=seconds,
        judgement=judgement,
        recording=recording,
    )


def judge(text: str, samples: Array, sample_rate: int, *, cache: Path | None = None) -> Judgement:
    """What recogniser and networks say of ``samples`` ``[samples]`` that should say ``text``.

    The scores are ``wer``, ``cer`` (absent for a text without letters), ``p808`` and ``plcmos``.

    Raises:
        InputError: the audio is empty, not mono or not finite.
    """
    audio = listening_copy(samples, sample_rate)
    key = hashlib.sha256(audio.tobytes()).hexdigest()[:32]
    path = cache / f"{key}-v{_SCORES_VERSION}.json" if cache is not None else None
    said = _cached(path)
    if said is None:
        recogniser, judges = _programs()
        said = {
            "heard": recogniser.transcribe(samples, sample_rate),
            "p808": judges.p808(samples, sample_rate),
            "plcmos": judges.plcmos(samples, sample_rate),
        }
        if path is not None:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(said), encoding="utf-8")
    errors = _errors(text, str(said["heard"]))
    scores = {"p808": float(said["p808"]), "plcmos": float(said["plcmos"])}
    return Judgement(errors, _rates(errors) | scores)


def _cached(path: Path | None) -> dict[str, str | float] | None:
    if path is None:
        return None
    try:
        said: dict[str, str | float] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return said if {"heard", "p808", "plcmos"} <= said.keys() else None


def _errors(text: str, heard: str) -> Errors | None:
    return count_errors(text, heard) if letters(text) else None


def _rates(errors: Errors | None) -> dict[str, float]:
    if errors is None:
        return {}
    return {
        "wer": errors.word_errors / errors.words,
        "cer": errors.character_errors / errors.characters,
    }
