"""Frames from the frames before, and from where attention looks."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glottis.blocks.pitch import PitchInput, pitch_bells, spoken_pitch
from glottis.blocks.recurrent import attending_lstm, lstm, narrow
from glottis.models.tacotron2.config import Config


class Prenet(nn.Module):
    """Two layers whose dropout is never turned off: without it attention does not form, and at
    synthesis it is the only source of variety. ``[..., mels] -> [..., channels]``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        sizes = (config.mel.mels, config.prenet_channels, config.prenet_channels)
        self.layers = nn.ModuleList(
            nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes)
        )
        self.dropout = config.prenet_dropout

    def forward(
        self,
        x: Tensor,
        generator: torch.Generator | None = None,
        uniforms: Tensor | None = None,
    ) -> Tensor:
        """``uniforms`` ``[layers, ..., channels]`` takes the place of the generator's draws."""
        for i, layer in enumerate(self.layers):
            x = torch.relu(layer(x))
            if self.dropout:
                # torch's dropout takes no generator.
                if uniforms is None:
                    drawn = torch.rand(x.shape, generator=generator, device=x.device)
                else:
                    drawn = uniforms[i]
                x = x * (drawn >= self.dropout) / (1 - self.dropout)
        return x


def said_pitch(said: Tensor) -> tuple[Tensor, Tensor]:
    """The last channels of frames ``[batch, 2, frames]`` -> median of log Hz and logit of voicing,
    both ``[batch, frames]``."""
    # About a speaking voice, so that half precision keeps its digits for the tune.
    return said[:, 0] + math.log(180.0), said[:, 1]


def said_bells(said: Tensor) -> Tensor:
    """The same as :func:`~glottis.blocks.pitch.pitch_bells`."""
    log_pitch, voicing = said_pitch(said)
    return pitch_bells(log_pitch, spoken_pitch(log_pitch, voicing)[0])


