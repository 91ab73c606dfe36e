"""Shared by all tests; its place puts ``tests`` on the import path, for ``import fake_voice``."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says nothing on a busy machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
