"""Evaluating a voice, or any audio: speak, judge, report.

:func:`evaluate` speaks texts or a prepared corpus's held-out transcripts with a voice.
:func:`evaluate_audio` takes audio from anywhere and is what the former is made of.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import soxr

from glottis.errors import InputError
from glottis.evaluation.copies import copies, is_run
from glottis.evaluation.distance import distances
from glottis.evaluation.extras import require
from glottis.evaluation.pictures import compressed, picture
from glottis.evaluation.quality import Judges
from glottis.evaluation.recognition import (
    Errors,
    Recogniser,
    count_errors,
    letters,
    listening_copy,
    understands,
)
from glottis.evaluation.report import Judgement, Report, Row
from glottis.evaluation.speed import Speed, measure_speed
from glottis.evaluation.spoken import Array, Spoken
from glottis.files import replacing
from glottis.text import FrontEnd
from glottis.voice import Voice

if TYPE_CHECKING:
    from lhotse.cut import MonoCut

T = TypeVar("T")

#: Changes when judging changes, so that cached scores of an older way are not taken.
_SCORES_VERSION = 2


def evaluate(
    voice: str | Path,
    *,
    texts: Path | None = None,
    data: Path | None = None,
    out: Path | None = None,
    speaker: str | None = None,
    limit: int | None = 200,
    seed: int = 0,
    jobs: int = 1,
    timing: bool = True,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Speak with a voice and judge what is heard.

    Args:
        voice: name or path of a voice, or the run folder of a vocoder, whose copies of ``data``'s
            recordings are judged.
        texts: a file of sentences, one a line; blank lines and lines that begin with # are skipped.
        data: a prepared corpus instead: its held-out transcripts are spoken, and the recordings are
            judged beside and compared with.
        out: folder for ``report.json`` and ``report.html``.
        speaker: of the voice. With ``data``, when left out, each sentence is spoken by its own
            speaker if the voice has that one; when given and the corpus has recordings of that
            name, only those sentences are taken.
        limit: at most so many sentences, chosen by ``seed``; None for all.
        seed: of the choice and of the voice's noise.
        jobs: processes that judge, see :func:`evaluate_audio`.
        timing: also measure speed and memory, at one and at two threads.
        cache: see :func:`evaluate_audio`.
        progress: called with (done, total) after each sentence.

    Raises:
        InputError: neither or both of ``texts`` and ``data``, nothing in them that can be judged,
            no such voice or speaker, or a package of ``glottis[evaluate]`` is missing.
    """
    if (texts is None) == (data is None):
        raise InputError("give either texts (a file) or data (a prepared corpus)")
    if limit is not None and limit < 1:
        raise InputError(f"limit must be 1 or more sentences, not {limit}")
    _need_packages()
    loaded = None if is_run(voice) else Voice.load(voice)
    if texts is not None:
        if loaded is None:
            raise InputError(f"{voice} is a run folder: give data (a prepared corpus) to copy")
        lines = _chosen(read_texts(texts), limit, seed)
        total, spoken = len(lines), _speak_texts(loaded, lines, speaker, seed)
    else:
        assert data is not None
        cuts = _chosen(_held_out(data, speaker), limit, seed)
        total = len(cuts)
        if loaded is None:
            spoken = copies(Path(voice), cuts)
        else:
            spoken = _speak_cuts(loaded, cuts, speaker, seed)
    name = Path(voice).name if loaded is None else loaded.name
    report = evaluate_audio(
        _counted(spoken, total, progress),
        title=f"Evaluation of {name}",
        jobs=jobs,
        pictures=out is not None,
        cache=cache,
    )
    problems = [row.problem for row in report.rows]
    if all(problems):
        raise InputError(f"{texts or data}: no sentence can be judged; the first: {problems[0]}")
    report = dataclasses.replace(
        report,
        speed=_speeds(loaded, report.rows, speaker) if timing and loaded else (),
        about={
            "voice": str(voice),
            "speaker": speaker or "",
            "texts" if texts is not None else "data": str(texts or data),
            "sentences": len(report.rows),
            "seed": seed,
        },
    )
    if out is not None:
        report.save_json(out / "report.json")
        report.save_html(out / "report.html")
    return report


