"""Glow-TTS: an exact likelihood, whatever surrounds an utterance in its batch."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from glottis.audio.mel import MelConfig
from glottis.blocks.pitch import pitch_log_density
from glottis.corpus.batches import UtteranceBatch
from glottis.errors import InputError
from glottis.models.glow_tts import Config, GlowTTS

MEL = MelConfig(mels=8)
BEFORE_PITCH = ("names", "text", "text_lengths", "mel", "mel_lengths", "speaker")
SMALL = {
    "symbols": 40,
    "channels": 16,
    "filter_channels": 16,
    "encoder_layers": 1,
    "duration_channels": 8,
    "blocks": 2,
    "block_channels": 8,
    "block_layers": 2,
    "block_kernel": 3,
    "speaker_channels": 4,
    "mel": MEL,
}


def _model(**changes: object) -> GlowTTS:
    torch.manual_seed(0)
    model = GlowTTS(Config(**{**SMALL, **changes}))  # type: ignore[arg-type]
    # Couplings start at zero; a law that holds for the identity alone would prove nothing.
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def _batch(lengths: list[int], texts: list[int], fill: float = 0.0) -> UtteranceBatch:
    generator = torch.Generator().manual_seed(1)
    text = torch.zeros(len(texts), max(texts), dtype=torch.long)
    mel = torch.full((len(lengths), MEL.mels, max(lengths)), fill)
    for i, (frames, tokens) in enumerate(zip(lengths, texts, strict=True)):
        text[i, :tokens] = torch.randint(1, 40, (tokens,), generator=generator)
        mel[i, :, :frames] = torch.randn(MEL.mels, frames, generator=generator) - 5
    return UtteranceBatch(
        [f"u{i}" for i in range(len(lengths))],
        text,
        torch.tensor(texts),
        mel,
        torch.tensor(lengths),
        torch.zeros(len(lengths), dtype=torch.long),
        _pitch(lengths, fill),
    )


def _pitch(lengths: list[int], fill: float) -> torch.Tensor:
    """Voiced and unvoiced stretches, gliding."""
    frames = torch.arange(max(lengths))
    pitch = torch.where(frames % 7 < 4, 150.0 + 3 * frames, 0.0).repeat(len(lengths), 1)
    return torch.where(frames < torch.tensor(lengths)[:, None], pitch, fill)


def test_decoder_is_invertible() -> None:
    model = _model()
    x = torch.randn(2, MEL.mels, 12)
    mask = torch.ones(2, 1, 12, dtype=torch.bool)
    z, _ = model.decoder.call_and_ladj(x, mask)
    assert float((z - x).detach().abs().max()) > 0.1
    torch.testing.assert_close(model.decoder.inverse(z, mask), x, atol=1e-4, rtol=1e-4)


def test_log_determinant_is_the_jacobians() -> None:
    model = _model().double()
    x = torch.randn(1, MEL.mels, 4, dtype=torch.float64)
    mask = torch.ones(1, 1, 4, dtype=torch.bool)

    def flow(flat: torch.Tensor) -> torch.Tensor:
        return model.decoder.call_and_ladj(flat.view(1, MEL.mels, 4), mask)[0].flatten()

    jacobian = torch.autograd.functional.jacobian(flow, x.flatten())
    _, ladj = model.decoder.call_and_ladj(x, mask)
    # The coupling's networks are read out in float32, whatever runs around them.
    torch.testing.assert_close(
        torch.linalg.slogdet(jacobian)[1], ladj[0].detach(), atol=1e-5, rtol=1e-6
    )


def _learn_pitch(model: GlowTTS) -> None:
    """Give the condition, which starts at zero, something to say."""
    if model.pitch_condition is not None:
        with torch.no_grad():
            model.pitch_condition.project.weight.normal_(std=0.3)


@pytest.mark.parametrize("unit_variance", [True, False])
@pytest.mark.parametrize("speakers", [1, 3])
@pytest.mark.parametrize("align_on", ["latent", "mel"])
@pytest.mark.parametrize("pitch", [False, True])
def test_likelihood_of_an_utterance_does_not_depend_on_its_batch(
    unit_variance: bool, speakers: int, align_on: str, pitch: bool
) -> None:
    model = _model(
        unit_variance=unit_variance,
        speakers=speakers,
        align_on=align_on,
        pitch=pitch,
        regression_layers=2 if pitch and align_on == "mel" else 0,
    )
    _learn_pitch(model)
    together = _batch([20, 31, 14], [6, 9, 4], fill=math.nan)
    with torch.no_grad():
        durations, lengths, log_durations, likelihood, _, of_pitch, fit = model.align(together)
        assert together.pitch is not None
        for i in range(3):
            frames, tokens = int(together.mel_lengths[i]), int(together.text_lengths[i])
            alone = UtteranceBatch(
                together.names[i : i + 1],
                together.text[i : i + 1, :tokens],
                together.text_lengths[i : i + 1],
                together.mel[i : i + 1, :, :frames],
                together.mel_lengths[i : i + 1],
                together.speaker[i : i + 1],
                together.pitch[i : i + 1, :frames],
            )
            found, _, ones, one, _, tune, near = model.align(alone)
            if pitch and align_on == "mel":
                torch.testing.assert_close(fit[i : i + 1], near, atol=1e-2, rtol=1e-4)
            if pitch:
                torch.testing.assert_close(of_pitch[i : i + 1], tune, atol=1e-2, rtol=1e-4)
            torch.testing.assert_close(likelihood[i : i + 1], one, atol=1e-2, rtol=1e-4)
            torch.testing.assert_close(
                log_durations[i : i + 1, :tokens], ones, atol=1e-4, rtol=1e-4
            )
            assert torch.equal(durations[i : i + 1, :tokens], found)
            assert int(durations[i].sum()) == frames // 2 * 2
    assert lengths.tolist() == [6, 9, 4]


def test_likelihood_is_the_density_of_its_terms() -> None:
    """Equation 1 of the paper, with torch's own normal distribution and the found alignment."""
    model = _model(unit_variance=False)
    batch = _batch([16], [5])
    with torch.no_grad():
        found = model.align(batch)
        text_mask = torch.ones(1, 1, 5, dtype=torch.bool)
        mean, log_scale, *_ = model.encoder(batch.text, text_mask, None)
        latent, ladj = model.decoder.call_and_ladj(
            batch.mel, torch.ones(1, 1, 16, dtype=torch.bool)
        )
        index = torch.repeat_interleave(torch.arange(5), found.durations[0])
        density = torch.distributions.Normal(mean[..., index], log_scale[..., index].exp())
        expected = density.log_prob(latent).sum() + ladj[0]
    torch.testing.assert_close(found.log_likelihood[0], expected, atol=1e-2, rtol=1e-5)


