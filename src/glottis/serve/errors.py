"""Errors in the shape that clients of OpenAI's endpoints read."""

from __future__ import annotations

import logging
from typing import Any

from glottis.errors import InputError
from glottis.voice import Voice

_log = logging.getLogger(__name__)

CODES = {
    401: "invalid_api_key",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_long",
    415: "unsupported_media_type",
    503: "queue_full",
}

LONGEST = 2000
"""Characters of a message; what a client wrote may be longer."""


class RequestError(Exception):
    """A request that is answered with an error.

    Args:
        message: what is wrong and what to do about it.
        field: of the request, which the message is about.
        status: of HTTP.
        code: a word for programs; by the status when left out.
    """

    def __init__(
        self, message: str, field: str | None = None, status: int = 400, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.field, self.status = message, field, status
        self.code = code or CODES.get(status)

    def json(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {
            "error": {
                "message": _shown(self.message),
                "type": kind,
                "param": None if self.field is None else _shown(self.field),
                "code": self.code,
            }
        }


def refusal(error: InputError, voice: Voice, field: str) -> RequestError:
    """What a client is told of an error that its ``field`` has led to.

    A message that begins with the voice's file is about a damaged voice. The client can do nothing
    about that, nor is it told where files are.
    """
    if str(error).startswith(str(voice.path)):
        _log.error("%s", error)
        return RequestError(f"the voice {voice.path.stem} is damaged; see the log", status=500)
    return RequestError(str(error), field)


def _shown(text: str) -> str:
    """What can be sent of a text that may hold what the client wrote."""
    return text.encode("utf-8", "replace").decode("utf-8")[:LONGEST]
