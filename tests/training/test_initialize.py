"""Weights that a run starts from: what is whose stays theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from glottis.errors import InputError
from glottis.likelihood.flows import ActNorm
from glottis.models.glow_tts import Config as GlowConfig
from glottis.models.glow_tts import GlowTTS
from glottis.models.vits import VITS, Config
from glottis.models.vocos import Config as VocosConfig
from glottis.models.vocos import Vocos
from glottis.training.initialize import load_weights
from small_recipes import GLOW, VOCOS
from small_recipes import VITS as SIZES


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


def _saved(model: torch.nn.Module, folder: Path, known: dict[str, Any]) -> None:
    """A run folder of ``model`` with weights that are all worth something."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    for layer in model.modules():
        if isinstance(layer, ActNorm):
            layer.initialized.fill_(True)
    weights = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "run.json").write_text(json.dumps(known))


TEXT = torch.tensor([[1, 5, 9, 3, 12, 7, 2]])
LENGTHS, DURATIONS = torch.tensor([7]), torch.tensor([[4, 6, 2, 8, 4, 6, 2]])
SPEAKERS = ["ann", "bob", "eve"]


@pytest.mark.parametrize("pitch", [False, True])
def test_one_of_several_speakers_alone_speaks_as_before(tmp_path: Path, pitch: bool) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {**GLOW, "pitch": pitch, "regression_layers": 1, "align_on": "mel"}
    before = GlowTTS(GlowConfig(speakers=3, **sizes)).eval()
    _saved(before, tmp_path, {"speakers": SPEAKERS})
    alone = GlowTTS(GlowConfig(speakers=1, **sizes)).eval()
    load_weights(alone, tmp_path, {"speakers": ["bob"]})
    assert before.config.pitch == alone.config.pitch == pitch
    one, another = torch.tensor([1]), torch.tensor([0])
    said, own, other = (
        model.synthesize(
            *(TEXT, LENGTHS, speaker),
            temperature=0.7,
            durations=DURATIONS,
            generator=torch.Generator().manual_seed(1),
        )[0]
        for model, speaker in ((before, one), (alone, None), (before, another))
    )
    torch.testing.assert_close(own, said, rtol=1e-4, atol=1e-4)
    assert (other - said).abs().max() > 0.05, "and it matters who speaks"


@pytest.mark.parametrize(
    ("decoder", "pitch"), [("istft", False), ("istft", True), ("hifi_gan", False)]
)
@pytest.mark.parametrize("durations", ["stochastic", "deterministic"])
def test_one_of_several_speakers_and_languages_alone_speaks_as_before(
    tmp_path: Path, pitch: bool, decoder: str, durations: str
) -> None:
    """But for what stands next to an end, where a bias goes on and a constant does not."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {**SIZES, "pitch": pitch, "decoder": decoder, "durations": durations}
    sizes |= {"upsample_channels": 16, "resblock": "2", "resblock_kernels": [3]}
    sizes |= {"resblock_dilations": [[1, 2]]}
    before = VITS(Config(speakers=3, languages=2, **sizes)).eval()
    _saved(before, tmp_path, {"speakers": SPEAKERS, "languages": ["en-us", "nl"]})
    alone = VITS(Config(speakers=1, languages=1, **sizes)).eval()
    load_weights(alone, tmp_path, {"speakers": ["bob"], "languages": ["nl"]})
    said = []
    mask = torch.ones(1, 1, 7, dtype=torch.bool)
    for model, number in ((before, 1), (alone, None), (before, 0)):
        speaker = None if number is None else torch.tensor([number])
        language = speaker
        samples, _, _ = model.synthesize(
            TEXT,
            LENGTHS,
            speaker,
            language,
            durations=DURATIONS,
            generator=torch.Generator().manual_seed(1),
        )
        prior = model._prior(TEXT, LENGTHS, speaker, language)
        noise = torch.randn(1, 2, 7, generator=torch.Generator().manual_seed(2))
        frames = model.log_frames(prior.hidden, mask, model.embed(speaker), noise)
        said.append((samples, prior.mel_mean, frames))
    (whole, mean, frames), (own, own_mean, own_frames), (other, *_) = said
    torch.testing.assert_close(own_mean, mean, rtol=1e-4, atol=1e-4)
    end = 0 if durations == "stochastic" else 2
    inside = slice(end, 7 - end)
    torch.testing.assert_close(own_frames[..., inside], frames[..., inside], rtol=1e-4, atol=1e-4)
    inside = slice(10 * 256, -10 * 256)
    wrong, others = ((sound - whole)[:, inside].abs().max() for sound in (own, other))
    assert wrong < 0.05 * others, "it matters who speaks, and is heard"


def test_letters_keep_their_rows(tmp_path: Path) -> None:
    """Those beyond Piper's map have the ids that their corpus gave them."""
    torch.manual_seed(0)
    # A convolution of the same name, as long as the table of ids is beyond Piper's.
    sizes: dict[str, Any] = {**GLOW, "regression_layers": 1, "regression_channels": 170}
    before, after = (GlowTTS(GlowConfig(**{**sizes, "align_on": "mel"})) for _ in range(2))
    own = after.encoder.embed.weight.clone()
    known = {"phoneme_id_map": {"a": [14], "\u00df": [161], "\u0308": [162], "\u03b1": [163]}}
    _saved(before, tmp_path, known)
    load_weights(after, tmp_path, {"letters": ["\u0308", "\u044f", "\u00df"]})
    old, new = before.encoder.embed.weight, after.encoder.embed.weight
    assert torch.equal(new[:161], old[:161])
    assert torch.equal(new[161:164], torch.stack([old[162], own[162], old[161]]))
    old, new = before.regression.stack.embed.weight, after.regression.stack.embed.weight
    assert torch.equal(new, old)


def test_what_starts_anew_is_told_by_its_part(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a part is taken but for a piece, that piece is named: an alignment may hang on it."""
    sizes: dict[str, Any] = {**GLOW, "align_on": "mel"}
    weights = GlowTTS(GlowConfig(**sizes)).state_dict()
    left = {k: v.contiguous() for k, v in weights.items() if "mel_mean" not in k}
    save_file(
        {k: v for k, v in left.items() if not k.startswith("decoder.")}, tmp_path / "a.safetensors"
    )
    load_weights(GlowTTS(GlowConfig(**sizes)), tmp_path / "a.safetensors")
    said = caplog.records[-1].getMessage()
    assert "encoder.mel_mean (2)" in said
    assert "decoder (" in said


def test_a_voice_may_be_named(caplog: pytest.LogCaptureFixture) -> None:
    sizes: dict[str, Any] = {"channels": 256, "hidden": 512, "layers": 8, "pitch": True}
    vocoder = Vocos(VocosConfig(**{**VOCOS, **sizes}))
    with caplog.at_level("INFO", logger="glottis.training"):
        load_weights(vocoder, Path("english"))
    assert "english.onnx: head (2" in caplog.text
    with pytest.raises(InputError, match="voice by its path or name"):
        load_weights(vocoder, Path("englisch"))
