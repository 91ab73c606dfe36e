"""Alignments in a file: one line of JSON an utterance, ``{"id": ..., "durations": [...]}``.

``durations`` are frames, one number for each phoneme id of a voice file's input, pads included;
they sum to the utterance's frames. :func:`write_durations` writes what a trained model finds;
``training.durations=FILE`` gives them to a model that takes durations as given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from glottis.errors import InputError
from glottis.files import replacing


def read_durations(path: Path) -> dict[str, list[int]]:
    """Frames of every phoneme id, by utterance.

    Raises:
        InputError: the file is missing, or a line is not as above (its number is named).
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"there are no durations at {path}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: byte {error.start}; save it as UTF-8") from error
    found: dict[str, list[int]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            durations = row["durations"]
            fits = isinstance(row["id"], str) and all(type(d) is int and d >= 0 for d in durations)
        except (ValueError, KeyError, TypeError):
            fits = False
        if not fits:
            raise InputError(
                f"{path}, line {number}: not durations; write "
                '{"id": "utterance", "durations": [whole frames, ...]}'
            )
        found[row["id"]] = durations
    return found


def durations_of(name: str, ids: int, known: Mapping[str, Sequence[int]]) -> Sequence[int]:
    """Those of one utterance of so many phoneme ids.

    Raises:
        InputError: there are none, or for another number of ids.
    """
    if name not in known:
        raise InputError(f"the durations file does not know {name}; it knows {len(known)} others")
    if len(known[name]) != ids:
        raise InputError(
            f"{name}: {len(known[name])} durations for {ids} phoneme ids; align the corpus as it "
            "is prepared now"
        )
    return known[name]


def write_durations(run: Path, data: Sequence[Path], out: Path) -> int:
    """Align prepared corpora with a trained model and write ``out``; returns their number.

    Args:
        run: the run folder of a model that aligns, such as Glow-TTS.
        data: corpora prepared with its mel settings.
        out: the file.

    Raises:
        InputError: the run's model does not align, or reads other phonemes than the corpora have.
    """
    import torch

    from glottis.blocks.blanks import PAD
    from glottis.corpus import Prepared
    from glottis.export import load_run
    from glottis.training.config import TrainingConfig
    from glottis.training.data import Batches, symbols_read

    model, facts = load_run(run)
    if not hasattr(model, "align"):
        raise InputError(f"{run} holds {facts['model']}, which aligns nothing")
    corpus = Prepared(list(data))
    symbols = symbols_read(run, facts, corpus)
    count = 0
    with replacing(out) as path, path.open("w", encoding="utf-8") as file, torch.no_grad():
        for split in ("train", "test"):
            settings = TrainingConfig(batch_size=8, buckets=2)
            batches = Batches(corpus, split, "utterances", settings, symbols=symbols, once=True)
            for batch, _ in batches:
                found = model.align(batch).durations  # type: ignore[operator]
                for i, name in enumerate(batch.names):
                    ids = batch.text[i, : batch.text_lengths[i]]  # type: ignore[union-attr]
                    durations = torch.zeros_like(ids)
                    reads_all = model.config.blanks  # type: ignore[union-attr]
                    kept = torch.ones_like(ids, dtype=torch.bool) if reads_all else ids != PAD
                    durations[kept] = found[i, : int(kept.sum())]
                    # A model may leave out frames at the end that it has no use for.
                    last = int(kept.nonzero()[-1])
                    durations[last] += batch.mel_lengths[i] - durations.sum()  # type: ignore[union-attr]
                    file.write(json.dumps({"id": name, "durations": durations.tolist()}) + "\n")
                    count += 1
    return count
