"""Weights that a run starts from: what is whose stays theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from glottis.models.vits import VITS, Config
from glottis.models.vocos import Config as VocosConfig
from glottis.models.vocos import Vocos
from glottis.training.initialize import load_weights
from small_recipes import VITS as SIZES
from small_recipes import VOCOS


def test_speakers_keep_their_rows_by_name(tmp_path: Path) -> None:
    """Whatever their order and number; who is new begins as the mean of those known."""
    sizes: dict[str, Any] = {**SIZES, "pitch": True}
    torch.manual_seed(0)
    before = VITS(Config(speakers=2, languages=2, **sizes))
    before.speaker_pitch.mean.copy_(torch.tensor([4.7, 5.4]))
    before.speaker_language.copy_(torch.tensor([1, 0]))
    save_file(
        {k: v.contiguous() for k, v in before.state_dict().items()}, tmp_path / "model.safetensors"
    )
    known = {"speakers": ["ann", "bob"], "languages": ["en-us", "nl"]}
    (tmp_path / "run.json").write_text(json.dumps(known))
    after = VITS(Config(speakers=3, languages=3, **sizes))
    names = {"speakers": ["bob", "ann", "eve"], "languages": ["de", "en-us", "nl"]}
    load_weights(after, tmp_path, names)
    old, new = before.speakers.weight, after.speakers.weight
    torch.testing.assert_close(new, torch.stack([old[1], old[0], old.mean(0)]))
    old, new = before.languages.weight, after.languages.weight
    torch.testing.assert_close(new, torch.stack([old.mean(0), old[0], old[1]]))
    torch.testing.assert_close(after.speaker_pitch.mean[:2], torch.tensor([5.4, 4.7]))
    assert float(after.speaker_pitch.frames[2]) == 0
    assert after.speaker_language.tolist() == [0, 0, 0], "numbers of languages of another run"
    # The rest is taken as it is, and without names nothing can be told apart.
    assert torch.equal(after.posterior.end.weight, before.posterior.end.weight)
    (tmp_path / "run.json").unlink()
    anew = VITS(Config(speakers=3, languages=2, **sizes))
    mine = anew.speakers.weight.clone()
    load_weights(anew, tmp_path, names)
    assert torch.equal(anew.speakers.weight, mine)
    assert torch.equal(anew.languages.weight, before.languages.weight)


def test_a_wider_network_begins_as_the_narrow_one(tmp_path: Path) -> None:
    """ConvNeXt blocks get channels that say nothing yet; also a vocoder's as a decoder's."""
    torch.manual_seed(0)
    narrow = Vocos(VocosConfig(**{**VOCOS, "hidden": 12}))
    weights = {k: v.contiguous() for k, v in narrow.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors")
    mel = torch.randn(1, narrow.config.mel.mels, 20)
    wide = Vocos(VocosConfig(**{**VOCOS, "hidden": 30}))
    load_weights(wide, tmp_path)
    torch.testing.assert_close(wide(mel), narrow(mel))
    wide(mel).square().sum().backward()
    block = wide.stack.layers[0]
    assert block.contract.weight.grad is not None
    assert (block.contract.weight.grad[:, 12:] != 0).any(), "and learn"
    channels = VOCOS["channels"]
    sizes: dict[str, Any] = {
        **SIZES,
        "mel_latents": True,
        "posterior_input": "log_mels",
        "decoder": "istft",
    }
    sizes |= {"decoder_channels": channels, "decoder_layers": VOCOS["layers"], "decoder_hidden": 30}
    model = VITS(Config(**{**sizes, "latent": narrow.config.mel.mels, "mel": narrow.config.mel}))
    load_weights(model, tmp_path)
    torch.testing.assert_close(model.decode(mel, None), narrow(mel))
