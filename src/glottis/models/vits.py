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
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from glottis.alignment import align, coverage, diagonality, expand, path
from glottis.audio.mel import MelConfig
from glottis.blocks.blanks import read_one, read_text
from glottis.blocks.discriminators import (
    Discriminators,
    PeriodDiscriminator,
    ResolutionDiscriminator,
    ScaleDiscriminator,
    discriminator_loss,
    feature_matching_loss,
    frozen,
    generator_loss,
)
from glottis.blocks.duration import DurationLoss, DurationPredictor, duration_loss
from glottis.blocks.hifi_gan import Generator
from glottis.blocks.lengths import mask_from_lengths, window
from glottis.blocks.noise import normal_from_seed
from glottis.blocks.speakers import embed_speaker, speaker_table
from glottis.blocks.spectral import LogMel, SpectralLoss
from glottis.blocks.spectral_decoder import SpectralDecoder
from glottis.blocks.stochastic_duration import StochasticDurationPredictor
from glottis.blocks.text_prior import Prior, TextPrior
from glottis.blocks.transformer import Transformer
from glottis.blocks.wavenet import GatedNetwork
from glottis.corpus.batches import UtteranceBatch
from glottis.errors import InputError
from glottis.likelihood.divergence import kl_from_draw
from glottis.likelihood.flows import AffineCoupling, Flip, Flow
from glottis.likelihood.lattice import GaussianLattice

# Kernel, stride and groups of the authors' waveform discriminator.
WAVEFORM_LAYERS = ((15, 1, 1), (41, 4, 4), (41, 4, 16), (41, 4, 64), (41, 4, 256), (5, 1, 1))


@dataclass(frozen=True)
class Config:
    """Sizes in channels, windows in frames, weights multiply their losses; defaults: the paper's.

    ``blanks`` keeps the pads between phonemes as states of their own, as the authors do; each
    takes at least one frame. ``symbols``, ``speakers`` and ``languages`` are counts; one speaker
    or language has no embedding. ``latent`` is the size of ``z``.

    ``align_on: latent`` searches the alignment as the paper does. ``mel`` searches between log-mels
    and a second Gaussian for each token, which learns from them (weighted by
    ``mel_alignment_weight``): they do not move while the alignment is learnt. During the first
    ``alignment_steps`` only the text encoder and these Gaussians are trained, which is quick.

    ``durations`` chooses the predictor; the ``spline_`` minima are
    :class:`~glottis.likelihood.splines.RationalQuadraticSpline`'s (the authors have 1e-3 for both),
    ``duration_loss`` is for the deterministic one.

    ``decoder``: ``hifi_gan`` as in the paper, or ``istft``, a ConvNeXt stack that predicts spectra,
    an order of magnitude quicker. Discriminators: one for each of ``periods``, one on the waveform
    unless ``waveform_channels`` is empty, one for each of ``resolutions``; from
    ``adversarial_from`` steps on. ``spectral_weight`` adds a distance of spectra at three
    resolutions. ``power_floor`` is added to powers in spectrograms (the authors: 1e-6).

    After VITS2 (Kong et al. 2023), all off: ``alignment_noise`` on the lattice, in standard
    deviations, falling by ``alignment_noise_decay`` a step (the paper: 0.01 and 2e-6);
    ``flow_transformer_layers`` before each coupling's network; ``condition_encoder`` tells the text
    encoder the speaker.
    """

    blanks: bool = True
    symbols: int = 256
    speakers: int = 1
    languages: int = 1
    speaker_channels: int = 256
    latent: int = 192
    channels: int = 192
    filter_channels: int = 768
    heads: int = 2
    encoder_layers: int = 6
    encoder_kernel: int = 3
    encoder_dropout: float = 0.1
    window: int = 4
    condition_encoder: bool = False
    posterior_layers: int = 16
    posterior_kernel: int = 5
    couplings: int = 4
    coupling_layers: int = 4
    coupling_kernel: int = 5
    flow_transformer_layers: int = 0
    align_on: Literal["latent", "mel"] = "latent"
    alignment_steps: int = 0
    alignment_noise: float = 0.0
    alignment_noise_decay: float = 2e-6
    durations: Literal["stochastic", "deterministic"] = "stochastic"
    duration_channels: int = 256
    duration_dropout: float = 0.5
    duration_loss: DurationLoss = "gamma"
    spline_minimum_bin: float | None = None
    spline_minimum_derivative: float = 0.1
    window_frames: int = 32
    decoder: Literal["hifi_gan", "istft"] = "hifi_gan"
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    upsample_kernels: tuple[int, ...] = (16, 16, 4, 4)
    upsample_channels: int = 512
    resblock: Literal["1", "2"] = "1"
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    decoder_channels: int = 256
    decoder_hidden: int = 768
    decoder_layers: int = 8
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    waveform_channels: tuple[int, ...] = (16, 64, 256, 1024, 1024, 1024)
    resolutions: tuple[int, ...] = ()
    resolution_channels: int = 16
    adversarial_from: int = 0
    mel_weight: float = 45.0
    spectral_weight: float = 0.0
    kl_weight: float = 1.0
    duration_weight: float = 1.0
    mel_alignment_weight: float = 1.0
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    power_floor: float = 1e-9
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        if self.decoder == "hifi_gan" and math.prod(self.upsample_rates) != self.mel.hop:
            raise InputError(
                f"upsample_rates {list(self.upsample_rates)} make "
                f"{math.prod(self.upsample_rates)} samples a frame, the mel settings' hop is "
                f"{self.mel.hop}"
            )
        if self.latent % 2:
            raise InputError(f"latent must be even, for the couplings, not {self.latent}")
        if not (self.periods or self.waveform_channels or self.resolutions):
            raise InputError("give periods, waveform_channels or resolutions: some discriminator")
        if self.alignment_steps and self.align_on != "mel":
            raise InputError("alignment_steps are for align_on: mel; a latent must be learnt first")


