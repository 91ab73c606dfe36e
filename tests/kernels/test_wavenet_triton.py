"""Triton's form of the WaveNet sampler, in Triton's interpreter where there is no GPU.

A process of its own, because the interpreter must be asked for before Triton is first imported and
would then also take over whatever else compiles with it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)

PROGRAM = """
import numpy as np
from glottis.kernels.wavenet import Sampler
from test_wavenet_sampling import KINDS, _mels, _run, _weights

mels = _mels(1)
for number, (output, order) in enumerate(KINDS):
    weights = _weights(output, taps=1 + number % 3, order=order)
    samples, expected = _run(Sampler(weights, kind="reference"), mels)
    form = Sampler(weights, kind="triton")
    _, found = _run(form, mels, samples)
    assert np.abs(found - expected).max() < 1e-5 * max(1, np.abs(expected).max()), output
    if number % 2:
        # Its own draws, which it hears itself, by the same uniform numbers.
        drawn, _ = _run(form, mels)
        assert np.mean(np.abs(drawn - samples) < 1e-4) > 0.9, output
print("agree")
"""


def test_the_program_agrees_with_the_reference() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    paths = [str(Path(__file__).parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "agree"
