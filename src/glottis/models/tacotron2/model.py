"""Tacotron 2 as a whole: what it learns by, and how it speaks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glottis.alignment import align, coverage, diagonality, token_nats
from glottis.blocks.blanks import read_text
from glottis.blocks.lengths import mask_from_lengths
from glottis.blocks.pitch import PitchInput, pitch_log_density, recorded_bells, recorded_pitch
from glottis.blocks.reach import reach
from glottis.blocks.regression import Regression
from glottis.blocks.speakers import embed_speaker, speaker_table
from glottis.corpus.batches import UtteranceBatch
from glottis.kernels import mas
from glottis.likelihood.lattice import GaussianLattice
from glottis.models.tacotron2.attention import aligned, guided
from glottis.models.tacotron2.config import Config
from glottis.models.tacotron2.decoder import Decoder, said_bells, said_pitch
from glottis.models.tacotron2.encoder import Convolution, Encoder, TransformerEncoder
from glottis.models.tacotron2.graphs import RefineGraph, StepGraph, TextGraph
from glottis.voice.attention import Failure, find_failures


class Spoken(NamedTuple):
    """``mel`` ``[batch, mels, frames]``, ``lengths`` int64 ``[batch]``; ``attention``
    ``[batch, text, steps]`` over the symbols that the model reads; ``failures`` of each item."""

    mel: Tensor
    lengths: Tensor
    attention: Tensor
    failures: list[list[Failure]]


class Predicted(NamedTuple):
    """``before`` and ``after`` the post-net ``[batch, mels, frames]``, ``stop`` logits
    ``[batch, steps]``, ``attention`` ``[batch, text, steps]``, the ``memory``
    ``[batch, text, channels]`` that was looked at, and what the decoder says of the ``pitch``,
    ``[batch, 2, frames]`` or nothing."""

    before: Tensor
    after: Tensor
    stop: Tensor
    attention: Tensor
    memory: Tensor
    pitch: Tensor


class Tacotron2(nn.Module):
    """Text to log-mels, with the attention that tells where each came from."""

    batches = "utterances"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        by_transformer = config.encoder == "transformer"
        self.encoder: Encoder | TransformerEncoder = (
            TransformerEncoder(config) if by_transformer else Encoder(config)
        )
        self.speakers = speaker_table(config.speakers, config.speaker_channels)
        memory = config.channels + (config.speaker_channels if config.speakers > 1 else 0)
        self.decoder = Decoder(config, memory)
        self.mel_mean: nn.Linear | None = None
        if config.aligned_weight:
            self.mel_mean = nn.Linear(memory, config.mel.mels)
            # About the mean log-mel of speech: the search should not wait for the offset.
            nn.init.constant_(self.mel_mean.bias, -5.0)
        self.postnet: nn.ModuleList | None = None
        self.pitch_input: PitchInput | None = None
        self.regression: Regression | None = None
        if config.regression_layers:
            self.regression = Regression(
                memory,
                config.mel.mels,
                config.regression_channels,
                config.regression_hidden,
                config.regression_layers,
                pitch=config.pitch,
            )
            return
        sizes = [config.mel.mels, *[config.postnet_channels] * (config.postnet_layers - 1)]
        self.postnet = nn.ModuleList(
            Convolution(a, b, config.postnet_kernel)
            for a, b in zip(sizes, [*sizes[1:], config.mel.mels], strict=True)
        )
        self.pitch_input = PitchInput(config.mel.mels) if config.pitch else None
        # What the post-net adds at first is noise, which should not be as large as speech varies.
        nn.init.constant_(self.postnet[-1].norm.weight, 0.1)  # type: ignore[arg-type,union-attr]

    @property
    def reach(self) -> int:
        """Frames to either side that change what the post-net says of one."""
        return reach(self.postnet if self.regression is None else self.regression)

    def optimized(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that the loss of :meth:`steps` trains."""
        return {"features": list(self.parameters())}

    def adapted(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """A Glow-TTS' weights under the names that they have here; see :class:`Config`."""
        found = {k: v for k, v in weights.items() if k.startswith("encoder.mel_mean.")}
        if not found:
            return weights
        result = weights | {
            name.removeprefix("encoder."): value.flatten(1) if value.ndim > 2 else value
            for name, value in found.items()
        }
        if "speakers.weight" in weights:
            # That model hears them at a length of 1.
            result["speakers.weight"] = F.normalize(weights["speakers.weight"], dim=1)
        return result

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
        bells = None
        if self.config.pitch:
            known = self._recorded(batch)[:, :longest]
            bells = recorded_bells(F.pad(known, (0, longest - known.shape[1])))
        said, stop, attention = self.decoder(memory, mask, mel, bells, generator)
        # Steps after an item's end would be heard by the post-net's neighbours of real ones.
        real = mask_from_lengths(steps * reduction, longest)
        said = said * real
        frames, mels = batch.mel.shape[2], self.config.mel.mels
        held = self.hold(memory, attention)
        after = self.refine(said, real, bells, held)[..., :frames]
        before, pitch = said[:, :mels, :frames], said[:, mels:, :frames]
        return Predicted(before, after, stop, attention, memory, pitch), lengths, steps

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
        if config.pitch:
            known = recorded_pitch(self._recorded(batch))
            density = pitch_log_density(*said_pitch(found.pitch), *known, inside.squeeze(1))
            logs["pitch_nats"] = -density.sum() / inside.sum()
            loss = loss + config.pitch_weight * logs["pitch_nats"]
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
        log-mels, and its negative log-density in nats a frame and mel."""
        assert self.mel_mean is not None
        mean = self.mel_mean(memory).float().transpose(1, 2)
        durations = align(
            GaussianLattice(mean.detach(), text_lengths=lengths), batch.mel, batch.mel_lengths
        )
        return durations, token_nats(mean, durations, batch.mel, batch.mel_lengths)

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
        frame = memory.new_zeros(len(text), config.said)
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
        attention = torch.stack(looked, dim=2)
        held = self.hold(memory, attention)
        mel = self.refine(torch.cat(made, dim=2) * real, real, held=held)
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

    def _recorded(self, batch: UtteranceBatch) -> Tensor:
        """Pitch in Hz ``[batch, frames]``, 0 where unvoiced and beyond the end."""
        return batch.pitch_within(mask_from_lengths(batch.mel_lengths, batch.mel.shape[2]))

    def hold(self, memory: Tensor, attention: Tensor) -> Tensor | None:
        """What a post-net that hears the text is given of it: of ``memory``
        ``[batch, text, channels]`` and ``attention`` ``[batch, text, steps]``,
        ``[batch, regression_channels, frames]``."""
        if self.regression is None:
            return None
        looked = torch.bmm(memory.transpose(1, 2), attention.to(memory.dtype))
        held: Tensor = self.regression.start(looked)
        return held.repeat_interleave(self.config.reduction, dim=2)

    def refine(
        self,
        said: Tensor,
        inside: Tensor,
        bells: Tensor | None = None,
        held: Tensor | None = None,
    ) -> Tensor:
        """The post-net: frames as the decoder says them ``[batch, said, frames]`` -> log-mels
        ``[batch, mels, frames]``. ``bells`` are of the recorded pitch, where there is one, and
        ``held`` is what :meth:`hold` makes."""
        mels = self.config.mel.mels
        if bells is None and self.config.pitch:
            bells = said_bells(said[:, mels:])
        if self.regression is not None:
            assert held is not None
            after: Tensor = self.regression(held, bells, inside)
            return after
        assert self.postnet is not None
        mel = said[:, :mels]
        x = (mel - self.config.mel_offset) / self.config.mel_scale
        if self.pitch_input is not None:
            x = x + self.pitch_input(bells)
        for i, convolution in enumerate(self.postnet):
            x = convolution(x * inside, inside)
            x = torch.tanh(x) if i + 1 < len(self.postnet) else x
            x = F.dropout(x, self.config.dropout, self.training)
        return (mel + self.config.mel_scale * x.float()) * inside

    @torch.no_grad()
    def show(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """The first utterance: its mel, the mel under teacher forcing, a free one, attention."""
        one = batch.first()
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
        parts = {"text": TextGraph(self), "step": StepGraph(self), "refine": RefineGraph(self)}
        return {name: part.eval() for name, part in parts.items()}
