"""What VITS learns by, but for its adversaries: five losses, and those of what it may be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from glottis.alignment import align, coverage, diagonality, expand, token_nats
from glottis.blocks.blanks import read_text
from glottis.blocks.duration import duration_loss
from glottis.blocks.lengths import mask_from_lengths, window
from glottis.blocks.pitch import pitch_log_density, recorded_pitch
from glottis.blocks.stochastic_duration import StochasticDurationPredictor
from glottis.blocks.text_prior import Prior
from glottis.corpus.batches import UtteranceBatch, pad
from glottis.likelihood.divergence import kl_from_draw
from glottis.likelihood.lattice import GaussianLattice

if TYPE_CHECKING:
    from glottis.models.vits.model import VITS


class Explained(NamedTuple):
    """A batch under posterior, flow and prior, aligned.

    ``spectrogram`` ``[batch, bins, frames]``; ``latent`` is a draw of the posterior,
    ``log_scale`` the posterior's, ``flowed`` the draw's image under the flow, or the draw itself
    where the prior is told the speaker, all ``[batch, latent, frames]``; ``durations`` int64
    ``[batch, text]`` and ``text_lengths`` are of the tokens that the model reads, ``lengths`` int64
    ``[batch]`` in frames. Of segments, all but the durations are those of ``lengths`` frames from
    ``starts`` int64 ``[batch]`` on. ``pitch`` ``[batch, frames]`` in Hz, 0 where unvoiced; None for
    a model that is not told it.
    """

    spectrogram: Tensor
    latent: Tensor
    log_scale: Tensor
    flowed: Tensor
    prior: Prior
    durations: Tensor
    text_lengths: Tensor
    lengths: Tensor
    starts: Tensor
    pitch: Tensor | None


def losses(
    model: VITS,
    batch: UtteranceBatch,
    found: Explained,
    windows: tuple[Tensor, Tensor] | None,
    timed: bool = True,
    rise: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """All but the adversarial losses; ``windows`` are log-mels of recordings and decoded audio,
    ``timed`` is whether durations are learnt and ``rise`` the share of the divergence's weight.
    """
    config = model.config
    frames, longest = found.latent.shape[2], batch.mel.shape[2]

    def along(values: Tensor) -> Tensor:
        """Of each token, for the frames that are explained."""
        laid = expand(values, found.durations, longest)
        return window(laid, found.starts, frames, batch.mel_lengths)

    mask = mask_from_lengths(found.lengths, frames)
    bells = model.bells(found.pitch)
    mean, log_scale = along(found.prior.mean), along(found.prior.log_scale)
    logs = {
        "diagonality": diagonality(found.durations, found.text_lengths).mean(),
        "coverage": coverage(found.durations, found.text_lengths).mean(),
    }
    loss, speaker = torch.zeros((), device=mask.device), model.embed(batch.speaker)
    if model.frame_prior is not None:
        held = along(model.frame_prior.start(found.prior.hidden, speaker))
        expected, latent, ladj = model.frame_prior(found.flowed, held, bells, mask, speaker)
        own = found.log_scale.detach()
        logs["prior"] = kl_from_draw(latent, own, mean, log_scale, mask, ladj)
        loss = rise * config.kl_weight * logs["prior"]
        mean, log_scale = expected, model.frame_prior.log_scale.expand_as(expected)
    logs["kl"] = kl_from_draw(found.flowed, found.log_scale, mean, log_scale, mask)
    loss = loss + rise * config.kl_weight * logs["kl"]
    if model.symbols is not None and config.symbol_weight:
        # The flow by itself: how likely its image is for the symbols alone.
        symbols, image = _symbols(model, batch, found), found.flowed
        if model.bending is None or found.latent.requires_grad:
            # By which the posterior does not learn.
            told = model.flow_told(batch.speaker, bells)
            image, _ = model.flow.call_and_ladj(found.latent.detach(), mask, told)
        if model.training:
            model.symbols.hear(image.detach(), symbols, mask)
        logs["symbol_nats"] = model.symbols.nats(image, symbols, mask) / image.shape[1]
        loss = loss + config.symbol_weight * logs["symbol_nats"]
    if windows is not None:
        target, fake_audio = windows
        logs["mel"] = nn.functional.l1_loss(model.log_mel(fake_audio), target)
        loss = loss + config.mel_weight * logs["mel"]
    if timed:
        logs["duration"] = _duration_loss(model, found, speaker)
        loss = loss + config.duration_weight * logs["duration"]
    if found.prior.mel_mean is not None:
        logs["mel_nats"] = token_nats(
            found.prior.mel_mean, found.durations, batch.mel, batch.mel_lengths
        )
        loss = loss + config.mel_alignment_weight * logs["mel_nats"]
    if model.pitch_predictor is not None:
        logs["pitch_nats"] = _pitch_nats(model, batch, found, speaker)
        loss = loss + config.pitch_weight * logs["pitch_nats"]
    return loss, logs


def alignment_loss(model: VITS, batch: UtteranceBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """Of the text encoder and the Gaussians over log-mels alone."""
    prior, text_lengths = model.read(batch)
    assert prior.mel_mean is not None
    lattice = GaussianLattice(prior.mel_mean.detach(), text_lengths=text_lengths)
    durations = align(lattice, batch.mel, batch.mel_lengths)
    loss = token_nats(prior.mel_mean, durations, batch.mel, batch.mel_lengths)
    logs = {"mel_nats": loss, "coverage": coverage(durations, text_lengths).mean()}
    return model.config.mel_alignment_weight * loss, logs


def content_loss(
    model: VITS, batch: UtteranceBatch, step: int | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Of conversion by content, from windows of utterances, or whole ones where nothing learns.

    In the first ``content_steps`` phones are learnt alone.
    """
    assert model.content is not None
    config = model.config
    mask = mask_from_lengths(batch.mel_lengths, batch.mel.shape[2])
    with torch.no_grad():
        text, _ = read_text(batch.text, batch.text_lengths, model.config.blanks)
        durations = _aligned(model, batch, text.shape[1])
        classes = model.content.frame_classes(text, durations, batch.mel.shape[2])
        heard = model.content.windows(
            batch.mel,
            mask,
            model.recorded(batch, mask),
            classes,
            batch.speaker,
            config.content_frames if model.training else 0,
        )
    return model.content.losses(heard, step is None or step >= config.content_steps)