@pytest.mark.parametrize("align_on", ["latent", "mel"])
def test_the_alignment_is_the_most_likely_one(align_on: str) -> None:
    """Against every alignment of four tokens to eight frames, scored by torch's own normal."""
    model = _model(align_on=align_on)
    batch = _batch([8], [4])
    with torch.no_grad():
        found = model.align(batch).durations[0]
        prior = model.encoder(batch.text, torch.ones(1, 1, 4, dtype=torch.bool), None)
        value, mean = batch.mel, prior.mel_mean
        if align_on == "latent":
            mask = torch.ones(1, 1, 8, dtype=torch.bool)
            value, mean = model.decoder.call_and_ladj(batch.mel, mask)[0], prior.mean
    scores = {}
    for ends in itertools.combinations(range(1, 8), 3):
        durations = torch.tensor([0, *ends, 8]).diff()
        index = torch.repeat_interleave(torch.arange(4), durations)
        density = torch.distributions.Normal(mean[..., index], 1.0)
        scores[tuple(durations.tolist())] = float(density.log_prob(value).sum())
    assert tuple(found.tolist()) == max(scores, key=scores.__getitem__)


def test_alignment_comes_first_when_asked() -> None:
    model = _model(align_on="mel", alignment_steps=2).train()
    batch = _batch([20, 31], [6, 9])

    def trained(step: int) -> bool:
        model.zero_grad(set_to_none=True)
        for _, loss, _ in model.steps(batch, step):
            loss.backward()
        assert model.encoder.embed.weight.grad is not None
        return any(p.grad is not None for p in model.decoder.parameters())

    assert not trained(0)
    assert trained(2)


def test_first_batch_standardises_the_flow() -> None:
    torch.manual_seed(0)
    model = GlowTTS(Config(**SMALL)).train()  # type: ignore[arg-type]
    batch = _batch([64, 64], [6, 9])
    mask = torch.ones(2, 1, 64, dtype=torch.bool)
    latent, _ = model.decoder.call_and_ladj(batch.mel * 3 + 7, mask)
    assert abs(float(latent.mean())) < 1e-3
    assert abs(float(latent.std()) - 1) < 0.01


