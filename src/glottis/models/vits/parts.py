"""The networks of VITS as its settings ask for them.

``given`` are the channels of the speaker's embedding, ``told`` those of what posterior and flow are
told of speaker and pitch, 0 for none; ``channels`` are the text encoder's.
"""

from __future__ import annotations

from torch import nn

from glottis.blocks.discriminators import (
    Discriminators,
    PeriodDiscriminator,
    ResolutionDiscriminator,
    ScaleDiscriminator,
)
from glottis.blocks.duration import DurationPredictor
from glottis.blocks.hifi_gan import Generator
from glottis.blocks.spectral_decoder import SpectralDecoder
from glottis.blocks.stochastic_duration import StochasticDurationPredictor
from glottis.blocks.text_prior import TextPrior
from glottis.blocks.transformer import Transformer
from glottis.blocks.wavenet import GatedNetwork
from glottis.likelihood.flows import AffineCoupling, Flip, Flow
from glottis.models.vits.config import Config
from glottis.models.vits.content import ContentAutoencoder
from glottis.models.vits.speaker_flow import CentredShift, PitchShift

# Kernel, stride and groups of the authors' waveform discriminator.
WAVEFORM_LAYERS = ((15, 1, 1), (41, 4, 4), (41, 4, 16), (41, 4, 64), (41, 4, 256), (5, 1, 1))


def text_prior(config: Config, channels: int, given: int) -> TextPrior:
    """Phoneme ids to a Gaussian for each."""
    return TextPrior(
        config.symbols,
        config.latent,
        channels,
        config.filter_channels,
        config.heads,
        config.encoder_layers,
        config.encoder_kernel,
        config.encoder_dropout,
        config.window,
        mels=config.mel.mels if config.align_on == "mel" else 0,
        condition_channels=given,
        condition_text=config.condition_encoder and config.speakers > 1,
        prenet=config.encoder_prenet,
        zero=config.regression_layers > 0,
    )


def posterior(config: Config, told: int) -> GatedNetwork | None:
    """Magnitudes or log-mels to mean and log scale of latents; none where these are fixed."""
    if not config.posterior_layers:
        return None
    magnitudes = config.posterior_input == "magnitudes"
    return GatedNetwork(
        config.mel.fft_size // 2 + 1 if magnitudes else config.mel.mels,
        2 * config.latent,
        config.channels,
        config.posterior_kernel,
        config.posterior_layers,
        told,
        zero=config.mel_latents,
    )


def is_centred(config: Config) -> bool:
    """Whether the flow is centred: of one speaker there is nothing to take out."""
    return config.centred_flow and config.speakers > 1 and has_flow(config)


def has_flow(config: Config) -> bool:
    """Whether there is a flow: a prior that is told the speaker needs none, but for conversion."""
    return not (config.condition_prior and config.conversion == "content")


def flow(config: Config, told: int) -> Flow:
    """Between the posterior's latents and the text's, keeping volumes."""
    layers: list[nn.Module] = []
    if not has_flow(config):
        return Flow(layers)
    if is_centred(config) and config.pitch:
        layers.append(PitchShift(config.latent))
    for _ in range(config.couplings):
        layers += [AffineCoupling(_shift(config, told), True), Flip()]
    return Flow(layers)


def _shift(config: Config, told: int) -> nn.Module:
    """What decides the shift of one coupling."""
    half, transformer = config.latent // 2, None
    if is_centred(config):
        return CentredShift(
            half,
            config.channels,
            config.coupling_kernel,
            config.coupling_layers,
            config.speakers,
        )
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
    return GatedNetwork(half, half, *sizes, told, transformer, zero=True)


def content(config: Config) -> ContentAutoencoder | None:
    """What converts between several speakers, where the flow does not."""
    if config.conversion == "flow" or config.speakers == 1:
        return None
    return ContentAutoencoder(config)


def durations(config: Config, channels: int, given: int) -> nn.Module:
    """Hidden text to durations, drawn or expected."""
    if config.durations == "stochastic":
        return StochasticDurationPredictor(
            channels,
            dropout=config.duration_dropout,
            condition_channels=given,
            minimum_bin=config.spline_minimum_bin,
            minimum_derivative=config.spline_minimum_derivative,
        )
    return DurationPredictor(
        channels,
        config.duration_channels,
        dropout=config.duration_dropout,
        norm_eps=1e-5,
        condition_channels=given,
    )


def decoder(config: Config, given: int) -> nn.Module:
    """Latents to audio."""
    if config.decoder == "istft":
        return SpectralDecoder(
            config.latent,
            config.decoder_channels,
            config.decoder_hidden,
            config.decoder_layers,
            config.mel,
            pitch=config.pitch,
            condition_channels=given,
        )
    return Generator(
        config.latent,
        config.upsample_rates,
        config.upsample_kernels,
        config.upsample_channels,
        config.resblock,
        config.resblock_kernels,
        config.resblock_dilations,
        given,
    )


def discriminators(config: Config) -> Discriminators:
    """The adversaries."""
    waves = [config.waveform_channels] if config.waveform_channels else []
    return Discriminators(
        [ScaleDiscriminator(channels=sizes, layers=WAVEFORM_LAYERS) for sizes in waves]
        + [
            PeriodDiscriminator(p, config.period_channels, score_is_feature=True)
            for p in config.periods
        ]
        + [ResolutionDiscriminator(r, config.resolution_channels) for r in config.resolutions]
    )
