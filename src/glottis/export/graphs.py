"""What a voice file computes, as modules made of operations that ONNX has."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import Tensor, nn


LONGEST = 2**31
"""Frames that no sentence has, so that asking for more cannot overflow."""


def voice_graph(acoustic: nn.Module, vocoder: nn.Module | None) -> nn.Module:
    """Ids to audio for one sentence, in operations that ONNX has; without a vocoder for a model
    that makes audio.

    The module takes ``input`` int64 ``[1, text]``, ``input_lengths`` int64 ``[1]``, ``scales``
    float32 ``[3]``, ``sid`` int64 ``[1]`` when several speakers are known, ``language`` int64
    ``[1]`` when the model is told it (below zero: the speaker's own), ``seed`` int64 ``[1]``, and
    gives samples ``[1, 1, 1, samples]`` in [-1, 1] and durations int64 ``[1, text]``. If it is
    ``partial``, it also takes ``frames`` int64 ``[1]``: only the samples of so many of the first
    frames are made. The modules given are copied, not changed.
    """
    import torch
    from torch import nn

    told = vocoder is not None and cast(Any, vocoder).batches == "windows_with_pitch"
    tells = languages_of(acoustic) > 1
    hop = cast(Any, acoustic).config.mel.hop

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.acoustic = copy.deepcopy(acoustic).export_graph()  # type: ignore[operator]
            self.partial: bool = getattr(self.acoustic, "partial", False)
            self.vocoder, self.reach = None, 0
            if vocoder is not None:
                self.vocoder = copy.deepcopy(vocoder).export_graph()  # type: ignore[operator]
                self.reach = int(cast(Any, self.vocoder).reach)
            to_plain_weights(self)

        def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
            text, lengths, scales, *rest = inputs
            frames = rest.pop() if self.partial else None
            seed = rest.pop()
            more: dict[str, Tensor] = {"language": rest.pop()} if tells else {}
            speaker = rest.pop() if rest else None
            if frames is not None:
                more["frames"] = frames.clamp_max(LONGEST) + self.reach
            samples, durations, *pitch = self.acoustic(text, lengths, scales, speaker, seed, **more)
            if self.vocoder is not None:
                samples = self.vocoder(samples, *(pitch if told else ()))
            if frames is not None:
                samples = samples[:, : frames[0].clamp_max(LONGEST) * hop]
            return torch.clamp(samples, -1.0, 1.0)[:, None, None, :], durations

    return Graph()


def languages_of(model: nn.Module) -> int:
    """How many languages a model can be told beside the phonemes; 1 for one that is not told."""
    table: Any = getattr(model, "languages", None)
    return 1 if table is None else int(table.num_embeddings)


def conversion_graph(model: nn.Module) -> nn.Module:
    """Magnitudes of one speaker to audio of another, in operations that ONNX has.

    See :class:`glottis.models.vits.graphs.ConversionGraph`. The model given is copied, not changed;
    its weights have the names that they have in :func:`voice_graph`'s module.
    """
    from torch import nn

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.acoustic = copy.deepcopy(model).export_conversion()  # type: ignore[operator]
            to_plain_weights(self)

        def forward(self, *inputs: Tensor) -> Tensor:
            samples: Tensor = self.acoustic(*inputs)
            return samples

    return Graph()


def to_plain_weights(module: nn.Module) -> None:
    """Weights as they are computed with, and nothing to train."""
    from torch.nn.utils import parametrize

    for part in list(module.modules()):
        if parametrize.is_parametrized(part):
            # A copy shares its class with the original, which would lose the weight to torch's
            # deletion of the property: it gets a class of its own.
            shared = type(part)
            own = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
            part.__class__ = type(shared.__name__, shared.__bases__, own)
            for name in list(part.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(part, name)
    module.eval().requires_grad_(False)
