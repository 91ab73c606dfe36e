"""Shared by all tests; its place puts ``tests`` on the import path, for ``import fake_voice``."""

from __future__ import annotations

import os

# Sums over several threads round otherwise, and some tests compare bits. Before numpy is there.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# How long an example takes says nothing on a busy machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
