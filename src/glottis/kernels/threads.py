"""Work shared out over plain threads: a second OpenMP pool beside torch's stutters."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="glottis-kernel")


if hasattr(os, "register_at_fork"):  # a forked data loader inherits the pool but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def in_parts(work: Callable[[slice], None], size: int, threads: int) -> None:
    """Call ``work`` with slices of ``range(size)``, one a thread and at most one a processor."""
    threads = max(1, min(threads, size, os.cpu_count() or 1))
    step = -(-size // threads) or 1
    parts = [slice(start, min(start + step, size)) for start in range(0, size, step)]
    if len(parts) < 2:
        for part in parts:
            work(part)
    else:
        list(_pool().map(work, parts))
