"""WaveNet: causal, as far-sighted as its formula, and sampled from what it was trained as."""

from __future__ import annotations

import math

import pytest
import torch

from glottis.audio.linear_prediction import LinearPrediction
from glottis.audio.mel import MelConfig, log_mel
from glottis.corpus.batches import WindowBatch
from glottis.errors import InputError
from glottis.kernels.wavenet import OUTPUTS
from glottis.likelihood.mixtures import mu_law_encode
from glottis.models.wavenet import Config, WaveNet

MEL = MelConfig(fft_size=64, hop=8, mels=4)
SMALL = {
    "layers": 4,
    "stacks": 2,
    "residual_channels": 8,
    "gate_channels": 16,
    "skip_channels": 8,
    "components": 3,
    "upsampling": (2, 4),
    "context": 1,
    "mel": MEL,
}
# Distributions, and the order of the linear prediction that they stand around; those of an order of
# 6 and more also listen for the period.
KINDS = [
    *((output, 0) for output in OUTPUTS),
    *((output, order) for output, order in zip(OUTPUTS[1:], (6, 1, 9), strict=True)),
]


def _model(**changes: object) -> WaveNet:
    torch.manual_seed(0)
    settings = {**SMALL, **changes}
    settings.setdefault("period_taps", 5 if settings.get("linear_prediction", 0) >= 6 else 0)
    if settings.get("output") == "mulaw":
        settings["bits"] = 8
    return WaveNet(Config(**settings)).eval()  # type: ignore[arg-type]


