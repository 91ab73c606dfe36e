"""The settings of Tacotron 2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from glottis.audio.mel import MelConfig
from glottis.errors import InputError


@dataclass(frozen=True)
class Config:
    """Sizes in channels. ``symbols`` and ``speakers`` are counts; one speaker has no embedding.

    ``encoder`` is the paper's ``convolutions`` and recurrent layer, or the ``transformer`` of
    Glow-TTS with its pre-net, ``filter_channels``, ``heads`` and ``window``, whose weights fit.
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
    ``pitch`` makes the decoder say fundamental frequency and voicing with each frame, and adds to
    log-mels what harmonics of that pitch are, in learning of the recorded one. Harmonics span many
    channels and move with the pitch, which costs a decoder long to learn by itself; until then what
    it says is hardly voiced. ``pitch_weight`` multiplies the loss of the pitch, nats a frame.
    ``frame_dropout`` is how often, while it learns, the decoder hears the mean log-mel in place of
    the frame before (Liu et al. 2019, "Maximizing mutual information for Tacotron"). Recorded
    frames say so much of the next ones that little is asked of the text; when it speaks the decoder
    has only its own. It keeps the training's and the voice's errors together.
    ``regression_layers`` of ConvNeXt, in ``regression_channels`` and ``regression_hidden``, take
    the place of the post-net's convolutions. They hear what attention looked at, held for the
    frames of its step, and the pitch, and say the log-mels, as FastPitch's decoder does (Lancucki
    2021) with durations for attention. A post-net that hears the decoder's frames hears of each
    recorded frame from what was said after it, and learns to pass that on instead of the text; when
    the model speaks there is no recording. The decoder then says where in the text speech is, for
    how long and at which pitch. The weights of a Glow-TTS with a regression fit, all of them with
    that model's encoder.
    ``state_dropout`` is of the attention's state and of what the second LSTM says; NVIDIA's drops
    that one's state too, one step after another, where here all of its steps are one.
    ``stop_weight`` counts the one step of an utterance that is its last so many times.

    Length is bounded: an utterance of ``n`` symbols gets at most ``50 + frames_per_symbol * n``
    frames; one that reaches them is reported as never stopping.
    """

    blanks: bool = False
    symbols: int = 256
    speakers: int = 1
    speaker_channels: int = 64
    channels: int = 512
    encoder: Literal["convolutions", "transformer"] = "convolutions"
    encoder_layers: int = 3
    encoder_kernel: int = 5
    filter_channels: int = 768
    heads: int = 2
    window: int = 4
    attention: Literal["location", "forward"] = "location"
    attention_channels: int = 128
    location_filters: int = 32
    location_kernel: int = 31
    attention_state: int = 1024
    decoder_state: int = 1024
    state_dropout: float = 0.1
    prenet_channels: int = 256
    prenet_dropout: float = 0.5
    frame_dropout: float = 0.0
    postnet_channels: int = 512
    postnet_layers: int = 5
    postnet_kernel: int = 5
    regression_layers: int = 0
    regression_channels: int = 256
    regression_hidden: int = 768
    dropout: float = 0.5
    reduction: int = 1
    mel_offset: float = 0.0
    mel_scale: float = 1.0
    pitch: bool = False
    pitch_weight: float = 0.1
    stop_weight: float = 5.0
    stop_threshold: float = 0.5
    guided_weight: float = 0.0
    guided_spread: float = 0.4
    aligned_weight: float = 0.0
    alignment_steps: int = 0
    frames_per_symbol: float = 20.0
    mel: MelConfig = field(default_factory=MelConfig)

    @property
    def said(self) -> int:
        """Numbers that the decoder says of a frame: log-mels, then what it says of the pitch."""
        return self.mel.mels + 2 * self.pitch

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise InputError(f"reduction must be at least 1 frame a step, not {self.reduction}")
        if self.mel_scale <= 0:
            raise InputError(f"mel_scale must be above 0, not {self.mel_scale}")
        if not 0 <= self.frame_dropout < 1:
            raise InputError(f"frame_dropout must be in [0, 1), not {self.frame_dropout}")
        if self.channels % 2 or not self.location_kernel % 2:
            raise InputError("channels must be even and location_kernel odd")
        if self.alignment_steps and not self.aligned_weight:
            raise InputError("alignment_steps learn what aligned_weight draws to: give some")
