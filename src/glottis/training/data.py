"""Batches for training: Lhotse samplers over prepared corpora, resumable to the batch.

Which cuts make batch ``n`` of epoch ``e`` depends on the seed and ``(e, n)`` alone, and which
window is taken from a cut on the seed, the epoch and the cut, so that a resumed run sees what an
unbroken one would have seen, and several processes together what one would have.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lhotse import CutSet
from lhotse.dataset.sampling import DynamicBucketingSampler, DynamicCutSampler
from torch.utils.data import DataLoader, IterableDataset

from glottis.audio.vocoder import VocoderConfig
from glottis.corpus import Prepared, load_audio, load_mel, load_pitch
from glottis.corpus.batches import ParameterBatch, UtteranceBatch, WindowBatch, pad
from glottis.corpus.parameters import continuous_log_pitch, load_parameters
from glottis.corpus.prepared import Split, fits
from glottis.errors import InputError
from glottis.export.description import phonemes_of, symbols_of
from glottis.text.symbols import Symbols
from glottis.training.config import TrainingConfig
from glottis.training.durations import durations_of

Batch = UtteranceBatch | ParameterBatch | WindowBatch
Position = tuple[int, int]
"""Epoch and batch within it."""
KINDS = ("utterances", "utterances_with_audio", "parameters", "windows", "windows_with_pitch")
"""Of batches; see :mod:`glottis.corpus.batches`."""


class Batches(IterableDataset):
    """An endless stream of ``(batch, position)``, or one pass when ``once``.

    Args:
        corpus: the prepared corpora.
        split: ``"train"`` or ``"test"``.
        kind: one of ``KINDS``.
        config: batch sizes and the seed.
        durations: frames of every phoneme id, by cut, when they are given.
        symbols: phonemes to ids; the corpora's own when left out.
        vocoder: which parameters; for ``"parameters"``.
        start: the first position to give.
    """

    def __init__(
        self,
        corpus: Prepared,
        split: Split,
        kind: str,
        config: TrainingConfig,
        *,
        symbols: Symbols | None = None,
        durations: Mapping[str, Sequence[int]] | None = None,
        vocoder: VocoderConfig | None = None,
        start: Position = (0, 0),
        once: bool = False,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        self.corpus, self.split, self.kind, self.config = corpus, split, kind, config
        self.durations, self.vocoder = durations, vocoder
        self.start, self.once = start, once
        self.windows = kind.startswith("windows")
        self.symbols = symbols or (None if self.windows else corpus.symbols)
        self.speakers = {name: index for index, name in enumerate(corpus.speakers)}
        self.languages = {name: index for index, name in enumerate(corpus.languages)}

    def __iter__(self) -> Iterator[tuple[Batch, Position]]:
        first, skip = self.start
        epochs = range(first, first + 1) if self.once else itertools.count(first)
        for epoch in epochs:
            sampler = self._sampler(epoch)
            count = 0
            for index, cuts in enumerate(sampler):
                count += 1
                if epoch == first and index < skip:
                    continue
                yield self._batch(cuts, epoch), (epoch, index)
            if count == 0 and not self.once:
                settings = "batch_size or window_frames" if self.windows else "batch_size"
                raise InputError(
                    f"no {self.split!r} utterances in {', '.join(map(str, self.corpus.dirs))} "
                    f"fit the batch settings; prepare more recordings or lower {settings}"
                )

    def cuts(self) -> CutSet:
        """Those that batches are made of."""
        cuts = self.corpus.cuts(self.split)
        if self.windows:
            need = self.config.window_frames / self.corpus.mel.frame_rate
            cuts = cuts.filter(_AtLeast(need))
        return cuts

    def _sampler(self, epoch: int) -> DynamicCutSampler | DynamicBucketingSampler:
        config, cuts = self.config, self.cuts()
        if self.windows:
            shared: dict[str, Any] = {"max_cuts": config.batch_size}
            kind: Any = DynamicCutSampler
        else:
            shared = {"max_cuts": config.batch_size, "max_duration": config.batch_seconds}
            kind = DynamicCutSampler
            # Lhotse refuses a single bucket, and more buckets than cuts.
            buckets = min(config.buckets, self.corpus.counts[self.split])
            if buckets > 1:
                shared["num_buckets"] = buckets
                kind = DynamicBucketingSampler
        sampler = kind(
            cuts,
            shuffle=not self.once,
            drop_last=not self.once and self.windows,
            seed=config.seed,
            **shared,
        )
        sampler.set_epoch(epoch)
        return sampler

    def _batch(self, cuts: CutSet, epoch: int) -> Batch:
        speaker = torch.tensor([self.speakers[cut.supervisions[0].speaker] for cut in cuts])
        names = [cut.id for cut in cuts]
        if self.windows:
            return self._windows(list(cuts), names, speaker, epoch)
        assert self.symbols is not None
        ids = [self.symbols.ids(cut.supervisions[0].custom["phonemes"]) for cut in cuts]
        text, text_lengths = pad([torch.tensor(row) for row in ids])
        if self.kind == "parameters":
            return self._parameters(list(cuts), names, text, text_lengths, speaker)
        mel, mel_lengths = pad([torch.from_numpy(load_mel(cut)) for cut in cuts])
        _must_fit(names, text_lengths, mel_lengths)
        pitch, _ = pad([torch.from_numpy(load_pitch(cut)) for cut in cuts])
        durations = None
        if self.durations is not None:
            rows = [
                torch.tensor(durations_of(name, len(row), self.durations))
                for name, row in zip(names, ids, strict=True)
            ]
            durations, _ = pad(rows)
        audio = language = None
        if self.kind == "utterances_with_audio":
            audio, _ = pad([torch.from_numpy(load_audio(cut)) for cut in cuts])
            language = torch.tensor([self.languages[cut.supervisions[0].language] for cut in cuts])
        return UtteranceBatch(
            names,
            text,
            text_lengths,
            mel,
            mel_lengths,
            speaker,
            pitch,
            durations,
            audio,
            language,
        )

    def _parameters(
        self,
        cuts: list[Any],
        names: list[str],
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        speaker: torch.Tensor,
    ) -> ParameterBatch:
        assert self.vocoder is not None
        found = [load_parameters(cut, self.vocoder) for cut in cuts]
        log_pitch, lengths = pad([torch.from_numpy(continuous_log_pitch(p.pitch)) for p in found])
        _must_fit(names, text_lengths, lengths)
        voiced, cepstrum, aperiodicity = (
            pad([torch.from_numpy(values) for values in rows])[0]
            for rows in (
                [p.pitch > 0 for p in found],
                [p.cepstrum for p in found],
                [p.aperiodicity for p in found],
            )
        )
        return ParameterBatch(
            names, text, text_lengths, log_pitch, voiced, cepstrum, aperiodicity, lengths, speaker
        )

    def _windows(
        self, cuts: list[Any], names: list[str], speaker: torch.Tensor, epoch: int
    ) -> WindowBatch:
        frames, mel_config = self.config.window_frames, self.corpus.mel
        mels, audio, pitch = [], [], []
        for cut in cuts:
            available = round(cut.duration * mel_config.sample_rate) // mel_config.hop
            # Of the cut and the epoch alone: however batches are divided, a cut gives one window.
            rng = np.random.default_rng([self.config.seed, epoch, zlib.crc32(cut.id.encode())])
            start = int(rng.integers(0, available - frames + 1))
            mels.append(torch.from_numpy(load_mel(cut, start, frames)))
            audio.append(torch.from_numpy(load_audio(cut, start, frames)))
            if self.kind == "windows_with_pitch":
                pitch.append(torch.from_numpy(load_pitch(cut, start, frames)))
        told = torch.stack(pitch) if pitch else None
        return WindowBatch(names, torch.stack(mels), torch.stack(audio), speaker, told)


def _must_fit(names: Sequence[str], ids: torch.Tensor, frames: torch.Tensor) -> None:
    """Raises InputError for an utterance with fewer frames than phonemes, each of which needs one.

    ``ids`` int64 ``[batch]``, how many each has with the pads between phonemes; ``frames`` int64
    ``[batch]``.
    """
    for name, count, available in zip(names, ids.tolist(), frames.tolist(), strict=True):
        phonemes = (count - 3) // 2
        if not fits(phonemes, available):
            raise InputError(
                f"{name}: {phonemes} phonemes cannot be said in {available} frames; correct its "
                "transcript or leave the recording out, and run `glottis prepare` again"
            )


def symbols_read(run: Path, facts: dict[str, Any], corpus: Prepared) -> Symbols:
    """The ids of what a run reads, by its ``run.json``.

    Raises:
        InputError: the corpus was prepared with other phonemes.
    """
    ours, theirs = corpus.phonemes, phonemes_of(facts)
    if ours != theirs:
        raise InputError(
            f"{run} reads phonemes={theirs}, {corpus.dirs[0]} was prepared with phonemes={ours}; "
            f"prepare it again with phonemes={theirs}"
        )
    return symbols_of(facts)


class _AtLeast:
    """Picklable predicate: the cut lasts at least ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, cut: Any) -> bool:
        return bool(cut.duration >= self.seconds)


