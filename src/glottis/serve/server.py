"""Starting and ending a server."""

from __future__ import annotations

import os
import socket
import sys

import python_multipart  # noqa: F401  # missing, it should be told now and not with the first upload
import uvicorn

from glottis.errors import InputError
from glottis.serve.app import make_app
from glottis.serve.config import ServeConfig
from glottis.serve.engine import Engine
from glottis.serve.voices import Voices

KEY = "GLOTTIS_API_KEY"
"""The environment variable of the key that requests must show. Arguments can be read by every user
of a machine."""


class Server(uvicorn.Server):
    """Answers that are being made end with the server, instead of keeping it."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._engine.stopped.set()
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            # Of a client that does not take what was left to send.
            if connection.transport is not None:
                connection.transport.abort()


def run(config: ServeConfig) -> None:
    """Serve until interrupted; see :func:`glottis.serve.run`."""
    listener = listening(config.host, config.port)
    with listener:
        voices = Voices.load(config.voices, threads=config.threads, lexicon=config.lexicon)
        server = make_server(config, voices, os.environ.get(KEY) or None)
        where = f"http://{_written(config.host)}:{listener.getsockname()[1]}"
        number = len(voices)
        print(f"{where}  {number} voice{'s' * (number > 1)}; Ctrl-C ends it", file=sys.stderr)
        if not _is_local(listener) and not os.environ.get(KEY):
            print(f"whoever reaches this address may use it; {KEY} sets a key", file=sys.stderr)
        sys.stderr.flush()
        server.run(sockets=[listener])


def make_server(config: ServeConfig, voices: Voices, key: str | None) -> Server:
    """A server that can be run on sockets that listen."""
    engine = Engine(config.at_once, config.queue)
    settings = uvicorn.Config(
        make_app(voices, engine, config, key),
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="info" if config.access_log else "warning",
        access_log=config.access_log,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    return Server(settings, engine)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        InputError: no such address, or the port is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name such as localhost has two addresses, of which people write the older.
        family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    except (OSError, UnicodeError) as error:
        raise InputError(f"there is no address {host!r} (--host): {error}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        # A server that has just ended must not keep its successor waiting.
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise InputError(
            f"cannot listen at {host}, port {port}: {reason}; choose another with --port, or 0 for "
            "a free one"
        ) from error
    return listener


def _is_local(listener: socket.socket) -> bool:
    address = str(listener.getsockname()[0])
    return address.startswith("127.") or address == "::1"


def _written(host: str) -> str:
    """As it stands in a URL."""
    return f"[{host}]" if ":" in host else host
