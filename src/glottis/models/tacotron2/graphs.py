"""Tacotron 2 as the graphs of a voice file: the text, a step, the post-net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from glottis.blocks.blanks import drop_blanks_of_one
from glottis.models.tacotron2.decoder import State

if TYPE_CHECKING:
    from glottis.models.tacotron2.model import Tacotron2


class TextGraph(nn.Module):
    """One sentence: ``text`` int64 ``[1, text]``, ``lengths`` int64 ``[1]``, ``scales`` (which say
    nothing here) and the speaker int64 ``[1]`` -> memory ``[1, kept, channels]``, the attention's
    keys, its weights before the first step ``[1, kept]``, and the kept places int64 ``[kept]``."""

    def __init__(self, model: Tacotron2) -> None:
        super().__init__()
        self.model = model

    def forward(self, text: Tensor, lengths: Tensor, scales: Tensor, *rest: Tensor) -> Any:
        model = self.model
        kept = torch.arange(text.shape[1], device=text.device)
        if not model.config.blanks:
            text, lengths, kept = drop_blanks_of_one(text, lengths)
        memory = model.encoder.whole(text)  # of one sentence nothing is padded
        if model.speakers is not None:
            given = model.speakers(rest[0])[:, None].expand(-1, memory.shape[1], -1)
            memory = torch.cat([memory, given], dim=2)
        decoder = model.decoder
        return memory, decoder.attention.memory(memory), decoder.begin(memory).weights, kept


class StepGraph(nn.Module):
    """One step: the last frame ``[1, said]``, ``uniforms`` ``[2, 1, prenet]`` for the pre-net's
    dropout, memory, keys and the states, -> frames ``[1, said, reduction]``, the stop's logit
    ``[1]`` and the states. See :class:`State`; the last two are the second layer's. What a post-net
    that hears the text is given follows on the frames' channels."""

    def __init__(self, model: Tacotron2) -> None:
        super().__init__()
        self.decoder, self.regression = model.decoder, model.regression

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        frame, uniforms, memory, keys, *states = given
        projected = self.decoder.project(frame, None, uniforms)
        mask = torch.ones_like(states[3], dtype=torch.bool)
        state = self.decoder.step(projected, memory, keys, mask, State(*states[:5]))
        heard = torch.cat([state.hidden, state.context], dim=1)[None]
        carried = (states[5], states[6])
        frames, stop, carried = self.decoder.finish(heard, carried)
        if self.regression is not None:
            held = self.regression.start(state.context.unsqueeze(2))
            frames = torch.cat([frames, held.expand(-1, -1, frames.shape[2])], dim=1)
        return (frames, stop[:, 0], *state, *carried)


class RefineGraph(nn.Module):
    """The post-net over frames as :class:`StepGraph` gives them: log-mels ``[1, mels, frames]``."""

    def __init__(self, model: Tacotron2) -> None:
        super().__init__()
        self.model = model

    def forward(self, mel: Tensor) -> Tensor:
        said, held = mel.tensor_split([self.model.config.said], dim=1)
        inside = torch.ones_like(mel[:, :1], dtype=torch.bool)
        return self.model.refine(said, inside, held=held)
