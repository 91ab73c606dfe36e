"""Grad-TTS: what surrounds an utterance does not matter, and settings do what they say."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from glottis.audio.mel import MelConfig
from glottis.blocks.blanks import fold_blanks
from glottis.blocks.pitch import pitch_bells
from glottis.blocks.score_network import LinearAttention
from glottis.corpus.batches import UtteranceBatch
from glottis.errors import InputError
from glottis.likelihood.diffusion import SOLVERS
from glottis.models.grad_tts import Config, GradTTS

MEL = MelConfig(mels=8)
SMALL = {
    "symbols": 40,
    "channels": 16,
    "filter_channels": 16,
    "encoder_layers": 1,
    "encoder_dropout": 0.0,
    "prenet_dropout": 0.0,
    "duration_channels": 8,
    "duration_dropout": 0.0,
    "score_channels": 8,
    "score_groups": 4,
    "segment_frames": 16,
    "speaker_channels": 4,
    "n_timesteps": 2,
    "mel": MEL,
}


def _model(**changes: object) -> GradTTS:
    torch.manual_seed(0)
    model = GradTTS(Config(**{**SMALL, **changes}))  # type: ignore[arg-type]
    # Some parts start at zero; a law that holds without them would prove little.
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LinearAttention):
                module.gain.fill_(0.02)
        assert model.encoder.prenet is not None
        model.encoder.prenet.project.weight.normal_(std=0.1)
        # An untrained score that is large leads a solver away.
        model.score.project.weight.mul_(0.01)
        if model.score.pitch is not None:
            model.score.pitch.weight.normal_(std=0.1)
    return model.eval()


def _batch(lengths: list[int], texts: list[int], fill: float = 0.0) -> UtteranceBatch:
    """With pitch, which models that are not told it do not look at."""
    generator = torch.Generator().manual_seed(1)
    pitch = torch.full((len(lengths), max(lengths)), fill)
    text = torch.zeros(len(texts), max(texts), dtype=torch.long)
    mel = torch.full((len(lengths), MEL.mels, max(lengths)), fill)
    for i, (frames, tokens) in enumerate(zip(lengths, texts, strict=True)):
        text[i, :tokens] = torch.randint(1, 40, (tokens,), generator=generator)
        mel[i, :, :frames] = torch.randn(MEL.mels, frames, generator=generator) - 5
        pitch[i, :frames] = 200.0 * (torch.arange(frames) % 5 > 1)
    return UtteranceBatch(
        [f"u{i}" for i in range(len(lengths))],
        text,
        torch.tensor(texts),
        mel,
        torch.tensor(lengths),
        torch.arange(len(lengths)),
        pitch=pitch,
    )


@pytest.mark.parametrize("speakers", [1, 3])
def test_the_score_of_an_utterance_does_not_depend_on_its_batch(speakers: int) -> None:
    model = _model(speakers=speakers)
    lengths = torch.tensor([24, 13, 7])
    x, mean = torch.randn(2, 3, 8, 24)
    mask = (torch.arange(24) < lengths[:, None])[:, None]
    x, mean = torch.where(mask, x, math.nan), torch.where(mask, mean, math.nan)
    t = torch.tensor([0.9, 0.5, 0.01])
    given = model._speaker(torch.arange(3))
    with torch.no_grad():
        together = model.score(x, mean, t, mask, given)
        assert torch.equal(together[~mask.expand_as(x)], torch.zeros(((~mask) * 8).sum()))
        for i, length in enumerate(lengths.tolist()):
            padded = -(-length // 4) * 4
            alone = model.score(
                x[i : i + 1, :, :padded],
                mean[i : i + 1, :, :padded],
                t[i : i + 1],
                mask[i : i + 1, :, :padded],
                None if given is None else given[i : i + 1],
            )
            torch.testing.assert_close(
                together[i, :, :length], alone[0, :, :length], atol=1e-5, rtol=1e-4
            )


@pytest.mark.parametrize("predicts", ["score", "velocity"])
def test_what_is_learnt_is_what_is_asked_when_drawing(predicts: str) -> None:
    """With the network's answers replaced by the truth about one utterance, both losses vanish and
    every solver's last step ends in it."""
    model, batch = _model(predicts=predicts), _batch([16], [4])
    schedule = model.config.schedule

    def truth(x: torch.Tensor, mean: torch.Tensor, t: torch.Tensor, *_: object) -> torch.Tensor:
        decay, variance = (value.view(-1, 1, 1) for value in schedule.marginal(t))
        noise = (x - mean - decay * (batch.mel - mean)) / variance.sqrt()
        if predicts == "score":
            return -noise / variance.sqrt()
        return decay * noise - variance.sqrt() * (batch.mel - mean)

    model.score.forward = truth  # type: ignore[method-assign]
    with torch.no_grad():
        found = model.align(batch)
        _, logs = model._losses(batch, torch.Generator().manual_seed(0))
        assert float(logs["diffusion"]) < 1e-6
        drawn, _, _ = model.synthesize(
            batch.text, batch.text_lengths, durations=found.durations, solver="dpm2", n_timesteps=3
        )
    torch.testing.assert_close(drawn, batch.mel, atol=1e-3, rtol=1e-3)


def test_no_mask_is_a_mask_of_everything() -> None:
    model = _model()
    x, mean = torch.randn(2, 2, 8, 12)
    t = torch.tensor([0.2, 0.8])
    with torch.no_grad():
        torch.testing.assert_close(
            model.score(x, mean, t),
            model.score(x, mean, t, torch.ones(2, 1, 12, dtype=torch.bool)),
            atol=1e-5,
            rtol=1e-4,
        )


def test_attention_by_one_matrix_is_attention_written_out() -> None:
    torch.manual_seed(0)
    layer = LinearAttention(6, heads=2, size=4)
    with torch.no_grad():
        layer.gain.fill_(0.7)
    x = torch.randn(2, 6, 3, 5)
    query, key, value = layer.query_key_value(x).flatten(2).unflatten(1, (3, 2, 4)).unbind(1)
    context = key.softmax(-1) @ value.transpose(2, 3)
    attended = (context.transpose(2, 3) @ query).flatten(1, 2).view(2, 8, 3, 5)
    torch.testing.assert_close(layer(x, None), x + 0.7 * layer.out(attended))


def test_the_alignment_is_the_most_likely_one() -> None:
    model, batch = _model(), _batch([8], [4])
    with torch.no_grad():
        found = model.align(batch)
    scores = {}
    for ends in itertools.combinations(range(1, 8), 3):
        durations = torch.tensor([0, *ends, 8]).diff()
        index = torch.repeat_interleave(torch.arange(4), durations)
        density = torch.distributions.Normal(found.prior.mean[..., index], 1.0)
        scores[tuple(durations.tolist())] = float(density.log_prob(batch.mel).sum())
    assert tuple(found.durations[0].tolist()) == max(scores, key=scores.__getitem__)


@pytest.mark.parametrize("kind", ["gaussian", "l1", "l2", "none"])
def test_the_prior_loss_is_what_it_is_called(kind: str) -> None:
    model, batch = _model(prior_loss=kind), _batch([12, 9], [4, 3], fill=math.nan)
    logs = model.validate(batch)
    with torch.no_grad():
        found = model.align(batch)
    errors = []
    for i in range(2):
        frames = int(batch.mel_lengths[i])
        laid = torch.repeat_interleave(found.prior.mean[i], found.durations[i], dim=1)
        errors.append((batch.mel[i, :, :frames] - laid).flatten())
    error = torch.cat(errors)
    expected = {
        "gaussian": (0.5 * error.square() + 0.5 * math.log(2 * math.pi)).mean(),
        "l1": error.abs().mean(),
        "l2": error.square().mean(),
        "none": None,
    }[kind]
    if expected is None:
        assert "prior" not in logs
        torch.testing.assert_close(logs["loss"], logs["duration"] + logs["diffusion"])
    else:
        torch.testing.assert_close(logs["prior"], expected)
        total = logs["duration"] + logs["diffusion"] + logs["prior"]
        torch.testing.assert_close(logs["loss"], total)


@pytest.mark.parametrize("pitch", [False, True])
def test_losses_do_not_look_at_padding(pitch: bool) -> None:
    model = _model(pitch=pitch)
    one, two = (model.validate(_batch([33, 20], [6, 4], fill)) for fill in (0.0, math.nan))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name])


@pytest.mark.parametrize(("length", "drawn"), [(50, 16), (16, 16), (9, 9)])
def test_segments_lie_inside_and_reach_everywhere(length: int, drawn: int) -> None:
    model = _model()
    mel = torch.arange(50.0).expand(1, 8, 50)
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(400):
        both, lengths = model._segment(
            torch.cat([mel, mel + 100], dim=1), torch.tensor([length]), generator
        )
        part, mean = both.split(8, dim=1)
        assert int(lengths) == drawn
        assert part.shape[2] % 4 == 0
        frames = part[0, 0, :drawn]
        assert torch.equal(frames.diff(), torch.ones(drawn - 1))
        assert torch.equal(mean[0, 0, :drawn], frames + 100)
        assert float(frames[-1]) < length
        seen.add(int(frames[0]))
    assert seen == set(range(length - drawn + 1))


def test_given_durations_are_used_and_checked() -> None:
    model = _model(durations="given")
    batch = _batch([12], [7])
    with pytest.raises(InputError, match=r"training\.durations"):
        model.align(batch)
    batch.text[0] = torch.tensor([1, 0, 5, 0, 6, 0, 2])
    given = torch.tensor([[1, 2, 3, 0, 4, 0, 2]])
    whole = UtteranceBatch(**{**vars(batch), "durations": given})
    assert model.align(whole).durations.tolist() == [[3, 3, 4, 2]]
    assert _model(durations="given", blanks=True).align(whole).durations.equal(given)
    with pytest.raises(InputError, match="u0: the durations sum to 12 of 13 frames"):
        model.align(UtteranceBatch(**{**vars(whole), "mel_lengths": torch.tensor([13])}))


def test_folding_keeps_every_frame() -> None:
    text = torch.tensor([[0, 3, 0, 4, 0, 0], [5, 6, 0, 0, 0, 0]])
    durations = torch.tensor([[1, 2, 3, 4, 5, 9], [1, 2, 0, 7, 7, 7]])
    folded = fold_blanks(durations, text, torch.tensor([5, 3]))
    assert folded.tolist() == [[6, 9], [1, 2]]


@pytest.mark.parametrize("rounding", ["sums", "up"])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.3])
def test_durations_are_whole_frames_at_every_rate(rounding: str, scale: float) -> None:
    model = _model(duration_rounding=rounding)
    with torch.no_grad():
        model.encoder.durations.project.bias.fill_(1.0)
    batch = _batch([20, 20], [6, 9])
    mel, lengths, durations = model.synthesize(batch.text, batch.text_lengths, length_scale=scale)
    assert durations.dtype == torch.long
    assert torch.equal(lengths, durations.sum(1))
    assert mel.shape == (2, 8, int(lengths.max()))
    assert torch.isfinite(mel).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_same_generator_same_mel_and_temperature_is_the_noise(solver: str) -> None:
    model = _model(speakers=2, solver=solver, n_timesteps=8)
    batch = _batch([20], [6])
    given = torch.full((1, 6), 3)

    def draw(seed: int, temperature: float) -> torch.Tensor:
        return model.synthesize(
            batch.text,
            batch.text_lengths,
            torch.tensor([1]),
            durations=given,
            temperature=temperature,
            generator=torch.Generator().manual_seed(seed),
        )[0]

    assert torch.equal(draw(5, 1.0), draw(5, 1.0))
    assert not torch.allclose(draw(5, 1.0), draw(6, 1.0))
    assert torch.equal(draw(5, 0.0), draw(6, 0.0))


def test_speakers_differ_and_must_be_named() -> None:
    model, batch = _model(speakers=2), _batch([20], [6])
    with pytest.raises(ValueError, match="2 speakers"):
        model.synthesize(batch.text, batch.text_lengths)
    with pytest.raises(ValueError, match="speakers"):
        model.score(torch.zeros(1, 8, 4), torch.zeros(1, 8, 4), torch.ones(1))
    for in_text in (True, False):
        model = _model(speakers=2, speaker_in_text=in_text)
        means, scores = [], []
        for speaker in (0, 1):
            given = model._speaker(torch.tensor([speaker]))
            mask = torch.ones(1, 1, 6, dtype=torch.bool)
            means.append(model.encoder(batch.text, mask, given).mean)
            x = torch.zeros(1, 8, 4)
            scores.append(model.score(x, x, torch.ones(1), None, given))
        assert torch.allclose(*means) != in_text
        assert not torch.allclose(*scores)


def test_the_likelihood_of_a_score_of_zero_is_known() -> None:
    """Without a score the flow only shrinks: ``x_1 - mean = decay (x_0 - mean)``."""
    model, batch = _model(), _batch([12, 9], [4, 3], fill=math.nan)
    with torch.no_grad():
        model.score.project.weight.zero_()
        model.score.project.bias.zero_()  # type: ignore[union-attr]
        found = model.align(batch)
    worth = model.likelihood(batch, tolerance=1e-5)
    decay = model.config.schedule.decay(1.0)
    for i, frames in enumerate((12, 9)):
        laid = torch.repeat_interleave(found.prior.mean[i], found.durations[i], dim=1)
        density = torch.distributions.Normal(laid, 1 / decay)
        expected = density.log_prob(batch.mel[i, :, :frames]).sum()
        assert float(worth.log_prob[i]) == pytest.approx(float(expected), abs=0.05)
        assert int(worth.dimensions[i]) == 8 * frames
        bits = -float(expected) / (8 * frames * math.log(2))
        assert float(worth.bits_per_dimension[i]) == pytest.approx(bits, abs=1e-3)


def test_the_likelihood_does_not_look_at_padding() -> None:
    model = _model()
    values = []
    for fill in (0.0, math.nan):
        generator = torch.Generator().manual_seed(0)
        batch = _batch([8, 5], [3, 2], fill)
        values.append(model.likelihood(batch, tolerance=0.1, generator=generator).log_prob)
    torch.testing.assert_close(values[0], values[1])


def test_what_a_step_draws_follows_from_the_step() -> None:
    """Not from what was drawn before, which a resumed run has not drawn."""
    model, batch = _model(), _batch([40, 30], [6, 4])

    def loss(step: int, draws: int) -> float:
        torch.manual_seed(7)
        torch.rand(draws)
        ((_, value, _),) = model.steps(batch, step)
        return float(value.detach())

    assert loss(3, 0) == loss(3, 5)
    assert loss(3, 0) != loss(4, 0)
    other = UtteranceBatch(**{**vars(batch), "names": ["x", "y"]})
    ((_, value, _),) = model.steps(other, 3)
    assert float(value.detach()) != loss(3, 0)


def test_every_parameter_learns() -> None:
    model, batch = _model(speakers=2).train(), _batch([40, 30], [6, 4])
    torch.manual_seed(0)
    ((name, loss, _),) = model.steps(batch, 0)
    loss.backward()
    assert list(model.optimized()) == [name]
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    # The softmax does not see an offset that all keys share.
    assert [n for n in still if not n.endswith("key.bias")] == []


def test_show_draws_a_path() -> None:
    shown = _model(speakers=3).show(_batch([20, 10, 9], [6, 3, 3]))
    assert shown["alignment"].shape == (6, 20)
    assert torch.equal(shown["alignment"].sum(0), torch.ones(20, dtype=torch.long))
    assert shown["mel_recording"].shape == (8, 20)


def test_sizes_that_do_not_fit_are_named() -> None:
    for change, said in (
        ({"segment_frames": 18}, "segment_frames must be a multiple of 4"),
        ({"mel": MelConfig(mels=10)}, "mels must be a multiple of 4"),
        ({"n_timesteps": 0}, "n_timesteps"),
        ({"score_channels": 12}, "score_channels"),
        ({"beta_min": 30.0}, "beta_min"),
    ):
        with pytest.raises(InputError, match=said):
            GradTTS(Config(**{**SMALL, **change})).config.schedule  # type: ignore[arg-type]  # noqa: B018


def test_the_paper_has_its_size() -> None:
    """The authors count 7.6 M weights in the score network, 7.2 M in the encoder."""
    with torch.device("meta"):
        model = GradTTS(Config())
    assert sum(p.numel() for p in model.score.parameters()) / 1e6 == pytest.approx(7.63, abs=0.02)
    assert F.mish(torch.zeros(1)) == 0


def _bells(frames: int, hertz: float) -> torch.Tensor:
    return pitch_bells(torch.full((1, frames), math.log(hertz)), torch.ones(1, frames))


def test_the_score_follows_the_pitch_that_it_is_told_and_the_text_predicts_it() -> None:
    model, batch = _model(pitch=True), _batch([24], [5])
    with torch.no_grad():
        low, high = (
            model.score(batch.mel, batch.mel, torch.tensor([0.5]), bells=_bells(24, hertz))
            for hertz in (120.0, 240.0)
        )
    assert float((low - high).abs().max()) > 1e-6
    with pytest.raises(ValueError, match="pitch"):
        model.score(batch.mel, batch.mel, torch.tensor([0.5]))
    without = UtteranceBatch(**{**vars(batch), "pitch": None})
    with pytest.raises(ValueError, match="pitch"):
        model.validate(without)


def test_alignment_steps_leave_the_score_alone() -> None:
    model, batch = _model(alignment_steps=1).train(), _batch([24, 20], [5, 4])
    for step, learns in ((0, False), (1, True)):
        model.zero_grad()
        ((_, loss, logs),) = model.steps(batch, step)
        loss.backward()
        assert ("diffusion" in logs) is learns
        assert (model.score.project.weight.grad is not None) is learns
        assert model.encoder.mean.weight.grad is not None
    with pytest.raises(InputError, match="prior_loss"):
        _model(alignment_steps=1, prior_loss="none")
