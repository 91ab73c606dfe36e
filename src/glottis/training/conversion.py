"""Recipes of conversions: recordings of two or more speakers in, one file out.

    conversion:
      method: mixture

The phones of each speaker are found by an aligner that is trained on that speaker alone, so that
two who never say the same words can be paired; where they do, words are enough.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from glottis.audio.files import resample
from glottis.audio.vocoder import VocoderConfig
from glottis.config import as_dict, build, override
from glottis.corpus import Prepared, load_audio
from glottis.corpus.aligner import RATE, AlignerConfig, Speech, mel_cepstra
from glottis.corpus.aligner import train as train_aligner
from glottis.corpus.pairing import Spoken
from glottis.corpus.parameters import load_parameters
from glottis.corpus.prepare import normalised_words
from glottis.errors import InputError
from glottis.files import replacing
from glottis.models.voice_conversion import FILE, ConversionConfig, train
from glottis.text.phones import spoken_phones

if TYPE_CHECKING:
    from lhotse.cut import MonoCut


@dataclass(frozen=True)
class ConversionRecipe:
    """``conversion`` says how it is learnt, ``order`` of the vocoder's mel-cepstrum, ``low`` and
    ``high`` its range of pitch."""

    conversion: ConversionConfig = field(default_factory=ConversionConfig)
    order: int = 39
    low: float = 65.0
    high: float = 600.0


def run_conversion(
    values: dict[str, Any], where: str, data: Sequence[Path], words: Sequence[str], out: Path
) -> Path:
    """Learn conversions between all speakers of prepared corpora.

    Args:
        values: the recipe as read.
        where: its name, for messages.
        data: prepared corpora.
        words: ``KEY=VALUE`` settings of the conversion; ``order=``, ``low=``, ``high=`` of the
            vocoder.
        out: the run folder; gets ``conversion.npz``, ``recipe.yaml`` and ``train.log``.

    Raises:
        InputError: a wrong setting, or as :func:`glottis.models.voice_conversion.train`.
    """
    from glottis.training.run import log_to

    own = [
        word if word.startswith(("order=", "low=", "high=")) else f"conversion.{word}"
        for word in words
    ]
    recipe = build(ConversionRecipe, override(values, own), f"recipe {where}")
    if not data:
        raise InputError("no data: give at least one folder made by 'glottis prepare' with --data")
    corpus = Prepared(data)
    vocoder = VocoderConfig(
        corpus.mel.sample_rate, order=recipe.order, low=recipe.low, high=recipe.high
    )
    config = recipe.conversion
    with replacing(out / "recipe.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(as_dict(recipe), sort_keys=False), encoding="utf-8")
    log_to(out / "train.log")
    cuts: dict[str, list[MonoCut]] = {name: [] for name in corpus.speakers}
    for cut in corpus.cuts("train"):
        cuts[cut.supervisions[0].speaker].append(cut)
    chosen = {name: _chosen(each, config) for name, each in cuts.items()}
    speech = {
        name: spoken_by(each, vocoder, aligned=config.pairs != "words")
        for name, each in chosen.items()
    }
    train(speech, vocoder, config).save(out / FILE)
    return out


def _chosen(cuts: Sequence[MonoCut], config: ConversionConfig) -> list[MonoCut]:
    """Cuts by chance until they last long enough.

    Those that several speakers may share come first, by a hash of their words: two speakers of the
    same sentences then keep the same ones.
    """
    order = sorted(cuts, key=lambda cut: _key(cut, config.seed))
    kept, seconds = [], 0.0
    for cut in order:
        if seconds >= 60 * config.minutes:
            break
        kept.append(cut)
        seconds += cut.duration
    return kept


def _key(cut: MonoCut, seed: int) -> float:
    return random.Random(f"{seed} {_words(cut)}").random()


def _words(cut: MonoCut) -> str:
    return normalised_words(cut.supervisions[0].text)


def spoken_by(
    cuts: Sequence[MonoCut], vocoder: VocoderConfig, *, aligned: bool = True
) -> list[Spoken]:
    """Utterances of one speaker to learn a conversion from, with their phones when ``aligned``.

    Those that the aligner cannot place keep their words alone.
    """
    parameters = [load_parameters(cut, vocoder) for cut in cuts]
    if not aligned:
        return [Spoken(p, _words(cut)) for p, cut in zip(parameters, cuts, strict=True)]
    config = AlignerConfig()
    heard = [_heard(cut, vocoder.sample_rate, config) for cut in cuts]
    aligner = train_aligner(heard, config)
    made = []
    for cut, found, speech in zip(cuts, parameters, heard, strict=True):
        try:
            times = aligner.align(speech)
        except InputError:
            made.append(Spoken(found, _words(cut)))
            continue
        frames = config.hop * vocoder.sample_rate / vocoder.hop
        starts, ends = (
            tuple(round(float(at) * frames) for at in row) for row in (times.starts, times.ends)
        )
        made.append(Spoken(found, _words(cut), speech.phones, starts, ends))
    return made


def _heard(cut: MonoCut, rate: int, config: AlignerConfig) -> Speech:
    """A cut as the aligner sees it."""
    samples = resample(load_audio(cut), rate, RATE)
    found = spoken_phones(cut.supervisions[0].custom["phonemes"])
    begins = tuple(at for at, phone in enumerate(found) if at and phone.word != found[at - 1].word)
    return Speech(mel_cepstra(samples, config), tuple(phone.label for phone in found), begins)
