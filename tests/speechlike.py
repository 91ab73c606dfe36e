"""Signals like speech, for tests that need no corpus."""

import numpy as np


def vowel(seconds=3.0, rate=16000, base=120.0):
    """A vowel with a gliding pitch that comes and goes: float32 ``[samples]``, peak 0.7."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(base + base / 4 * np.sin(2 * np.pi * 0.7 * time)) / rate
    audio = sum(np.sin(k * phase) / (1 + ((k * base - 600) / 200) ** 2) for k in range(1, 60))
    audio = audio * np.clip(np.sin(2 * np.pi * 1.5 * time), 0, 1)
    return (0.7 * audio / np.abs(audio).max()).astype(np.float32)
