"""Vocos: lengths, losses and the order in which its optimisers are asked to step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from glottis.audio.mel import MelConfig
from glottis.corpus.batches import WindowBatch
from glottis.errors import InputError
from glottis.models import model_class
from glottis.models.vocos import Config, Vocos

MEL = MelConfig(fft_size=256, hop=64, mels=8)


def _model(**changes: Any) -> Vocos:
    torch.manual_seed(0)
    return Vocos(
        Config(
            channels=16,
            hidden=32,
            layers=2,
            adversarial_from=3,
            periods=(2, 3),
            period_channels=(4, 8),
            resolutions=(256,),
            resolution_channels=4,
            mel=MEL,
            **changes,
        )
    )


def _batch() -> WindowBatch:
    audio = torch.randn(2, 64 * 64) * 0.1
    return WindowBatch(["a", "b"], torch.randn(2, 8, 64) - 5, audio, torch.zeros(2))


def test_every_frame_becomes_hop_samples() -> None:
    model = _model()
    for frames in (1, 7, 64):
        assert model(torch.randn(2, 8, frames)).shape == (2, frames * 64)


def test_discriminators_join_when_told() -> None:
    model, batch = _model(), _batch()
    assert [name for name, _, _ in model.steps(batch, 2)] == ["generator"]
    assert [name for name, _, _ in model.steps(batch, 3)] == ["discriminator", "generator"]


def test_every_weight_is_learnt() -> None:
    model, batch = _model(pitch=True), _batch()
    batch = replace(batch, pitch=torch.full((2, 64), 120.0))
    groups = model.optimized()
    assert sorted(map(id, model.parameters())) == sorted(id(p) for g in groups.values() for p in g)
    for name, loss, _ in model.steps(batch, 3):
        model.zero_grad(set_to_none=True)
        loss.backward()
        assert all(p.grad is not None for p in groups[name])


def test_discriminators_take_turns() -> None:
    model, batch = _model(turns=2), _batch()
    seen = []
    for step in (4, 5):
        model.zero_grad(set_to_none=True)
        _, loss, _ = next(model.steps(batch, step))
        loss.backward()
        members = model.discriminators.members
        seen.append([all(p.grad is not None for p in member.parameters()) for member in members])
    assert seen == [[True, False, True], [False, True, False]]
    with pytest.raises(InputError, match="turns must be 1 to 3"):
        _model(turns=4)


def test_pitch_is_needed_where_it_is_learnt_from() -> None:
    model, batch = _model(pitch=True), _batch()
    assert model.batches == "windows_with_pitch"
    with pytest.raises(ValueError, match="told the pitch"):
        model(batch.mel)
    hertz = torch.full((2, 64), 120.0)
    hertz[:, 20:30] = 0.0
    told = model(batch.mel, hertz)
    assert told.shape == (2, 64 * 64)
    assert not torch.allclose(told, model(batch.mel, 1.5 * hertz))
    plain = _model()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if k in plain.state_dict()})
    torch.testing.assert_close(model(batch.mel, 0 * hertz), plain(batch.mel))


def test_each_loss_reaches_its_own_parameters_only() -> None:
    model, batch = _model(), _batch()
    groups = model.optimized()
    for name, loss, _ in model.steps(batch, 3):
        model.zero_grad(set_to_none=True)
        loss.backward()
        for group, parameters in groups.items():
            touched = any(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)
            assert touched == (group == name)
    owned = {id(p) for parameters in groups.values() for p in parameters}
    assert owned == {id(p) for p in model.parameters()}


def test_the_graph_form_says_the_same() -> None:
    model = _model().eval()
    mel = torch.randn(1, 8, 20)
    with torch.no_grad():
        expected = model(mel)
        torch.testing.assert_close(model.export_graph()(mel), expected, atol=1e-5, rtol=1e-4)


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(InputError, match="glow_tts.*vocos"):
        model_class("tacotron9")