def test_blanks_are_states_only_when_asked() -> None:
    batch = _batch([30], [7])
    batch.text[0] = torch.tensor([1, 0, 5, 0, 6, 0, 2])
    assert _model(blanks=False).align(batch).durations.shape == (1, 4)
    assert _model(blanks=True).align(batch).durations.shape == (1, 7)


def test_durations_round_without_drift() -> None:
    model = _model()
    log_durations = torch.full((1, 50), math.log(2.3))
    mask = torch.ones(1, 1, 50, dtype=torch.bool)
    for scale in (0.5, 1.0, 1.7):
        frames = model.predict_durations(log_durations, mask, scale)
        assert abs(int(frames.sum()) - 50 * 2.3 * scale) <= 0.5 + 1e-4
        assert int(frames.max() - frames.min()) <= 1


def test_same_generator_same_mel() -> None:
    model = _model(speakers=2)
    batch = _batch([20, 20], [6, 9])
    given = torch.full((2, 9), 3)
    given[0, 6:] = 0

    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return model.synthesize(
            batch.text, batch.text_lengths, batch.speaker, durations=given, generator=generator
        )[0]

    assert torch.equal(draw(5), draw(5))
    assert not torch.equal(draw(5), draw(6))


def test_several_speakers_must_be_told_apart() -> None:
    model = _model(speakers=2)
    batch = _batch([20], [6])
    with pytest.raises(ValueError, match="2 speakers"):
        model.synthesize(batch.text, batch.text_lengths)
    means = [
        model.decoder.inverse(
            torch.zeros(1, MEL.mels, 8),
            torch.ones(1, 1, 8, dtype=torch.bool),
            model._speaker(torch.tensor([s])),
        )
        for s in (0, 1)
    ]
    assert not torch.allclose(*means)