class Attention(nn.Module):
    """Where to look next, from what is sought and from where it was looked already."""

    def __init__(self, config: Config, memory: int) -> None:
        super().__init__()
        self.forward_only = config.attention == "forward"
        size = config.attention_channels
        self.query = nn.Linear(config.attention_state, size, bias=False)
        self.memory = nn.Linear(memory, size, bias=False)
        self.location = nn.Conv1d(
            2,
            config.location_filters,
            config.location_kernel,
            padding=config.location_kernel // 2,
            bias=False,
        )
        self.location_out = nn.Linear(config.location_filters, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def forward(
        self, state: Tensor, keys: Tensor, mask: Tensor, weights: Tensor, total: Tensor
    ) -> Tensor:
        """``state`` ``[batch, attention_state]``, ``keys`` ``[batch, text, attention_channels]``,
        ``mask`` bool and the last and summed ``weights`` ``[batch, text]`` -> new weights."""
        before = self.location(torch.stack([weights, total], dim=1)).transpose(1, 2)
        energy = torch.tanh(self.query(state).unsqueeze(1) + self.location_out(before) + keys)
        scores = self.score(energy).squeeze(2).float().masked_fill(~mask, -math.inf)
        new = torch.softmax(scores, dim=1)
        return narrow(weights, new) if self.forward_only else new


class State(NamedTuple):
    """What the decoder remembers between steps; ``[batch, ...]`` each."""

    hidden: Tensor
    cell: Tensor
    context: Tensor
    weights: Tensor
    total: Tensor


class Decoder(nn.Module):
    """Memory and previous frames to frames; the attention's cell steps, the rest follows at once.

    The second recurrent layer hears the first and the context, but neither hears it, so while a
    teacher gives the frames it runs over whole utterances.
    """

    def __init__(self, config: Config, memory: int) -> None:
        super().__init__()
        self.config = config
        self.prenet = Prenet(config)
        self.cell = nn.LSTMCell(config.prenet_channels + memory, config.attention_state)
        self.attention = Attention(config, memory)
        self.lstm = nn.LSTM(config.attention_state + memory, config.decoder_state)
        self.frames = nn.Linear(config.decoder_state + memory, config.said * config.reduction)
        self.harmonics = PitchInput(config.mel.mels) if config.pitch else None
        self.stop = nn.Linear(config.decoder_state + memory, 1)
        self.dropout = nn.Dropout(config.state_dropout)

    def begin(self, memory: Tensor) -> State:
        """The state before the first step."""
        batch, text, channels = memory.shape
        state = memory.new_zeros(batch, self.config.attention_state)
        weights = memory.new_zeros(batch, text, dtype=torch.float32)
        if self.config.attention == "forward":
            weights[:, 0] = 1.0
        return State(
            state,
            state.float(),
            memory.new_zeros(batch, channels),
            weights,
            torch.zeros_like(weights),
        )

    def step(
        self, projected: Tensor, memory: Tensor, keys: Tensor, mask: Tensor, s: State
    ) -> State:
        """One step of the attention. ``projected``: the pre-net's share of the cell's gates."""
        size = self.config.prenet_channels
        gates = (
            projected
            + F.linear(s.context, self.cell.weight_ih[:, size:])
            + F.linear(s.hidden, self.cell.weight_hh)
        ).float()  # what a cell adds up over many steps is small beside what it holds
        enter, keep, new, out = gates.chunk(4, dim=1)
        cell = torch.sigmoid(keep) * s.cell + torch.sigmoid(enter) * torch.tanh(new)
        hidden = self.dropout(torch.sigmoid(out) * torch.tanh(cell))
        weights = self.attention(hidden, keys, mask, s.weights, s.total)
        context = torch.bmm(weights.unsqueeze(1).to(memory.dtype), memory).squeeze(1)
        return State(hidden, cell, context, weights, s.total + weights)

    def project(
        self,
        frames: Tensor,
        generator: torch.Generator | None = None,
        uniforms: Tensor | None = None,
    ) -> Tensor:
        """Previous frames ``[..., mels or said]`` -> their share of the cell's gates."""
        size = self.config.prenet_channels
        bias = self.cell.bias_ih + self.cell.bias_hh
        frames = (
            frames[..., : self.config.mel.mels] - self.config.mel_offset
        ) / self.config.mel_scale
        heard = self.prenet(frames, generator, uniforms)
        return F.linear(heard, self.cell.weight_ih[:, :size], bias)

    def forward(
        self,
        memory: Tensor,
        mask: Tensor,
        mel: Tensor,
        bells: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Teacher forcing, by ``mel`` ``[batch, mels, frames]`` (a multiple of the reduction) and,
        for a model that says it, ``bells`` of the pitch: frames ``[batch, said, frames]``, stop
        logits ``[batch, steps]`` and attention ``[batch, text, steps]``."""
        reduction = self.config.reduction
        last = mel[..., reduction - 1 :: reduction].permute(2, 0, 1)
        if self.training and self.config.frame_dropout:
            drawn = torch.rand(last.shape[:2], generator=generator, device=last.device)
            silent = drawn < self.config.frame_dropout
            last = last.masked_fill(silent.unsqueeze(2), self.config.mel_offset)
        projected = self.project(F.pad(last, (0, 0, 0, 0, 1, -1)), generator)
        kept, attention, cell = None, self.attention, self.cell
        if self.training and self.dropout.p:
            shape = (*projected.shape[:2], self.config.attention_state)
            kept = self.dropout(projected.new_ones(shape))
        from_memory = cell.weight_ih[:, self.config.prenet_channels :]
        heard, looked = attending_lstm(
            projected,
            kept,
            memory,
            attention.memory(memory),
            mask,
            self.begin(memory).weights,
            torch.cat([cell.weight_hh, from_memory], dim=1),
            attention.query.weight,
            torch.einsum("af,fck->ack", attention.location_out.weight, attention.location.weight),
            attention.score.weight[0],
            attention.forward_only,
        )
        if heard.device.type == "cpu":
            into, recurrent, *biases = self.lstm.all_weights[0]
            state = lstm(F.linear(heard, into, biases[0] + biases[1]), recurrent)
        else:
            state = self.lstm(heard)[0]
        return *self._say(heard, state, bells), looked.permute(1, 2, 0)

    def finish(
        self, heard: Tensor, before: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Steps ``[steps, batch, attention_state + memory]`` to frames and stop logits."""
        state, after = self.lstm(heard, before)
        return *self._say(heard, state), after

    def _say(
        self, heard: Tensor, state: Tensor, bells: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        config = self.config
        steps, batch, _ = heard.shape
        memory = heard[..., self.config.attention_state :]
        both = torch.cat([self.dropout(state), memory], dim=2)
        frames = self.frames(both).view(steps, batch, config.reduction, -1)
        frames = frames.permute(1, 3, 0, 2).flatten(2).float()
        mel, pitch = frames.split([config.mel.mels, config.said - config.mel.mels], dim=1)
        if self.harmonics is not None:
            mel = mel + self.harmonics(said_bells(pitch) if bells is None else bells)
        frames = torch.cat([mel.float() * config.mel_scale + config.mel_offset, pitch], dim=1)
        return frames, self.stop(both).squeeze(2).transpose(0, 1).float()
