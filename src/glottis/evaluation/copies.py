"""Copy-synthesis: recordings through a vocoder and back, to judge the vocoder alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glottis.errors import InputError
from glottis.evaluation.extras import require
from glottis.evaluation.spoken import Spoken

if TYPE_CHECKING:
    from lhotse.cut import MonoCut


def is_run(path: str | Path) -> bool:
    """Whether ``path`` is a run folder rather than a voice."""
    return (Path(path) / "run.json").is_file()


def copies(run: Path, cuts: Sequence[MonoCut]) -> Iterator[Spoken]:
    """The log-mels of prepared cuts as audio again, each beside its recording.

    Args:
        run: the run folder of a vocoder.
        cuts: of a corpus prepared with the vocoder's mel settings.

    Raises:
        InputError: the run is no vocoder, or was trained with other mel settings.
    """
    require("torch", extra="train")
    import torch

    from glottis.corpus import load_audio, load_mel, load_pitch
    from glottis.export.runs import is_vocoder, load_run

    loaded, facts = load_run(run)
    model: Any = loaded
    if not is_vocoder(model):
        raise InputError(
            f"{run} holds {facts['model']}, which is no vocoder; export it with one and evaluate "
            "the voice"
        )
    rate = facts["mel"]["sample_rate"]
    # A WaveNet may know its speakers; other vocoders hear nothing but log-mels.
    speakers: dict[str, int] | None = None
    if getattr(model.config, "speakers", 1) > 1:
        speakers = {name: index for index, name in enumerate(facts["speakers"])}
    for cut in cuts:
        mel, said = load_mel(cut), cut.supervisions[0]
        if cut.sampling_rate != rate or len(mel) != facts["mel"]["mels"]:
            raise InputError(
                f"{run} was trained with mel settings {facts['mel']}; prepare the corpus with them"
            )
        if speakers is not None and said.speaker not in speakers:
            raise InputError(
                f"{run} does not know the speaker {said.speaker!r}; it knows {', '.join(speakers)}"
            )
        told = [torch.from_numpy(mel).unsqueeze(0)]
        if model.batches == "windows_with_pitch":
            told.append(torch.from_numpy(load_pitch(cut)).unsqueeze(0))
        if speakers is not None:
            told.append(torch.tensor([speakers[said.speaker]]))
        with torch.no_grad():
            samples = model(*told)[0].clamp(-1, 1).numpy()
        yield Spoken(
            cut.id,
            str(said.text),
            samples,
            rate,
            reference=load_audio(cut),
            aligned=True,
            speaker=said.speaker,
            language=said.language or "en-us",
        )
