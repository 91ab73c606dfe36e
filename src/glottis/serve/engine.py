"""Syntheses in a few threads, and the line of requests before them.

A text is made sentence by sentence, and each sentence waits for a thread by itself. So a long text
does not keep others waiting, a client that is slow to listen keeps no thread, and the first sound
of a new request comes after a sentence of each one that is at work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from glottis.serve.errors import RequestError

T = TypeVar("T")


class Engine:
    """Runs ``jobs`` things at once and admits ``queue`` requests more."""

    def __init__(self, jobs: int, queue: int) -> None:
        self.jobs, self.limit = jobs, jobs + queue
        self.admitted = 0
        self.stopped = asyncio.Event()
        """Set when the server ends: whoever answers should stop."""
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="speech")

    @contextmanager
    def admission(self) -> Iterator[None]:
        """A request's place in the line, for as long as it is answered.

        Raises:
            RequestError: the line is full (503).
        """
        if self.admitted >= self.limit:
            raise RequestError(
                f"{self.admitted} requests are at work or waiting; try again soon", status=503
            )
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in one of the threads.

        What is cancelled while it waits for a thread is never called; what runs already runs to its
        end, and nobody hears of it.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def steps(self, iterator: Iterator[T]) -> AsyncIterator[T]:
        """The items of an iterator, each made in one of the threads when the one before is used."""
        end: Any = object()
        while (item := await self.run(next, iterator, end)) is not end:
            yield item

    def close(self) -> None:
        """Wait for what runs, and drop what waits."""
        self._pool.shutdown(cancel_futures=True)
