"""A VITS of every kind, small enough to test, and batches for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from glottis.audio.mel import MelConfig
from glottis.corpus.batches import UtteranceBatch
from glottis.likelihood.flows import ActNorm
from glottis.models.vits import VITS, Config

MEL = MelConfig(fft_size=256, hop=64, mels=8)
SMALL = {
    "symbols": 40,
    "speakers": 3,
    "speaker_channels": 4,
    "latent": 8,
    "channels": 8,
    "filter_channels": 16,
    "encoder_layers": 3,
    "posterior_layers": 2,
    "couplings": 2,
    "coupling_layers": 1,
    "decoder": "istft",
    "decoder_channels": 16,
    "decoder_hidden": 16,
    "decoder_layers": 2,
    "periods": (2,),
    "period_channels": (4, 8),
    "waveform_channels": (),
    "resolutions": (256,),
    "resolution_channels": 4,
    "window_frames": 12,
    "mel": MEL,
}
WAVES = {
    "decoder": "hifi_gan",
    "upsample_rates": (8, 8),
    "upsample_kernels": (16, 16),
    "upsample_channels": 16,
    "resblock": "2",
    "resblock_kernels": (3,),
    "resblock_dilations": ((1, 2),),
}
VITS2 = {
    "condition_encoder": True,
    "flow_transformer_layers": 1,
    "alignment_noise": 0.01,
    "languages": 2,
}
PITCH = {"pitch": True, "pitch_channels": 4, "posterior_input": "log_mels"}
MEL_LATENTS = {
    **PITCH,
    "align_on": "mel",
    "mel_latents": True,
    "regression_layers": 1,
    "regression_channels": 8,
    "regression_hidden": 8,
    "prior_blocks": 2,
    "prior_channels": 4,
    "prior_layers": 1,
}
MORE = {
    "plain": {},
    "waves": WAVES,
    "vits2": VITS2,
    "deterministic": {"durations": "deterministic", "align_on": "mel"},
    "pitch": PITCH,
    "mel_latents": MEL_LATENTS,
    "centred": {**MEL_LATENTS, "centred_flow": True},
    "told": {
        **MEL_LATENTS,
        "centred_flow": True,
        "condition_prior": True,
        "posterior_layers": 0,
    },
    "content": {
        **MEL_LATENTS,
        "condition_prior": True,
        "posterior_layers": 0,
        "conversion": "content",
        "content_channels": 4,
        "content_width": 8,
        "content_hidden": 12,
        "content_decoder_hidden": 40,
        "content_layers": 1,
        "content_frames": 16,
        "content_steps": 0,
    },
    "taken": {"encoder_channels": 12, "encoder_prenet": True, "unit_speakers": True},
}
ALL = pytest.mark.parametrize("changes", list(MORE.values()), ids=list(MORE))


def small_model(**changes: object) -> VITS:
    torch.manual_seed(0)
    model = VITS(Config(**{**SMALL, **changes}))  # type: ignore[arg-type]
    # What starts at zero would prove nothing: couplings, splines, what pitch and speaker add.
    started = [
        model.flow,
        model.durations,
        model.pitch_input,
        getattr(model.posterior, "end", None),
        model.encoder.project,
        getattr(model.decoder, "pitch", None),
        getattr(model.decoder, "condition", None),
        model.frame_prior,
    ]
    with torch.no_grad():
        for part in started:
            for parameter in [] if part is None else part.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        for norm in model.modules():
            if isinstance(norm, ActNorm):
                norm.initialized.fill_(True)
    return model.eval()


def small_batch(frames: list[int], texts: list[int], fill: float = 0.0) -> UtteranceBatch:
    random = torch.Generator().manual_seed(1)
    text = torch.zeros(len(texts), max(texts), dtype=torch.long)
    mel = torch.full((len(frames), MEL.mels, max(frames)), fill)
    audio = torch.full((len(frames), max(frames) * MEL.hop), fill)
    pitch = torch.full((len(frames), max(frames)), fill)
    for i, (length, tokens) in enumerate(zip(frames, texts, strict=True)):
        text[i, :tokens] = torch.randint(1, 40, (tokens,), generator=random)
        mel[i, :, :length] = torch.randn(MEL.mels, length, generator=random) - 5
        audio[i, : length * MEL.hop] = torch.randn(length * MEL.hop, generator=random) * 0.1
        hertz = 100.0 * (i + 1) + 30 * torch.rand(length, generator=random)
        pitch[i, :length] = hertz * (torch.rand(length, generator=random) < 0.7)
    return UtteranceBatch(
        [f"u{i}" for i in range(len(frames))],
        text,
        torch.tensor(texts),
        mel,
        torch.tensor(frames),
        torch.arange(len(frames)) % 3,
        pitch,
        audio=audio,
        language=torch.arange(len(frames)) % 2,
    )


def small_part(batch: UtteranceBatch, i: int) -> UtteranceBatch:
    """One utterance by itself."""
    rows = {
        name: value[i : i + 1]
        for name, value in vars(batch).items()
        if isinstance(value, (torch.Tensor, list))
    }
    return replace(batch, **rows).first()
