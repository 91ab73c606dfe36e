"""Naturalness, judged by published networks: DNSMOS P.808 and PLCMOS.

Both predict the mean opinion (1 to 5) of a crowd that listened to speech. Their networks come
in the package ``speechmos``; its Python code needs librosa, so the features are computed here.
They equal librosa's to 1e-5, and the scores those of the package's own code.

PLCMOS hears what a resampler leaves just below 8 kHz: the same recordings get 4.5 after soxr's high
quality, 4.4 after its low quality, 4.3 after a short windowed sinc and 3.7 after linear
interpolation. So compare only audio that was brought to 16 kHz by the same code.

Sources: Reddy, Gopal & Cutler 2021 (DNSMOS), the P.808 model; Diener et al. 2023 (PLCMOS), v2.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from glottis.audio.mel import hz_to_mel, mel_to_hz
from glottis.errors import InputError
from glottis.evaluation.extras import REMEDY, folder_of
from glottis.evaluation.recognition import LISTENING_RATE, listening_copy

Array = NDArray[np.float32]

P808_SECONDS = 9.01
_P808_FFT, _P808_HOP, _P808_MELS = 321, 160, 120
_PLCMOS_FFT, _PLCMOS_HOP = 512, 256
PLCMOS_RATERS = 15


class Judges:
    """The two networks, loaded once (0.1 s).

    PLCMOS averages over raters that are drawn at random; here they are drawn once from ``seed``, so
    that equal audio gets equal scores.
    """

    def __init__(self, seed: int = 0) -> None:
        folder = folder_of("speechmos")
        self._p808 = _session(folder / "dnsmos_models" / "model_v8.onnx")
        self._plcmos = _session(folder / "plcmos_models" / "plcmos_v2.onnx")
        generator = np.random.default_rng(seed)
        self._raters = generator.standard_normal((PLCMOS_RATERS, 1, 64)).astype(np.float32)

    def p808(self, samples: Array, sample_rate: int) -> float:
        """DNSMOS P.808 of ``samples`` ``[samples]``: the mean over 9.01 s windows every second.

        Shorter audio is repeated until it fills a window, as the published code does.
        """
        audio = listening_copy(samples, sample_rate)
        length = int(P808_SECONDS * LISTENING_RATE)
        while len(audio) < length:
            audio = np.concatenate([audio, audio])
        windows = int(len(audio) // LISTENING_RATE - P808_SECONDS) + 1
        starts = [i * LISTENING_RATE for i in range(windows)]
        features = [
            p808_features(audio[start : start + length - _P808_HOP])
            for start in starts
            if start + length <= len(audio)
        ]
        scores = [self._p808.run(None, {"input_1": f[None]})[0] for f in features]
        return float(np.mean(scores))

    def plcmos(self, samples: Array, sample_rate: int) -> float:
        """PLCMOS v2 of ``samples`` ``[samples]``: the mean over 15 simulated raters.

        Less than the seven frames that the network needs (0.1 s) is repeated.
        """
        audio = listening_copy(samples, sample_rate)
        while len(audio) <= 5 * _PLCMOS_HOP:
            audio = np.concatenate([audio, audio])
        features = plcmos_features(audio)[None, None]
        scores = [
            self._plcmos.run(None, {"degraded_audio": features, "rater_embed": rater})[0]
            for rater in self._raters
        ]
        return float(np.mean(scores))


def p808_features(audio: Array) -> Array:
    """Input of the P.808 network: ``[samples]`` at 16 kHz -> float32 ``[frames, 120]``.

    Slaney mel powers of periodic Hann windows of 321 samples every 160, centred with zeros beyond
    the ends, in decibels below the loudest value (at most 80 down), mapped by (dB + 40) / 40.
    """
    padded = np.pad(np.asarray(audio, np.float32), _P808_FFT // 2)
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(_P808_FFT) / _P808_FFT)
    frames = sliding_window_view(padded, _P808_FFT)[::_P808_HOP]
    spectrum = np.fft.rfft(frames * window.astype(np.float32), axis=-1)
    power = (spectrum.real**2 + spectrum.imag**2) @ _p808_filters().T
    decibels = 10.0 * np.log10(np.maximum(power, 1e-10))
    decibels -= 10.0 * np.log10(max(float(power.max()), 1e-10))
    return ((np.maximum(decibels, decibels.max() - 80.0) + 40.0) / 40.0).astype(np.float32)


def plcmos_features(audio: Array) -> Array:
    """Input of the PLCMOS network: ``[samples]`` at 16 kHz -> float32 ``[frames, 257]``.

    A twentieth of the natural logarithm of the powers of 512-sample Hamming windows every 256; an
    exact zero becomes 120 dB less than the smallest power.
    """
    audio = np.asarray(audio, np.float64)
    start = _PLCMOS_FFT - _PLCMOS_HOP
    count = -(-(len(audio) + start) // _PLCMOS_HOP)
    padded = np.zeros((count - 1) * _PLCMOS_HOP + _PLCMOS_FFT)
    padded[start : start + len(audio)] = audio
    window = np.hamming(_PLCMOS_FFT + 1)[:-1]
    frames = sliding_window_view(padded, _PLCMOS_FFT)[::_PLCMOS_HOP]
    power = np.abs(np.fft.rfft(frames * window, axis=-1)) ** 2
    positive = power[power > 0]
    if positive.size == 0:
        logarithm = np.full(power.shape, -8.0 * np.log(10.0))
    else:
        least = np.log(positive.min()) - 12.0 * np.log(10.0)
        logarithm = np.where(power > 0, np.log(np.maximum(power, positive.min())), least)
    return (logarithm / 20.0).astype(np.float32)


@lru_cache(maxsize=1)
def _p808_filters() -> NDArray[np.float64]:
    """``[120, 161]``: Slaney triangles of unit area from 0 to 8 kHz for the odd window of 321."""
    bins = np.arange(_P808_FFT // 2 + 1) * (LISTENING_RATE / _P808_FFT)
    edges = mel_to_hz(np.linspace(hz_to_mel(0.0), hz_to_mel(8000.0), _P808_MELS + 2))
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]


def _session(path: Path) -> Any:
    import onnxruntime

    if not path.is_file():
        raise InputError(f"the package speechmos has no {path.name}; reinstall it: {REMEDY}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )
