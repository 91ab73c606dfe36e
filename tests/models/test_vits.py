"""VITS: its parts are what the equations say, whatever stands in padding."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from glottis.alignment import expand
from glottis.audio.mel import MelConfig
from glottis.blocks.lengths import mask_from_lengths, window
from glottis.blocks.pitch import pitch_bells, recorded_pitch
from glottis.corpus.batches import UtteranceBatch
from glottis.errors import InputError
from glottis.likelihood.divergence import kl_from_draw
from glottis.likelihood.flows import ActNorm
from glottis.likelihood.lattice import GaussianLattice
from glottis.models.vits import VITS, Config
from glottis.models.vits.losses import losses

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
        "content_layers": 1,
        "content_frames": 16,
        "content_steps": 0,
    },
    "taken": {"encoder_channels": 12, "encoder_prenet": True, "unit_speakers": True},
}
ALL = pytest.mark.parametrize("changes", list(MORE.values()), ids=list(MORE))


def _model(**changes: object) -> VITS:
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


def _batch(frames: list[int], texts: list[int], fill: float = 0.0) -> UtteranceBatch:
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


def _part(batch: UtteranceBatch, i: int) -> UtteranceBatch:
    """One utterance by itself."""
    rows = {
        name: value[i : i + 1]
        for name, value in vars(batch).items()
        if isinstance(value, (torch.Tensor, list))
    }
    return replace(batch, **rows).first()


@ALL
def test_an_utterance_does_not_depend_on_its_batch(changes: dict) -> None:
    model = _model(**{**changes, "alignment_noise": 0.0})
    batch = _batch([20, 31, 14], [6, 9, 4], fill=math.nan)
    torch.manual_seed(0)
    with torch.no_grad():
        found = model.explain(batch)
        for i in range(3):
            alone = _part(batch, i)
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
        model, batch = _model(**changes), _batch([20, 31, 9], [6, 9, 4], fill)
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
    model, batch = _model(**changes), _batch([20, 31], [6, 9])
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
    model = _model(**changes).double()
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
    model = _model()
    batch = _batch([9], [3])
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
        model = _model(**changes)
        latent, speaker = torch.randn(1, 8, 60), model.embed(torch.tensor([2]))
        with torch.no_grad():
            whole = model.decode(latent, speaker)
            part = model.decode(latent[..., 10:50], speaker)
        inside = slice(reach * MEL.hop, (40 - reach) * MEL.hop)
        wanted = whole[:, 10 * MEL.hop : 50 * MEL.hop]
        torch.testing.assert_close(part[:, inside], wanted[:, inside], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(part[:, : MEL.hop], wanted[:, : MEL.hop], atol=1e-5)


def test_training_windows_are_pieces_of_the_utterances() -> None:
    model, batch = _model(), _batch([20, 31, 9], [6, 9, 4])
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
    model = _model(**MEL_LATENTS, segment_frames=16)
    batch = _batch([20, 31, 11], [6, 9, 4], fill=math.nan)
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
    short = _batch([12, 9], [6, 4])
    silent = (torch.zeros(2, 8, 12), torch.zeros(2, 12 * MEL.hop))
    logs = []
    for segment in (0, 12):
        generator = torch.Generator().manual_seed(1)
        found = model.explain(short, segment=segment, generator=generator)
        logs.append(losses(model, short, found, silent)[1])
    for key in ("kl", "pitch_nats"):
        torch.testing.assert_close(logs[0][key], logs[1][key])


@ALL
def test_an_utterance_sounds_the_same_beside_a_longer_one(changes: dict) -> None:
    """Decoders have biases: what they make of frames behind an end must not be heard before it."""
    model, batch = _model(**changes), _batch([20, 31], [6, 9])
    durations = torch.tensor([[3, 1, 2, 4, 2, 3, 0, 0, 0], [2, 3, 4, 5, 2, 3, 4, 1, 6]])

    def speak(batch: UtteranceBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        held = durations[: len(batch.names), : batch.text.shape[1]]
        return model.synthesize(
            *(batch.text, batch.text_lengths, batch.speaker, batch.language),
            temperature=0.0,
            durations=held,
        )

    def convert(batch: UtteranceBatch) -> torch.Tensor:
        return model.convert(
            *(batch.audio, batch.mel_lengths * MEL.hop, batch.speaker, 2 - batch.speaker),
            pitch=batch.pitch if model.config.pitch else None,
            temperature=0.0,
        )

    together, lengths, _ = speak(batch)
    alone, length, _ = speak(_part(batch, 0))
    assert int(lengths[0]) == int(length[0]) == alone.shape[1] == 15 * MEL.hop
    torch.testing.assert_close(together[:1, : alone.shape[1]], alone, rtol=0.0, atol=1e-5)
    assert not together[0, alone.shape[1] :].any()
    alone = convert(_part(batch, 0))
    torch.testing.assert_close(convert(batch)[:1, : alone.shape[1]], alone, rtol=0.0, atol=1e-5)


def test_a_speaker_is_heard_while_training_and_met_in_conversion() -> None:
    model, batch = _model(**PITCH), _batch([20, 31], [6, 9], fill=math.nan)
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


def test_a_decoder_follows_the_pitch_that_it_is_told() -> None:
    """A network that says nothing of phases is heard to repeat at the period of the pitch."""
    model, frames = _model(**PITCH), 40
    latent, speaker = torch.zeros(1, 8, frames), model.embed(torch.tensor([0]))
    inside = slice(8 * MEL.hop, 30 * MEL.hop)

    def repeats(samples: torch.Tensor, lag: int) -> float:
        later = samples[0, inside.start + lag : inside.stop + lag]
        return float(torch.nn.functional.cosine_similarity(samples[0, inside], later, dim=0))

    with torch.no_grad():
        model.decoder.head.project.weight.zero_()
        model.decoder.head.project.bias.zero_()
        for period, other in ((105, 70), (70, 105)):
            pitch = torch.full((1, frames), MEL.sample_rate / period)
            samples = model.decode(latent, speaker, pitch)
            assert repeats(samples, period) > 0.95
            assert repeats(samples, other) < 0.5
    with pytest.raises(ValueError, match="told the pitch"):
        model.decode(latent, speaker)


def test_durations_may_be_learnt_every_other_step() -> None:
    model, batch = _model(duration_turns=2), _batch([20, 31], [6, 9])
    for step, learns in ((0, True), (1, False), (2, True)):
        model.zero_grad(set_to_none=True)
        *_, (_, loss, logs) = model.steps(batch, step)
        loss.backward()
        assert ("duration" in logs) == learns
        assert any(p.grad is not None for p in model.durations.parameters()) == learns


def test_the_divergence_gains_its_weight_in_a_straight_line() -> None:
    batch, weights = _batch([20, 31], [6, 9]), []
    for step, steps in ((0, 4), (1, 4), (7, 4), (0, 0)):
        losses = []
        for kl_weight in (0.0, 3.0):
            model = _model(kl_steps=steps, kl_weight=kl_weight, adversarial_from=100)
            torch.manual_seed(2)
            ((_, loss, logs),) = model.steps(batch, step)
            losses.append(float(loss.detach()))
        weights.append((losses[1] - losses[0]) / float(logs["kl"].detach()) / 3.0)
    assert weights == pytest.approx([0.25, 0.5, 1.0, 1.0], abs=1e-3)


def test_discriminators_take_turns() -> None:
    model, batch = _model(turns=2), _batch([20, 31], [6, 9])
    seen = []
    for step in (4, 5):
        model.zero_grad(set_to_none=True)
        _, loss, _ = next(model.steps(batch, step))
        loss.backward()
        members = model.discriminators.members
        seen.append([any(p.grad is not None for p in member.parameters()) for member in members])
    assert seen == [[True, False], [False, True]]


def test_utterances_shorter_than_the_window_train() -> None:
    model, batch = _model(), _batch([9, 5], [6, 4])
    for _, loss, logs in model.steps(batch, 0):
        loss.backward()
        assert all(math.isfinite(float(value.detach())) for value in logs.values())
    assert all(math.isfinite(float(value)) for value in model.validate(batch).values())


def test_window_reads_nothing_beyond_a_length() -> None:
    x = torch.arange(20.0).view(2, 1, 10)
    x[1, :, 6:] = math.nan
    cut = window(x, torch.tensor([2, 4]), 4, torch.tensor([10, 6]))
    assert cut[:, 0].tolist() == [[2, 3, 4, 5], [14, 15, 0, 0]]


@pytest.mark.parametrize("changes", [{}, WAVES, PITCH], ids=["istft", "hifi_gan", "pitch"])
def test_conversion_to_the_same_speaker_is_reconstruction(changes: dict) -> None:
    model, batch = _model(**changes), _batch([20, 31], [6, 9])
    lengths = batch.mel_lengths * MEL.hop

    def converted(target: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(4)
        return model.convert(
            batch.audio, lengths, batch.speaker, target, pitch=batch.pitch, generator=generator
        )

    with torch.no_grad():
        speaker = model.embed(batch.speaker)
        generator = torch.Generator().manual_seed(4)
        found = model.explain(batch, generator=generator)
        copy = model.decode(found.latent, speaker, found.pitch, batch.mel_lengths)
    torch.testing.assert_close(converted(batch.speaker), copy, atol=1e-4, rtol=1e-4)
    other = converted((batch.speaker + 1) % 3)
    assert other.shape == copy.shape
    assert not torch.allclose(other, copy, atol=1e-2)


def test_durations_are_drawn_from_the_generator_and_calm_without_noise() -> None:
    model, batch = _model(), _batch([20, 31], [6, 9])

    def drawn(seed: int, temperature: float) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        _, lengths, durations = model.synthesize(
            batch.text,
            batch.text_lengths,
            batch.speaker,
            duration_temperature=temperature,
            generator=generator,
        )
        assert torch.equal(lengths, durations.sum(1) * MEL.hop)
        inside = mask_from_lengths(batch.text_lengths, 9).squeeze(1)
        assert torch.equal(durations > 0, inside)
        return durations.tolist()

    assert drawn(1, 1.0) == drawn(1, 1.0)
    assert drawn(1, 1.0) != drawn(2, 1.0)
    assert drawn(1, 0.0) == drawn(2, 0.0)


def test_synthesis_lays_the_prior_out_along_given_durations() -> None:
    model, batch = _model(), _batch([20], [6])
    given = torch.tensor([[3, 1, 2, 4, 1, 5]])
    samples, lengths, _ = model.synthesize(
        batch.text, batch.text_lengths, batch.speaker, durations=given, temperature=0.0
    )
    speaker = model.embed(batch.speaker)
    with torch.no_grad():
        prior = model._prior(batch.text, batch.text_lengths, batch.speaker, None)
        mask = torch.ones(1, 1, 16, dtype=torch.bool)
        latent = model.flow.inverse(expand(prior.mean, given), mask, speaker)
        wanted = model.decode(latent, speaker)
    assert lengths.tolist() == [16 * MEL.hop]
    torch.testing.assert_close(samples, wanted)


@ALL
@pytest.mark.parametrize("blanks", [True, False])
def test_the_graph_says_what_torch_says(changes: dict, blanks: bool) -> None:
    """The exported module beside the model, whose noise is taken from the same seed."""
    from glottis.blocks.noise import normal_from_seed

    model = _model(**changes, blanks=blanks)
    text = torch.tensor([[1, 0, 7, 0, 9, 0, 9, 0, 2]])
    read = text if blanks else text[text != 0][None]
    scales, seed = torch.tensor([0.6, 1.3, 0.9]), torch.tensor([5])
    speaker = torch.tensor([1])
    with torch.no_grad():
        wanted, durations = model.generate(
            read,
            torch.tensor([read.shape[1]]),
            speaker,
            None,
            scales,
            lambda channels, steps, stream: normal_from_seed(seed, steps, channels, stream),
        )
        graph = model.export_graph().eval()
        samples, kept = graph(text, torch.tensor([9]), scales, speaker, seed)
    torch.testing.assert_close(samples, wanted, atol=1e-4, rtol=1e-4)
    assert kept.shape == text.shape
    assert torch.equal(kept[kept > 0], durations[0])
    assert samples.shape == (1, int(durations.sum()) * MEL.hop)


@ALL
def test_a_beginning_is_made_as_it_is_in_the_whole(changes: dict) -> None:
    """However many frames are asked for: nothing that is heard knows where the making ended."""
    model = _model(**changes)
    graph = model.export_graph().eval()
    if not graph.partial:
        assert model.config.flow_transformer_layers, "a transformer alone sees everything"
        return
    text = torch.randint(3, 30, (1, 80), generator=torch.Generator().manual_seed(0))
    scales = torch.tensor([0.6, 6.0, 0.5])
    told = (text, torch.tensor([80]), scales, torch.tensor([1]), torch.tensor([5]))
    with torch.no_grad():
        whole, durations = graph(*told)
        total = whole.shape[1] // MEL.hop
        assert total > 200
        for frames in (1, 2, 31, 120, total - 1, total, total + 1):
            begun, same = graph(*told, frames=torch.tensor([frames]))
            assert torch.equal(same, durations)
            assert begun.shape[1] == min(frames, total) * MEL.hop
            torch.testing.assert_close(begun, whole[:, : begun.shape[1]], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("changes", [{}, PITCH], ids=["plain", "pitch"])
def test_making_a_graph_leaves_the_model_as_it_was(changes: dict) -> None:
    from glottis.export import conversion_graph, voice_graph

    model, batch = _model(**changes), _batch([20], [6])
    lengths = batch.mel_lengths * MEL.hop
    arguments = (batch.audio, lengths, batch.speaker, batch.speaker + 1)
    before = model.convert(*arguments, pitch=batch.pitch, temperature=0.0)
    names = set(model.state_dict())
    voice_graph(model, None)
    graph = conversion_graph(model)
    assert set(model.state_dict()) == names
    assert torch.equal(model.convert(*arguments, pitch=batch.pitch, temperature=0.0), before)
    magnitudes = model.log_mel.magnitudes(batch.audio, lengths)
    with torch.no_grad():
        speakers = (batch.speaker, batch.speaker + 1)
        found = graph(magnitudes, *speakers, torch.zeros(1), torch.tensor([1]), batch.pitch)
    torch.testing.assert_close(found, before.clamp(-1, 1), atol=1e-4, rtol=1e-3)


def test_the_language_is_the_speakers_own_unless_named() -> None:
    model, batch = _model(languages=2), _batch([20, 31], [6, 9])
    for _ in model.steps(batch, 0):
        pass
    assert model.speaker_language.tolist() == [0, 1, 0]

    def mean(language: torch.Tensor | None) -> torch.Tensor:
        with torch.no_grad():
            return model._prior(batch.text, batch.text_lengths, batch.speaker, language).mean

    assert torch.equal(mean(None), mean(torch.tensor([0, 1])))
    assert not torch.allclose(mean(None), mean(torch.tensor([1, 0])))


def test_alignment_comes_first_when_asked() -> None:
    model = _model(align_on="mel", alignment_steps=2)
    batch = _batch([20, 31], [6, 9])
    (name, loss, logs), *rest = list(model.steps(batch, 1))
    assert (name, rest) == ("generator", [])
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(logs["mel_nats"].detach()))
    assert model.encoder.embed.weight.grad is not None
    assert model.posterior.end.weight.grad is None
    assert [name for name, _, _ in model.steps(batch, 2)] == ["discriminator", "generator"]


def test_a_decoder_that_rests_learns_nothing() -> None:
    """Nor does the posterior, and the prior learns from it as it learns beside the decoder."""
    model, batch = _model(**MEL_LATENTS, decoder_from=3), _batch([20, 31], [6, 9])
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
    model, batch = VITS(Config(**settings)), _batch([200, 150], [6, 9])
    with torch.no_grad():
        found = model.explain(batch)
    assert torch.equal(found.flowed, found.latent)
    mel = model.log_mel.of_magnitudes(found.spectrogram)
    noise = (found.latent - mel)[found.latent != 0]
    assert float(noise.std()) == pytest.approx(0.1, rel=0.05)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(found.prior.mean.abs().max()) == 0


def test_the_frame_prior_inverts_and_says_what_it_does_to_volumes() -> None:
    prior = _model(**MEL_LATENTS).double().frame_prior
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
    ours = _model(**MEL_LATENTS, **changes, unit_speakers=True)
    taken = ours.adapted(theirs.state_dict())
    own = ours.state_dict()
    fitting = {k: v for k, v in taken.items() if k in own and own[k].shape == v.shape}
    anew = {k for k in own if k.startswith("frame_prior.") and k not in fitting}
    assert anew == {"frame_prior.log_scale"}
    ours.load_state_dict(fitting, strict=False)
    batch = replace(_batch([20, 30], [6, 9]), speaker=torch.tensor([0, 1]))
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
    assert _model().adapted(taken) is taken


def test_discriminators_join_when_told() -> None:
    model = _model(adversarial_from=3, spectral_weight=1.0, window_frames=16)
    batch = _batch([20], [6])
    (name, _, logs), *rest = list(model.steps(batch, 2))
    assert (name, rest) == ("generator", [])
    assert "spectral" in logs
    assert "adversarial" not in logs
    assert len(list(model.steps(batch, 3))) == 2


def test_validation_does_not_move() -> None:
    model, batch = _model(), _batch([20, 31], [6, 9])
    one, two = model.validate(batch), model.validate(batch)
    assert {"mel", "kl", "coverage", "diagonality"} <= set(one)
    for key in ("mel", "kl", "coverage"):
        assert torch.equal(one[key], two[key])
    path = model.show(batch)["alignment"]
    assert path.shape == (6, 20)
    assert torch.equal(path.sum(0), torch.ones(20, dtype=torch.long))


def test_what_does_not_fit_is_refused() -> None:
    model = _model()
    with pytest.raises(InputError, match=r"u1.*9 tokens.*8 frames.*blanks=false"):
        model.explain(_batch([20, 8], [6, 9]))
    with pytest.raises(ValueError, match="3 speakers"):
        model.synthesize(torch.ones(1, 3, dtype=torch.long), torch.tensor([3]))
    with pytest.raises(ValueError, match="utterances_with_audio"):
        model.explain(replace(_batch([20], [6]), audio=None))
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
        _model(**PITCH).explain(replace(_batch([20], [6]), pitch=None))
