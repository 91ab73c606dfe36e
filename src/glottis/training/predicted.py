"""Log-mels as a model predicts them, in place of the recordings', for a vocoder to learn from.

Under teacher forcing a predicted frame belongs to the same samples as the recorded one, so a
vocoder trained on such pairs learns to undo what the acoustic model does to log-mels (Shen et al.
2018, section 3.1: "ground-truth-aligned"). The result is a prepared corpus like any other, beside
the one it came from: its manifest points to that one's audio and to log-mels of its own.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from glottis.corpus.prepared import (
    MANIFEST,
    MEL,
    PITCH,
    SETTINGS,
    Prepared,
    feature_file,
    load_array,
    read_manifest,
    read_settings,
)
from glottis.errors import InputError
from glottis.files import replacing
from glottis.text.symbols import Symbols

log = logging.getLogger("glottis.training")


def write_predicted(run: Path, data: Sequence[Path], out: Path, batch_size: int = 8) -> list[Path]:
    """Write the log-mels that a run's model predicts for prepared corpora.

    Cuts that were written before from the same weights are kept, so a run that was stopped goes on;
    other weights write all of them anew, and a source that was prepared again what has changed in
    it. A corpus's ``corpus.json`` is written last.

    Args:
        run: the run folder of a model that predicts log-mels under teacher forcing.
        data: the corpora; with the run's mel settings and speakers.
        out: a folder for as many prepared corpora, named by their order and their source.
        batch_size: utterances predicted at once.

    Returns:
        The prepared folders.

    Raises:
        InputError: the run has no such model, or was trained with other mel settings (both are
            named), without one of the speakers or on other phonemes.
    """
    from glottis.export import load_run
    from glottis.training.data import symbols_read

    model, facts = load_run(run)
    predict = getattr(model, "predict", None)
    if predict is None or model.batches != "utterances":
        raise InputError(
            f"{run} holds {facts['model']}, which predicts no log-mels under teacher forcing; "
            "train tacotron2"
        )
    corpus = Prepared(data)
    trained, here = facts["mel"], asdict(corpus.mel)
    if trained != here:
        raise InputError(
            f"{run} was trained with mel settings {trained}, {data[0]} was prepared with {here}"
        )
    unknown = sorted(set(corpus.speakers) - set(facts["speakers"]))
    if unknown:
        raise InputError(f"{run} does not know the speaker {unknown[0]!r} of {data[0]}")
    symbols = symbols_read(run, facts, corpus)
    weights = _digest(run / "model.safetensors")
    folders = []
    for index, source in enumerate(map(Path, data)):
        folder = out / f"{index}-{source.resolve().name}"
        folders.append(folder)
        stamp = f"{weights}-{_digest(source / MANIFEST)}"
        if _is_done(folder, stamp):
            log.info("%s has the log-mels of these weights already", folder)
            continue
        place = Path("mels") / weights
        _write_one(model, facts, symbols, source, folder, place, batch_size)
        # Written last: it says that the others are complete.
        settings = {**read_settings(source), "predicted_by": stamp}
        with replacing(folder / SETTINGS) as path:
            path.write_text(json.dumps(settings, indent=1, ensure_ascii=False), encoding="utf-8")
    return folders


def _is_done(folder: Path, stamp: str) -> bool:
    try:
        return bool(read_settings(folder).get("predicted_by") == stamp)
    except InputError:
        return False


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:20]


def _write_one(
    model: Any,
    facts: dict[str, Any],
    symbols: Symbols,
    source: Path,
    folder: Path,
    place: Path,
    batch_size: int,
) -> None:
    """One corpus: log-mels first, under ``place`` in it, and the manifest when all are there."""
    import torch

    speakers = {name: index for index, name in enumerate(facts["speakers"])}
    folder.mkdir(parents=True, exist_ok=True)
    total = written = 0
    generator = torch.Generator()
    for group in _groups(source, batch_size):
        missing = [cut for cut in group if not (folder / place / f"{_name(cut)}.npy").is_file()]
        total += len(group)
        if not missing:
            continue
        # Of the first cut alone, so that a run that goes on writes what an unbroken one would.
        generator.manual_seed(int(hashlib.sha256(missing[0]["id"].encode()).hexdigest()[:12], 16))
        batch = _batch(missing, source, speakers, symbols)
        with torch.no_grad():
            found, _, _ = model.predict(batch, generator)
        for cut, mel, size in zip(missing, found.after, batch.mel_lengths.tolist(), strict=True):
            # The recording's pitch, for vocoders that are told it; the log-mels say that both are.
            features = cut["features"]
            heard = feature_file(source / features["storage_path"], features["storage_key"], PITCH)
            with replacing(feature_file(folder / place, f"{_name(cut)}.npy", PITCH)) as path:
                shutil.copyfile(heard, path)
            with replacing(folder / place / f"{_name(cut)}.npy") as path:
                frames = np.ascontiguousarray(mel[:, :size].T.float().numpy())
                with open(path, "wb") as file:
                    np.save(file, frames, allow_pickle=False)
        written += len(missing)
        if written % (50 * batch_size) < batch_size:
            log.info("%s: %d log-mels predicted", folder, total)
    with replacing(folder / MANIFEST) as path, gzip.open(path, "wt", encoding="utf-8") as manifest:
        for cut in read_manifest(source):
            name = _name(cut)
            cut["features"] |= {"storage_path": str(place), "storage_key": f"{name}.npy"}
            audio = cut["recording"]["sources"][0]
            where = (source / audio["source"]).resolve()
            audio["source"] = os.path.relpath(where, folder.resolve())
            manifest.write(json.dumps(cut, ensure_ascii=False) + "\n")
    log.info("%s: %d log-mels predicted, %d of them now", folder, total, written)


def _groups(source: Path, size: int) -> Iterator[list[dict[str, Any]]]:
    """Cuts of similar place in the manifest, ``size`` at a time."""
    group: list[dict[str, Any]] = []
    for cut in read_manifest(source):
        group.append(cut)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _name(cut: dict[str, Any]) -> str:
    """A file name for a cut, whatever its id holds; another when its recording or its text is."""
    said = cut["supervisions"][0]["custom"]["phonemes"]
    known = "\n".join([cut["id"], cut["features"]["storage_key"], said])
    return hashlib.sha256(known.encode()).hexdigest()[:24]


def _batch(
    cuts: list[dict[str, Any]], source: Path, speakers: dict[str, int], symbols: Symbols
) -> Any:
    import torch

    from glottis.corpus.batches import UtteranceBatch, pad

    said = [cut["supervisions"][0] for cut in cuts]
    text, text_lengths = pad([torch.tensor(symbols.ids(s["custom"]["phonemes"])) for s in said])
    mels, pitches = (
        [
            np.array(
                load_array(feature_file(source / each["storage_path"], each["storage_key"], ending))
            )
            for each in (cut["features"] for cut in cuts)
        ]
        for ending in (MEL, PITCH)
    )
    mel, mel_lengths = pad([torch.from_numpy(np.ascontiguousarray(each.T)) for each in mels])
    speaker = torch.tensor([speakers[s["speaker"]] for s in said])
    names = [cut["id"] for cut in cuts]
    pitch, _ = pad([torch.from_numpy(each) for each in pitches])
    return UtteranceBatch(names, text, text_lengths, mel, mel_lengths, speaker, pitch)
