"""VITS: text to audio in one network, a variational autoencoder whose prior is a flow over text.

Source: Kim, Kong & Son 2021, "Conditional Variational Autoencoder with Adversarial Learning for
End-to-End Text-to-Speech". The posterior ``q(z | x)`` reads linear spectrograms (section 2.1.3);
the prior ``p(z | text, A)`` is a Gaussian for each token, laid out by the alignment ``A`` and bent
by a volume-preserving flow ``f`` (section 2.1.2); ``A`` is the monotonic path that maximises the
likelihood of ``f(z)`` (eq. 6); a decoder turns windows of ``z`` into audio, judged by log-mels and
by discriminators (section 2.3); durations are sampled (section 2.2.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from glottis.alignment import align, expand, path
from glottis.blocks.blanks import read_text
from glottis.blocks.discriminators import (
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from glottis.blocks.lengths import mask_from_lengths, random_starts, window
from glottis.blocks.noise import draw_normal
from glottis.blocks.pitch import (
    PitchInput,
    PitchPredictor,
    SpeakerPitch,
    pitch_bells,
    recorded_bells,
    recorded_pitch,
    spoken_pitch,
)
from glottis.blocks.reach import beginnings, reach
from glottis.blocks.speakers import embed_speaker, speaker_table
from glottis.blocks.spectral import LogMel, SpectralLoss
from glottis.blocks.spectral_decoder import SpectralDecoder
from glottis.blocks.stochastic_duration import StochasticDurationPredictor
from glottis.blocks.text_prior import Prior
from glottis.corpus.batches import UtteranceBatch
from glottis.errors import InputError
from glottis.likelihood.flows import Flow
from glottis.likelihood.lattice import GaussianLattice
from glottis.models.vits import parts
from glottis.models.vits.config import Config
from glottis.models.vits.frame_prior import FramePrior, adapted
from glottis.models.vits.graphs import ConversionGraph, SpeechGraph
from glottis.models.vits.losses import Explained, alignment_loss, content_loss, losses
from glottis.models.vits.speaker_flow import SymbolGaussians, apart


class VITS(nn.Module):
    """Text to audio, and audio to audio of another speaker."""

    batches = "utterances_with_audio"
    end_to_end = True
    speaker_language: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        given = config.speaker_channels if config.speakers > 1 else 0
        # What posterior and flow are told beside their input: speaker, pitch, or both.
        told = config.speaker_channels if config.speakers > 1 or config.pitch else 0
        channels = config.encoder_channels or config.channels
        self.speakers = speaker_table(config.speakers, config.speaker_channels)
        self.languages: nn.Embedding | None = None
        if config.languages > 1:
            self.languages = nn.Embedding(config.languages, channels)
            nn.init.normal_(self.languages.weight, std=channels**-0.5)
            # What each speaker was heard to speak: the language when none is asked for.
            self.register_buffer("speaker_language", torch.zeros(config.speakers, dtype=torch.long))
        self.encoder = parts.text_prior(config, channels, given)
        self.pitch_predictor: PitchPredictor | None = None
        self.pitch_input: PitchInput | None = None
        self.speaker_pitch: SpeakerPitch | None = None
        if config.pitch:
            self.pitch_predictor = PitchPredictor(channels + given, config.pitch_channels)
            # For the posterior and for a flow that is not centred; one that is hears the bells.
            paper = parts.has_flow(config) and not parts.is_centred(config)
            if config.posterior_layers or paper:
                self.pitch_input = PitchInput(config.speaker_channels)
            self.speaker_pitch = SpeakerPitch(config.speakers)
        self.frame_prior = FramePrior(config, channels) if config.regression_layers else None
        self.posterior = parts.posterior(config, told)
        self.flow = parts.flow(config, told)
        self.symbols: SymbolGaussians | None = None
        if parts.is_centred(config):
            self.symbols = SymbolGaussians(config.symbols, config.latent)
        self.content = parts.content(config)
        # Durations by utterance, of a text encoder that learns no more.
        self.aligned: dict[str, Tensor] = {}
        self.durations = parts.durations(config, channels, given)
        self.decoder = parts.decoder(config, given)
        self.log_mel = LogMel(config.mel, config.power_floor)
        self.spectral_loss = SpectralLoss()
        self.discriminators = parts.discriminators(config)

    def optimized(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each loss of :meth:`steps` trains."""
        judges = list(self.discriminators.parameters())
        converts = [] if self.content is None else list(self.content.parameters())
        ours = {id(parameter) for parameter in judges + converts}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in ours]
        found = {"generator": rest, "discriminator": judges}
        return found | {"conversion": converts} if converts else found

    @property
    def unit_speakers(self) -> bool:
        """Whether embeddings of speakers are heard at a length of 1."""
        return self.config.unit_speakers

    @property
    def _group(self) -> int:
        """Frames that the prior takes at once."""
        return 1 if self.frame_prior is None else self.frame_prior.group

    @property
    def bending(self) -> Flow | None:
        """The flow between latents and what the prior explains; None where these are the same."""
        return None if self.config.condition_prior else self.flow

    def adapted(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """A Glow-TTS' weights under the names that they have here."""
        if self.frame_prior is None:
            return weights
        return adapted(self.frame_prior, weights, several=self.config.speakers > 1)

    def explain(
        self,
        batch: UtteranceBatch,
        *,
        segment: int = 0,
        resting: bool = False,
        alignment_noise: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Explained:
        """Draw latents of the batch's audio, bend them by the flow and align the text with them.

        With ``segment``, for ``align_on: mel``, latents of that many frames from random starts on;
        with ``resting`` the posterior does not learn.

        Raises:
            InputError: an utterance of the batch has more tokens than frames.
            ValueError: the batch has no audio, no pitch although the model is told it, or no
                speaker although several are known.
        """
        if batch.audio is None:
            raise ValueError("VITS learns from batches of the kind 'utterances_with_audio'")
        speaker, (prior, text_lengths) = self.embed(batch.speaker), self.read(batch)
        hop, group = self.config.mel.hop, self._group
        # What does not fill a group of the frame prior is left out.
        lengths = batch.mel_lengths // group * group
        frames = batch.mel.shape[2] // group * group
        spectrogram = self.log_mel.magnitudes(batch.audio, batch.mel_lengths * hop)[..., :frames]
        pitch = self.recorded(batch, mask_from_lengths(batch.mel_lengths, batch.mel.shape[2]))
        pitch = None if pitch is None else pitch[:, :frames]
        starts = torch.zeros_like(lengths)
        if segment:
            starts, frames = random_starts(lengths, segment), segment
            spectrogram = window(spectrogram, starts, frames, lengths)
            if pitch is not None:
                pitch = window(pitch.unsqueeze(1), starts, frames, lengths).squeeze(1)
            lengths = (lengths - starts).clamp_max(frames)
        mask = mask_from_lengths(lengths, frames)
        bells = self.bells(pitch)
        noise = draw_normal((len(lengths), self.config.latent, frames), lengths.device, generator)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not resting):
            latent, log_scale = self.infer(spectrogram, mask, self._told(speaker, bells), noise)
        flowed = latent
        if self.bending is not None:
            told = self.flow_told(batch.speaker, bells)
            flowed, _ = self.bending.call_and_ladj(latent, mask, told)
        durations = self.align(batch, prior, text_lengths, flowed, alignment_noise, generator)
        return Explained(
            spectrogram,
            latent,
            log_scale,
            flowed,
            prior,
            durations,
            text_lengths,
            lengths,
            starts,
            pitch,
        )

    @torch.no_grad()
    def align(
        self,
        batch: UtteranceBatch,
        prior: Prior,
        text_lengths: Tensor,
        flowed: Tensor | None = None,
        noise: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Frames of each token that is read, int64 ``[batch, text]``: on log-mels, or on latents
        ``flowed`` ``[batch, latent, frames]`` for ``align_on: latent``."""
        if prior.mel_mean is None:
            assert flowed is not None
            lattice = GaussianLattice(prior.mean, prior.log_scale, text_lengths=text_lengths)
            found = flowed
        else:
            lattice = GaussianLattice(prior.mel_mean, text_lengths=text_lengths)
            found = batch.mel
        return align(lattice, found, batch.mel_lengths, noise_scale=noise, generator=generator)

    def infer(
        self, spectrogram: Tensor, mask: Tensor, condition: Tensor | None, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A draw of the posterior ``[batch, latent, frames]``, and the posterior's log scale.

        ``noise`` of the same shape is standard normal, times the temperature; ``condition`` is what
        the model is told of speaker and pitch.
        """
        mel, config = None, self.config
        if config.posterior_input == "log_mels":
            mel = self.log_mel.of_magnitudes(spectrogram)
            # About zero and of unit size, as speech has them.
            spectrogram = 0.5 * mel + 2.5
        if self.posterior is None:
            mean = log_scale = torch.zeros_like(noise)
        else:
            mean, log_scale = self.posterior(spectrogram, mask, condition).float().chunk(2, dim=1)
        if config.mel_latents and mel is not None:
            mean, log_scale = mean + mel, log_scale + math.log(config.latent_noise)
        return torch.where(mask, mean + noise * log_scale.exp(), 0.0), log_scale

    def decode(
        self,
        latent: Tensor,
        speaker: Tensor | None,
        pitch: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Latents ``[batch, latent, frames]`` to audio ``[batch, frames * hop]``.

        ``speaker`` is an embedding ``[batch, speaker_channels, 1]`` or None; ``pitch``
        ``[batch, frames]`` in Hz, 0 where unvoiced, for a model that is told it. With ``lengths``
        int64 ``[batch]`` in frames, utterances of a batch are decoded one by one and audio is zero
        beyond each: decoders have biases, so that what lies behind an end is heard before it.
        """
        if lengths is not None and len(latent) > 1:
            samples = latent.new_zeros(len(latent), latent.shape[2] * self.config.mel.hop)
            for i, frames in enumerate(lengths.tolist()):
                own = None if speaker is None else speaker[i : i + 1]
                said = None if pitch is None else pitch[i : i + 1, :frames]
                alone = self.decode(latent[i : i + 1, :, :frames], own, said)
                samples[i, : alone.shape[1]] = alone[0]
            return samples
        if isinstance(self.decoder, SpectralDecoder):
            return cast(Tensor, self.decoder(latent, pitch, speaker))
        return cast(Tensor, self.decoder(latent, speaker))

    def steps(
        self, batch: UtteranceBatch, step: int
    ) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """The discriminators' loss, from ``adversarial_from`` on, then all others in one, then that
        of conversion by content."""
        config = self.config
        if self.languages is not None and batch.language is not None:
            self.speaker_language[batch.speaker] = batch.language
        if self.speaker_pitch is not None:
            mask = mask_from_lengths(batch.mel_lengths, batch.mel.shape[2])
            pitch = self.recorded(batch, mask)
            assert pitch is not None
            self.speaker_pitch.hear(*recorded_pitch(pitch), batch.speaker)
        if any(parameter.requires_grad for parameter in self.optimized()["generator"]):
            yield from self._speech_steps(batch, step)
        if self.content is not None and step >= config.alignment_steps:
            yield "conversion", *content_loss(self, batch, step - config.alignment_steps)

    def _speech_steps(
        self, batch: UtteranceBatch, step: int
    ) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        config = self.config
        if step < config.alignment_steps:
            yield "generator", *alignment_loss(self, batch)
            return
        noise = max(0.0, config.alignment_noise - config.alignment_noise_decay * step)
        if step < config.decoder_from:
            found = self.explain(batch, resting=True, alignment_noise=noise)
            yield "generator", *losses(self, batch, found, None)
            return
        found = self.explain(batch, segment=config.segment_frames, alignment_noise=noise)
        starts = random_starts(found.lengths, config.window_frames)
        real_audio, target, fake_audio = self._windows(batch, found, starts)
        adversarial = step >= config.adversarial_from
        judges = self.discriminators.turn(step, config.turns)
        if adversarial:
            real, fake = judges.both(real_audio, fake_audio.detach())
            loss = discriminator_loss(real, fake, "sum")
            yield "discriminator", loss, {"discriminator": loss}
        timed = step % config.duration_turns == 0
        rise = min(1.0, (step + 1) / max(1, config.kl_steps))
        loss, logs = losses(self, batch, found, (target, fake_audio), timed, rise)
        if config.spectral_weight:
            logs["spectral"] = self.spectral_loss(fake_audio, real_audio)
            loss = loss + config.spectral_weight * logs["spectral"]
        if adversarial:
            real, fake = judges.against(real_audio, fake_audio)
            logs["adversarial"] = generator_loss(fake, "sum")
            logs["features"] = feature_matching_loss(real, fake, "sum")
            # Of all discriminators in the mean over steps, however few judge in one.
            loss = loss + config.turns * config.adversarial_weight * logs["adversarial"]
            loss = loss + config.turns * config.feature_weight * logs["features"]
        yield "generator", loss, logs

    @torch.no_grad()
    def validate(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """Held-out losses, on the windows in the middle, and the shape of the alignment."""
        found = self.explain(batch, generator=torch.Generator().manual_seed(0))
        starts = ((found.lengths - self.config.window_frames) // 2).clamp_min(0)
        _, target, fake_audio = self._windows(batch, found, starts)
        logs = losses(self, batch, found, (target, fake_audio))[1]
        if self.content is not None:
            logs |= content_loss(self, batch)[1]
        return logs

    def predicted_pitch(
        self, prior: Prior, durations: Tensor, mask: Tensor, speaker: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Median of log Hz and logit of voicing, ``[batch, frames]``."""
        assert self.pitch_predictor is not None
        hidden = prior.hidden
        if speaker is not None:
            hidden = torch.cat([hidden, speaker.expand(-1, -1, hidden.shape[2])], dim=1)
        log_pitch, voicing = self.pitch_predictor(expand(hidden, durations, mask.shape[2]), mask)
        return log_pitch, voicing

    def _windows(
        self, batch: UtteranceBatch, found: Explained, starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Audio, log-mels and decoded audio of ``window_frames`` frames, ``starts`` after the first
        that is explained.

        An utterance that ends inside its window goes on in silence, on both sides alike.
        """
        assert batch.audio is not None
        frames, hop = self.config.window_frames, self.config.mel.hop
        latent = window(found.latent, starts, frames, found.lengths)
        audio = window(
            batch.audio.unsqueeze(1),
            (found.starts + starts) * hop,
            frames * hop,
            (found.starts + found.lengths) * hop,
        ).squeeze(1)
        target = self.log_mel.of_magnitudes(
            window(found.spectrogram, starts, frames, found.lengths)
        )
        pitch = found.pitch
        if pitch is not None:
            pitch = window(pitch.unsqueeze(1), starts, frames, found.lengths).squeeze(1)
        decoded = self.decode(latent, self.embed(batch.speaker), pitch)
        inside = mask_from_lengths((found.lengths - starts) * hop, frames * hop).squeeze(1)
        return audio, target, torch.where(inside, decoded, 0.0)

    def log_frames(
        self, hidden: Tensor, mask: Tensor, speaker: Tensor | None, noise: Tensor | None
    ) -> Tensor:
        """Log durations ``[batch, text]``, drawn with ``noise`` or predicted."""
        if isinstance(self.durations, StochasticDurationPredictor):
            assert noise is not None
            return self.durations.log_frames(hidden, mask, noise, speaker)
        given = None if speaker is None else speaker.detach()
        log_frames: Tensor = self.durations(hidden.detach(), mask, given)
        return log_frames

    def predict_durations(
        self,
        hidden: Tensor,
        mask: Tensor,
        speaker: Tensor | None,
        length_scale: Tensor | float,
        noise: Tensor | None,
    ) -> Tensor:
        """Whole frames ``[batch, text]``, at least one a token.

        What was dequantised downwards is rounded up. Means (``duration_loss: gamma``) are rounded
        in running sums, so that errors do not add up.
        """
        frames = torch.exp(self.log_frames(hidden, mask, speaker, noise)) * length_scale
        inside = mask.squeeze(1)
        if self.config.durations == "deterministic" and self.config.duration_loss == "gamma":
            ends = torch.floor(torch.cumsum(frames * inside, dim=1) + 0.5)
            frames = ends - nn.functional.pad(ends, (1, 0))[:, :-1]
        return torch.ceil(frames).clamp_min(1).long() * inside

    @torch.no_grad()
    def synthesize(
        self,
        text: Tensor,
        text_lengths: Tensor,
        speaker: Tensor | None = None,
        language: Tensor | None = None,
        *,
        temperature: float = 0.667,
        length_scale: float = 1.0,
        duration_temperature: float = 0.8,
        durations: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw audio.

        Args:
            text: int64 ``[batch, text]``; ``text_lengths`` int64 ``[batch]``.
            speaker: int64 ``[batch]``, needed when the model knows several.
            language: int64 ``[batch]``; the speaker's own when None.
            temperature: multiplies the prior's standard deviation.
            length_scale: multiplies drawn durations.
            duration_temperature: multiplies the noise that durations are drawn from.
            durations: int64 ``[batch, text]`` to use instead of drawn ones.

        Returns:
            Audio ``[batch, samples]``, zero beyond its lengths, ``[batch]`` in samples, and the
            durations of the tokens that the model reads.
        """
        text, text_lengths = read_text(text, text_lengths, self.config.blanks)

        def noise(channels: int, steps: Tensor | int, stream: int) -> Tensor:
            return draw_normal((len(text), channels, int(steps)), text.device, generator)

        scales = (temperature, length_scale, duration_temperature)
        samples, durations = self.generate(
            text, text_lengths, speaker, language, scales, noise, durations
        )
        lengths = durations.sum(1) * self.config.mel.hop
        return samples * mask_from_lengths(lengths).squeeze(1), lengths, durations

    def generate(
        self,
        text: Tensor,
        text_lengths: Tensor,
        speaker: Tensor | None,
        language: Tensor | None,
        scales: Tensor | tuple[float, float, float],
        noise: Callable[[int, Tensor | int, int], Tensor],
        durations: Tensor | None = None,
        frames: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What :meth:`synthesize` and the exported graph share: audio and durations.

        With ``frames``, a scalar int64, the audio of so many of the first frames.

        ``scales`` are the temperature, the length scale and the durations' temperature;
        ``noise(channels, steps, stream)`` gives standard normal ``[batch, channels, steps]``.
        """
        given = self.embed(speaker)
        prior = self._prior(text, text_lengths, speaker, language)
        if durations is None:
            mask = mask_from_lengths(text_lengths, text.shape[1])
            random = self.config.durations == "stochastic"
            drawn = noise(2, text.shape[1], 1) * scales[2] if random else None
            durations = self.predict_durations(prior.hidden, mask, given, scales[1], drawn)
        lengths, group = durations.sum(1), self._group
        wholes = (lengths + group - 1) // group * group
        decoder, prior_reach = cast(Any, self.decoder), 0
        if self.frame_prior is not None:
            prior_reach = self.frame_prior.reach
        within = [decoder.reach, reach(self.bending), prior_reach + reach(self.pitch_predictor)]
        sizes = beginnings(wholes.max(), frames, within, group)
        _, decoded, bent, longest = sizes
        mask = mask_from_lengths(wholes, longest)
        pitch, bells = None, None
        if self.pitch_predictor is not None:
            log_pitch, voicing = self.predicted_pitch(prior, durations, mask, given)
            voiced, pitch = spoken_pitch(log_pitch, voicing)
            bells = pitch_bells(log_pitch, voiced)
        scale = expand(prior.log_scale, durations, longest).exp() * scales[0]
        mean = expand(prior.mean, durations, longest)
        flowed = mean + noise(self.config.latent, longest, 0) * scale
        if self.frame_prior is not None:
            held = expand(self.frame_prior.start(prior.hidden, given), durations, longest)
            flowed = self.frame_prior.inverse(flowed, held, bells, mask, given, bent)
        latent = flowed[..., :bent]
        if self.bending is not None:
            bells = None if bells is None else bells[..., :bent]
            told = self.flow_told(speaker, bells)
            latent = self.bending.inverse(latent, mask[..., :bent], told)
        pitch = None if pitch is None else pitch[:, :decoded]
        samples = self.decode(latent[..., :decoded], given, pitch, wholes)
        made = lengths.max() if frames is None else torch.minimum(lengths.max(), frames)
        return samples[:, : made * self.config.mel.hop], durations

    @torch.no_grad()
    def convert(
        self,
        audio: Tensor,
        lengths: Tensor,
        source: Tensor,
        target: Tensor,
        *,
        pitch: Tensor | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The same speech by another speaker: through ``f`` and back for the target (section 4.3),
        or by its content.

        ``audio`` ``[batch, samples]``, ``lengths`` int64 ``[batch]`` in samples, ``source`` and
        ``target`` int64 ``[batch]`` -> audio ``[batch, frames * hop]``, whole frames, zero beyond
        each length. ``temperature`` multiplies the posterior's standard deviation. ``pitch``
        ``[batch, frames]`` is the recording's in Hz, 0 where unvoiced, for a model that is told it;
        it is moved to the target's range.
        """
        hop = self.config.mel.hop
        frames = lengths // hop
        mask = mask_from_lengths(frames)
        audio = audio[:, : mask.shape[2] * hop]
        spectrogram = self.log_mel.magnitudes(audio, frames * hop)
        if pitch is not None:
            pitch = torch.where(mask.squeeze(1), pitch[:, : mask.shape[2]], 0.0)
        shape = (len(audio), self.converted_channels, mask.shape[2])
        noise = draw_normal(shape, audio.device, generator) * temperature
        samples = self.revoice(spectrogram, mask, source, target, noise, pitch)
        return samples * mask_from_lengths(frames * hop).squeeze(1)

    def revoice(
        self,
        spectrogram: Tensor,
        mask: Tensor,
        source: Tensor,
        target: Tensor,
        noise: Tensor,
        pitch: Tensor | None,
    ) -> Tensor:
        """What :meth:`convert` and the exported graph share: magnitudes ``[batch, bins, frames]``
        and ``noise`` ``[batch, converted_channels, frames]`` to audio.

        Raises:
            ValueError: the model is told the pitch, and was given none.
        """
        moved = None
        if self.speaker_pitch is not None and pitch is not None:
            moved = self.speaker_pitch.moved(pitch, source, target)
        own, other = self.bells(pitch), self.bells(moved)
        if self.content is not None:
            mel = self.log_mel.of_magnitudes(spectrogram)
            latent = self.content.restate(mel, (source, target), (own, other), noise, mask)
        else:
            latent, _ = self.infer(spectrogram, mask, self._told(self.embed(source), own), noise)
            flowed, _ = self.flow.call_and_ladj(latent, mask, self.flow_told(source, own))
            latent = self.flow.inverse(flowed, mask, self.flow_told(target, other))
        return self.decode(latent, self.embed(target), moved, mask.sum((1, 2)))

    @property
    def converted_channels(self) -> int:
        """Channels of the latents that a conversion draws."""
        by_content = self.content is not None
        return self.config.content_channels if by_content else self.config.latent

    def recorded(self, batch: UtteranceBatch, mask: Tensor) -> Tensor | None:
        """The batch's pitch ``[batch, frames]``, zero outside the mask, if the model is told it."""
        return batch.pitch_within(mask) if self.config.pitch else None

    def bells(self, pitch: Tensor | None) -> Tensor | None:
        """Recorded ``pitch`` ``[batch, frames]`` in Hz as networks see it, if the model is told."""
        if not self.config.pitch:
            return None
        if pitch is None:
            raise ValueError("this model is told the pitch, and was given none")
        return recorded_bells(pitch)

    def _told(self, speaker: Tensor | None, bells: Tensor | None) -> Tensor | None:
        """What the posterior is told: speaker and pitch, ``[batch, speaker_channels, frames]``."""
        if self.pitch_input is None or bells is None:
            return speaker
        condition: Tensor = self.pitch_input(bells)
        return condition if speaker is None else condition + speaker

    def flow_told(self, speaker: Tensor | None, bells: Tensor | None) -> Tensor | None:
        """What the flow is told of a speaker, int64 ``[batch]``, and the pitch: the same, or what
        sets them apart from all."""
        if self.symbols is None:
            return self._told(self.embed(speaker), bells)
        if speaker is None:
            raise ValueError("a centred flow is told the speaker, and was given none")
        own = apart(speaker, self.config.speakers)
        if bells is None:
            return own
        return torch.cat([bells, own.expand(-1, -1, bells.shape[2])], dim=1)

    def read(self, batch: UtteranceBatch) -> tuple[Prior, Tensor]:
        """The batch's prior, and the lengths of what is read of its text."""
        text, lengths = read_text(batch.text, batch.text_lengths, self.config.blanks)
        numbers = zip(batch.names, lengths.tolist(), batch.mel_lengths.tolist(), strict=True)
        for name, tokens, frames in numbers:
            if tokens > frames:
                raise InputError(
                    f"{name}: {tokens} tokens cannot be aligned with {frames} frames, each needs "
                    "one; leave the recording out, or set network.blanks=false"
                )
        return self._prior(text, lengths, batch.speaker, batch.language), lengths

    def _prior(
        self, text: Tensor, text_lengths: Tensor, speaker: Tensor | None, language: Tensor | None
    ) -> Prior:
        given, embedded = self.embed(speaker), None
        if self.languages is not None:
            if language is None:
                own = self.speaker_language
                language = own[:1].expand(len(text)) if speaker is None else own[speaker]
            embedded = self.languages(language).unsqueeze(-1)
        mask = mask_from_lengths(text_lengths, text.shape[1])
        prior: Prior = self.encoder(text, mask, given, embedded)
        return prior

    def embed(self, speaker: Tensor | None) -> Tensor | None:
        embedded = embed_speaker(self.speakers, speaker)
        if embedded is None:
            return None
        if self.config.unit_speakers:
            embedded = nn.functional.normalize(embedded, dim=-1)
        return embedded.unsqueeze(-1)

    @torch.no_grad()
    def show(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """The first utterance: its alignment, log-mels and audio; a copy of it, a sample, and what
        the next speaker makes of it by content."""
        one = batch.first()
        assert one.audio is not None
        generator = torch.Generator().manual_seed(0)
        found = self.explain(one, generator=generator)
        copy = self.decode(found.latent, self.embed(one.speaker), found.pitch)
        sample, _, _ = self.synthesize(
            one.text, one.text_lengths, one.speaker, one.language, generator=generator
        )
        shown = {}
        if self.content is not None:
            assert one.speaker is not None
            samples, target = one.mel_lengths * self.config.mel.hop, one.speaker + 1
            given = (one.audio, samples, one.speaker, target % self.config.speakers)
            shown["audio_converted"] = self.convert(*given, pitch=one.pitch)[0]
            shown["mel_converted"] = self.log_mel(shown["audio_converted"][None])[0]
        return shown | {
            "alignment": path(found.durations)[0],
            "mel_recording": self.log_mel(one.audio)[0],
            "mel_copy": self.log_mel(copy)[0],
            "mel_sample": self.log_mel(sample)[0],
            "audio_recording": one.audio[0],
            "audio_copy": copy[0],
            "audio_sample": sample[0],
        }

    def export_graph(self) -> nn.Module:
        """The deterministic graph of a voice file; see :class:`SpeechGraph`."""
        return SpeechGraph(self)

    def export_conversion(self) -> nn.Module:
        """The graph that converts between speakers; see :class:`ConversionGraph`."""
        return ConversionGraph(self)
