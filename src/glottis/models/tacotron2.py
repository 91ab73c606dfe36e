"""Tacotron 2: log-mels one step after another, each looking at the text by attention.

Sources: Shen et al. 2018, "Natural TTS Synthesis by Conditioning WaveNet on Mel Spectrogram
Predictions"; attention: Chorowski et al. 2015 (location-sensitive), Zhang, Ling & Dai 2018
(forward); guided attention: Tachibana, Uenoyama & Aihara 2018, eq. 6; attention drawn to an
alignment that is found beforehand: Zhu et al. 2019. The sizes and the order of the layers are those
of NVIDIA's implementation, whose checkpoints ``glottis import`` reads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glottis.alignment import align, coverage, diagonality, expand, token_indices
from glottis.audio.mel import MelConfig
from glottis.blocks.blanks import drop_blanks_of_one, read_text
from glottis.blocks.convolution import Conv1d
from glottis.blocks.lengths import mask_from_lengths
from glottis.blocks.recurrent import attending_lstm, lstm, narrow
from glottis.blocks.speakers import embed_speaker, speaker_table
from glottis.corpus.batches import UtteranceBatch
from glottis.errors import InputError
from glottis.kernels import mas
from glottis.likelihood.lattice import GaussianLattice
from glottis.voice.attention import Failure, find_failures


@dataclass(frozen=True)
class Config:
    """Sizes in channels. ``symbols`` and ``speakers`` are counts; one speaker has no embedding.

    ``reduction`` frames are predicted at each step, from the last frame of the step before.
    ``attention`` is ``location`` or ``forward``, which can only stay or move on by one symbol.
    ``guided_weight`` draws attention to the diagonal, with spread ``guided_spread``; 0 for none.
    ``aligned_weight`` draws it to the monotonic alignment of log-mels with one Gaussian for each
    symbol, which the encoder says, as in Glow-TTS; during the first ``alignment_steps`` these
    Gaussians and the encoder alone are trained, which is quick. So attention stands within a few
    hundred steps of the decoder where hours of speech are few; 0 for none.
    ``mel_offset`` and ``mel_scale`` say where log-mels lie and how widely: the network hears and
    says them about 0 and in units of the scale. The defaults, 0 and 1, are what others have trained
    with; a pre-net without biases learns little from numbers that are all near -5.
    ``stop_weight`` counts the one step of an utterance that is its last so many times.

    Length is bounded: an utterance of ``n`` symbols gets at most ``50 + frames_per_symbol * n``
    frames; one that reaches them is reported as never stopping.
    """

    blanks: bool = False
    symbols: int = 256
    speakers: int = 1
    speaker_channels: int = 64
    channels: int = 512
    encoder_layers: int = 3
    encoder_kernel: int = 5
    attention: Literal["location", "forward"] = "location"
    attention_channels: int = 128
    location_filters: int = 32
    location_kernel: int = 31
    attention_state: int = 1024
    decoder_state: int = 1024
    state_dropout: float = 0.1
    prenet_channels: int = 256
    prenet_dropout: float = 0.5
    postnet_channels: int = 512
    postnet_layers: int = 5
    postnet_kernel: int = 5
    dropout: float = 0.5
    reduction: int = 1
    mel_offset: float = 0.0
    mel_scale: float = 1.0
    stop_weight: float = 5.0
    stop_threshold: float = 0.5
    guided_weight: float = 0.0
    guided_spread: float = 0.4
    aligned_weight: float = 0.0
    alignment_steps: int = 0
    frames_per_symbol: float = 20.0
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise InputError(f"reduction must be at least 1 frame a step, not {self.reduction}")
        if self.mel_scale <= 0:
            raise InputError(f"mel_scale must be above 0, not {self.mel_scale}")
        if self.channels % 2 or not self.location_kernel % 2:
            raise InputError("channels must be even and location_kernel odd")
        if self.alignment_steps and not self.aligned_weight:
            raise InputError("alignment_steps learn what aligned_weight draws to: give some")


class Spoken(NamedTuple):
    """``mel`` ``[batch, mels, frames]``, ``lengths`` int64 ``[batch]``; ``attention``
    ``[batch, text, steps]`` over the symbols that the model reads; ``failures`` of each item."""

    mel: Tensor
    lengths: Tensor
    attention: Tensor
    failures: list[list[Failure]]


class Predicted(NamedTuple):
    """``before`` and ``after`` the post-net ``[batch, mels, frames]``, ``stop`` logits
    ``[batch, steps]``, ``attention`` ``[batch, text, steps]``, and the ``memory``
    ``[batch, text, channels]`` that was looked at."""

    before: Tensor
    after: Tensor
    stop: Tensor
    attention: Tensor
    memory: Tensor


class Convolution(nn.Module):
    """Convolution and batch normalisation: ``[batch, channels, time]``, the same time."""

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__()
        self.conv = Conv1d(channels, out, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class Encoder(nn.Module):
    """Symbols to memory: ``text`` int64 ``[batch, text]`` -> ``[batch, text, channels]``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.channels
        self.embed = nn.Embedding(config.symbols, channels)
        bound = math.sqrt(6.0 / (config.symbols + channels))
        nn.init.uniform_(self.embed.weight, -bound, bound)
        self.convolutions = nn.ModuleList(
            Convolution(channels, channels, config.encoder_kernel)
            for _ in range(config.encoder_layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.lstm = nn.LSTM(channels, channels // 2, batch_first=True, bidirectional=True)

    def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
        mask = mask_from_lengths(lengths, text.shape[1])
        x = self.embed(text).transpose(1, 2) * mask
        for convolution in self.convolutions:
            x = self.dropout(torch.relu(convolution(x))) * mask
        packed = nn.utils.rnn.pack_padded_sequence(
            x.transpose(1, 2), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        memory, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=text.shape[1]
        )
        return memory


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
        self.frames = nn.Linear(config.decoder_state + memory, config.mel.mels * config.reduction)
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
        """Previous frames ``[..., mels]`` -> their share of the cell's gates."""
        size = self.config.prenet_channels
        bias = self.cell.bias_ih + self.cell.bias_hh
        frames = (frames - self.config.mel_offset) / self.config.mel_scale
        heard = self.prenet(frames, generator, uniforms)
        return F.linear(heard, self.cell.weight_ih[:, :size], bias)

    def forward(
        self, memory: Tensor, mask: Tensor, mel: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Teacher forcing: frames ``[batch, mels, frames]`` (a multiple of the reduction), stop
        logits ``[batch, steps]`` and attention ``[batch, text, steps]``."""
        reduction = self.config.reduction
        last = mel[..., reduction - 1 :: reduction].permute(2, 0, 1)
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
        return *self._say(heard, state), looked.permute(1, 2, 0)

    def finish(
        self, heard: Tensor, before: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Steps ``[steps, batch, attention_state + memory]`` to frames and stop logits."""
        state, after = self.lstm(heard, before)
        return *self._say(heard, state), after

    def _say(self, heard: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        steps, batch, _ = heard.shape
        memory = heard[..., self.config.attention_state :]
        both = torch.cat([self.dropout(state), memory], dim=2)
        frames = self.frames(both).view(steps, batch, self.config.reduction, -1)
        frames = frames.permute(1, 3, 0, 2).flatten(2).float()
        frames = frames * self.config.mel_scale + self.config.mel_offset
        return frames, self.stop(both).squeeze(2).transpose(0, 1).float()


class Tacotron2(nn.Module):
    """Text to log-mels, with the attention that tells where each came from."""

    batches = "utterances"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.speakers = speaker_table(config.speakers, config.speaker_channels)
        memory = config.channels + (config.speaker_channels if config.speakers > 1 else 0)
        self.decoder = Decoder(config, memory)
        self.mel_mean: nn.Linear | None = None
        if config.aligned_weight:
            self.mel_mean = nn.Linear(memory, config.mel.mels)
            # About the mean log-mel of speech: the search should not wait for the offset.
            nn.init.constant_(self.mel_mean.bias, -5.0)
        sizes = [config.mel.mels, *[config.postnet_channels] * (config.postnet_layers - 1)]
        self.postnet = nn.ModuleList(
            Convolution(a, b, config.postnet_kernel)
            for a, b in zip(sizes, [*sizes[1:], config.mel.mels], strict=True)
        )
        # What the post-net adds at first is noise, which should not be as large as speech varies.
        nn.init.constant_(self.postnet[-1].norm.weight, 0.1)  # type: ignore[arg-type,union-attr]

    def optimized(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that the loss of :meth:`steps` trains."""
        return {"features": list(self.parameters())}

    # Learning ----------------------------------------------------------------------------------

    def predict(
        self, batch: UtteranceBatch, generator: torch.Generator | None = None
    ) -> tuple[Predicted, Tensor, Tensor]:
        """Every frame given the recording's frames before it, and the lengths of texts and steps.

        Padding takes no part, whatever it holds.
        """
        memory, lengths = self._remember(batch.text, batch.text_lengths, batch.speaker)
        mask = mask_from_lengths(lengths, memory.shape[1]).squeeze(1)
        reduction = self.config.reduction
        steps = -(-batch.mel_lengths // reduction)
        longest = int(steps.max()) * reduction
        inside = mask_from_lengths(batch.mel_lengths, longest)
        mel = F.pad(batch.mel[..., :longest], (0, max(0, longest - batch.mel.shape[2])))
        mel = torch.where(inside, mel, math.log(self.config.mel.floor))
        before, stop, attention = self.decoder(memory, mask, mel, generator)
        # Steps after an item's end would be heard by the post-net's neighbours of real ones.
        real = mask_from_lengths(steps * reduction, longest)
        before = before * real
        frames = batch.mel.shape[2]
        after = self._refine(before, real)
        found = Predicted(before[..., :frames], after[..., :frames], stop, attention, memory)
        return found, lengths, steps

    def steps(
        self, batch: UtteranceBatch, step: int
    ) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """One loss: squared errors before and after the post-net, and the stop's cross-entropy."""
        if step < self.config.alignment_steps:
            memory, lengths = self._remember(batch.text, batch.text_lengths, batch.speaker)
            durations, loss = self._search(memory, lengths, batch)
            logs = {"mel_nats": loss.detach(), "coverage": coverage(durations, lengths).mean()}
            yield "features", loss, logs
            return
        yield "features", *self._losses(batch)

    @torch.no_grad()
    def validate(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """Held-out errors under teacher forcing, and how focused attention is."""
        loss, logs = self._losses(batch)
        return {"loss": loss, **logs}

    def _losses(self, batch: UtteranceBatch) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        found, text_lengths, steps = self.predict(batch)
        inside = mask_from_lengths(batch.mel_lengths, batch.mel.shape[2])
        count = inside.sum() * config.mel.mels
        mel = torch.where(inside, batch.mel, 0.0)
        errors = [
            (torch.where(inside, each, 0.0) - mel).square().sum() / count
            for each in (found.before, found.after)
        ]
        within = mask_from_lengths(steps, found.stop.shape[1]).squeeze(1)
        last = torch.arange(found.stop.shape[1], device=steps.device) == steps[:, None] - 1
        weight = torch.full((), config.stop_weight, device=found.stop.device)
        stop = F.binary_cross_entropy_with_logits(
            found.stop, last.float(), pos_weight=weight, reduction="none"
        )
        stop = (stop * within).sum() / within.sum()
        focus = (found.attention.amax(1) * within).sum() / within.sum()
        logs = {"before": errors[0], "after": errors[1], "stop": stop, "focus": focus.detach()}
        loss = errors[0] + errors[1] + stop
        if config.guided_weight:
            logs["guided"] = guided(found.attention, text_lengths, steps, config.guided_spread)
            loss = loss + config.guided_weight * logs["guided"]
        if config.aligned_weight:
            durations, nats = self._search(found.memory, text_lengths, batch)
            logs["mel_nats"] = nats
            logs["coverage"] = coverage(durations, text_lengths).mean()
            logs["diagonality"] = diagonality(durations, text_lengths).mean()
            logs["aligned"] = aligned(found.attention, durations, steps, config.reduction)
            loss = loss + nats + config.aligned_weight * logs["aligned"]
        return loss, logs

    def _search(
        self, memory: Tensor, lengths: Tensor, batch: UtteranceBatch
    ) -> tuple[Tensor, Tensor]:
        """Durations int64 ``[batch, text]``, the most likely for one unit Gaussian a symbol over
        log-mels, and its negative log-density in nats a frame and mel, but for a constant."""
        assert self.mel_mean is not None
        mean = self.mel_mean(memory).float().transpose(1, 2)
        durations = align(
            GaussianLattice(mean.detach(), text_lengths=lengths), batch.mel, batch.mel_lengths
        )
        inside = mask_from_lengths(batch.mel_lengths, batch.mel.shape[2])
        error = torch.where(inside, batch.mel - expand(mean, durations, batch.mel.shape[2]), 0.0)
        return durations, 0.5 * error.square().sum() / (inside.sum() * mean.shape[1])

    @torch.no_grad()
    def align(self, batch: UtteranceBatch) -> tuple[Tensor, Tensor]:
        """Durations int64 ``[batch, text]`` in frames, by monotonic search along the attention,
        and the lengths of the texts that the model reads (for FastSpeech and its kin)."""
        found, text_lengths, _ = self.predict(batch)
        frames = found.attention.repeat_interleave(self.config.reduction, dim=2)
        return mas(frames.clamp_min(1e-8).log(), text_lengths, batch.mel_lengths), text_lengths

    # Speaking ----------------------------------------------------------------------------------

    @torch.no_grad()
    def synthesize(
        self,
        text: Tensor,
        text_lengths: Tensor,
        speaker: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Spoken:
        """Log-mels of texts, until the stop token or the bound of :class:`Config`.

        Args:
            text: int64 ``[batch, text]``; ``text_lengths`` int64 ``[batch]``.
            speaker: int64 ``[batch]``, needed when the model knows several.
            generator: source of the pre-net's dropout.
        """
        config, reduction = self.config, self.config.reduction
        memory, lengths = self._remember(text, text_lengths, speaker)
        mask = mask_from_lengths(lengths, memory.shape[1]).squeeze(1)
        bounds = ((50 + config.frames_per_symbol * lengths) / reduction).long()
        keys, state = self.decoder.attention.memory(memory), self.decoder.begin(memory)
        frame = memory.new_zeros(len(text), config.mel.mels)
        carried, made, looked = None, [], []
        steps = torch.zeros_like(lengths)
        stopped = torch.zeros_like(lengths, dtype=torch.bool)
        while bool((~stopped & (steps < bounds)).any()):
            projected = self.decoder.project(frame, generator)
            state = self.decoder.step(projected, memory, keys, mask, state)
            heard = torch.cat([state.hidden, state.context], dim=1)[None]
            frames, stop, carried = self.decoder.finish(heard, carried)
            made.append(frames)
            looked.append(state.weights)
            steps += ~stopped & (steps < bounds)
            stopped = stopped | (torch.sigmoid(stop[:, 0]) > config.stop_threshold)
            frame = frames[..., -1].to(memory.dtype)
        real = mask_from_lengths(steps * reduction)
        mel = self._refine(torch.cat(made, dim=2) * real, real)
        attention = torch.stack(looked, dim=2)
        failures = [
            find_failures(
                attention[i, : lengths[i], : steps[i]].float().cpu().numpy(), bool(stopped[i])
            )
            for i in range(len(text))
        ]
        return Spoken(mel, steps * reduction, attention, failures)

    def _remember(
        self, text: Tensor, lengths: Tensor, speaker: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        text, lengths = read_text(text, lengths, self.config.blanks)
        memory = self.encoder(text, lengths)
        embedded = embed_speaker(self.speakers, speaker)
        if embedded is not None:
            given = embedded[:, None].expand(-1, memory.shape[1], -1)
            memory = torch.cat([memory, given.to(memory.dtype)], dim=2)
        return memory, lengths

    def _refine(self, mel: Tensor, inside: Tensor) -> Tensor:
        x = (mel - self.config.mel_offset) / self.config.mel_scale
        for i, convolution in enumerate(self.postnet):
            x = convolution(x * inside)
            x = torch.tanh(x) if i + 1 < len(self.postnet) else x
            x = F.dropout(x, self.config.dropout, self.training)
        return (mel + self.config.mel_scale * x.float()) * inside

    @torch.no_grad()
    def show(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """The first utterance: its mel, the mel under teacher forcing, a free one, attention."""
        one = replace(
            batch,
            names=batch.names[:1],
            text=batch.text[:1, : batch.text_lengths[0]],
            text_lengths=batch.text_lengths[:1],
            mel=batch.mel[:1, :, : batch.mel_lengths[0]],
            mel_lengths=batch.mel_lengths[:1],
            speaker=batch.speaker[:1],
        )
        found, _, _ = self.predict(one)
        spoken = self.synthesize(one.text, one.text_lengths, one.speaker)
        return {
            "alignment": found.attention[0],
            "mel_recording": one.mel[0],
            "mel_forced": found.after[0],
            "mel_free": spoken.mel[0],
        }

    def export_steps(self) -> dict[str, nn.Module]:
        """What a voice computes with, in operations that ONNX has: the text once, a step at a
        time, and the post-net over any stretch of frames. They share this model's weights."""
        parts = {"text": _Text(self), "step": _Step(self), "refine": _Refine(self)}
        return {name: part.eval() for name, part in parts.items()}


class _Text(nn.Module):
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
        x = model.encoder.embed(text).transpose(1, 2)
        for convolution in model.encoder.convolutions:
            x = torch.relu(convolution(x))
        # Of one sentence nothing is padded.
        memory = model.encoder.lstm(x.transpose(1, 2))[0]
        if model.speakers is not None:
            given = model.speakers(rest[0])[:, None].expand(-1, memory.shape[1], -1)
            memory = torch.cat([memory, given], dim=2)
        decoder = model.decoder
        return memory, decoder.attention.memory(memory), decoder.begin(memory).weights, kept


class _Step(nn.Module):
    """One step: the last frame ``[1, mels]``, ``uniforms`` ``[2, 1, prenet]`` for the pre-net's
    dropout, memory, keys and the states, -> frames ``[1, mels, reduction]``, the stop's logit
    ``[1]`` and the states. See :class:`State`; the last two are the second layer's."""

    def __init__(self, model: Tacotron2) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        frame, uniforms, memory, keys, *states = given
        projected = self.decoder.project(frame, None, uniforms)
        mask = torch.ones_like(states[3], dtype=torch.bool)
        state = self.decoder.step(projected, memory, keys, mask, State(*states[:5]))
        heard = torch.cat([state.hidden, state.context], dim=1)[None]
        carried = (states[5], states[6])
        frames, stop, carried = self.decoder.finish(heard, carried)
        return (frames, stop[:, 0], *state, *carried)


class _Refine(nn.Module):
    """The post-net over ``[1, mels, frames]``."""

    def __init__(self, model: Tacotron2) -> None:
        super().__init__()
        self.model = model

    def forward(self, mel: Tensor) -> Tensor:
        return self.model._refine(mel, torch.ones_like(mel[:, :1]))


def guided(attention: Tensor, text_lengths: Tensor, steps: Tensor, spread: float) -> Tensor:
    """How much attention ``[batch, text, steps]`` lies off the diagonal, a scalar in [0, 1).

    ``1 - exp(-(n / N - t / T)^2 / (2 g^2))`` weighs each cell (Tachibana et al. 2018, eq. 6).
    """
    text = torch.arange(attention.shape[1], device=attention.device) / text_lengths[:, None]
    time = torch.arange(attention.shape[2], device=attention.device) / steps[:, None]
    distance = text[:, :, None] - time[:, None, :]
    weight = 1 - torch.exp(-distance.square() / (2 * spread**2))
    inside = (text < 1)[:, :, None] & (time < 1)[:, None, :]
    return (attention * weight * inside).sum() / steps.sum()


def aligned(attention: Tensor, durations: Tensor, steps: Tensor, reduction: int) -> Tensor:
    """Cross-entropy in nats a step of ``attention`` ``[batch, text, steps]`` to an alignment.

    ``durations`` int64 ``[batch, text]`` in frames, ``reduction`` of them a step: a step belongs to
    the symbol of its first frame (Zhu et al. 2019, "Pre-Alignment Guided Attention").
    """
    many = attention.shape[2]
    index = token_indices(durations, many * reduction)[:, ::reduction]
    there = index.clamp_max(attention.shape[1] - 1).unsqueeze(1)
    looked = attention.gather(1, there).squeeze(1)
    within = mask_from_lengths(steps, many).squeeze(1)
    return -torch.where(within, (looked + 1e-6).log(), 0.0).sum() / within.sum()