class Explained(NamedTuple):
    """A batch under posterior, flow and prior, aligned.

    ``spectrogram`` ``[batch, bins, frames]``; ``latent`` is a draw of the posterior,
    ``log_scale`` the posterior's, ``flowed`` the draw's image under the flow, all
    ``[batch, latent, frames]``; ``durations`` int64 ``[batch, text]`` and ``text_lengths`` are of
    the tokens that the model reads, ``lengths`` int64 ``[batch]`` in frames.
    """

    spectrogram: Tensor
    latent: Tensor
    log_scale: Tensor
    flowed: Tensor
    prior: Prior
    durations: Tensor
    text_lengths: Tensor
    lengths: Tensor


class VITS(nn.Module):
    """Text to audio, and audio to audio of another speaker."""

    batches = "utterances_with_audio"
    end_to_end = True
    speaker_language: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        given = config.speaker_channels if config.speakers > 1 else 0
        self.speakers = speaker_table(config.speakers, config.speaker_channels)
        self.languages: nn.Embedding | None = None
        if config.languages > 1:
            self.languages = nn.Embedding(config.languages, config.channels)
            nn.init.normal_(self.languages.weight, std=config.channels**-0.5)
            # What each speaker was heard to speak: the language when none is asked for.
            self.register_buffer("speaker_language", torch.zeros(config.speakers, dtype=torch.long))
        self.encoder = TextPrior(
            config.symbols,
            config.latent,
            config.channels,
            config.filter_channels,
            config.heads,
            config.encoder_layers,
            config.encoder_kernel,
            config.encoder_dropout,
            config.window,
            mels=config.mel.mels if config.align_on == "mel" else 0,
            condition_channels=given,
            condition_text=config.condition_encoder and config.speakers > 1,
        )
        self.posterior = GatedNetwork(
            config.mel.fft_size // 2 + 1,
            2 * config.latent,
            config.channels,
            config.posterior_kernel,
            config.posterior_layers,
            given,
        )
        couplings = (AffineCoupling(_shift(config, given), True) for _ in range(config.couplings))
        self.flow = Flow(layer for coupling in couplings for layer in (coupling, Flip()))
        self.durations: nn.Module
        if config.durations == "stochastic":
            self.durations = StochasticDurationPredictor(
                config.channels,
                dropout=config.duration_dropout,
                condition_channels=given,
                minimum_bin=config.spline_minimum_bin,
                minimum_derivative=config.spline_minimum_derivative,
            )
        else:
            self.durations = DurationPredictor(
                config.channels,
                config.duration_channels,
                dropout=config.duration_dropout,
                norm_eps=1e-5,
                condition_channels=given,
            )
        self.decoder: nn.Module
        if config.decoder == "istft":
            self.decoder = SpectralDecoder(
                config.latent,
                config.decoder_channels,
                config.decoder_hidden,
                config.decoder_layers,
                config.mel.fft_size,
                config.mel.hop,
                given,
            )
        else:
            self.decoder = Generator(
                config.latent,
                config.upsample_rates,
                config.upsample_kernels,
                config.upsample_channels,
                config.resblock,
                config.resblock_kernels,
                config.resblock_dilations,
                given,
            )
        self.log_mel = LogMel(config.mel, config.power_floor)
        self.spectral_loss = SpectralLoss()
        waves = [config.waveform_channels] if config.waveform_channels else []
        self.discriminators = Discriminators(
            [ScaleDiscriminator(channels=sizes, layers=WAVEFORM_LAYERS) for sizes in waves]
            + [
                PeriodDiscriminator(p, config.period_channels, score_is_feature=True)
                for p in config.periods
            ]
            + [ResolutionDiscriminator(r, config.resolution_channels) for r in config.resolutions]
        )

    def optimized(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each loss of :meth:`steps` trains."""
        judges = list(self.discriminators.parameters())
        ours = {id(parameter) for parameter in judges}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in ours]
        return {"generator": rest, "discriminator": judges}

    def explain(
        self,
        batch: UtteranceBatch,
        *,
        alignment_noise: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Explained:
        """Draw latents of the batch's audio, bend them by the flow and align the text with them.

        Raises:
            InputError: an utterance of the batch has more tokens than frames.
            ValueError: the batch has no audio, or no speaker although several are known.
        """
        if batch.audio is None:
            raise ValueError("VITS learns from batches of the kind 'utterances_with_audio'")
        speaker, (prior, text_lengths) = self._speaker(batch.speaker), self._text(batch)
        lengths, hop = batch.mel_lengths, self.config.mel.hop
        mask = mask_from_lengths(lengths, batch.audio.shape[1] // hop)
        spectrogram = self.log_mel.magnitudes(batch.audio, lengths * hop)
        latent, log_scale = self.infer(spectrogram, mask, speaker, 1.0, generator)
        flowed, _ = self.flow.call_and_ladj(latent, mask, speaker)
        with torch.no_grad():
            if prior.mel_mean is None:
                lattice = GaussianLattice(prior.mean, prior.log_scale, text_lengths=text_lengths)
                found = flowed
            else:
                lattice = GaussianLattice(prior.mel_mean, text_lengths=text_lengths)
                found = batch.mel
            durations = align(
                lattice, found, lengths, noise_scale=alignment_noise, generator=generator
            )
        return Explained(
            spectrogram, latent, log_scale, flowed, prior, durations, text_lengths, lengths
        )

    def infer(
        self,
        spectrogram: Tensor,
        mask: Tensor,
        speaker: Tensor | None,
        temperature: float | Tensor = 1.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """A draw of the posterior ``[batch, latent, frames]``, and the posterior's log scale."""
        mean, log_scale = self.posterior(spectrogram, mask, speaker).float().chunk(2, dim=1)
        noise = _normal(mean, generator) * temperature
        return torch.where(mask, mean + noise * log_scale.exp(), 0.0), log_scale

    def steps(
        self, batch: UtteranceBatch, step: int
    ) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """The discriminators' loss, from ``adversarial_from`` on, then all others in one."""
        config = self.config
        if self.languages is not None and batch.language is not None:
            self.speaker_language[batch.speaker] = batch.language
        if step < config.alignment_steps:
            yield "generator", *self._alignment_loss(batch)
            return
        noise = max(0.0, config.alignment_noise - config.alignment_noise_decay * step)
        found = self.explain(batch, alignment_noise=noise)
        free = (found.lengths - config.window_frames + 1).clamp_min(1)
        starts = (torch.rand(len(free), device=free.device) * free).long()
        real_audio, target, fake_audio = self._windows(batch, found, starts)
        adversarial = step >= config.adversarial_from
        if adversarial:
            real = self.discriminators(real_audio)
            fake = self.discriminators(fake_audio.detach())
            loss = discriminator_loss(real, fake, "sum")
            yield "discriminator", loss, {"discriminator": loss}
        loss, logs = self._losses(batch, found, target, fake_audio)
        if config.spectral_weight:
            logs["spectral"] = self.spectral_loss(fake_audio, real_audio)
            loss = loss + config.spectral_weight * logs["spectral"]
        if adversarial:
            with torch.no_grad():
                real = self.discriminators(real_audio)
            with frozen(self.discriminators):
                fake = self.discriminators(fake_audio)
            logs["adversarial"] = generator_loss(fake, "sum")
            logs["features"] = feature_matching_loss(real, fake, "sum")
            loss = loss + config.adversarial_weight * logs["adversarial"]
            loss = loss + config.feature_weight * logs["features"]
        yield "generator", loss, logs

    @torch.no_grad()
    def validate(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """Held-out losses, on the windows in the middle, and the shape of the alignment."""
        found = self.explain(batch, generator=torch.Generator().manual_seed(0))
        starts = ((found.lengths - self.config.window_frames) // 2).clamp_min(0)
        _, target, fake_audio = self._windows(batch, found, starts)
        return self._losses(batch, found, target, fake_audio)[1]

    def _losses(
        self, batch: UtteranceBatch, found: Explained, target: Tensor, fake_audio: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """All but the adversarial losses; ``target`` are log-mels of the windows."""
        config = self.config
        mask = mask_from_lengths(found.lengths, found.latent.shape[2])
        frames = found.latent.shape[2]
        logs = {
            "mel": nn.functional.l1_loss(self.log_mel(fake_audio), target),
            "kl": kl_from_draw(
                found.flowed,
                found.log_scale,
                expand(found.prior.mean, found.durations, frames),
                expand(found.prior.log_scale, found.durations, frames),
                mask,
            ),
            "duration": self._duration_loss(found, self._speaker(batch.speaker)),
            "diagonality": diagonality(found.durations, found.text_lengths).mean(),
            "coverage": coverage(found.durations, found.text_lengths).mean(),
        }
        loss = config.mel_weight * logs["mel"] + config.kl_weight * logs["kl"]
        loss = loss + config.duration_weight * logs["duration"]
        if found.prior.mel_mean is not None:
            logs["mel_nats"] = _mel_nats(found.prior.mel_mean, batch, found.durations)
            loss = loss + config.mel_alignment_weight * logs["mel_nats"]
        return loss, logs

    def _alignment_loss(self, batch: UtteranceBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Of the text encoder and the Gaussians over log-mels alone."""
        prior, text_lengths = self._text(batch)
        assert prior.mel_mean is not None
        lattice = GaussianLattice(prior.mel_mean.detach(), text_lengths=text_lengths)
        durations = align(lattice, batch.mel, batch.mel_lengths)
        loss = _mel_nats(prior.mel_mean, batch, durations)
        logs = {"mel_nats": loss, "coverage": coverage(durations, text_lengths).mean()}
        return self.config.mel_alignment_weight * loss, logs

    def _duration_loss(self, found: Explained, speaker: Tensor | None) -> Tensor:
        """Nats a token of the bound (eq. 7), or the deterministic predictor's loss."""
        if isinstance(self.durations, StochasticDurationPredictor):
            durations = self.durations.distribution(found.prior.hidden, found.text_lengths, speaker)
            bound = durations.evidence_bound(found.durations.unsqueeze(1))
            return -bound.sum() / found.text_lengths.sum()
        mask = mask_from_lengths(found.text_lengths, found.durations.shape[1])
        return duration_loss(
            self._log_frames(found.prior.hidden, mask, speaker, None),
            found.durations,
            found.text_lengths,
            self.config.duration_loss,
        )

    def _windows(
        self, batch: UtteranceBatch, found: Explained, starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Audio, log-mels and decoded audio of ``window_frames`` frames from ``starts`` on.

        An utterance that ends inside its window goes on in silence, on both sides alike.
        """
        assert batch.audio is not None
        frames, hop = self.config.window_frames, self.config.mel.hop
        latent = window(found.latent, starts, frames, found.lengths)
        audio = window(
            batch.audio.unsqueeze(1), starts * hop, frames * hop, found.lengths * hop
        ).squeeze(1)
        target = self.log_mel.of_magnitudes(
            window(found.spectrogram, starts, frames, found.lengths)
        )
        decoded = self.decoder(latent, self._speaker(batch.speaker))
        inside = mask_from_lengths((found.lengths - starts) * hop, frames * hop).squeeze(1)
        return audio, target, torch.where(inside, decoded, 0.0)

    def _log_frames(
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
        frames = torch.exp(self._log_frames(hidden, mask, speaker, noise)) * length_scale
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
            return _normal(text.new_zeros(len(text), channels, int(steps)).float(), generator)

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
    ) -> tuple[Tensor, Tensor]:
        """What :meth:`synthesize` and the exported graph share: audio and durations.

        ``scales`` are the temperature, the length scale and the durations' temperature;
        ``noise(channels, steps, stream)`` gives standard normal ``[batch, channels, steps]``.
        """
        given = self._speaker(speaker)
        prior = self._prior(text, text_lengths, speaker, language)
        if durations is None:
            mask = mask_from_lengths(text_lengths, text.shape[1])
            random = self.config.durations == "stochastic"
            drawn = noise(2, text.shape[1], 1) * scales[2] if random else None
            durations = self.predict_durations(prior.hidden, mask, given, scales[1], drawn)
        lengths = durations.sum(1)
        frames = lengths.max()
        scale = expand(prior.log_scale, durations, frames).exp() * scales[0]
        flowed = (
            expand(prior.mean, durations, frames) + noise(self.config.latent, frames, 0) * scale
        )
        mask = mask_from_lengths(lengths, frames)
        return self.decoder(self.flow.inverse(flowed, mask, given), given), durations

    @torch.no_grad()
    def convert(
        self,
        audio: Tensor,
        lengths: Tensor,
        source: Tensor,
        target: Tensor,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The same speech by another speaker (section 4.3): through ``f`` and back for the target.

        ``audio`` ``[batch, samples]``, ``lengths`` int64 ``[batch]`` in samples, ``source`` and
        ``target`` int64 ``[batch]`` -> audio ``[batch, frames * hop]``, whole frames, zero beyond
        each length. ``temperature`` multiplies the posterior's standard deviation.
        """
        hop = self.config.mel.hop
        frames = lengths // hop
        audio = audio[:, : int(frames.max()) * hop]
        mask = mask_from_lengths(frames)
        spectrogram = self.log_mel.magnitudes(audio, frames * hop)
        before, after = self._speaker(source), self._speaker(target)
        latent, _ = self.infer(spectrogram, mask, before, temperature, generator)
        flowed, _ = self.flow.call_and_ladj(latent, mask, before)
        samples = self.decoder(self.flow.inverse(flowed, mask, after), after)
        return samples * mask_from_lengths(frames * hop).squeeze(1)

    def _text(self, batch: UtteranceBatch) -> tuple[Prior, Tensor]:
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
        given, embedded = self._speaker(speaker), None
        if self.languages is not None:
            if language is None:
                own = self.speaker_language
                language = own[:1].expand(len(text)) if speaker is None else own[speaker]
            embedded = self.languages(language).unsqueeze(-1)
        mask = mask_from_lengths(text_lengths, text.shape[1])
        prior: Prior = self.encoder(text, mask, given, embedded)
        return prior

    def _speaker(self, speaker: Tensor | None) -> Tensor | None:
        embedded = embed_speaker(self.speakers, speaker)
        return None if embedded is None else embedded.unsqueeze(-1)

    @torch.no_grad()
    def show(self, batch: UtteranceBatch) -> dict[str, Tensor]:
        """The first utterance: its alignment, log-mels and audio; a copy of it and a sample."""
        one = batch.first()
        assert one.audio is not None
        generator = torch.Generator().manual_seed(0)
        found = self.explain(one, generator=generator)
        copy = self.decoder(found.latent, self._speaker(one.speaker))
        sample, _, _ = self.synthesize(
            one.text, one.text_lengths, one.speaker, one.language, generator=generator
        )
        return {
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


def _shift(config: Config, condition_channels: int) -> GatedNetwork:
    """What decides the shift of one coupling."""
    half, transformer = config.latent // 2, None
    if config.flow_transformer_layers:
        transformer = Transformer(
            half,
            config.channels,
            config.heads,
            config.flow_transformer_layers,
            dropout=config.encoder_dropout,
            window=config.window,
            norm_eps=1e-5,
        )
    sizes = (config.channels, config.coupling_kernel, config.coupling_layers)
    return GatedNetwork(half, half, *sizes, condition_channels, transformer, zero=True)


def _mel_nats(mean: Tensor, batch: UtteranceBatch, durations: Tensor) -> Tensor:
    """Negative log-density of log-mels under each token's unit Gaussian, nats a frame and mel."""
    mask = mask_from_lengths(batch.mel_lengths, batch.mel.shape[2])
    error = torch.where(mask, batch.mel - expand(mean, durations, batch.mel.shape[2]), 0.0)
    count = mask.sum() * batch.mel.shape[1]
    return 0.5 * (error.square().sum() / count + math.log(2 * math.pi))


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise shaped like ``like``; from a generator the same on every device."""
    if generator is None:
        return torch.randn(like.shape, device=like.device)
    return torch.randn(like.shape, generator=generator, device=generator.device).to(like.device)


class SpeechGraph(nn.Module):
    """Ids to audio for one sentence, with noise drawn from a seed.

    ``text`` int64 ``[1, text]``, ``text_lengths`` int64 ``[1]``, ``scales`` float32 ``[3]``
    (temperature, length scale, temperature of durations), ``speaker`` int64 ``[1]`` or None,
    ``seed`` int64 ``[1]``, ``language`` int64 ``[1]``, below zero or None for the speaker's own
    -> audio ``[1, samples]`` and durations int64 ``[1, text]``.
    """

    def __init__(self, model: VITS) -> None:
        super().__init__()
        self.model = model
        if isinstance(model.decoder, SpectralDecoder):
            model.decoder.head.inverse.products = True

    def forward(
        self,
        text: Tensor,
        text_lengths: Tensor,
        scales: Tensor,
        speaker: Tensor | None,
        seed: Tensor,
        language: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        model = self.model
        if language is not None:
            own = model.speaker_language[:1] if speaker is None else model.speaker_language[speaker]
            language = torch.where(language < 0, own, language)
        read, text_lengths, restored = read_one(text, text_lengths, model.config.blanks)

        def noise(channels: int, steps: Tensor | int, stream: int) -> Tensor:
            return normal_from_seed(seed, steps, channels, stream)

        samples, durations = model.generate(read, text_lengths, speaker, language, scales, noise)
        return samples, restored(durations)
