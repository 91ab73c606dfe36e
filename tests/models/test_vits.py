"""VITS: its parts are what the equations say, whatever stands in padding."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from small_vits import (
    ALL,
    MEL,
    MEL_LATENTS,
    MORE,
    PITCH,
    SMALL,
    WAVES,
    small_batch,
    small_model,
    small_part,
)

from glottis.alignment import expand
from glottis.blocks.lengths import mask_from_lengths, window
from glottis.blocks.pitch import pitch_bells, recorded_pitch
from glottis.errors import InputError
from glottis.likelihood.divergence import kl_from_draw
from glottis.likelihood.lattice import GaussianLattice
from glottis.models.vits import VITS, Config
from glottis.models.vits.losses import losses


@ALL
def test_an_utterance_does_not_depend_on_its_batch(changes: dict) -> None:
    model = small_model(**{**changes, "alignment_noise": 0.0})
    batch = small_batch([20, 31, 14], [6, 9, 4], fill=math.nan)
    torch.manual_seed(0)
    with torch.no_grad():
        found = model.explain(batch)
        for i in range(3):
            alone = small_part(batch, i)
            one = model.explain(alone)
            frames, tokens = int(found.lengths[i]), int(batch.text_lengths[i])
            torch.testing.assert_close(found.spectrogram[i, :, :frames], one.spectrogram[0])
            torch.testing.assert_close(
                found.log_scale[i, :, :frames], one.log_scale[0], atol=1e-4, rtol=1e-4
            )
            torch.testing.assert_close(
                found.prior.mean[i, :, :tokens], one.prior.mean[0], atol=1e-4, rtol=1e-4
            )
            pitch = alone.pitch[:, :frames]
            condition = model.flow_told(alone.speaker, model.bells(pitch))
            mask = torch.ones(1, 1, frames, dtype=torch.bool)
            latent = found.latent[i : i + 1, :, :frames]
            flowed = latent
            if not model.config.condition_prior:
                flowed, _ = model.flow.call_and_ladj(latent, mask, condition)
            torch.testing.assert_close(
                found.flowed[i : i + 1, :, :frames], flowed, atol=1e-4, rtol=1e-4
            )
            assert int(found.durations[i].sum()) == int(batch.mel_lengths[i])


@ALL
def test_nan_in_padding_changes_no_loss_and_no_gradient(changes: dict) -> None:
    losses, gradients = [], []
    for fill in (0.0, math.nan):
        model, batch = small_model(**changes), small_batch([20, 31, 9], [6, 9, 4], fill)
        torch.manual_seed(3)
        for name, loss, logs in model.steps(batch, 0):
            loss.backward()
            losses.append([name, float(loss.detach()), *(float(v.detach()) for v in logs.values())])
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    half = len(losses) // 2
    assert half == len(model.optimized())
    for clean, dirty in zip(losses[:half], losses[half:], strict=True):
        assert clean == dirty
        assert all(math.isfinite(value) for value in clean[1:])
    for clean, dirty in zip(*gradients, strict=True):
        assert torch.equal(clean, dirty)


@pytest.mark.parametrize("changes", [{}, PITCH, MORE["content"]], ids=["plain", "pitch", "content"])
def test_each_loss_reaches_its_own_parameters_only(changes: dict) -> None:
    model, batch = small_model(**changes), small_batch([20, 31], [6, 9])
    groups = model.optimized()
    assert {id(p) for ps in groups.values() for p in ps} == {id(p) for p in model.parameters()}
    for name, loss, _ in model.steps(batch, 0):
        model.zero_grad(set_to_none=True)
        loss.backward()
        for group, parameters in groups.items():
            touched = [p.grad is not None and bool(p.grad.any()) for p in parameters]
            assert any(touched) == (group == name)
            if group == name == "generator":
                # A part without a gradient would never learn; what feeds softmaxes may have none.
                assert sum(touched) > 0.95 * len(touched)
                for name, parameter in model.named_parameters():
                    if "pitch" in name:
                        assert parameter.grad is not None, name


@pytest.mark.parametrize(
    "changes", [{"flow_transformer_layers": 1}, PITCH, {**MEL_LATENTS, "centred_flow": True}]
)
def test_the_flow_inverts_and_keeps_volumes(changes: dict) -> None:
    model = small_model(**changes).double()
    pitch = torch.tensor([[0.0, 110.0, 120.0, 0.0, 240.0]], dtype=torch.float64)
    speaker = model.flow_told(torch.tensor([1]), model.bells(pitch))
    mask = torch.ones(1, 1, 5, dtype=torch.bool)
    z = torch.randn(1, 8, 5, dtype=torch.float64)

    def flow(flat: torch.Tensor) -> torch.Tensor:
        return model.flow.call_and_ladj(flat.view(1, 8, 5), mask, speaker)[0].flatten()

    image, ladj = model.flow.call_and_ladj(z, mask, speaker)
    assert float((image - z).detach().abs().max()) > 0.1
    jacobian = torch.autograd.functional.jacobian(flow, z.flatten())
    assert float(torch.linalg.slogdet(jacobian)[1].abs()) < 1e-6
    assert float(ladj.detach().abs()) == 0
    torch.testing.assert_close(model.flow.inverse(image, mask, speaker), z, atol=1e-5, rtol=1e-5)


def test_kl_from_draws_is_the_closed_form_for_gaussians() -> None:
    torch.manual_seed(0)
    mean, log_scale = torch.randn(1, 3, 4), torch.randn(1, 3, 4) * 0.3
    prior_mean, prior_log_scale = torch.randn(1, 3, 4), torch.randn(1, 3, 4) * 0.3
    mask = torch.tensor([True, True, True, False]).view(1, 1, 4)
    posterior = torch.distributions.Normal(mean, log_scale.exp())
    prior = torch.distributions.Normal(prior_mean, prior_log_scale.exp())
    wanted = torch.distributions.kl_divergence(posterior, prior)[..., :3].sum() / 3
    rest = (log_scale, prior_mean, prior_log_scale, mask)
    draws = torch.stack([kl_from_draw(posterior.sample(), *rest) for _ in range(4000)])
    error = draws.std() / math.sqrt(len(draws))
    assert abs(draws.mean() - wanted) < 4 * error
    # A flow that doubles everything is a prior half as wide, about half of the mean.
    doubled = (2 * mean, log_scale, prior_mean, prior_log_scale, mask)
    ladj = torch.tensor([9 * math.log(2.0)])
    halved = (mean, log_scale, prior_mean / 2, prior_log_scale - math.log(2.0), mask)
    torch.testing.assert_close(kl_from_draw(*doubled, ladj), kl_from_draw(*halved))
    # Where both are one point the draw says it exactly: the distance alone is left.
    narrow = torch.full_like(mean, -20.0)
    exact = kl_from_draw(mean, narrow, mean, narrow, mask)
    assert float(exact) == pytest.approx(-0.5 * 3)


def test_the_alignment_maximises_the_prior_of_the_flowed_draw() -> None:
    model = small_model()
    batch = small_batch([9], [3])
    with torch.no_grad():
        found = model.explain(batch)
    lattice = GaussianLattice(found.prior.mean, found.prior.log_scale).log_prob(found.flowed)[0]
    best = max(
        (float(lattice[torch.tensor([0] * a + [1] * b + [2] * (9 - a - b)), range(9)].sum()), a, b)
        for a in range(1, 8)
        for b in range(1, 9 - a)
    )
    assert found.durations[0].tolist() == [best[1], best[2], 9 - best[1] - best[2]]


def test_windows_decode_as_the_whole_does_inside_the_reach_of_the_edges() -> None:
    for changes, reach in (({}, 13), (WAVES, 7)):
        model = small_model(**changes)
        latent, speaker = torch.randn(1, 8, 60), model.embed(torch.tensor([2]))
        with torch.no_grad():
            whole = model.decode(latent, speaker)
            part = model.decode(latent[..., 10:50], speaker)
        inside = slice(reach * MEL.hop, (40 - reach) * MEL.hop)
        wanted = whole[:, 10 * MEL.hop : 50 * MEL.hop]
        torch.testing.assert_close(part[:, inside], wanted[:, inside], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(part[:, : MEL.hop], wanted[:, : MEL.hop], atol=1e-5)


def test_training_windows_are_pieces_of_the_utterances() -> None:
    model, batch = small_model(), small_batch([20, 31, 9], [6, 9, 4])
    with torch.no_grad():
        found = model.explain(batch)
        starts = torch.tensor([3, 19, 0])
        audio, target, decoded = model._windows(batch, found, starts)
    size = 12 * MEL.hop
    for i, start in enumerate(starts.tolist()):
        real = min(12, int(batch.mel_lengths[i]) - start)
        begin = start * MEL.hop
        wanted = batch.audio[i, begin : begin + real * MEL.hop]
        assert torch.equal(audio[i, : real * MEL.hop], wanted)
        mel = model.log_mel.of_magnitudes(found.spectrogram[i, :, start : start + real])
        torch.testing.assert_close(target[i, :, :real], mel)
        # An utterance shorter than the window goes on in silence, and so does its copy.
        assert not audio[i, real * MEL.hop :].any()
        assert not decoded[i, real * MEL.hop :].any()
    assert decoded.shape == audio.shape == (3, size)


def test_a_segment_is_explained_as_a_part_of_its_utterance() -> None:
    """The same durations, its own magnitudes, pitch and audio, and the prior laid out there."""
    model = small_model(**MEL_LATENTS, segment_frames=16)
    batch = small_batch([20, 31, 11], [6, 9, 4], fill=math.nan)
    with torch.no_grad():
        whole, found = model.explain(batch), model.explain(batch, segment=16)
        audio, _, _ = model._windows(batch, found, torch.tensor([2, 0, 1]))
    assert torch.equal(found.durations, whole.durations)
    assert found.latent.shape == found.flowed.shape == (3, 8, 16)
    assert found.lengths.tolist() == [16, 16, 10], "whole groups of the frame prior"
    for i, start in enumerate(found.starts.tolist()):
        there = slice(start, start + int(found.lengths[i]))
        part = slice(0, int(found.lengths[i]))
        assert 0 <= start <= int(batch.mel_lengths[i]) - int(found.lengths[i])
        assert torch.equal(found.spectrogram[i, :, part], whole.spectrogram[i, :, there])
        assert torch.equal(found.pitch[i, part], batch.pitch[i, there])
        first = (start + [2, 0, 1][i]) * MEL.hop
        assert torch.equal(audio[i, : 8 * MEL.hop], batch.audio[i, first : first + 8 * MEL.hop])
    # Of utterances that it holds a segment is the whole.
    short = small_batch([12, 9], [6, 4])
    silent = (torch.zeros(2, 8, 12), torch.zeros(2, 12 * MEL.hop))
    logs = []
    for segment in (0, 12):
        generator = torch.Generator().manual_seed(1)
        found = model.explain(short, segment=segment, generator=generator)
        logs.append(losses(model, short, found, silent)[1])
    for key in ("kl", "pitch_nats"):
        torch.testing.assert_close(logs[0][key], logs[1][key])


def test_a_speaker_is_heard_while_training_and_met_in_conversion() -> None:
    model, batch = small_model(**PITCH), small_batch([20, 31], [6, 9], fill=math.nan)
    for step in range(3):
        for _ in model.steps(batch, step):
            pass
    for i, frames in enumerate((20, 31)):
        voiced = batch.pitch[i, :frames]
        voiced = voiced[voiced > 0]
        assert float(model.speaker_pitch.mean[i]) == pytest.approx(
            float(voiced.log().mean()), abs=1e-4
        )
    pitch = torch.where(batch.pitch > 0, batch.pitch, 0.0)
    said = model.speaker_pitch.moved(pitch, torch.tensor([0, 1]), torch.tensor([1, 0]))
    assert torch.equal(said > 0, pitch > 0)
    assert 190 < float(said[0][said[0] > 0].mean()) < 240
    assert 90 < float(said[1][said[1] > 0].mean()) < 140


def test_durations_may_be_learnt_every_other_step() -> None:
    model, batch = small_model(duration_turns=2), small_batch([20, 31], [6, 9])
    for step, learns in ((0, True), (1, False), (2, True)):
        model.zero_grad(set_to_none=True)
        *_, (_, loss, logs) = model.steps(batch, step)
        loss.backward()
        assert ("duration" in logs) == learns
        assert any(p.grad is not None for p in model.durations.parameters()) == learns


def test_the_divergence_gains_its_weight_in_a_straight_line() -> None:
    batch, weights = small_batch([20, 31], [6, 9]), []
    for step, steps in ((0, 4), (1, 4), (7, 4), (0, 0)):
        losses = []
        for kl_weight in (0.0, 3.0):
            model = small_model(kl_steps=steps, kl_weight=kl_weight, adversarial_from=100)
            torch.manual_seed(2)
            ((_, loss, logs),) = model.steps(batch, step)
            losses.append(float(loss.detach()))
        weights.append((losses[1] - losses[0]) / float(logs["kl"].detach()) / 3.0)
    assert weights == pytest.approx([0.25, 0.5, 1.0, 1.0], abs=1e-3)


def test_discriminators_take_turns() -> None:
    model, batch = small_model(turns=2), small_batch([20, 31], [6, 9])
    seen = []
    for step in (4, 5):
        model.zero_grad(set_to_none=True)
        _, loss, _ = next(model.steps(batch, step))
        loss.backward()
        members = model.discriminators.members
        seen.append([any(p.grad is not None for p in member.parameters()) for member in members])
    assert seen == [[True, False], [False, True]]


def test_utterances_shorter_than_the_window_train() -> None:
    model, batch = small_model(), small_batch([9, 5], [6, 4])
    for _, loss, logs in model.steps(batch, 0):
        loss.backward()
        assert all(math.isfinite(float(value.detach())) for value in logs.values())
    assert all(math.isfinite(float(value)) for value in model.validate(batch).values())


def test_window_reads_nothing_beyond_a_length() -> None:
    x = torch.arange(20.0).view(2, 1, 10)
    x[1, :, 6:] = math.nan
    cut = window(x, torch.tensor([2, 4]), 4, torch.tensor([10, 6]))
    assert cut[:, 0].tolist() == [[2, 3, 4, 5], [14, 15, 0, 0]]


def test_alignment_comes_first_when_asked() -> None:
    model = small_model(align_on="mel", alignment_steps=2)
    batch = small_batch([20, 31], [6, 9])
    (name, loss, logs), *rest = list(model.steps(batch, 1))
    assert (name, rest) == ("generator", [])
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(logs["mel_nats"].detach()))
    assert model.encoder.embed.weight.grad is not None
    assert model.posterior.end.weight.grad is None
    assert [name for name, _, _ in model.steps(batch, 2)] == ["discriminator", "generator"]


def test_a_decoder_that_rests_learns_nothing() -> None:
    """Nor does the posterior, and the prior learns from it as it learns beside the decoder."""
    model, batch = small_model(**MEL_LATENTS, decoder_from=3), small_batch([20, 31], [6, 9])
    (name, loss, logs), *rest = list(model.steps(batch, 2))
    assert (name, rest) == ("generator", [])
    assert "mel" not in logs
    loss.backward()
    for part in (model.posterior, model.decoder):
        assert all(parameter.grad is None for parameter in part.parameters())
    for part in (model.flow, model.frame_prior, model.encoder, model.durations):
        assert any(parameter.grad is not None for parameter in part.parameters())
    assert len(list(model.steps(batch, 3))) == 2


def test_new_latents_are_the_log_mels() -> None:
    """A new posterior draws them with the noise that was asked for; a new flow keeps them."""
    torch.manual_seed(0)
    settings = {**SMALL, **MEL_LATENTS, "latent_noise": 0.1}
    model, batch = VITS(Config(**settings)), small_batch([200, 150], [6, 9])
    with torch.no_grad():
        found = model.explain(batch)
    assert torch.equal(found.flowed, found.latent)
    mel = model.log_mel.of_magnitudes(found.spectrogram)
    noise = (found.latent - mel)[found.latent != 0]
    assert float(noise.std()) == pytest.approx(0.1, rel=0.05)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(found.prior.mean.abs().max()) == 0


def test_the_frame_prior_inverts_and_says_what_it_does_to_volumes() -> None:
    prior = small_model(**MEL_LATENTS).double().frame_prior
    held, bells = (torch.randn(1, n, 6, dtype=torch.float64) for n in (8, 37))
    mask = torch.ones(1, 1, 6, dtype=torch.bool)
    u = torch.randn(1, 8, 6, dtype=torch.float64)

    def image(flat: torch.Tensor) -> torch.Tensor:
        condition = prior.pitch(bells)
        return prior.flow.call_and_ladj(flat.view(1, 8, 6), mask, condition)[0].flatten()

    mean, latent, ladj = prior(u, held, bells, mask)
    jacobian = torch.autograd.functional.jacobian(image, (u - mean.detach()).flatten())
    torch.testing.assert_close(ladj, torch.linalg.slogdet(jacobian)[1][None])
    assert float(ladj.detach().abs()) > 0.1
    torch.testing.assert_close(prior.inverse(latent, held, bells, mask), u)


@pytest.mark.parametrize("told", [False, True])
def test_a_glow_tts_is_a_frame_prior(told: bool) -> None:
    """It says of log-mels what it says as a model of its own: of each speaker where the prior is
    told, else of the average one.
    """
    from glottis.models import glow_tts

    torch.manual_seed(0)
    sizes = {"channels": 12, "filter_channels": 16, "encoder_layers": 2, "pitch_channels": 4}
    frames = {"regression_layers": 1, "regression_channels": 8, "regression_hidden": 8}
    theirs = glow_tts.GlowTTS(
        glow_tts.Config(
            symbols=40,
            speakers=2,
            speaker_channels=4,
            pitch=True,
            blocks=2,
            block_channels=4,
            block_layers=1,
            block_kernel=3,
            mel=MEL,
            **sizes,  # type: ignore[arg-type]
            **frames,  # type: ignore[arg-type]
        )
    ).eval()
    with torch.no_grad():
        if not told:
            theirs.speakers.weight[1] = theirs.speakers.weight[0]
        for parameter in theirs.decoder.couplings.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        for norm in theirs.decoder.norms:
            norm.initialized.fill_(True)
    changes: dict[str, object] = {"encoder_channels": 12, "encoder_prenet": True}
    changes["encoder_layers"] = 2
    if told:
        changes |= {"condition_prior": True, "centred_flow": True}
    ours = small_model(**MEL_LATENTS, **changes, unit_speakers=True)
    taken = ours.adapted(theirs.state_dict())
    own = ours.state_dict()
    fitting = {k: v for k, v in taken.items() if k in own and own[k].shape == v.shape}
    anew = {k for k in own if k.startswith("frame_prior.") and k not in fitting}
    assert anew == {"frame_prior.log_scale"}
    ours.load_state_dict(fitting, strict=False)
    batch = replace(small_batch([20, 30], [6, 9]), speaker=torch.tensor([0, 1]))
    with torch.no_grad():
        ours.speakers.weight[:2] = theirs.speakers.weight
        speaker = ours.embed(batch.speaker)
        wanted = theirs.align(batch)
        prior, _ = ours.read(batch)
        mask = mask_from_lengths(batch.mel_lengths, 30)
        bells = pitch_bells(*recorded_pitch(torch.where(mask.squeeze(1), batch.pitch, 0.0)))
        held = expand(ours.frame_prior.start(prior.hidden, speaker), wanted.durations, 30)
        expected, latent, ladj = ours.frame_prior(batch.mel, held, bells, mask, speaker)
        # A posterior without width: its entropy is known, and what is left is the density.
        narrow = torch.full_like(latent, -20.0)
        mean, scale = (expand(x, wanted.durations, 30) for x in (prior.mean, prior.log_scale))
        divergence = kl_from_draw(latent, narrow, mean, scale, mask, ladj)
    entropy = 8 * (-20.0 + 0.5 + 0.5 * math.log(2 * math.pi))
    cross = wanted.log_likelihood.sum() / mask.sum()
    torch.testing.assert_close(divergence, -entropy - cross, rtol=1e-5, atol=1e-4)
    error = (batch.mel - expected)[mask.expand_as(expected)].square().mean()
    square = -wanted.regression_log_likelihood.sum() / mask.sum() / 8 - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(0.5 * error, square)
    assert small_model().adapted(taken) is taken


def test_discriminators_join_when_told() -> None:
    model = small_model(adversarial_from=3, spectral_weight=1.0, window_frames=16)
    batch = small_batch([20], [6])
    (name, _, logs), *rest = list(model.steps(batch, 2))
    assert (name, rest) == ("generator", [])
    assert "spectral" in logs
    assert "adversarial" not in logs
    assert len(list(model.steps(batch, 3))) == 2


def test_validation_does_not_move() -> None:
    model, batch = small_model(), small_batch([20, 31], [6, 9])
    one, two = model.validate(batch), model.validate(batch)
    assert {"mel", "kl", "coverage", "diagonality"} <= set(one)
    for key in ("mel", "kl", "coverage"):
        assert torch.equal(one[key], two[key])
    path = model.show(batch)["alignment"]
    assert path.shape == (6, 20)
    assert torch.equal(path.sum(0), torch.ones(20, dtype=torch.long))


def test_what_does_not_fit_is_refused() -> None:
    model = small_model()
    with pytest.raises(InputError, match=r"u1.*9 tokens.*8 frames.*blanks=false"):
        model.explain(small_batch([20, 8], [6, 9]))
    with pytest.raises(ValueError, match="3 speakers"):
        model.synthesize(torch.ones(1, 3, dtype=torch.long), torch.tensor([3]))
    with pytest.raises(ValueError, match="utterances_with_audio"):
        model.explain(replace(small_batch([20], [6]), audio=None))
    with pytest.raises(InputError, match="hop"):
        Config(upsample_rates=(8, 8))
    with pytest.raises(InputError, match="even"):
        Config(latent=9)
    with pytest.raises(InputError, match="discriminator"):
        Config(periods=(), waveform_channels=())
    with pytest.raises(InputError, match="align_on"):
        Config(alignment_steps=5)
    with pytest.raises(InputError, match=r"segment_frames.*align_on"):
        Config(segment_frames=64)
    with pytest.raises(InputError, match="condition_prior .* takes centred_flow"):
        Config(**{**MEL_LATENTS, "latent": 80, "condition_prior": True})
    with pytest.raises(InputError, match=r"regression_layers.*align_on"):
        Config(regression_layers=2)
    with pytest.raises(InputError, match=r"centred_flow.*flow_transformer_layers"):
        Config(centred_flow=True, flow_transformer_layers=1, align_on="mel")
    with pytest.raises(InputError, match=r"prior_blocks.*regression_layers"):
        Config(prior_blocks=2, align_on="mel")
    with pytest.raises(InputError, match="latent_noise must be above 0 nepers, not 0"):
        Config(latent_noise=0)
    with pytest.raises(InputError, match=r"mel_latents needs latent: 80.*log_mels.*latent: 192"):
        Config(mel_latents=True)
    with pytest.raises(InputError, match=r"segment_frames 20.*window_frames 32"):
        Config(segment_frames=20, align_on="mel")
    with pytest.raises(InputError, match=r"pitch.*decoder=istft"):
        Config(pitch=True)
    with pytest.raises(InputError, match="turns must be 1 to 6, not 7"):
        Config(turns=7)
    with pytest.raises(InputError, match="duration_turns"):
        Config(duration_turns=0)
    with pytest.raises(ValueError, match="told the pitch"):
        small_model(**PITCH).explain(replace(small_batch([20], [6]), pitch=None))
