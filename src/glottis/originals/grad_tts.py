"""Grad-TTS of huawei-noah/Speech-Backbones: ``*.pt`` with ``params.py``."""

from __future__ import annotations

from glottis.originals.checkpoint import Values, Weights, mel_settings
from glottis.originals.glow_tts import text_encoder
from glottis.originals.names import renamed


def convert(state: Weights, values: Values) -> tuple[Values, Weights]:
    """Settings of :class:`glottis.models.grad_tts.Config` and weights under our names."""
    return _settings(values, state), renamed(text_encoder(state), SCORE_NETWORK)


def _settings(values: Values, state: Weights) -> Values:
    speakers = len(state["spk_emb.weight"]) if "spk_emb.weight" in state else 1
    return {
        "blanks": True,
        "symbols": len(state["encoder.emb.weight"]),
        "speakers": speakers,
        "speaker_channels": values["spk_emb_dim"],
        "speaker_in_text": False,
        "channels": values["n_enc_channels"],
        "filter_channels": values["filter_channels"],
        "heads": values["n_heads"],
        "encoder_layers": values["n_enc_layers"],
        "encoder_kernel": values["enc_kernel"],
        "encoder_dropout": values["enc_dropout"],
        "window": values["window_size"],
        "duration_channels": values["filter_channels_dp"],
        "duration_dropout": values["enc_dropout"],
        "duration_loss": "log",
        "duration_rounding": "up",
        "score_channels": values["dec_dim"],
        "time_scale": values["pe_scale"],
        "padding_counts": True,
        "beta_min": values["beta_min"],
        "beta_max": values["beta_max"],
        "mel": mel_settings(
            values["sample_rate"],
            values["n_fft"],
            values["win_length"],
            values["hop_length"],
            values["n_feats"],
            values["f_min"],
            values["f_max"],
        ),
    }


SCORE_NETWORK = [
    (r"^decoder\.estimator\.", "score."),
    (r"^score\.spk_mlp\.", "score.speaker."),
    (r"^score\.mlp\.", "score.time."),
    (r"^score\.mid_block1\.", "score.middle_first."),
    (r"^score\.mid_attn\.", "score.middle_attention."),
    (r"^score\.mid_block2\.", "score.middle_second."),
    (r"^score\.downs\.", "score.down."),
    (r"^score\.ups\.", "score.up."),
    (r"^(score\.(?:up|down)\.\d+)\.0\.", r"\1.first."),
    (r"^(score\.(?:up|down)\.\d+)\.1\.", r"\1.second."),
    (r"^(score\.(?:up|down)\.\d+)\.2\.", r"\1.attention."),
    (r"^(score\.(?:up|down)\.\d+)\.3\.conv\.", r"\1.resize."),
    (r"ttention\.fn\.fn\.to_qkv\.", "ttention.query_key_value."),
    (r"ttention\.fn\.fn\.to_out\.", "ttention.out."),
    (r"ttention\.fn\.g$", "ttention.gain"),
    (r"\.block1\.block\.0\.", ".first.convolve."),
    (r"\.block1\.block\.1\.", ".first.norm."),
    (r"\.block2\.block\.0\.", ".second.convolve."),
    (r"\.block2\.block\.1\.", ".second.norm."),
    (r"^(score\..*)\.mlp\.1\.", r"\1.time."),
    (r"\.res_conv\.", ".shortcut."),
    (r"^score\.final_block\.block\.0\.", "score.final.convolve."),
    (r"^score\.final_block\.block\.1\.", "score.final.norm."),
    (r"^score\.final_conv\.", "score.project."),
    (r"^spk_emb\.", "speakers."),
]