def _aligned(model: VITS, batch: UtteranceBatch, tokens: int) -> Tensor:
    """Frames of each of ``tokens`` that are read, int64 ``[batch, tokens]``; once an utterance when
    the text encoder learns no more, which is half of the time of a step.

    Of a model that is not training nothing is known: the running mean of one that is has no
    gradients either, and changes.
    """
    learns = any(parameter.requires_grad for parameter in model.encoder.parameters())
    learns = learns or not model.training
    if learns or not all(name in model.aligned for name in batch.names):
        prior, text_lengths = model.read(batch)
        durations = model.align(batch, prior, text_lengths)
        if not learns:
            found = durations.cpu()
            model.aligned |= {name: found[i] for i, name in enumerate(batch.names)}
        return durations
    known, _ = pad([model.aligned[name] for name in batch.names])
    return nn.functional.pad(known, (0, tokens))[:, :tokens].to(batch.mel.device)


def _symbols(model: VITS, batch: UtteranceBatch, found: Explained) -> Tensor:
    """The symbol spoken in each frame that is explained, int64 ``[batch, frames]``."""
    text, _ = read_text(batch.text, batch.text_lengths, model.config.blanks)
    laid = expand(text.unsqueeze(1).float(), found.durations, batch.mel.shape[2])
    frames = found.latent.shape[2]
    return window(laid, found.starts, frames, batch.mel_lengths).squeeze(1).long()


def _pitch_nats(
    model: VITS, batch: UtteranceBatch, found: Explained, speaker: Tensor | None
) -> Tensor:
    """Negative log-density of whole utterances' pitch given the text, nats a frame."""
    mask = mask_from_lengths(batch.mel_lengths, batch.mel.shape[2])
    pitch = model.recorded(batch, mask)
    assert pitch is not None
    said = model.predicted_pitch(found.prior, found.durations, mask, speaker)
    density = pitch_log_density(*said, *recorded_pitch(pitch), mask.squeeze(1))
    return -density.sum() / mask.sum()


def _duration_loss(model: VITS, found: Explained, speaker: Tensor | None) -> Tensor:
    """Nats a token of the bound (eq. 7), or the deterministic predictor's loss."""
    if isinstance(model.durations, StochasticDurationPredictor):
        durations = model.durations.distribution(found.prior.hidden, found.text_lengths, speaker)
        bound = durations.evidence_bound(found.durations.unsqueeze(1))
        return -bound.sum() / found.text_lengths.sum()
    mask = mask_from_lengths(found.text_lengths, found.durations.shape[1])
    return duration_loss(
        model.log_frames(found.prior.hidden, mask, speaker, None),
        found.durations,
        found.text_lengths,
        model.config.duration_loss,
    )
