"""Speech in a report: pictures of spectrogram, pitch and phonemes, and compressed audio."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from glottis.audio.mel import MelConfig, hz_to_mel, log_mel
from glottis.audio.pitch import f0
from glottis.evaluation.extras import require

Array = NDArray[np.float32]
MarkTimes = Sequence[tuple[str, float, float]]

_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_HERTZ = (250, 500, 1000, 2000, 4000, 8000)


def picture(
    samples: Array,
    sample_rate: int,
    *,
    reference: Array | None = None,
    marks: MarkTimes = (),
) -> bytes:
    """A PNG of the log-mel spectrogram with the pitch over it and the phonemes below.

    Args:
        samples: ``[samples]``, mono.
        sample_rate: in Hz, of both.
        reference: ``[samples]``, drawn below on the same time axis.
        marks: phonemes as (symbol, start, end) in seconds.
    """
    require("matplotlib")
    from matplotlib.figure import Figure

    parts = [("audio", samples)] + ([("recording", reference)] if reference is not None else [])
    longest = max(len(audio) for _, audio in parts) / sample_rate
    # A figure without pyplot: no global state, safe in any process, no display.
    figure = Figure(figsize=(9.0, 0.5 + 2.0 * len(parts)), layout="constrained")
    axes = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, audio) in zip(axes, parts, strict=True):
        _draw(axis, audio, sample_rate)
        axis.set_ylabel(f"{name}, kHz", fontsize=7)
        axis.set_xlim(0.0, max(longest, 0.01))
    for symbol, start, end in marks:
        axes[0].axvline(start, color="white", linewidth=0.3, alpha=0.6)
        if symbol.strip():
            axes[0].text(
                (start + end) / 2,
                1.0,
                symbol,
                transform=axes[0].get_xaxis_transform(),
                fontsize=7,
                ha="center",
                va="bottom",
            )
    axes[-1].set_xlabel("seconds", fontsize=7)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return file.getvalue()


def compressed(samples: Array, sample_rate: int) -> bytes:
    """MP3 of ``samples`` ``[samples]``, about 64 kbit/s, which every browser plays."""
    import soundfile

    # The rates that MPEG layer III has; others go to the next higher one.
    rate = next((r for r in _MP3_RATES if r >= sample_rate), _MP3_RATES[-1])
    if rate != sample_rate:
        samples = np.asarray(soxr.resample(samples, sample_rate, rate), dtype=np.float32)
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1.0, 1.0), rate, format="MP3")
    return file.getvalue()


def _draw(axis: Any, audio: Array, sample_rate: int) -> None:
    """One spectrogram, mel on the vertical axis labelled in kHz, pitch as a line."""
    config = _config(sample_rate)
    low, high = float(hz_to_mel(config.mel_low)), float(hz_to_mel(config.mel_high))
    if len(audio) < config.hop or not np.isfinite(audio).all():
        return
    mels = log_mel(audio, config)
    seconds = mels.shape[1] * config.hop / sample_rate
    top = float(mels.max())
    axis.imshow(
        mels,
        origin="lower",
        aspect="auto",
        extent=(0.0, seconds, 0.0, config.mels),
        vmin=max(float(mels.min()), top - 9.0),
        vmax=top,
        cmap="magma",
        interpolation="nearest",
    )
    ticks = [h for h in _HERTZ if h <= config.mel_high]
    axis.set_yticks(
        [(float(hz_to_mel(h)) - low) / (high - low) * config.mels for h in ticks],
        [f"{h / 1000:g}" for h in ticks],
    )
    axis.tick_params(labelsize=6)
    pitch, _ = f0(audio, sample_rate, config.hop)
    times = (np.arange(len(pitch)) + 0.5) * config.hop / sample_rate
    # On the mel axis speech's pitch would lie in the lowest tenth, so it gets an axis of its own.
    overlay = axis.twinx()
    overlay.plot(times, np.where(pitch > 0, pitch, np.nan), color="cyan", linewidth=1.2)
    overlay.set_yscale("log")
    overlay.set_ylim(60.0, 600.0)
    overlay.set_yticks([100, 200, 400], ["100", "200", "400"], color="teal", fontsize=6)
    overlay.set_yticks([], minor=True)
    overlay.set_ylabel("pitch, Hz", color="teal", fontsize=7)


def _config(sample_rate: int) -> MelConfig:
    """The project's analysis, in windows of about 46 ms, at any rate."""
    hop = max(2, 2 * round(128 * sample_rate / 22050))
    top = min(8000.0, sample_rate / 2)
    return MelConfig(sample_rate=sample_rate, fft_size=4 * hop, hop=hop, mel_high=top)
