"""Tacotron 2: padding takes no part, one step after another equals all at once, failures show."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from glottis.alignment import expand, path
from glottis.audio.mel import MelConfig
from glottis.blocks.lengths import mask_from_lengths
from glottis.blocks.pitch import PitchInput, pitch_bells, recorded_pitch
from glottis.corpus.batches import UtteranceBatch
from glottis.errors import InputError
from glottis.models.glow_tts import Config as GlowConfig
from glottis.models.glow_tts import GlowTTS
from glottis.models.tacotron2 import Config, Tacotron2
from glottis.models.tacotron2.attention import aligned, guided
from glottis.models.tacotron2.decoder import said_pitch
from glottis.training.initialize import load_weights
from glottis.voice.attention import Failure, find_failures

MEL = MelConfig(mels=6)
SMALL = {
    "symbols": 40,
    "channels": 16,
    "encoder_layers": 2,
    "attention_channels": 8,
    "location_filters": 4,
    "location_kernel": 5,
    "attention_state": 16,
    "decoder_state": 12,
    "prenet_channels": 8,
    "postnet_channels": 8,
    "postnet_layers": 3,
    "speaker_channels": 4,
    "mel": MEL,
}


def _model(**changes: object) -> Tacotron2:
    torch.manual_seed(0)
    model = Tacotron2(Config(**{**SMALL, **changes}))  # type: ignore[arg-type]
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        if isinstance(module, PitchInput):  # it starts at zero, and would prove nothing
            torch.nn.init.normal_(module.weight, std=0.5)
    return model.eval()


def _batch(frames: list[int], symbols: list[int], fill: float = 0.0) -> UtteranceBatch:
    generator = torch.Generator().manual_seed(1)
    text = torch.zeros(len(symbols), max(symbols), dtype=torch.long)
    mel = torch.full((len(frames), MEL.mels, max(frames)), fill)
    for i, (length, count) in enumerate(zip(frames, symbols, strict=True)):
        text[i, :count] = torch.randint(1, 40, (count,), generator=generator)
        mel[i, :, :length] = torch.randn(MEL.mels, length, generator=generator) - 5
    names = [f"u{i}" for i in range(len(frames))]
    speaker = torch.arange(len(frames)) % 2
    pitch = torch.full((len(frames), max(frames)), fill)
    for i, length in enumerate(frames):
        pitch[i, :length] = (torch.randn(length, generator=generator) * 50 + 120).clamp_min(0)
        pitch[i, : length // 3] = 0
    sizes = torch.tensor(symbols), mel, torch.tensor(frames)
    return UtteranceBatch(names, text, *sizes, speaker, pitch=pitch)


REGRESSION = {"regression_layers": 2, "regression_channels": 8, "regression_hidden": 12}
TRANSFORMER = {"encoder": "transformer", "encoder_kernel": 3, "filter_channels": 12, **REGRESSION}


@pytest.mark.parametrize("postnet", [{}, REGRESSION, TRANSFORMER])
@pytest.mark.parametrize("reduction", [1, 3])
@pytest.mark.parametrize("attention", ["location", "forward"])
@pytest.mark.parametrize("speakers", [1, 2])
def test_an_utterance_does_not_depend_on_its_batch(
    reduction: int, attention: str, speakers: int, postnet: dict[str, int]
) -> None:
    changes = {"reduction": reduction, "attention": attention, "speakers": speakers, **postnet}
    changes |= {"mel_offset": -5.0, "mel_scale": 2.0} if reduction > 1 else {}
    changes["pitch"] = speakers > 1
    model = _model(prenet_dropout=0.0, **changes)
    batch = _batch([20, 31, 14], [6, 9, 4], fill=math.nan)
    with torch.no_grad():
        found, _, steps = model.predict(batch)
        for i in range(3):
            size, count = int(batch.mel_lengths[i]), int(batch.text_lengths[i])
            alone = UtteranceBatch(
                batch.names[i : i + 1],
                batch.text[i : i + 1, :count],
                batch.text_lengths[i : i + 1],
                batch.mel[i : i + 1, :, :size],
                batch.mel_lengths[i : i + 1],
                batch.speaker[i : i + 1],
                pitch=batch.pitch[i : i + 1, :size],
            )
            one, _, _ = model.predict(alone)
            for ours, theirs in zip((*found[:2], found.pitch), (*one[:2], one.pitch), strict=True):
                torch.testing.assert_close(ours[i, :, :size], theirs[0], atol=1e-5, rtol=1e-4)
            many = int(steps[i])
            torch.testing.assert_close(found.stop[i, :many], one.stop[0], atol=1e-5, rtol=1e-4)
            looked = found.attention[i, :, :many]
            torch.testing.assert_close(looked[:count], one.attention[0], atol=1e-5, rtol=1e-4)
            assert not looked[count:].any()
            torch.testing.assert_close(looked.sum(0), torch.ones(many))
    assert torch.isfinite(model._losses(batch)[0])


def test_padding_is_no_speech_to_batch_normalisation() -> None:
    """Means and variances while training are those of what was said."""
    batch, heard = _batch([20, 31, 14], [6, 9, 4]), []
    for more in (0, 20):
        model = _model(dropout=0.0).train()
        memory = model.encoder(F.pad(batch.text, (0, more)), batch.text_lengths)
        inside = mask_from_lengths(batch.mel_lengths, 31 + more)
        after = model.refine(F.pad(batch.mel, (0, more)), inside)
        norms = {k: v for k, v in model.state_dict().items() if "running" in k}
        assert len(norms) == 2 * 5
        heard.append((memory[:, :9], after[..., :31], norms))
    torch.testing.assert_close(heard[1], heard[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("centred", [{}, {"mel_offset": -5.0, "mel_scale": 2.0}, REGRESSION])
def test_free_running_equals_teacher_forcing_on_its_own_frames(
    reduction: int, centred: dict[str, Any]
) -> None:
    """What was spoken, given back as a recording, gives the same frames and attention."""
    endless = {"stop_threshold": 1.1, "frames_per_symbol": 2.0}
    model = _model(prenet_dropout=0.0, reduction=reduction, **endless, **centred)
    batch = _batch([5, 5], [9, 4])
    spoken = model.synthesize(batch.text, batch.text_lengths)
    with torch.no_grad():
        size = int(spoken.lengths[0])
        assert size == (50 + 2 * 9) // reduction * reduction
        raw = []
        for keep in (slice(0, 1), slice(1, 2)):
            frames = int(spoken.lengths[keep])
            mel = torch.zeros(1, MEL.mels, frames)
            for _ in range(1 + frames // reduction):  # fixed point: one more step right each time
                before = model.predict(
                    UtteranceBatch(
                        ["a"],
                        batch.text[keep],
                        batch.text_lengths[keep],
                        mel,
                        spoken.lengths[keep],
                        batch.speaker[keep],
                    )
                )[0]
                mel = before.before
            raw.append(before)
    for i, found in enumerate(raw):
        frames = int(spoken.lengths[i])
        torch.testing.assert_close(spoken.mel[i, :, :frames], found.after[0], atol=1e-4, rtol=1e-3)
        steps = frames // reduction
        symbols = int(batch.text_lengths[i])
        looked = spoken.attention[i, :symbols, :steps]
        torch.testing.assert_close(looked, found.attention[0, :symbols], atol=1e-4, rtol=1e-3)
        assert not spoken.mel[i, :, frames:].any()


def test_the_stop_token_ends_and_the_bound_is_reported() -> None:
    batch = _batch([5, 5], [9, 4])
    endless = _model(stop_threshold=1.1)
    spoken = endless.synthesize(batch.text, batch.text_lengths)
    assert spoken.lengths.tolist() == [50 + 20 * 9, 50 + 20 * 4]
    assert all(found[0].kind == "never stops" for found in spoken.failures)
    brief = _model(stop_threshold=-0.1).synthesize(batch.text, batch.text_lengths)
    assert brief.lengths.tolist() == [1, 1]
    assert all(found[-1].kind == "skips" for found in brief.failures)


def test_failures_name_their_span() -> None:
    def looking(*places: int) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(places), 10).T.float()

    sound = [i for i in range(10) for _ in range(3)]
    assert find_failures(looking(*sound), True) == []
    assert find_failures(looking(*sound[:12]), False)[0] == Failure("never stops", 3, 9)
    skipping = [p for p in sound if p not in (4, 5, 6)]
    assert find_failures(looking(*skipping), True) == [Failure("skips", 4, 6)]
    assert find_failures(looking(*[p for p in sound if p != 4]), True) == []
    assert find_failures(looking(*sound[:-3]), True) == [Failure("skips", 9, 9)]
    repeating = [*sound[:21], *sound[9:]]
    assert find_failures(looking(*repeating), True) == [Failure("repeats", 3, 6)]


def test_forward_attention_never_leaps() -> None:
    model = _model(attention="forward")
    batch = _batch([30], [9])
    with torch.no_grad():
        attention = model.predict(batch)[0].attention[0]
    for step in range(8):
        assert float(attention[step + 2 :, step].sum()) < 1e-5


def test_guided_attention_wants_the_diagonal() -> None:
    size = torch.tensor([12])
    diagonal = torch.eye(12)[None]
    assert float(guided(diagonal, size, size, 0.4)) < 1e-6
    assert float(guided(diagonal.flip(1), size, size, 0.4)) > 0.3


def test_durations_follow_the_attention() -> None:
    for reduction in (1, 2):
        model = _model(reduction=reduction)
        batch = _batch([20, 31], [6, 9])
        durations, lengths = model.align(batch)
        assert durations.sum(1).tolist() == [20, 31]
        assert (durations[1] > 0).all()
        assert lengths.tolist() == [6, 9]


@pytest.mark.parametrize("postnet", [{}, REGRESSION, TRANSFORMER])
def test_every_weight_learns_and_blanks_are_dropped(postnet: dict[str, Any]) -> None:
    model = _model(speakers=2, guided_weight=1.0, reduction=2, pitch=True, **postnet).train()
    batch = _batch([20, 31], [6, 9])
    ((name, loss, logs),) = model.steps(batch, 0)
    loss.backward()
    assert name == "features"
    assert {"before", "after", "stop", "guided", "pitch_nats"} <= set(logs)
    assert all(p.grad is not None for p in model.parameters())
    batch.text[0, :5] = torch.tensor([1, 0, 5, 0, 2])
    assert model.eval().predict(batch)[1].tolist() == [4, 9]
    shown = model.show(batch)
    assert shown["mel_recording"].shape == shown["mel_forced"].shape


def test_harmonics_are_those_of_the_recorded_pitch_in_learning_and_of_the_said_one_after() -> None:
    model = _model(pitch=True, prenet_dropout=0.0)
    batch = _batch([20, 31], [6, 9])
    other = replace(batch, pitch=batch.pitch * 1.5)
    with torch.no_grad():
        found, moved = model.predict(batch)[0], model.predict(other)[0]
        assert torch.equal(found.pitch, moved.pitch), "what is said of it is not told it"
        voiced = (batch.pitch > 0)[:, None].expand_as(found.before)
        assert (found.before != moved.before)[voiced].any()
        assert torch.equal(found.before[~voiced], moved.before[~voiced])
        # What it says, heard as if it had been recorded.
        said = torch.cat([found.before, found.pitch], dim=1)
        log_pitch, voicing = said_pitch(found.pitch)
        bells = pitch_bells(log_pitch, torch.sigmoid(4 * voicing))
        inside = mask_from_lengths(batch.mel_lengths, 31)
        torch.testing.assert_close(model.refine(said, inside), model.refine(said, inside, bells))


def test_a_post_net_that_hears_the_text_hears_no_frames() -> None:
    """From a recording it has the alignment alone: what the decoder says of frames is not heard."""
    model = _model(pitch=True, reduction=2, **REGRESSION)
    assert model.reach == 3 * 3  # three convolutions of seven
    batch = _batch([20], [6])
    with torch.no_grad():
        found, _, _ = model.predict(batch)
        held = model.hold(found.memory, found.attention)
        inside = mask_from_lengths(batch.mel_lengths, 20)
        said = torch.cat([found.before, found.pitch], dim=1)
        noise = torch.cat([torch.randn_like(found.before), found.pitch], dim=1)
        one, other = (model.refine(x, inside, None, held) for x in (said, noise))
        assert torch.equal(one, other)
        # Frames within a step are held alike, and what is looked at matters.
        assert torch.equal(held[..., ::2], held[..., 1::2])
        assert not torch.equal(one, model.refine(said, inside, None, held.flip(2)))


def test_a_glow_tts_gives_its_text_encoder_and_its_regression(tmp_path: Path) -> None:
    """What it says of log-mels along an alignment is then said here along the attention."""
    torch.manual_seed(0)
    sizes = {"symbols": 40, "channels": 16, "speakers": 2, "speaker_channels": 4, "mel": MEL}
    layers = {"encoder_layers": 2, "filter_channels": 12, "pitch": True, **REGRESSION}
    glow = GlowTTS(GlowConfig(**sizes, **layers, squeeze=1, group=2)).eval()  # type: ignore[arg-type]
    weights = {name: value.contiguous() for name, value in glow.state_dict().items()}
    save_file(weights, tmp_path / "glow.safetensors")
    model = _model(speakers=2, pitch=True, aligned_weight=1.0, **TRANSFORMER)
    load_weights(model, tmp_path / "glow.safetensors")
    batch = _batch([20, 31], [6, 9])
    with torch.no_grad():
        memory, lengths = model._remember(batch.text, batch.text_lengths, batch.speaker)
        mask = mask_from_lengths(lengths)
        prior = glow.encoder(batch.text, mask, glow._speaker(batch.speaker))
        torch.testing.assert_close(memory.transpose(1, 2) * mask, prior.hidden * mask)
        assert model.mel_mean is not None
        assert prior.mel_mean is not None
        found = model.mel_mean(memory).transpose(1, 2) * mask
        torch.testing.assert_close(found, prior.mel_mean)
        durations = torch.tensor([[3, 4, 3, 2, 5, 3, 0, 0, 0], [4, 3, 3, 5, 2, 4, 3, 3, 4]])
        pitch = model._recorded(batch)
        bells = pitch_bells(*recorded_pitch(pitch))
        inside = mask_from_lengths(batch.mel_lengths)
        held = model.hold(memory, path(durations).float())
        ours = model.refine(torch.empty(2, 0, 31), inside, bells, held)
        assert glow.regression is not None
        held = expand(glow.regression.start(prior.hidden), durations, 31)
        torch.testing.assert_close(ours, glow.regression(held, bells, inside))


def test_prenet_dropout_stays_on_and_is_repeatable() -> None:
    model, batch = _model(stop_threshold=1.1), _batch([5], [6])

    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return model.synthesize(batch.text, batch.text_lengths, generator=generator).mel[..., :50]

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_dropped_frames_are_heard_as_the_mean_while_learning_and_never_after() -> None:
    still = {"prenet_dropout": 0.0, "state_dropout": 0.0, "mel_offset": -5.0}
    model, batch = _model(frame_dropout=0.5, **still), _batch([20, 31], [6, 9])
    mean = replace(batch, mel=torch.full_like(batch.mel, -5.0))
    with torch.no_grad():
        memory, lengths = model._remember(batch.text, batch.text_lengths, None)
        mask = mask_from_lengths(lengths, memory.shape[1]).squeeze(1)

        def said(mel: torch.Tensor, seed: int = 0) -> torch.Tensor:
            generator = torch.Generator().manual_seed(seed)
            return model.decoder(memory, mask, mel, None, generator)[0]

        assert torch.equal(said(batch.mel), said(batch.mel, 1))
        assert not torch.equal(said(batch.mel), said(mean.mel))
        model.decoder.train()
        # Which frames are dropped is drawn for each step and item; of the mean nothing is missed.
        assert not torch.equal(said(batch.mel), said(batch.mel, 1))
        torch.testing.assert_close(said(mean.mel), said(mean.mel, 1))
        model.decoder.config = replace(model.config, frame_dropout=1 - 1e-9)
        torch.testing.assert_close(said(batch.mel), said(mean.mel))


def test_bad_settings_are_named() -> None:
    with pytest.raises(InputError, match="reduction"):
        Config(reduction=0)
    with pytest.raises(InputError, match="mel_scale must be above 0"):
        Config(mel_scale=0.0)
    with pytest.raises(InputError, match="odd"):
        Config(location_kernel=4)
    with pytest.raises(ValueError, match="2 speakers"):
        _model(speakers=2).synthesize(torch.ones(1, 3, dtype=torch.long), torch.tensor([3]))


def test_attention_on_the_alignment_costs_nothing_and_elsewhere_what_its_logarithm_says() -> None:
    durations, steps = torch.tensor([[3, 2, 4], [5, 2, 0]]), torch.tensor([5, 4])
    # Two frames a step: the symbols of frames 0, 2, 4, 6, 8 and of 0, 2, 4, 6.
    symbols = torch.tensor([[0, 0, 1, 2, 2], [0, 0, 0, 1, 0]])
    there = torch.nn.functional.one_hot(symbols, 3).transpose(1, 2).float()
    assert float(aligned(there, durations, steps, 2)) == pytest.approx(0, abs=1e-5)
    even = torch.full((2, 3, 5), 1 / 3)
    assert float(aligned(even, durations, steps, 2)) == pytest.approx(math.log(3), rel=1e-4)
    beyond = there.clone()
    beyond[1, :, 4] = math.nan  # after the second item's end
    assert float(aligned(beyond, durations, steps, 2)) == pytest.approx(0, abs=1e-5)
    off = there.roll(1, dims=1)
    assert float(aligned(off, durations, steps, 2)) > 10


def test_the_alignment_is_the_most_likely_one_and_learns_before_the_decoder() -> None:
    model = _model(aligned_weight=1.0, alignment_steps=2)
    batch = _batch([11, 8], [4, 3], fill=math.nan)
    memory, lengths = model._remember(batch.text, batch.text_lengths, batch.speaker)
    durations, nats = model._search(memory, lengths, batch)
    assert durations.sum(1).tolist() == [11, 8]
    assert model.mel_mean is not None
    mean = model.mel_mean(memory)
    errors = []
    for i, frames in enumerate((11, 8)):
        laid = mean[i].repeat_interleave(durations[i], dim=0)
        errors.append((batch.mel[i, :, :frames].T - laid).square())
        for moved in range(int(lengths[i]) - 1):
            other = durations[i].clone()
            other[moved] += 1
            other[moved + 1] -= 1
            if other.min() >= 0 and other[: lengths[i]].min() > 0:
                worse = mean[i].repeat_interleave(other, dim=0)
                assert (batch.mel[i, :, :frames].T - worse).square().sum() >= errors[i].sum()
    torch.testing.assert_close(nats, 0.5 * (torch.cat(errors).mean() + math.log(2 * math.pi)))

    ((_, loss, logs),) = model.steps(batch, 1)
    loss.backward()
    assert set(logs) == {"mel_nats", "coverage"}
    assert model.mel_mean.weight.grad is not None
    assert all(p.grad is None for p in model.decoder.parameters())
    ((_, loss, logs),) = model.steps(batch, 2)
    assert {"aligned", "before", "after"} <= set(logs)
    assert torch.isfinite(loss)


def test_alignment_steps_without_an_alignment_are_refused() -> None:
    with pytest.raises(InputError, match="aligned_weight"):
        _model(alignment_steps=10)
