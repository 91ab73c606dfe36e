"""Vocoder parameters of prepared recordings: made when they are first asked for, then kept.

They lie in the prepared folder under ``parameters/``, named as the recording's log-mels are and by
a hash of the vocoder's settings; a folder that cannot be written is analysed anew each time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from glottis.audio.vocoder import Parameters, VocoderConfig, analyse
from glottis.config import as_dict
from glottis.corpus.prepared import load_audio
from glottis.errors import InputError
from glottis.files import replacing

if TYPE_CHECKING:
    from lhotse.cut import MonoCut

Array = NDArray[np.float32]

# Raise this when the analysis changes for the same settings: it is part of their hash.
ANALYSIS_VERSION = 1
USUAL_PITCH = 150.0
_log = logging.getLogger(__name__)
_reported: set[Path] = set()


def load_parameters(cut: MonoCut, config: VocoderConfig) -> Parameters:
    """Parameters of a whole cut, from :meth:`glottis.corpus.prepared.Prepared.cuts`.

    Raises:
        InputError: the recording is gone, or its rate is not the vocoder's.
    """
    features = cut.features
    assert features is not None
    if features.sampling_rate != config.sample_rate:
        raise InputError(
            f"{cut.id} has {features.sampling_rate} samples a second, the vocoder "
            f"{config.sample_rate}; prepare the corpus with mel.sample_rate={config.sample_rate}"
        )
    root = Path(features.storage_path).parent / "parameters"
    path = root / digest(config) / str(features.storage_key)
    try:
        rows = np.load(path, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError):
        found = analyse(load_audio(cut), config)
        rows = np.concatenate([found.pitch[None], found.cepstrum, found.aperiodicity])
        try:
            with replacing(path) as temporary:
                np.save(temporary, rows.astype(np.float32), allow_pickle=False)
        except InputError as error:
            if root not in _reported:
                _reported.add(root)
                _log.warning("parameters are not kept and will be made again: %s", error)
    order = config.order + 1
    return Parameters(rows[0], rows[1 : 1 + order], rows[1 + order :])


def digest(config: VocoderConfig) -> str:
    """Ten hexadecimal digits that change with everything the parameters depend on."""
    settings = json.dumps([ANALYSIS_VERSION, as_dict(config)], sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()[:10]


def continuous_log_pitch(pitch: Array) -> Array:
    """``[frames]`` in Hz, 0 where unvoiced -> log Hz, straight through unvoiced stretches.

    Held at both ends; an utterance without a voice gets :data:`USUAL_PITCH`.
    """
    voiced = np.flatnonzero(pitch > 0)
    if not len(voiced):
        return np.full(len(pitch), np.log(USUAL_PITCH), np.float32)
    line = np.interp(np.arange(len(pitch)), voiced, np.log(pitch[voiced].astype(np.float64)))
    return line.astype(np.float32)
