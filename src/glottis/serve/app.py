"""The endpoints."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glottis import __version__
from glottis.serve.answers import Streamed, while_connected
from glottis.serve.config import ServeConfig
from glottis.serve.conversion import ConversionRequest
from glottis.serve.engine import Engine
from glottis.serve.errors import RequestError
from glottis.serve.fields import Fields
from glottis.serve.speech import MODEL, SpeechRequest, checked_text, phonemes
from glottis.serve.voices import Voices

OPEN = ("/", "/health")
"""What is answered without a key."""

# The page holds all that it needs, so nothing from elsewhere may run in it.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; media-src blob:; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def make_app(voices: Voices, engine: Engine, config: ServeConfig, key: str | None) -> Starlette:
    """The application: an ASGI app.

    Args:
        voices: that can be asked for.
        engine: that makes what is asked for; closed when the application ends.
        config: limits and origins.
        key: that every request must show, none when None.
    """
    served = _Endpoints(voices, engine, config)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        engine.close()

    middleware = []
    if config.origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=config.origins,
                allow_methods=("GET", "POST"),
                allow_headers=("*",),
                expose_headers=("x-seed", "x-sample-rate"),
            )
        )
    if key is not None:
        middleware.append(Middleware(_Key, key=key))
    return Starlette(
        routes=[
            Route("/", served.page),
            Route("/health", served.health),
            Route("/v1/models", served.models),
            Route("/v1/models/{name}", served.model),
            Route("/v1/audio/voices", served.voices),
            Route("/v1/audio/speech", served.speech, methods=["POST"]),
            Route("/v1/audio/speech/marks", served.marks, methods=["POST"]),
            Route("/v1/audio/phonemes", served.phonemes, methods=["POST"]),
            Route("/v1/audio/conversions", served.conversions, methods=["POST"]),
        ],
        middleware=middleware,
        exception_handlers={
            RequestError: _refused,
            HTTPException: _not_routed,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
        lifespan=lifespan,
    )


class _Endpoints:
    def __init__(self, voices: Voices, engine: Engine, config: ServeConfig) -> None:
        self._voices, self._engine, self._config = voices, engine, config
        self._page = files("glottis.serve").joinpath("page.html").read_text(encoding="utf-8")
        self._listing = voices.listing()

    async def page(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers={"content-security-policy": POLICY})

    async def health(self, request: Request) -> Response:
        engine = self._engine
        return JSONResponse(
            {
                "status": "ok",
                "version": __version__,
                "voices": len(self._voices),
                "jobs": engine.jobs,
                "requests": engine.admitted,
                "limit": engine.limit,
            }
        )

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_MODEL]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name != MODEL:
            raise RequestError(f"there is no model {name!r}; it is {MODEL}", "model", 404)
        return JSONResponse(_MODEL)

    async def voices(self, request: Request) -> Response:
        return JSONResponse({"voices": self._listing})

    async def speech(self, request: Request) -> Response:
        return await self._speech(request, marks=False)

    async def marks(self, request: Request) -> Response:
        return await self._speech(request, marks=True)

    async def _speech(self, request: Request, *, marks: bool) -> Response:
        longest = self._config.longest_text
        asked = SpeechRequest.read(await self._body(request), self._voices, longest, marks=marks)
        headers = asked.headers()

        def make() -> Iterator[bytes]:
            return asked.answer(headers, marks=marks)

        return Streamed(self._engine, make, asked.media_type, headers, self._config.patience)

    async def phonemes(self, request: Request) -> Response:
        known = ("model", "input", "voice", "language", "ssml")
        fields = Fields.read(await self._body(request), known)
        fields.text("model")
        text = checked_text(fields, self._config.longest_text)
        voice, speaker = self._voices.find(fields.voice())
        language, ssml = fields.text("language"), fields.flag("ssml")
        found = await self._run(request, partial(phonemes, text, voice, speaker, language, ssml))
        return JSONResponse(found)

    async def conversions(self, request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise RequestError("send a form (multipart/form-data) with the recording as file")
        limit = self._config.largest_upload
        limited = Request(request.scope, _limited(request, limit, "file"))
        async with limited.form(max_files=1, max_fields=20, max_part_size=1 << 16) as form:
            values = dict(form)
            file = values.pop("file", None)
            if not isinstance(file, UploadFile):
                raise RequestError("file, the recording, is missing", "file")
            asked = ConversionRequest.read(values, self._voices)
            longest = self._config.longest_recording
            made = await self._run(request, partial(asked.answer, file.file, longest))
        return Response(made, media_type=asked.media_type, headers=asked.headers())

    async def _body(self, request: Request) -> bytes:
        """The body of a request that says that it is JSON.

        That keeps pages of other sites from asking: a browser asks this server first whether they
        may send JSON.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RequestError(
                "send JSON, with the header Content-Type: application/json", None, 415
            )
        # A character can take twelve bytes of JSON, and there are other fields.
        limit = 12 * self._config.longest_text + (1 << 16)
        return await Request(request.scope, _limited(request, limit, "input")).body()

    async def _run(self, request: Request, function: Callable[[], Any]) -> Any:
        """What a function gives, or nothing when the client has gone."""
        with self._engine.admission():
            return await while_connected(self._engine, self._engine.run(function), request.receive)


_MODEL = {"id": MODEL, "object": "model", "created": 0, "owned_by": "glottis"}


def _limited(request: Request, limit: int, field: str) -> Receive:
    """What a request receives, up to so many bytes; ``field`` is the one that is too large."""
    seen = 0

    async def receive() -> Message:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise RequestError(
                f"the request is larger than the {limit} bytes that this server takes", field, 413
            )
        return message

    return receive


class _Key:
    """Refuses requests without the right key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._key = app, key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            scheme, _, shown = Headers(scope=scope).get("authorization", "").partition(" ")
            same = hmac.compare_digest(shown.strip().encode("latin-1"), self._key)
            if scheme.lower() != "bearer" or not same:
                error = RequestError(
                    "this server asks for a key: send the header Authorization: Bearer KEY",
                    None,
                    401,
                )
                await _answer(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _answer(error: RequestError) -> Response:
    headers = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}
    return JSONResponse(error.json(), error.status, headers.get(error.status))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return _answer(error)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    said = {404: f"there is nothing at {path}", 405: f"{path} does not take {request.method}"}
    answer = _answer(
        RequestError(said.get(error.status_code, error.detail), None, error.status_code)
    )
    answer.headers.update(error.headers or {})
    return answer


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _failed(request: Request, error: Exception) -> Response:
    return _answer(RequestError("something is wrong with the server; see its log", None, 500))