def read_texts(path: Path) -> list[tuple[str, str]]:
    """Sentences of a text file, one a line, as (number of the line, sentence).

    Blank lines and lines that begin with # are skipped.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or holds no sentence.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from (
            error
        )
    kept = [
        (f"{number:03d}", line.strip())
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not kept:
        raise InputError(f"{path} holds no sentences; write one a line")
    return kept


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
        InputError: nothing to judge, no ``jobs``, or a package of ``glottis[evaluate]`` is missing.
            Audio that cannot be judged (empty, NaN) does not raise: its row names the problem, and
            all of its words count as errors.
    """
    if jobs < 1:
        raise InputError(f"jobs must be at least 1, not {jobs}")
    _need_packages()
    if jobs == 1:
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


def _need_packages() -> None:
    """A missing package should be named before any time is spent."""
    for name in ("jiwer", "pocketsphinx", "matplotlib"):
        require(name)
    _programs()


@lru_cache(maxsize=1)
def _programs() -> tuple[Recogniser, Judges]:
    return Recogniser(), Judges()


def _row(item: Spoken, pictures: bool, cache: Path | None) -> Row:
    seconds = len(item.samples) / item.sample_rate
    recording, problem, scores = None, item.problem, dict[str, float]()
    if item.reference is not None:
        try:
            recording = _judged(item, item.reference, cache)
        except InputError as error:
            raise InputError(f"{item.id}: its recording cannot be used: {error}") from error
    try:
        judgement = _judged(item, item.samples, cache)
        if item.reference is not None:
            scores = distances(
                item.samples, item.reference, item.sample_rate, aligned=item.aligned
            ).scores()
    except InputError as error:
        errors = _errors(item.text, "") if understands(item.language) else None
        judgement, problem = Judgement(errors, _rates(errors)), problem or str(error)
    row = Row(
        id=item.id,
        text=item.text,
        speaker=item.speaker,
        seconds=seconds,
        judgement=Judgement(judgement.errors, {**judgement.scores, **scores}),
        recording=recording,
        problem=problem,
    )
    if not pictures or problem is not None:
        return row
    rate, reference = item.sample_rate, item.reference
    return dataclasses.replace(
        row,
        picture=picture(item.samples, rate, reference=reference, marks=item.marks),
        audio=compressed(item.samples, rate),
        recording_audio=compressed(reference, rate) if reference is not None else None,
    )


def _judged(item: Spoken, samples: Array, cache: Path | None) -> Judgement:
    return judge(item.text, samples, item.sample_rate, language=item.language, cache=cache)


def judge(
    text: str,
    samples: Array,
    sample_rate: int,
    *,
    language: str = "en-us",
    cache: Path | None = None,
) -> Judgement:
    """What recogniser and networks say of ``samples`` ``[samples]`` that should say ``text``.

    The scores are ``wer``, ``cer`` (absent for a text without letters, and in a ``language`` that
    the recogniser does not know), ``p808`` and ``plcmos``.

    Raises:
        InputError: the audio is empty, not mono or not finite.
    """
    audio = listening_copy(samples, sample_rate)
    key = hashlib.sha256(audio.tobytes()).hexdigest()[:32]
    path = cache / f"{key}-v{_SCORES_VERSION}.json" if cache is not None else None
    known = understands(language)
    said = _cached(path, {"p808", "plcmos"} | ({"heard"} if known else set()))
    if said is None:
        recogniser, judges = _programs()
        said = {
            "p808": judges.p808(samples, sample_rate),
            "plcmos": judges.plcmos(samples, sample_rate),
        }
        if known:
            said["heard"] = recogniser.transcribe(samples, sample_rate)
        if path is not None:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(said), encoding="utf-8")
    errors = _errors(text, str(said["heard"])) if known else None
    scores = {"p808": float(said["p808"]), "plcmos": float(said["plcmos"])}
    return Judgement(errors, _rates(errors) | scores)


