"""HiFi-GAN: lengths, reach, losses, the shipped sizes, and one graph without weight norms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn.utils import parametrize

from glottis.audio.mel import MelConfig
from glottis.blocks.discriminators import (
    Discriminators,
    ScaleDiscriminator,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
    multi_period,
    multi_scale,
)
from glottis.blocks.hifi_gan import Generator
from glottis.config import build
from glottis.corpus.batches import WindowBatch
from glottis.errors import InputError
from glottis.models.hifi_gan import Config, HiFiGAN
from glottis.training.recipe import read_recipe

SMALL = {
    "upsample_rates": (4, 2),
    "upsample_kernels": (8, 4),
    "channels": 8,
    "resblock_kernels": (3, 5),
    "resblock_dilations": ((1, 3), (1, 3)),
}
MEL = MelConfig(fft_size=32, hop=8, mels=8)


def _model(resblock: str = "1") -> HiFiGAN:
    torch.manual_seed(0)
    return HiFiGAN(
        Config(
            **SMALL,
            resblock=resblock,  # type: ignore[arg-type]
            periods=(2, 3),
            period_channels=(4, 8),
            scales=2,
            scale_channels=(16,) * 7,
            mel=MEL,
        )
    )


def _batch() -> WindowBatch:
    generator = torch.Generator().manual_seed(1)
    audio = torch.randn(2, 8 * 64, generator=generator) * 0.1
    mel = torch.randn(2, 8, 64, generator=generator) - 5
    return WindowBatch(["a", "b"], mel, audio, torch.zeros(2))


@pytest.mark.parametrize("resblock", ["1", "2"])
@pytest.mark.parametrize("frames", [1, 7, 64])
def test_every_frame_becomes_hop_samples(resblock: str, frames: int) -> None:
    audio = _model(resblock)(torch.randn(2, 8, frames)).detach()
    assert audio.shape == (2, frames * 8)
    assert float(audio.abs().max()) <= 1


@pytest.mark.parametrize("resblock", ["1", "2"])
def test_a_frame_reaches_its_neighbourhood_only(resblock: str) -> None:
    """What convolutions may reach, and on both sides: a changed frame changes nothing far away."""
    model = _model(resblock).eval()
    mel = torch.randn(1, 8, 80)
    other = mel.clone()
    other[..., 40] += 1
    with torch.no_grad():
        changed = (model(mel) != model(other))[0].nonzero()
    assert 40 * 8 - 160 < int(changed.min()) < 40 * 8
    assert 41 * 8 <= int(changed.max()) < 41 * 8 + 160


def test_a_condition_changes_the_audio_and_is_asked_for() -> None:
    generator = Generator(8, **SMALL, condition_channels=4)  # type: ignore[arg-type]
    x = torch.randn(1, 8, 5)
    one, two = (generator(x, torch.full((1, 4, 1), value)) for value in (0.0, 1.0))
    assert not torch.allclose(one, two)
    with pytest.raises(ValueError, match="condition"):
        generator(x)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"upsample_kernels": (8, 3)}, "kernel"),
        ({"upsample_kernels": (8,)}, "as many"),
        ({"resblock_kernels": (3, 4)}, "odd"),
        ({"resblock_kernels": (3,)}, "as many"),
        ({"channels": 6}, "divisible by 4"),
        ({"resblock": "3"}, "resblock"),
    ],
)
def test_sizes_that_do_not_fit_are_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Generator(8, **{**SMALL, **change})  # type: ignore[arg-type]


def test_the_rates_must_make_the_hop() -> None:
    with pytest.raises(InputError, match="hop, 256"):
        Config(upsample_rates=(8, 8, 2))
    with pytest.raises(InputError, match="groups"):
        ScaleDiscriminator(channels=(8,) * 7)
    with pytest.raises(InputError, match="7 sizes"):
        ScaleDiscriminator(channels=(16,))


@pytest.mark.parametrize(("size", "millions"), [("v1", 13.92), ("v2", 0.92), ("v3", 1.46)])
def test_the_recipes_have_the_papers_sizes(size: str, millions: float) -> None:
    """Table 1 of the paper counts weights without the lengths that weight norm adds."""
    recipe = read_recipe(f"hifi_gan/{size}")
    with torch.device("meta"):
        model = HiFiGAN(build(Config, recipe.network, size))
    lengths = sum(
        p.numel()
        for name, p in model.generator.named_parameters()
        if name.endswith("weight.original0")
    )
    total = sum(p.numel() for p in model.generator.parameters())
    assert round((total - lengths) / 1e6, 2) == pytest.approx(millions, abs=0.011)


def test_each_loss_reaches_its_own_parameters_only() -> None:
    model, batch = _model(), _batch()
    groups = model.optimized()
    names = []
    for name, loss, _ in model.steps(batch, 0):
        names.append(name)
        model.zero_grad(set_to_none=True)
        loss.backward()
        for group, parameters in groups.items():
            touched = any(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)
            assert touched == (group == name)
    assert names == ["discriminator", "generator"]
    owned = {id(p) for parameters in groups.values() for p in parameters}
    assert owned == {id(p) for p in model.parameters()}


def test_the_generators_loss_is_equation_5() -> None:
    model, batch = _model().eval(), _batch()
    *_, (_, loss, logs) = model.steps(batch, 0)
    with torch.no_grad():
        audio = model(batch.mel)
        fake, real = model.discriminators(audio), model.discriminators(batch.audio)
        adversary = sum(float((scores - 1).square().mean()) for scores, _ in fake)
        features = sum(
            float((f - r).abs().mean())
            for (_, fs), (_, rs) in zip(fake, real, strict=True)
            for f, r in zip(fs, rs, strict=True)
        )
        mel = float((model.log_mel(audio) - model.log_mel(batch.audio)).abs().mean())
    assert float(loss.detach()) == pytest.approx(adversary + 2 * features + 45 * mel, rel=1e-5)
    assert float(logs["mel"]) == pytest.approx(mel, rel=1e-5)


def test_summed_losses_are_means_times_their_number() -> None:
    torch.manual_seed(0)
    network = Discriminators(multi_period((2, 3), (4, 8)) + multi_scale(2, (16,) * 7)).eval()
    with torch.no_grad():
        real, fake = network(torch.randn(2, 400)), network(torch.randn(2, 400))
    features = sum(len(f) for _, f in real)
    assert features == 2 * 3 + 2 * 8
    for loss, number in (
        (lambda r: discriminator_loss(real, fake, r), 4),
        (lambda r: generator_loss(fake, r), 4),
        (lambda r: feature_matching_loss(real, fake, r), features),
    ):
        torch.testing.assert_close(loss("sum"), loss("mean") * number)


def test_a_spectral_norm_holds_the_largest_singular_value_at_one() -> None:
    torch.manual_seed(0)
    first, second = multi_scale(2, (16,) * 7)
    with torch.no_grad():
        for _ in range(50):
            first(torch.randn(1, 512))
    weight = first.layers[3].weight.detach().flatten(1)  # type: ignore[union-attr,index]
    assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1, abs=0.02)
    # The second hears half the rate, so a signal that alternates at each sample is lost on it.
    quiet, loud = torch.zeros(1, 512), torch.tensor([1.0, -1.0]).repeat(256)[None]
    inner = slice(4, -4)
    hidden = [second(x)[1][0][..., inner] for x in (quiet, loud)]
    torch.testing.assert_close(hidden[0][..., 8:-8], hidden[1][..., 8:-8])


def test_the_graph_has_no_norms_and_says_the_same(tmp_path: Path) -> None:
    model = _model().eval()
    # Not a deep copy: torch gives it the same parametrised classes, and removal changes those.
    graph = _model().eval().export_graph()
    for module in list(graph.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    assert not any("original" in name for name, _ in graph.named_parameters())
    mel = torch.randn(1, 8, 20)
    torch.onnx.export(
        graph,
        (mel,),
        str(tmp_path / "v.onnx"),
        input_names=["mel"],
        output_names=["audio"],
        dynamic_axes={"mel": {2: "frames"}, "audio": {1: "samples"}},
        opset_version=17,
        dynamo=False,
    )
    session = onnxruntime.InferenceSession(str(tmp_path / "v.onnx"))
    for frames in (1, 20, 33):
        mel = torch.randn(1, 8, frames)
        with torch.no_grad():
            expected = model(mel).numpy()
        assert np.abs(session.run(None, {"mel": mel.numpy()})[0] - expected).max() < 1e-5


def test_show_gives_pictures_and_sounds() -> None:
    shown = _model().show(_batch())
    assert shown["mel_copy"].shape == shown["mel_recording"].shape == (8, 64)
    assert shown["audio_copy"].shape == (512,)
    assert set(_model().validate(_batch())) == {"mel"}
