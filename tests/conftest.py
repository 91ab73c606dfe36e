"""Shared by all tests; its place puts ``tests`` on the import path, for ``import fake_voice``."""