def test_a_recording_comes_back_from_its_latent() -> None:
    model = _model(speakers=3)
    batch = _batch([20, 31], [6, 9], fill=math.nan)
    latent, lengths = model.invert(batch)
    assert lengths.tolist() == [20, 30]
    assert torch.equal(latent[0, :, 20:], torch.zeros(MEL.mels, 10))
    same, _ = model.convert(batch, batch.speaker)
    other, lengths = model.convert(batch, batch.speaker + 1)
    back, _ = model.convert(
        UtteranceBatch(
            batch.names,
            batch.text,
            batch.text_lengths,
            other,
            lengths,
            batch.speaker + 1,
        ),
        batch.speaker,
    )
    for i, frames in enumerate(lengths.tolist()):
        recording = batch.mel[i, :, :frames]
        torch.testing.assert_close(same[i, :, :frames], recording, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(back[i, :, :frames], recording, atol=1e-3, rtol=1e-4)
        assert not torch.allclose(other[i, :, :frames], recording, atol=1e-2)


def test_conversion_needs_a_speaker_that_is_known() -> None:
    batch = _batch([20], [6])
    with pytest.raises(InputError, match="one speaker"):
        _model().convert(batch, torch.tensor([1]))
    with pytest.raises(InputError, match="0 to 1, not \\[2\\]"):
        _model(speakers=2).convert(batch, torch.tensor([2]))


@pytest.mark.parametrize("change", [{"bounded_scale": True}, {"block_dilation": 2}])
def test_the_authors_options_keep_the_flow_invertible(change: dict[str, object]) -> None:
    model = _model(**change)
    x, mask = torch.randn(2, MEL.mels, 12), torch.ones(2, 1, 12, dtype=torch.bool)
    z, ladj = model.decoder.call_and_ladj(x, mask)
    torch.testing.assert_close(model.decoder.inverse(z, mask), x, atol=1e-4, rtol=1e-4)
    plain, other = _model().decoder.call_and_ladj(x, mask)
    assert not torch.allclose(z, plain)
    if "bounded_scale" in change:
        assert float((ladj - other).detach().max()) < 0


def test_rounding_up_is_the_authors() -> None:
    model = _model(duration_rounding="up")
    log_durations = torch.log(torch.tensor([[1.2, 2.0, 0.3, 5.0]]))
    mask = torch.tensor([[[True, True, True, False]]])
    assert model.predict_durations(log_durations, mask, 1.0).tolist() == [[2, 2, 1, 0]]
    assert model.predict_durations(log_durations, mask, 1.5).tolist() == [[2, 3, 1, 0]]


def test_show_draws_a_path() -> None:
    shown = _model().show(_batch([20, 10], [6, 3]))
    path = shown["alignment"]
    assert path.shape == (6, 20)
    assert torch.equal(path.sum(0), torch.ones(20, dtype=torch.long))


def test_pitch_is_told_to_the_flow_and_no_other() -> None:
    model = _model(pitch=True)
    batch = _batch([24, 24], [6, 6])
    before = model.align(batch).log_likelihood
    assert batch.pitch is not None
    higher = UtteranceBatch(*[getattr(batch, f) for f in BEFORE_PITCH], batch.pitch * 1.3)
    # The condition starts at zero, so that a model trained without it may go on with it.
    torch.testing.assert_close(model.align(higher).log_likelihood, before)
    _learn_pitch(model)
    found, other = model.align(batch), model.align(higher)
    assert not torch.allclose(found.log_likelihood, other.log_likelihood)
    assert torch.equal(found.durations, other.durations)
    with pytest.raises(ValueError, match="pitch"):
        model.align(UtteranceBatch(*[getattr(batch, f) for f in BEFORE_PITCH]))


def test_pitch_density_sums_to_one() -> None:
    """Voicing is a choice of two; the voiced part integrates to its probability."""
    predicted, voicing = torch.tensor([[math.log(170.0)]]).double(), torch.tensor([[0.7]]).double()
    mask = torch.ones(1, 1, dtype=torch.bool)
    zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    unvoiced = pitch_log_density(predicted, voicing, zero, zero, mask).exp()
    logs = torch.linspace(3.0, 7.5, 2001, dtype=torch.float64)
    density = [pitch_log_density(predicted, voicing, x.view(1, 1), one, mask).exp() for x in logs]
    voiced = torch.trapezoid(torch.stack(density).flatten(), logs)
    assert abs(float(unvoiced + voiced) - 1) < 1e-4


def test_speaking_with_pitch_pads_to_the_same() -> None:
    model = _model(pitch=True, speakers=2, regression_layers=2)
    _learn_pitch(model)
    batch = _batch([20, 20], [6, 9])
    given = torch.full((2, 9), 3)
    given[0, 6:] = 0
    options = {"durations": given, "temperature": 0.0}
    mels, lengths, _ = model.synthesize(batch.text, batch.text_lengths, batch.speaker, **options)
    options["durations"] = given[:1, :6]
    alone, _, _ = model.synthesize(
        batch.text[:1, :6], batch.text_lengths[:1], batch.speaker[:1], **options
    )
    frames = int(lengths[0])
    torch.testing.assert_close(mels[:1, :, :frames], alone[..., :frames], atol=1e-4, rtol=1e-4)


def test_a_regression_is_one_more_layer_of_the_flow() -> None:
    """What it predicts only shifts: moved log-mels, moved as far, are as likely."""
    model = _model(regression_layers=2)
    batch = _batch([20], [6])
    before = model.align(batch)
    assert model.regression is not None
    with torch.no_grad():
        model.regression.end.bias.add_(0.5)
        model.encoder.mel_mean.bias.add_(0.5)
    moved = UtteranceBatch(*[getattr(batch, f) for f in BEFORE_PITCH])
    moved.mel.add_(0.5)
    after = model.align(moved)
    assert torch.equal(before.durations, after.durations)
    torch.testing.assert_close(before.log_likelihood, after.log_likelihood, atol=1e-2, rtol=1e-4)
    with pytest.raises(InputError, match="align_on"):
        Config(regression_layers=2, align_on="latent")


@pytest.mark.parametrize("pitch", [False, True])
def test_a_recording_is_inverted_as_it_was_learnt(
    pitch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flow gets the same from ``invert`` as from ``align``: pitch, and without what the
    regression knows; and converting to the same speaker gives the recording back."""
    model = _model(speakers=2, pitch=pitch, regression_layers=2)
    _learn_pitch(model)
    batch = _batch([20, 14], [6, 4])
    seen = []
    original = model.decoder.call_and_ladj

    def watched(x: torch.Tensor, mask: torch.Tensor, condition: torch.Tensor) -> object:
        seen.append((x.detach(), condition.detach()))
        return original(x, mask, condition)

    monkeypatch.setattr(model.decoder, "call_and_ladj", watched)
    model.align(batch)
    model.invert(batch)
    for learnt, inverted in zip(*seen, strict=True):
        torch.testing.assert_close(learnt, inverted)
    mel, lengths = model.convert(batch, batch.speaker)
    for i, frames in enumerate(lengths.tolist()):
        torch.testing.assert_close(
            mel[i, :, :frames], batch.mel[i, :, :frames], atol=1e-3, rtol=1e-3
        )
    other, _ = model.convert(batch, 1 - batch.speaker)
    assert not torch.allclose(other, mel, atol=1e-2)