def _audio(batch: int = 2, frames: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(batch, frames * MEL.hop, generator=generator) * 0.2
    return (noise.clamp(-1, 1) * 32767).round() / 32768


def _mel(batch: int = 2, frames: int = 12) -> torch.Tensor:
    return torch.randn(batch, MEL.mels, frames, generator=torch.Generator().manual_seed(2)) - 5


def _reach(model: WaveNet, samples: int) -> tuple[list[int], torch.Tensor]:
    """Times whose parameters change with the sample in the middle, and that time."""
    model = model.double()
    generator = torch.Generator().manual_seed(4)
    audio = torch.randn(1, samples, dtype=torch.float64, generator=generator) * 0.1
    mel = torch.zeros(1, MEL.mels, samples // MEL.hop, dtype=torch.float64)
    other = audio.clone()
    middle = samples // 4
    other[0, middle] = 0.7
    with torch.no_grad():
        change = (model.predict(audio, mel) - model.predict(other, mel)).abs().sum(-1)[0]
    return torch.nonzero(change).flatten().tolist(), torch.tensor(middle)


@pytest.mark.parametrize(("kernel_size", "order"), [(2, 0), (3, 0), (2, 5)])
def test_receptive_field_is_the_formulas_and_the_future_is_unseen(
    kernel_size: int, order: int
) -> None:
    model = _model(kernel_size=kernel_size, linear_prediction=order)
    times, middle = _reach(model, 128)
    field = (kernel_size - 1) * (1 + 2 + 1 + 2) + 1
    if order:  # a sample's prediction looks back
        field += order
    assert model.config.receptive_field == field == model.weights().receptive_field
    assert times == list(range(int(middle) + 1, int(middle) + 1 + field))


def test_one_period_ago_is_heard_too_and_no_further() -> None:
    model = _model(linear_prediction=5, period_taps=5)
    plain = _model(linear_prediction=5)
    times, middle = _reach(model, 256)
    first, last = times[0], times[-1]
    assert first == int(middle) + 1
    assert last < int(middle) + 1 + model.config.receptive_field
    assert last > int(middle) + plain.config.receptive_field
    assert model.config.receptive_field == model.weights().receptive_field


@pytest.mark.parametrize("order", [0, 5, 6])
def test_later_samples_never_change_earlier_ones(order: int) -> None:
    model, audio, mel = _model(linear_prediction=order), _audio(1), _mel(1)
    with torch.no_grad():
        whole = model.log_prob(audio, mel)
        for time in (5, 40, 90):
            changed = audio.clone()
            changed[:, time + 1 :] = 0.5
            assert torch.equal(model.log_prob(changed, mel)[:, : time + 1], whole[:, : time + 1])


@pytest.mark.parametrize(("output", "order"), KINDS)
@pytest.mark.parametrize("kind", ["numba", "reference"])
def test_the_sampler_says_what_the_parallel_form_says(output: str, order: int, kind: str) -> None:
    """Log-probabilities, step by step, after weights were loaded and loaded again."""
    model = _model(output=output, speakers=2, linear_prediction=order)
    other = _model(output=output, speakers=2, linear_prediction=order)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    speaker, mel = torch.tensor([0, 1]), _mel()
    audio = model.targets(_audio())
    heard = mu_law_encode(audio).float() if output == "mulaw" else audio
    for state in (model.state_dict(), other.state_dict(), model.state_dict()):
        model.load_state_dict({key: value.clone() for key, value in state.items()})
        with torch.no_grad():
            expected = model.double().predict(audio.double(), mel.double(), speaker)
            expected = model.distribution(expected).log_prob(audio.double())
        model.float()
        sampler = model.sampler(kind=kind)
        sampler.start(list(mel.numpy()), 0, model.speaker_bias(speaker))
        found = []
        for first, count in ((0, 1), (1, 30), (31, 65)):
            _, outputs = sampler.advance(
                count, heard[:, first : first + count].numpy(), parameters=True
            )
            found.append(torch.from_numpy(outputs))
        stepwise = model.distribution(torch.cat(found, 1).double()).log_prob(audio.double())
        torch.testing.assert_close(stepwise, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("output", "order"), KINDS)
def test_gradients_reach_every_weight_and_bits_are_sane(output: str, order: int) -> None:
    model = _model(output=output, speakers=2, linear_prediction=order).train()
    batch = WindowBatch(["a", "b"], _mel(), _audio(), torch.tensor([0, 1]))
    ((name, loss, logs),) = model.steps(batch, 0)
    loss.backward()
    assert name == "likelihood"
    assert float(loss.detach()) > 0
    # The last layer's residual goes nowhere.
    unused = {"layers.3.residual.weight", "layers.3.residual.bias"}
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == unused
    torch.testing.assert_close(logs["bits_per_sample"] * math.log(2), loss.detach())
    # Held-out bits leave out what has no past yet.
    with torch.no_grad():
        nats = -model.eval().log_prob(batch.audio, batch.mel, batch.speaker)
        nats = nats[:, min(model.config.receptive_field, 48) :]
    bits = model.validate(batch)["bits_per_sample"]
    torch.testing.assert_close(bits * math.log(2), nats.mean())


@pytest.mark.parametrize(("output", "order"), KINDS)
def test_silence_and_clipping_have_finite_likelihoods(output: str, order: int) -> None:
    model = _model(output=output, linear_prediction=order)
    clipped = (_audio(1) * 20).clamp(-1, 32767 / 32768)
    for audio in (torch.zeros(1, 96), clipped, torch.full((1, 96), -1.0)):
        for mel in (_mel(1), torch.full((1, 4, 12), math.log(1e-5))):
            assert torch.isfinite(model.log_prob(audio, mel)).all()


def test_samples_of_sixteen_bits_keep_their_identity() -> None:
    """Every one of 65,536 integers has a value of its own; a loud recording is not turned down."""
    whole = torch.arange(-32768, 32768)
    targets = _model().targets((whole.double() / 32768).float())
    assert torch.equal(targets, targets.unique())
    assert len(targets) == 65536
    assert float(targets.min()) == -1
    assert float(targets.max()) == 1
    assert float((targets - whole / 32768).abs().max()) <= 1 / 32768


@pytest.mark.parametrize(("output", "order"), KINDS)
def test_a_temperature_narrows_what_is_drawn_and_nothing_else(output: str, order: int) -> None:
    warm = _model(output=output, linear_prediction=order)
    cool = _model(output=output, linear_prediction=order, temperature=0.5)
    cool.load_state_dict(warm.state_dict())
    audio, mel = _audio(1), _mel(1)
    target = warm.targets(audio)
    outputs = warm.predict(target, mel)
    torch.testing.assert_close(cool.predict(target, mel), outputs, rtol=0, atol=0)
    heard = mu_law_encode(target, warm.config.bits) if output == "mulaw" else target
    sampler = cool.sampler()
    sampler.start([mel[0].numpy()])
    _, given = sampler.advance(sampler.remaining, heard.float().numpy(), parameters=True)
    if output == "mulaw":
        outputs = 2 * outputs
    else:
        scales = outputs.shape[2] // (2 if output == "gaussian" else 3)
        outputs[..., -scales:] -= math.log(2)
    torch.testing.assert_close(torch.from_numpy(given), outputs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("output", "order"), KINDS)
def test_same_seed_same_audio_alone_or_in_a_batch(output: str, order: int) -> None:
    """And padding, were it NaN, is not looked at."""
    model = _model(output=output, linear_prediction=order)
    mel, lengths = _mel(3), torch.tensor([12, 5, 9])
    for each, size in zip(mel, lengths.tolist(), strict=True):
        each[:, size:] = math.nan
    together = model.synthesize(mel, lengths, seed=7)
    assert torch.equal(together, model.synthesize(mel, lengths, seed=7, threads=2))
    for item, size in enumerate(lengths.tolist()):
        alone = model.synthesize(mel[item : item + 1, :, :size], seed=7 + item)
        torch.testing.assert_close(together[item, : size * 8], alone[0], atol=2e-3, rtol=0)
        assert not together[item, size * 8 :].any()
    assert not torch.equal(together, model.synthesize(mel, lengths, seed=8))
    assert float(together.abs().max()) <= 1


def _resonant(samples: int) -> torch.Tensor:
    """Noise that two poles have coloured, on the grid of 16 bits: ``[1, samples]``."""
    noise = torch.randn(samples + 2, generator=torch.Generator().manual_seed(3)).double() * 0.01
    for t in range(2, samples + 2):
        noise[t] += 1.8 * noise[t - 1] - 0.95 * noise[t - 2]
    return (noise[None, 2:] * 32768).round().clamp(-32768, 32767).float() / 32768


@pytest.mark.parametrize("output", OUTPUTS[1:])
def test_an_untrained_network_is_nearly_the_linear_predictors_density(output: str) -> None:
    mel_settings = MelConfig(fft_size=256, hop=64, mels=40, mel_high=11025)
    settings = {"output": output, "mel": mel_settings, "upsampling": (8, 8)}
    model = _model(**settings, linear_prediction=16)
    audio = _resonant(64 * 100)
    mel = torch.from_numpy(log_mel(audio[0].numpy(), mel_settings))[None]
    coefficients, gain = LinearPrediction(mel_settings, 16)(mel[0].numpy())
    past = torch.nn.functional.pad(model.targets(audio)[0].double(), (16, -1)).unfold(0, 16, 1)
    flipped = torch.from_numpy(coefficients).flip(1).repeat_interleave(64, dim=0)
    predicted = (past * flipped).sum(1)
    deviation = torch.from_numpy(gain).repeat_interleave(64)
    normal = torch.distributions.Normal(predicted, deviation)
    expected = -normal.log_prob(model.targets(audio)[0].double()).mean() / math.log(2)
    expected = float(expected) + math.log2(65535 / 2)
    with torch.no_grad():
        bits = -float(model.log_prob(audio, mel).mean()) / math.log(2)
        without = -float(_model(**settings).log_prob(audio, mel).mean()) / math.log(2)
    # A logistic of the same deviation has heavier tails, and random weights move it a little.
    assert abs(bits - expected) < 0.1
    # The noise itself; log-mels smooth its colour, and tell a little of its course.
    noise = math.log2(0.01 * 32768 * math.sqrt(2 * math.pi * math.e))
    assert abs(bits - noise) < 0.3
    assert without > bits + 1


def test_noise_in_the_past_is_for_learning_alone_and_follows_from_the_step() -> None:
    spoilt, clean = (
        _model(linear_prediction=6, past_noise=share, past_level=share) for share in (0.5, 0.0)
    )
    batch = WindowBatch(["a", "b"], _mel(), _audio(), torch.zeros(2, dtype=torch.long))

    def nats(model: WaveNet, step: int) -> float:
        ((_, loss, _),) = model.steps(batch, step)
        return float(loss.detach())

    assert nats(spoilt, 3) == nats(spoilt, 3)
    assert nats(spoilt, 3) != nats(spoilt, 4)
    assert nats(spoilt, 3) != nats(clean, 3) == nats(clean, 4)
    assert spoilt.validate(batch) == clean.validate(batch)


def test_no_excess_is_heard_as_more_than_the_loudest() -> None:
    model = _model(linear_prediction=6)
    excess = torch.tensor([0.0, 0.01, -1.0, 50.0, -1e9])
    heard = model._heard(excess)
    assert (heard.abs() <= 8.0).all()
    assert torch.equal(heard.sign(), excess.sign())
    assert float(heard[1]) == pytest.approx(0.01, rel=0.01)


def test_the_window_shown_is_whole() -> None:
    model = _model()
    shown = model.show(WindowBatch(["a"], _mel(1), _audio(1), torch.zeros(1, dtype=torch.long)))
    assert shown["bits_per_sample"].shape == (8, 12)
    assert shown["audio_copy"].shape == shown["audio_recording"].shape == (96,)


def test_bad_input_is_named() -> None:
    model, mel = _model(), _mel(1)
    with pytest.raises(InputError, match="another hop"):
        model.log_prob(_audio(1)[:, :-1], mel)
    with pytest.raises(InputError, match="never rescaled"):
        model.log_prob(_audio(1) * 30, mel)
    with pytest.raises(InputError, match="NaN"):
        model.log_prob(_audio(1) * math.nan, mel)
    broken = mel.clone()
    broken[0, 2, 7] = math.nan
    with pytest.raises(InputError, match="frame 7"):
        model.synthesize(broken)
    for factor in (20 / math.log(10), -4.0):  # decibels; no logarithm
        with pytest.raises(InputError, match="another scale"):
            model.synthesize(mel * factor)
    with pytest.raises(InputError, match="no frames"):
        model.synthesize(mel[..., :0])
    with pytest.raises(InputError, match=r"\[4, frames\]"):
        model.synthesize(torch.zeros(1, 5, 3))
    with pytest.raises(InputError, match="hop of 8"):
        Config(**{**SMALL, "upsampling": (2, 2)})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="4 layers.*3 stacks"):
        Config(**{**SMALL, "stacks": 3})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="mulaw gives classes"):
        _model(output="mulaw", linear_prediction=8)
    with pytest.raises(InputError, match="takes 0"):
        _model(linear_prediction=33)
    with pytest.raises(InputError, match="temperature must be a number above 0"):
        _model(temperature=0.0)
    with pytest.raises(InputError, match="prediction_parts must divide the hop of 8"):
        _model(linear_prediction=5, prediction_parts=3)
    with pytest.raises(InputError, match="go with linear_prediction"):
        _model(period_taps=5)
    with pytest.raises(InputError, match="an odd number below"):
        _model(linear_prediction=5, period_taps=4)
    with pytest.raises(InputError, match="past_noise spoils excesses"):
        _model(past_noise=0.3)
    with pytest.raises(ValueError, match="2 speakers"):
        _model(speakers=2).log_prob(_audio(1), mel)
