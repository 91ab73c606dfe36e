"""Speech for tests that need no corpus."""

import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

SENTENCES = (
    "One two three four five six seven.",
    "She went to the store and bought some bread.",
    "The weather is cold this morning.",
)


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """``SENTENCES`` spoken by espeak-ng, as (text, samples, rate)."""
    folder = tmp_path_factory.mktemp("espeak")
    script = Path(__file__).with_name("espeak_speech.py")
    subprocess.run([sys.executable, str(script), str(folder), *SENTENCES], check=True)
    spoken = []
    for number, text in enumerate(SENTENCES):
        samples, rate = soundfile.read(folder / f"{number}.wav", dtype="float32")
        spoken.append((text, samples, rate))
    return spoken
