"""Settings of VITS."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from glottis.audio.mel import MelConfig
from glottis.blocks.duration import DurationLoss
from glottis.errors import InputError


@dataclass(frozen=True)
class Config:
    """Sizes in channels, windows in frames, weights multiply their losses; defaults: the paper's.

    ``blanks`` keeps the pads between phonemes as states of their own, as the authors do; each
    takes at least one frame. ``symbols``, ``speakers`` and ``languages`` are counts; one speaker
    or language has no embedding. ``latent`` is the size of ``z``.

    ``encoder_channels`` are the text encoder's, 0 for ``channels``; ``encoder_prenet`` puts the
    convolutions of Glow-TTS before its transformer and ``unit_speakers`` gives the speakers'
    embeddings the length of 1, so that the weights of that model's text encoder fit.

    ``align_on: latent`` searches the alignment as the paper does. ``mel`` searches between log-mels
    and a second Gaussian for each token, which learns from them (weighted by
    ``mel_alignment_weight``): they do not move while the alignment is learnt. During the first
    ``alignment_steps`` only the text encoder and these Gaussians are trained, which is quick.

    ``segment_frames``, for ``align_on: mel``, encodes and flows only so many frames of each
    utterance in a step, from a random start on, and the decoder's window lies within them; 0 is the
    paper's whole utterances. Posterior and flow then cost as much as the decoder that learns
    from them, instead of most of the step.

    ``posterior_input`` is what the posterior reads: the paper's ``magnitudes``, or ``log_mels``, in
    which quiet bands are as plain as loud ones, so that a decoder which is judged by log-mels has
    latents to copy them from sooner.

    ``mel_latents`` makes log-mels the posterior's mean, to which it adds what it learns: at first
    nothing, with a standard deviation of ``latent_noise`` nepers. A decoder that turns log-mels
    into audio is then right from the start; ``latent`` is the number of mels. Without
    ``posterior_layers`` it adds nothing ever: latents are log-mels with that much noise.

    ``regression_layers`` of ConvNeXt, in ``regression_channels`` and ``regression_hidden``, see the
    text held along the frames, and the pitch, and give the prior a mean that changes within a token
    (as the frame prior network of Zhang et al. 2022, VISinger, does). ``prior_blocks`` of Glow-TTS'
    flow then explain what is left of the flowed latents; their couplings have ``prior_layers`` of
    ``prior_channels``. Both are of no speaker, who stays the flow's alone, and for
    ``align_on: mel``. The weights of a Glow-TTS with a regression fit.

    ``centred_flow``, of several speakers, keeps the flow from what speakers have in common: shifts
    of all speakers sum to zero (:class:`~glottis.models.vits.speaker_flow.CentredShift`), and they
    learn by Gaussians of the symbols alone, weighted by ``symbol_weight`` a frame and channel. A
    frame prior guesses from sentence and pitch who speaks, and then nothing is gained by taking
    the speaker out, without which there is no conversion. As the flow learns to do so by itself,
    the frame prior may be told the speaker, with ``condition_prior``: it then explains the latents
    as each speaker has them, and the flow is for conversion alone.

    ``conversion`` says how: ``flow`` through the flow, as in the paper, which is enough for two
    speakers of one language; ``content`` by a conditional autoencoder of log-mels, for
    ``mel_latents`` and ``align_on: mel``, which also converts among speakers of several languages
    (:class:`~glottis.models.vits.content.ContentAutoencoder`). It learns by itself, from windows of
    ``content_frames``: in its first ``content_steps`` what phones are said, then also log-mels.
    ``content_divergence`` weighs the divergence of its ``content_channels``, ``content_phones`` the
    phones' cross-entropy, ``content_confusion`` that of speakers, which is raised. Both of its
    stacks have ``content_layers`` of ``content_width``, with ``content_hidden`` in the encoder and
    ``content_decoder_hidden`` in each speaker's decoder. Converting, what tells two speakers apart
    is made larger by the share ``content_guidance``, or by as much as moves log-mels by
    ``content_distance`` nepers on the mean: more is nearer to the target, and costs words.

    During the first ``decoder_from`` steps posterior and decoder rest, and there are no windows to
    decode: for those that were trained before, as ``initialize`` takes them from a voice.

    ``pitch`` tells posterior, flow and decoder the fundamental frequency of each frame, and
    predicts it from the text when speaking, as a density weighted by ``pitch_weight``. Latents need
    not say where harmonics lie, the decoder counts phases from theirs (see
    :class:`~glottis.blocks.spectral_decoder.SpectralDecoder`), and what is drawn is voiced as
    speech is. A converted voice has the recording's pitch, moved to the target speaker's range.

    ``durations`` chooses the predictor; the ``spline_`` minima are
    :class:`~glottis.likelihood.splines.RationalQuadraticSpline`'s (the authors have 1e-3 for both),
    ``duration_loss`` is for the deterministic one. The predictor shapes nothing else, so that it
    may learn from every ``duration_turns``-th step alone.

    ``decoder``: ``hifi_gan`` as in the paper, or ``istft``, a ConvNeXt stack that predicts spectra,
    an order of magnitude quicker. Discriminators: one for each of ``periods``, one on the waveform
    unless ``waveform_channels`` is empty, one for each of ``resolutions``; from
    ``adversarial_from`` steps on, each on every ``turns``-th step. ``spectral_weight`` adds a
    distance of spectra at three resolutions. ``kl_weight`` is reached in ``kl_steps`` steps, in a
    straight line from 0 (0: from the start): a divergence that weighs in full before the decoder
    knows what to do with latents leaves them nearly empty. ``power_floor`` is added to powers in
    spectrograms (the authors: 1e-6).

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
    unit_speakers: bool = False
    latent: int = 192
    channels: int = 192
    filter_channels: int = 768
    heads: int = 2
    encoder_layers: int = 6
    encoder_kernel: int = 3
    encoder_dropout: float = 0.1
    encoder_channels: int = 0
    encoder_prenet: bool = False
    window: int = 4
    condition_encoder: bool = False
    posterior_input: Literal["magnitudes", "log_mels"] = "magnitudes"
    mel_latents: bool = False
    latent_noise: float = 0.03
    posterior_layers: int = 16
    posterior_kernel: int = 5
    couplings: int = 4
    coupling_layers: int = 4
    coupling_kernel: int = 5
    flow_transformer_layers: int = 0
    centred_flow: bool = False
    symbol_weight: float = 4.0
    regression_layers: int = 0
    regression_channels: int = 256
    regression_hidden: int = 768
    condition_prior: bool = False
    prior_blocks: int = 0
    prior_channels: int = 128
    prior_layers: int = 4
    prior_kernel: int = 3
    conversion: Literal["flow", "content"] = "flow"
    content_channels: int = 32
    content_width: int = 256
    content_hidden: int = 768
    content_decoder_hidden: int = 512
    content_layers: int = 6
    content_frames: int = 128
    content_steps: int = 1000
    content_divergence: float = 0.3
    content_phones: float = 5.0
    content_confusion: float = 1.0
    content_guidance: float = 0.15
    content_distance: float = 0.72
    align_on: Literal["latent", "mel"] = "latent"
    alignment_steps: int = 0
    alignment_noise: float = 0.0
    alignment_noise_decay: float = 2e-6
    durations: Literal["stochastic", "deterministic"] = "stochastic"
    duration_turns: int = 1
    duration_channels: int = 256
    duration_dropout: float = 0.5
    duration_loss: DurationLoss = "gamma"
    spline_minimum_bin: float | None = None
    spline_minimum_derivative: float = 0.1
    pitch: bool = False
    pitch_channels: int = 64
    window_frames: int = 32
    segment_frames: int = 0
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
    decoder_from: int = 0
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    waveform_channels: tuple[int, ...] = (16, 64, 256, 1024, 1024, 1024)
    resolutions: tuple[int, ...] = ()
    resolution_channels: int = 16
    adversarial_from: int = 0
    turns: int = 1
    mel_weight: float = 45.0
    spectral_weight: float = 0.0
    kl_weight: float = 1.0
    kl_steps: int = 0
    duration_weight: float = 1.0
    pitch_weight: float = 0.1
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
        if self.centred_flow and self.flow_transformer_layers:
            raise InputError("centred_flow has no flow_transformer_layers; leave one of them out")
        if self.prior_blocks and not self.regression_layers:
            raise InputError("prior_blocks explain what regression_layers leave: give some")
        converts = self.centred_flow or self.conversion == "content"
        if self.condition_prior and not (converts and self.regression_layers):
            raise InputError(
                "condition_prior is for regression_layers, and takes centred_flow or conversion: "
                "content: a flow that learns by a prior which knows the speaker has nothing to "
                "take out"
            )
        if self.mel_latents and (
            self.latent != self.mel.mels or self.posterior_input != "log_mels"
        ):
            raise InputError(
                f"mel_latents needs latent: {self.mel.mels}, the number of mels, and "
                f"posterior_input: log_mels, not latent: {self.latent} and posterior_input: "
                f"{self.posterior_input}"
            )
        if not self.posterior_layers and not self.mel_latents:
            raise InputError("a model without posterior_layers needs mel_latents: true")
        if self.conversion == "content" and not (self.mel_latents and self.align_on == "mel"):
            raise InputError(
                "conversion: content says log-mels of known phones; it takes mel_latents: true and "
                "align_on: mel"
            )
        if not 0 <= self.content_guidance <= 1:
            raise InputError(f"content_guidance must be 0 to 1, not {self.content_guidance}")
        if self.latent_noise <= 0:
            raise InputError(f"latent_noise must be above 0 nepers, not {self.latent_noise}")
        members = len(self.periods) + len(self.resolutions) + bool(self.waveform_channels)
        if not members:
            raise InputError("give periods, waveform_channels or resolutions: some discriminator")
        if not 1 <= self.turns <= members:
            raise InputError(f"turns must be 1 to {members}, not {self.turns}")
        if self.duration_turns < 1:
            raise InputError(f"duration_turns must be at least 1, not {self.duration_turns}")
        if self.align_on != "mel":
            for name, reason in (
                ("alignment_steps", "a latent must be learnt first"),
                ("segment_frames", "a latent is aligned as a whole"),
                ("regression_layers", "they see the text along the frames, aligned"),
                ("prior_blocks", "they come after the regression"),
                ("centred_flow", "its symbols are aligned on log-mels"),
            ):
                if getattr(self, name):
                    raise InputError(f"{name} are for align_on: mel; {reason}")
        if self.segment_frames and self.segment_frames < self.window_frames:
            raise InputError(
                f"segment_frames {self.segment_frames} must hold window_frames {self.window_frames}"
            )
        if self.pitch and self.decoder != "istft":
            raise InputError(
                f"pitch is for decoder: istft, whose phases count from the pitch's harmonics, not "
                f"{self.decoder}; set network.decoder=istft or network.pitch=false"
            )
