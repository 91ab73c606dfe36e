"""How fast a voice speaks and how much memory it takes, each measured in a process of its own.

A fresh process is the only fair place: peak memory cannot be reset, thread pools cannot shrink, and
nothing is warm.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glottis.errors import InputError


@dataclass(frozen=True)
class Speed:
    """Speaking at ``threads`` threads.

    ``load_seconds``: making the voice ready, imports included. ``first_audio_seconds``: from the
    call of ``stream`` to its first chunk, median over the texts, after one warm-up.
    ``real_time_factor``: time to speak all texts over the time they last. ``peak_megabytes``: most
    resident memory of the process (10^6 bytes).
    """

    threads: int
    load_seconds: float
    first_audio_seconds: float
    real_time_factor: float
    peak_megabytes: float

    def lines(self) -> list[tuple[str, str]]:
        """Labels and values for a table."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return [
            (f"Real-time factor, {threads}", f"{self.real_time_factor:.4f}"),
            (f"Time to first audio, {threads}", f"{1000 * self.first_audio_seconds:.0f} ms"),
            (f"Loading, {threads}", f"{1000 * self.load_seconds:.0f} ms"),
            (f"Peak memory, {threads}", f"{self.peak_megabytes:.0f} MB"),
        ]


def measure_speed(
    voice: str | Path,
    texts: Sequence[str],
    *,
    threads: int,
    speaker: str | None = None,
    repeats: int = 3,
) -> Speed:
    """Speak ``texts`` in a fresh Python process held to ``threads`` threads and cores.

    Args:
        voice: name or path of a voice.
        texts: sentences; a handful of ordinary length is enough.
        threads: threads of the runtime; where the system allows, cores of the process too.
        repeats: each text is spoken so often; the fastest counts, which is the least disturbed.

    Raises:
        InputError: no texts, or the voice could not speak; the message carries its complaint.
    """
    if not texts:
        raise InputError("no texts to measure speed with")
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = str(threads)
    command = [sys.executable, "-m", __name__, str(voice), "--threads", str(threads)]
    command += ["--repeats", str(repeats)]
    if speaker is not None:
        command += ["--speaker", speaker]
    done = subprocess.run(
        command, input=json.dumps(list(texts)), text=True, capture_output=True, env=environment
    )
    if done.returncode:
        complaint = done.stderr.strip().splitlines()
        raise InputError(
            f"the voice {str(voice)!r} could not be timed: "
            f"{complaint[-1] if complaint else f'exit status {done.returncode}'}"
        )
    return Speed(**json.loads(done.stdout.splitlines()[-1]))


def peak_resident_bytes() -> int:
    """The most memory this process has held, in bytes.

    On Linux from ``VmHWM``: the figure of ``getrusage`` there starts from the parent's.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _hold_to_cores(count: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:count])


def _speak(
    voice_name: str, texts: Sequence[str], threads: int, speaker: str | None, repeats: int
) -> Speed:
    _hold_to_cores(threads)
    start = time.perf_counter()
    from glottis.voice import Voice

    voice = Voice.load(voice_name, threads=threads)
    loaded = time.perf_counter() - start
    voice.speak(texts[0], speaker=speaker, seed=0)
    first, spent, lasted = [], 0.0, 0.0
    for text in texts:
        takes = []
        for _ in range(repeats):
            start = time.perf_counter()
            speech = voice.speak(text, speaker=speaker, seed=0)
            takes.append(time.perf_counter() - start)
        spent += min(takes)
        lasted += len(speech.samples) / speech.sample_rate
        start = time.perf_counter()
        next(iter(voice.stream(text, speaker=speaker, seed=0)))
        first.append(time.perf_counter() - start)
    return Speed(
        threads=threads,
        load_seconds=loaded,
        first_audio_seconds=sorted(first)[len(first) // 2],
        real_time_factor=spent / lasted,
        peak_megabytes=peak_resident_bytes() / 1e6,
    )


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("voice")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--speaker")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    texts = json.load(sys.stdin)
    try:
        speed = _speak(options.voice, texts, options.threads, options.speaker, options.repeats)
    except InputError as error:
        sys.exit(str(error))
    print(json.dumps(dataclasses.asdict(speed)))


if __name__ == "__main__":
    _main()
