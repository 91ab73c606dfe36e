"""WaveNet as a vocoder: the distribution of each sample given all before it and the log-mels.

Sources: van den Oord et al. 2016, "WaveNet: A Generative Model for Raw Audio" (dilated gated stack,
global and local conditioning); van den Oord et al. 2018, "Parallel WaveNet" (16-bit mixtures of
logistics); Ping, Peng & Chen 2019, "ClariNet" (one Gaussian). The arrangement of the layers is that
of Yamamoto's wavenet_vocoder, whose checkpoints ``glottis import`` reads.

Trained by the exact log-likelihood of 16-bit samples (or of mu-law classes). Amplitudes are what
the recording has: nothing is rescaled, samples go one to one to the grid that the distributions
are defined on, and audio outside [-1, 1] is refused. Sampling is ``glottis.kernels.wavenet``.

``model`` is read from the top; ``config`` holds its settings, ``layers`` what it is made of.
"""

from glottis.models.wavenet.config import Config
from glottis.models.wavenet.model import WaveNet

__all__ = ["Config", "WaveNet"]
