"""``glottis convert``: a recording said again with another speaker's voice.

By a run folder of VITS, or by what ``glottis train conversion`` learnt, which takes no torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glottis.audio.files import read
from glottis.audio.pitch import f0
from glottis.errors import InputError
from glottis.models.voice_conversion import FILE, Conversion
from glottis.voice.checks import checked_seed


def conversion_file(path: Path) -> Path | None:
    """The conversion that ``path`` is, or has in it as a run folder; None when there is none."""
    if path.suffix == ".npz":
        return path
    inside = path / FILE
    return inside if inside.is_file() else None


def convert_by_file(
    file: Path, recording: Path, source: str, target: str, *, seed: int = 0
) -> tuple[NDArray[np.float32], int]:
    """Convert a recording by the file of a conversion; arguments and result as :func:`convert`.

    Raises:
        InputError: the file is no conversion, does not know a speaker (it lists those it knows), or
            the recording cannot be read or is too short.
    """
    number = checked_seed(seed)
    conversion = Conversion.load(file)
    rate = conversion.vocoder.sample_rate
    samples, _ = read(recording, rate)
    try:
        made = conversion.convert(samples, source, target, seed=number)
    except InputError as error:
        raise InputError(f"{file}, {recording}: {error}") from error
    return np.clip(made, -1.0, 1.0), rate


def convert(
    run: Path, recording: Path, source: str, target: str, *, seed: int = 0, temperature: float = 1.0
) -> tuple[NDArray[np.float32], int]:
    """Convert a recording of ``source`` to ``target``: the same words at the same times.

    Args:
        run: the run folder of a VITS trained on several speakers.
        recording: a sound file, of any rate.
        source: who speaks in it; ``target``: who shall. Names of the run's speakers.
        seed: the same seed gives the same audio.
        temperature: how far from the most likely latents the model draws.

    Returns:
        Audio float32 ``[samples]`` in [-1, 1], and its rate in Hz; less than a frame shorter than
        the recording.

    Raises:
        InputError: the run does not convert, does not know a speaker (it lists those it knows), or
            the recording cannot be read or is too short.
    """
    import torch

    from glottis.export import load_run

    model, facts = load_run(run)
    if not hasattr(model, "export_conversion"):
        raise InputError(f"{run} holds {facts['model']}, which does not convert; train a VITS")
    speakers: list[str] = facts["speakers"]
    if len(speakers) < 2:
        raise InputError(f"{run} knows one speaker, {speakers[0]}: there is nobody to convert to")
    for name in (source, target):
        if name not in speakers:
            raise InputError(f"{run} knows no speaker {name!r}. Speakers: {', '.join(speakers)}")
    rate, hop = facts["mel"]["sample_rate"], facts["mel"]["hop"]
    samples, _ = read(recording, rate)
    if len(samples) < facts["mel"]["fft_size"]:
        raise InputError(
            f"{recording} lasts {len(samples) / rate:.3f} s, less than the "
            f"{facts['mel']['fft_size'] / rate:.3f} s of one analysis window"
        )
    frames = len(samples) // hop
    samples = samples[: frames * hop]
    pitch = None
    if model.config.pitch:  # type: ignore[union-attr]
        pitch = torch.from_numpy(f0(samples, rate, hop)[0]).unsqueeze(0)
    converted = model.convert(  # type: ignore[operator]
        torch.from_numpy(samples).unsqueeze(0),
        torch.tensor([frames * hop]),
        torch.tensor([speakers.index(source)]),
        torch.tensor([speakers.index(target)]),
        pitch=pitch,
        temperature=temperature,
        generator=torch.Generator().manual_seed(checked_seed(seed)),
    )
    return np.clip(converted[0].numpy(), -1.0, 1.0), rate
