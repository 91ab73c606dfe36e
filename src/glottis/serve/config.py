"""What a server is told when it is started."""

from __future__ import annotations

import os
from dataclasses import dataclass

from glottis.errors import InputError
from glottis.voice.checks import checked, is_whole


@dataclass(frozen=True)
class ServeConfig:
    """Settings of ``glottis serve``.

    Args:
        voices: names or paths of voices, each also as ``NAME=VOICE``, the default one first; all
            that are installed when empty.
        host: the address to listen at.
        port: of TCP; 0 takes a free one.
        threads: processor threads for one sentence.
        jobs: sentences that are made at once; as many as there are processors for when None.
        queue: requests that may wait beyond those; more are answered 503.
        lexicon: a file of pronunciations for every voice.
        longest_text: characters; longer ones are answered 413.
        longest_recording: seconds of a recording to convert.
        largest_upload: bytes of one.
        patience: seconds that a client may take to accept what is sent before it is given up.
        origins: web sites (``https://example.org``) whose pages may use the server, ``*`` for all.
        access_log: whether each request is reported.

    Raises:
        InputError: a number out of range.
    """

    voices: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    threads: int = 1
    jobs: int | None = None
    queue: int = 32
    lexicon: str | None = None
    longest_text: int = 100_000
    longest_recording: float = 120.0
    largest_upload: int = 25_000_000
    patience: float = 300.0
    origins: tuple[str, ...] = ()
    access_log: bool = False

    def __post_init__(self) -> None:
        whole = {"port": (0, 65535), "threads": (1, 1024), "queue": (0, 100_000)}
        whole |= {"longest_text": (1, 10**9), "largest_upload": (1, 10**12)}
        if self.jobs is not None:
            whole["jobs"] = (1, 1024)
        for name, (low, high) in whole.items():
            if not is_whole(getattr(self, name)):
                raise InputError(f"{name} must be a whole number, not {getattr(self, name)}")
            checked(name, getattr(self, name), low, high)
        checked("longest_recording", self.longest_recording, 0.1, 3600, " seconds")
        checked("patience", self.patience, 0.1, 86400, " seconds")
        if not self.host:
            raise InputError(
                "host is empty; 127.0.0.1 is this machine alone, 0.0.0.0 every network"
            )

    @property
    def at_once(self) -> int:
        """Sentences that are made at once."""
        return self.jobs or max(1, _processors() // self.threads)


def _processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
