"""Tacotron 2: log-mels one step after another, each looking at the text by attention.

Sources: Shen et al. 2018, "Natural TTS Synthesis by Conditioning WaveNet on Mel Spectrogram
Predictions"; attention: Chorowski et al. 2015 (location-sensitive), Zhang, Ling & Dai 2018
(forward); guided attention: Tachibana, Uenoyama & Aihara 2018, eq. 6; attention drawn to an
alignment that is found beforehand: Zhu et al. 2019. The sizes and the order of the layers are those
of NVIDIA's implementation, whose checkpoints ``glottis import`` reads.

``model`` is read from the top; ``config`` holds its settings, ``encoder`` and ``decoder`` its two
halves, ``attention`` what attention learns by, ``graphs`` what a voice file holds.
"""

from glottis.models.tacotron2.config import Config
from glottis.models.tacotron2.model import Predicted, Spoken, Tacotron2

__all__ = ["Config", "Predicted", "Spoken", "Tacotron2"]