class Data(lightning.LightningDataModule):
    """Training and held-out batches of one kind for Lightning's Trainer."""

    def __init__(
        self,
        corpus: Prepared,
        kind: str,
        config: TrainingConfig,
        durations: Mapping[str, Sequence[int]] | None = None,
        vocoder: VocoderConfig | None = None,
    ) -> None:
        super().__init__()
        self.corpus, self.kind, self.config = corpus, kind, config
        self.durations, self.vocoder = durations, vocoder
        self.start: Position = (0, 0)

    @property
    def held_out(self) -> bool:
        """Whether there is anything to validate on."""
        return any(True for _ in self._batches("test", once=True).cuts())

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", once=False)

    def val_dataloader(self) -> DataLoader:
        return self._loader("test", once=True)

    def _batches(self, split: Split, once: bool) -> Batches:
        return Batches(
            self.corpus,
            split,
            self.kind,
            self.config,
            durations=self.durations,
            vocoder=self.vocoder,
            start=(0, 0) if once else self.start,
            once=once,
        )

    def _loader(self, split: Split, once: bool) -> DataLoader:
        batches = self._batches(split, once)
        # More than one worker would each give the whole stream; one is enough to hide loading.
        return DataLoader(batches, batch_size=None, num_workers=0 if once else self.config.workers)
