"""Servers that really listen, and a client without anything between."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from glottis.serve import ServeConfig
from glottis.serve.server import Server, listening, make_server
from glottis.serve.voices import Voices


@dataclass
class Served:
    """A server at work, and how to ask it."""

    server: Server
    voices: Voices
    port: int

    def connect(self, listens: bool = True) -> http.client.HTTPConnection:
        """A connection; one that does not listen keeps little of what it is sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        if not listens:
            connection.sock = socket.socket()
            connection.sock.settimeout(20)
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sock.connect(("127.0.0.1", self.port))
        return connection

    def send(self, method: str, path: str, body: Any = None, **headers: str):
        """Send a request: -> the connection and the answer, of which only the head is read."""
        connection = self.connect()
        if isinstance(body, dict):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        return connection, connection.getresponse()

    def ask(self, method: str, path: str, body: Any = None, **headers: str):
        """Status, headers and body of the answer."""
        connection, answer = self.send(method, path, body, **headers)
        with contextlib.closing(connection):
            return answer.status, answer.headers, answer.read()

    def speak(self, text: str, path: str = "/v1/audio/speech", **fields: Any) -> bytes:
        status, _, data = self.ask("POST", path, {"input": text, **fields})
        assert status == 200, data
        return data

    def refused(self, body: Any, path: str = "/v1/audio/speech", **headers: str):
        """Status, and OpenAI's table of an error."""
        status, _, data = self.ask("POST", path, body, **headers)
        error = json.loads(data)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return status, error

    def requests(self) -> int:
        return json.loads(self.ask("GET", "/health")[2])["requests"]

    def wait_for_requests(self, number: int, seconds: float = 5.0) -> None:
        end = time.monotonic() + seconds
        while self.requests() != number:
            assert time.monotonic() < end, f"{self.requests()} requests"
            time.sleep(0.02)


@contextlib.contextmanager
def serving(voices: Voices, key: str | None = None, **settings: Any):
    config = ServeConfig(**settings)
    listener = listening("127.0.0.1", 0)
    server = make_server(config, voices, key)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield Served(server, voices, listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
