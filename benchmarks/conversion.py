r"""How well a conversion converts: distances to the target, and who is heard.

    python benchmarks/conversion.py runs/conversion --data data/kathleen --data data/lj \
        --voice english

Three measures of each direction, for held-out recordings of the prepared corpora, beside recordings
that the target was learnt from:

- the long-term spectrum: root mean square difference in dB between mean log-mel spectra of speech
  frames, above 100 Hz;
- the pitch: difference of its median in cents;
- who is heard: a Gaussian with full covariance over 13 mel-cepstra for each speaker, from training
  recordings; the share of held-out utterances that the target's explains better, and by how many
  nats a frame.

And mel-cepstral distortion after time warping, for held-out sentences that both speakers say; with
``--voice``, one that speaks as both, also for sentences that it says as the one and the other.
Between the vocoder's mel-cepstra, as is usual, so that what the vocoder itself changes is left out.
Before and after conversion, always.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glottis.audio.files import resample
from glottis.audio.mel import MelConfig, log_mel
from glottis.audio.pitch import f0
from glottis.audio.vocoder import Parameters, analyse
from glottis.audio.warping import warp
from glottis.conversion import conversion_file
from glottis.corpus import Prepared, load_audio
from glottis.corpus.prepare import normalised_words
from glottis.evaluation.distance import mel_cepstral_distortion, mel_cepstrum
from glottis.models.voice_conversion import Conversion

Array = NDArray[np.float32]
LOWEST = 3  # of 80 mels; those below lie under 100 Hz
TEXTS = Path(__file__).parent / "texts" / "plain.txt"


def speech_mels(samples: Array, rate: int) -> Array:
    """Log-mels of the frames that are speech, at a common level: ``[mels, frames]``."""
    samples = samples * np.float32(0.1 / max(float(np.sqrt(np.mean(samples**2))), 1e-9))
    mels = log_mel(samples, MelConfig(rate))
    level = mels.mean(0)
    return mels[:, level > np.percentile(level, 95) - 5.0]


def log_pitch(samples: Array, rate: int) -> NDArray[np.float64]:
    pitch, _ = f0(samples, rate, round(0.005 * rate))
    return np.log(pitch[pitch > 0].astype(np.float64))


class Gaussian:
    """One with full covariance over ``[dimensions, frames]``."""

    def __init__(self, frames: NDArray[np.float64]) -> None:
        self.mean = frames.mean(1, keepdims=True)
        covariance = np.cov(frames)
        self.factor = np.linalg.inv(np.linalg.cholesky(covariance))
        self.constant = np.log(np.diag(self.factor)).sum() - 0.5 * len(frames) * np.log(2 * np.pi)

    def score(self, frames: NDArray[np.float64]) -> float:
        """Mean log-likelihood of a frame, nats."""
        white = self.factor @ (frames - self.mean)
        return float(self.constant - 0.5 * (white**2).sum(0).mean())


def heard(
    utterances: Sequence[Array], rate: int, own: Gaussian, other: Gaussian
) -> tuple[float, float]:
    """Share of utterances that ``own`` explains better, and mean nats a frame that it is better."""
    gains = []
    for samples in utterances:
        cepstra = mel_cepstrum(speech_mels(samples, rate))
        gains.append(own.score(cepstra) - other.score(cepstra))
    return float(np.mean(np.array(gains) > 0)), float(np.mean(gains))


def measures(
    utterances: Sequence[Array], recordings: Sequence[Array], rate: int
) -> tuple[float, float]:
    """Distance of long-term spectra in dB, and of median pitches in cents."""
    spectra = [
        np.concatenate([speech_mels(s, rate) for s in side], axis=1).mean(1)[LOWEST:]
        for side in (utterances, recordings)
    ]
    pitches = [
        np.median(np.concatenate([log_pitch(s, rate) for s in side]))
        for side in (utterances, recordings)
    ]
    difference = 20 / np.log(10) * (spectra[0] - spectra[1])
    cents = 1200 / np.log(2) * (pitches[0] - pitches[1])
    return float(np.sqrt(np.mean(difference**2))), float(cents)


def recordings_of(corpus: Prepared, split: str, speaker: str, limit: int) -> list[Array]:
    cuts = [c for c in corpus.cuts(split) if c.supervisions[0].speaker == speaker]  # type: ignore[arg-type]
    # From all over the corpus: readers change from chapter to chapter.
    return [load_audio(cut) for cut in cuts[:: max(1, len(cuts) // limit)][:limit]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("conversion", type=Path)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--voice")
    parser.add_argument("--limit", type=int, default=15)
    given = parser.parse_args()
    file = conversion_file(given.conversion)
    if file is None:
        parser.error(f"there is no conversion in {given.conversion}")
    conversion, corpus = Conversion.load(file), Prepared(given.data)
    rate = conversion.vocoder.sample_rate
    names = list(conversion.speakers)
    known = {name: recordings_of(corpus, "train", name, 60) for name in names}
    models = {
        name: Gaussian(
            np.concatenate([mel_cepstrum(speech_mels(s, rate)) for s in known[name]], axis=1)
        )
        for name in names
    }
    held_out = {name: recordings_of(corpus, "test", name, given.limit) for name in names}
    for source, target in [(a, b) for a in names for b in names if a != b]:
        made = [conversion.convert(samples, source, target) for samples in held_out[source]]
        for what, utterances in (
            ("recordings", held_out[source]),
            ("converted", made),
            ("target's own", held_out[target]),
        ):
            spectrum, cents = measures(utterances, known[target], rate)
            share, nats = heard(utterances, rate, models[target], models[source])
            print(
                f"{source} to {target}, {what}: long-term spectrum {spectrum:.2f} dB, pitch "
                f"{cents:+.0f} cents, heard as {target} {100 * share:.0f}% ({nats:+.2f} nats)",
                flush=True,
            )
        if rows := shared(conversion, corpus, source, target, given.limit):
            print(f"{source} to {target}, held-out sentences of both: {told(rows)}", flush=True)
        if given.voice:
            print(f"{source} to {target}, {synthesised(conversion, given, source, target)}")


def distortion(one: Parameters, other: Parameters) -> float:
    """Mel-cepstral distortion in dB between frames of speech, after time warping."""
    cepstra = [
        each.cepstrum[1:25, each.cepstrum[0] > np.percentile(each.cepstrum[0], 95) - 4.0]
        for each in (one, other)
    ]
    first, second = warp(*(each.astype(np.float64) for each in cepstra))
    return mel_cepstral_distortion(cepstra[0][:, first], cepstra[1][:, second])


def synthesised(conversion: Conversion, given: argparse.Namespace, source: str, target: str) -> str:
    """Mel-cepstral distortion between sentences that a voice says as both, before and after."""
    from glottis.voice import Voice

    voice, rate = Voice.load(given.voice), conversion.vocoder.sample_rate
    lines = [line for line in TEXTS.read_text("utf-8").splitlines() if line[:1] not in ("", "#")]
    rows = []
    for text in lines[-given.limit :]:
        one, other = (
            analyse(
                resample(voice.speak(text, speaker=name, seed=1).samples, voice.sample_rate, rate),
                conversion.vocoder,
            )
            for name in (source, target)
        )
        made = conversion.parameters(one, source, target)
        rows.append([distortion(each, other) for each in (one, made)])
    return f"sentences said as both: {told(rows)}"


def told(rows: list[list[float]]) -> str:
    """Distortions before and after, in words."""
    before, after = np.mean(rows, axis=0)
    return f"MCD {before:.2f} dB before, {after:.2f} dB after ({len(rows)} sentences)"


def shared(
    conversion: Conversion, corpus: Prepared, source: str, target: str, limit: int
) -> list[list[float]]:
    """Distortion before and after for each held-out sentence that both say."""
    said: dict[str, dict[str, Array]] = {source: {}, target: {}}
    for cut in corpus.cuts("test"):
        one = cut.supervisions[0]
        if one.speaker in said:
            said[one.speaker].setdefault(normalised_words(one.text), load_audio(cut))
    rows = []
    for words in sorted(set(said[source]) & set(said[target]))[:limit]:
        one, other = (analyse(said[name][words], conversion.vocoder) for name in said)
        made = conversion.parameters(one, source, target)
        rows.append([distortion(each, other) for each in (one, made)])
    return rows


if __name__ == "__main__":
    main()
