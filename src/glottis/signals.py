"""Ending by a signal as tidily as by Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def tidy_when_ended() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind what runs, as Ctrl-C does, so that no half-written file stays.

    A signal that is ignored stays ignored: nohup works by that.
    """

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {each: signal.getsignal(each) for each in known}
    heeded = [each for each in known if before[each] not in (signal.SIG_IGN, None)]
    try:
        for each in heeded:
            signal.signal(each, leave)
    except ValueError:  # not in the main thread, where no signal arrives
        yield
        return
    try:
        yield
    finally:
        for each in heeded:
            signal.signal(each, before[each])