def _cached(path: Path | None, needed: set[str]) -> dict[str, str | float] | None:
    if path is None:
        return None
    try:
        said: dict[str, str | float] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return said if needed <= said.keys() else None


def _errors(text: str, heard: str) -> Errors | None:
    return count_errors(text, heard) if letters(text) else None


def _rates(errors: Errors | None) -> dict[str, float]:
    if errors is None:
        return {}
    return {
        "wer": errors.word_errors / errors.words,
        "cer": errors.character_errors / errors.characters,
    }


def _chosen(items: Sequence[T], limit: int | None, seed: int) -> list[T]:
    """At most ``limit`` of ``items``, in their order."""
    if limit is None or len(items) <= limit:
        return list(items)
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), limit))]


def _speak_texts(
    voice: Voice, lines: Sequence[tuple[str, str]], speaker: str | None, seed: int
) -> Iterator[Spoken]:
    who = speaker if speaker in voice.speakers else None
    front_end = _speller(voice.language_of(who))
    for name, text in lines:
        yield _speak(voice, name, text, front_end.analyse(text).spoken, speaker, seed)


def _held_out(data: Path, speaker: str | None) -> list[MonoCut]:
    require("lhotse", extra="train")
    from glottis.corpus import Prepared

    prepared = Prepared([data])
    cuts = list(prepared.cuts("test"))
    if speaker in prepared.speakers:
        cuts = [cut for cut in cuts if cut.supervisions[0].speaker == speaker]
    if not cuts:
        raise InputError(f"{data} holds no held-out sentences to evaluate on")
    return cuts


def _speak_cuts(
    voice: Voice, cuts: Sequence[MonoCut], speaker: str | None, seed: int
) -> Iterator[Spoken]:
    from glottis.corpus import load_audio

    for cut in cuts:
        said = cut.supervisions[0]
        who = speaker or (said.speaker if said.speaker in voice.speakers else None)
        spoken = _speak(voice, cut.id, str(said.custom["raw"]), str(said.text), who, seed)
        reference = load_audio(cut)
        if cut.sampling_rate != voice.sample_rate:
            reference = soxr.resample(reference, cut.sampling_rate, voice.sample_rate)
        yield dataclasses.replace(spoken, reference=np.asarray(reference, dtype=np.float32))


def _speak(
    voice: Voice, name: str, text: str, words: str, speaker: str | None, seed: int
) -> Spoken:
    """Speak ``text``, whose words are ``words``; text that cannot be said becomes a problem."""
    if speaker is not None and speaker not in voice.speakers:
        voice.speak(text, speaker=speaker)  # raises, naming the speakers that there are
    who = speaker or next(iter(voice.speakers), "")
    language, silence = voice.language_of(who or None), np.zeros(0, np.float32)
    said = Spoken(name, words, silence, voice.sample_rate, speaker=who, language=language)
    try:
        speech = voice.speak(text, speaker=speaker, seed=seed)
    except InputError as error:
        return dataclasses.replace(said, problem=str(error))
    marks = tuple((mark.text, mark.start, mark.end) for mark in speech.phonemes)
    return dataclasses.replace(said, samples=speech.samples, marks=marks)


def _speller(language: str) -> FrontEnd:
    """A front end that only writes numbers and abbreviations out; it needs no espeak-ng."""
    return FrontEnd(language=language.replace("_", "-").lower(), phonemes="text")


def _counted(
    spoken: Iterable[Spoken], total: int, progress: Callable[[int, int], None] | None
) -> Iterator[Spoken]:
    for done, item in enumerate(spoken):
        yield item
        if progress is not None:
            progress(done + 1, total)


def _speeds(voice: Voice, rows: Sequence[Row], speaker: str | None) -> list[Speed]:
    """Speed at one and two threads (where there are two cores) on sentences of middling length."""
    texts = sorted((row.text for row in rows if row.problem is None), key=len)
    middle = texts[len(texts) // 4 :][:8]
    counts = [1, 2] if (os.cpu_count() or 1) > 1 else [1]
    return [measure_speed(voice.path, middle, threads=n, speaker=speaker) for n in counts if middle]
