"""Mapping a function over rows in several processes, in order and with bounded memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from glottis.errors import InputError

A = TypeVar("A")
B = TypeVar("B")

_CHUNK = 8  # items handed to a process at a time


def ordered_map(
    function: Callable[[A], B], items: Iterable[A], jobs: int
) -> Generator[B, None, None]:
    """Yield ``function(item)`` for each item, in order; ``items`` is read a little ahead only.

    Args:
        function: picklable when ``jobs`` is above one; its errors are raised here.
        items: any iterable, read lazily.
        jobs: processes; with one, everything happens in this process.

    Raises:
        InputError: a process died.
    """
    iterator = iter(items)
    if jobs == 1:
        yield from map(function, iterator)
        return
    # Processes are spawned, not forked: the caller may hold threads (torch, a progress bar).
    context = multiprocessing.get_context("spawn")
    with _one_thread_each():
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin)
        waiting: deque[Future[list[B]]] = deque()
        try:
            while chunk := list(islice(iterator, _CHUNK)):
                waiting.append(pool.submit(_map_chunk, function, chunk))
                if len(waiting) > 3 * jobs:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process died, perhaps for want of memory; run again with fewer --jobs, "
                "what is done is kept"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def choose_jobs(jobs: int | None, rows: int) -> int:
    """How many processes to use: ``jobs`` if given, else the cores, fewer for few rows.

    Raises:
        InputError: ``jobs`` is below one.
    """
    if jobs is None:
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        # Starting a process takes as long as a few dozen rows.
        jobs = min(cores, rows // 32)
    elif jobs < 1:
        raise InputError(f"jobs must be at least 1, not {jobs}")
    return max(1, min(jobs, -(-rows // _CHUNK)))


def _map_chunk(function: Callable[[A], B], chunk: list[A]) -> list[B]:
    return [function(item) for item in chunk]


def _begin() -> None:
    """Ctrl-C is for the parent, which lets its processes finish the rows they hold.

    When the parent is killed its processes must not wait for work for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside use one thread for matrix products: the cores are taken."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
