"""The models, one file each, the two largest a folder.

A model is a ``torch.nn.Module`` with a ``Config`` in the same module and

- ``batches``: the kind of batch it learns from, ``"utterances"``, ``"utterances_with_audio"``,
  ``"parameters"`` (then its ``config.vocoder`` says which), ``"windows"`` or
  ``"windows_with_pitch"``;
- ``optimized()``: parameters by the name of the loss that trains them;
- ``steps(batch, step)``: yields ``(name, loss, logs)`` once for each optimiser, in order; the code
  after a ``yield`` runs when that optimiser has stepped, so an adversarial model is one generator;
- ``validate(batch)``: held-out measures by name;
- ``show(batch)``: pictures and audio by name, for the eyes and ears of whoever trains;
- ``end_to_end = True`` when its graph makes audio, so that a voice needs no vocoder.

Only this module knows the list of models; a recipe names one of them.
"""

from __future__ import annotations

import importlib
from typing import Any

from glottis.errors import InputError

MODELS = {
    "glow_tts": ("glottis.models.glow_tts", "GlowTTS"),
    "grad_tts": ("glottis.models.grad_tts", "GradTTS"),
    "hifi_gan": ("glottis.models.hifi_gan", "HiFiGAN"),
    "spss": ("glottis.models.spss", "SPSS"),
    "vits": ("glottis.models.vits", "VITS"),
    "tacotron2": ("glottis.models.tacotron2", "Tacotron2"),
    "vocos": ("glottis.models.vocos", "Vocos"),
    "wavenet": ("glottis.models.wavenet", "WaveNet"),
}


def model_class(name: str) -> tuple[Any, Any]:
    """The network class and the ``Config`` class of the model called ``name``.

    Raises:
        InputError: there is no such model; the known ones are listed.
    """
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}. Known models: {', '.join(sorted(MODELS))}")
    module_name, class_name = MODELS[name]
    module = importlib.import_module(module_name)
    return getattr(module, class_name), module.Config


def construct(network: Any, config: Any, where: str) -> Any:
    """The ``network`` of a ``config`` that stands ``where``, as it begins.

    Raises:
        InputError: there is no network of these settings.
    """
    try:
        return network(config)
    except (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise InputError(f"{where}: {error}") from error
