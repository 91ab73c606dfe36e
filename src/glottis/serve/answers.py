"""Answers that are made while they are sent, and end when nobody listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from glottis.serve.engine import Engine
from glottis.serve.errors import RequestError

T = TypeVar("T")
BLOCK = 1 << 16
"""Bytes that are sent at a time."""
_log = logging.getLogger(__name__)


class Streamed(Response):
    """An answer whose bytes come from an iterator, each made in one of the engine's threads.

    Status and headers are sent with the first bytes, so whatever is raised before becomes an answer
    of its own. An error after that breaks the connection off, which tells the client that something
    is missing.

    Args:
        engine: admits the answer and makes it.
        make: gives the iterator; it is asked in one of the threads.
        media_type: of the answer.
        extra: headers, read when the first bytes are there.
        patience: seconds that the client may take to accept some bytes.
    """

    def __init__(
        self,
        engine: Engine,
        make: Callable[[], Iterator[bytes]],
        media_type: str,
        extra: dict[str, str],
        patience: float,
    ) -> None:
        # Response's own would promise an empty body.
        self.status_code, self.media_type, self.background = 200, media_type, None
        self._engine, self._make, self._extra = engine, make, extra
        self._patience, self._begun = patience, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._engine.admission():
                await while_connected(self._engine, self._send(send), receive)
        except RequestError as error:
            if not self._begun:
                raise
            _log.error("broken off: %s", error)

    async def _send(self, send: Send) -> None:
        async for data in self._engine.steps(self._make()):
            if not data:
                continue
            if not self._begun:
                self._begun = True
                # Proxies such as nginx would otherwise keep the beginning until there is more.
                unhindered = {"cache-control": "no-store", "x-accel-buffering": "no"}
                self.init_headers({**unhindered, **self._extra})
                head = {"status": self.status_code, "headers": self.raw_headers}
                await send({"type": "http.response.start", **head})
            # What waits for a client that does not take it should be little.
            for start in range(0, len(data), BLOCK):
                block = data[start : start + BLOCK]
                message = {"type": "http.response.body", "body": block, "more_body": True}
                try:
                    await asyncio.wait_for(send(message), self._patience)
                except TimeoutError:
                    seconds = f"{self._patience:g} s"
                    raise RequestError(
                        f"the client took nothing for {seconds}", status=408
                    ) from None
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def while_connected(
    engine: Engine, work: Coroutine[Any, Any, T], receive: Receive
) -> T | None:
    """The result of ``work``; None when the client goes before it is there.

    Raises:
        RequestError: the server ends before it is there (503), and what ``work`` raises.
    """

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    made = asyncio.create_task(work)
    others = [asyncio.create_task(gone()), asyncio.create_task(engine.stopped.wait())]
    try:
        await asyncio.wait([made, *others], return_when=asyncio.FIRST_COMPLETED)
        if made.done():
            return made.result()
        if engine.stopped.is_set():
            raise RequestError("the server is ending", status=503, code="ending")
        return None
    finally:
        for task in (made, *others):
            task.cancel()
        await asyncio.gather(made, *others, return_exceptions=True)
