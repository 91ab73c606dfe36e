"""A server for all tests that change nothing about it."""

from __future__ import annotations

import converting_voice
import pytest
from served import serving

import fake_voice
from glottis.serve.voices import Voices


@pytest.fixture(scope="session")
def voices(tmp_path_factory):
    pair = converting_voice.make(tmp_path_factory.mktemp("voices"))
    wanted = [str(fake_voice.FAKE), str(fake_voice.FAKE_PIPER), "light=english-light", str(pair)]
    return Voices.load(wanted, threads=1, lexicon=None)


@pytest.fixture(scope="session")
def served(voices):
    with serving(voices, jobs=2, longest_text=20_000, longest_recording=3.0) as found:
        yield found
