"""A file's graph against torch's, on random sentences."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glottis.errors import InputError
from glottis.text.symbols import DEFAULT

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)

TOLERANCE = 5e-3
"""Largest difference between the graph's samples and torch's, with the same stored weights.

Rounding alone makes 1e-3 or 2e-3 on random phonemes: a flow undone, then phases of loud bins."""


def sentence_inputs(
    length: int,
    rng: np.random.Generator | None = None,
    *,
    several: bool,
    languages: int = 1,
    seeded: bool = True,
    partial: bool = False,
) -> dict[str, np.ndarray]:
    """Inputs for a random sentence; of several languages one by chance, or the speaker's own."""
    rng = rng or np.random.default_rng(1)
    known = sorted(i for ids in DEFAULT.phoneme_id_map.values() for i in ids if i > 2)
    ids = np.zeros(length, np.int64)
    ids[::2] = rng.choice(known, len(ids[::2]))
    ids[0], ids[-1] = 1, 2
    values = {
        "input": ids[None],
        "input_lengths": np.array([length]),
        "scales": np.array([0.667, 1.0, 0.8], np.float32),
    }
    if several:
        values["sid"] = np.array([1])
    if languages > 1:
        values["language"] = rng.integers(-1, languages, 1, dtype=np.int64)
    if seeded:
        values["seed"] = np.array([7])
    if partial:
        values["frames"] = np.array([2**31])
    return values


def open_graph(path: Path) -> Any:
    """An onnxruntime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of the seed's default, which is meant
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def must_equal(path: Path, ours: Iterable[np.ndarray], theirs: Iterable[Tensor]) -> float:
    """The largest difference between a file's outputs and torch's.

    Raises:
        InputError: it is above :data:`TOLERANCE`.
    """
    pairs = zip(ours, theirs, strict=True)
    difference = max(float(np.abs(one - other.numpy()).max(initial=0)) for one, other in pairs)
    if not difference <= TOLERANCE:
        raise InputError(
            f"{path.name}: the graph's output differs from torch's by {difference:.2g}; not written"
        )
    return difference


def check(
    graph: nn.Module,
    path: Path,
    **inputs: Any,
) -> None:
    """Speak a few random sentences with torch and with the file; raise when they differ, or when
    the beginning of one, made by itself, is not that of the whole."""
    import torch

    session = open_graph(path)
    rng = np.random.default_rng(0)
    for length in (9, 40, 151):
        example = sentence_inputs(length, rng, **inputs)
        *ours, durations = session.run(None, example)
        with torch.no_grad():
            *theirs, wanted = graph(*(torch.from_numpy(value) for value in example.values()))
        if not np.array_equal(durations, wanted.numpy()):
            raise InputError(f"{path.name}: the graph's durations differ from torch's; not written")
        difference = must_equal(path, ours, theirs)
        log.info("%d ids: differing from torch by %.1g", length, difference)
        if "frames" in example:
            example["frames"] = np.array([7])
            begun, _ = session.run(None, example)
            must_equal(path, [begun], [theirs[0][..., : begun.shape[-1]]])
