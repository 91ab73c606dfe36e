"""Voices over HTTP: OpenAI's speech endpoint, the times of words and phonemes, conversion, a page.

Needs no torch; the extra ``glottis[serve]`` brings Starlette and uvicorn, which are imported when a
server is started.
"""

from __future__ import annotations

from glottis.serve.config import ServeConfig

__all__ = ["ServeConfig", "run"]


def run(config: ServeConfig) -> None:
    """Serve voices until interrupted.

    Raises:
        InputError: a voice that cannot be loaded, or an address that cannot be listened at.
        ModuleNotFoundError: the extra is not installed.
    """
    from glottis.serve.server import run as run_server

    run_server(config)
