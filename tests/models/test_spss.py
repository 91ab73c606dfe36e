"""Statistical parametric synthesis: three criteria, padding, and what is learned."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from glottis.corpus.batches import ParameterBatch
from glottis.kernels import WINDOWS, mlpg_windowed
from glottis.likelihood.trajectory import TrajectoryGaussian
from glottis.models.spss import SPSS, Config, Predicted, places

SMALL = {
    "symbols": 40,
    "channels": 16,
    "filter_channels": 16,
    "encoder_layers": 1,
    "frame_channels": 16,
    "frame_layers": 2,
    "duration_channels": 8,
    "order": 5,
    "dropout": 0.0,
}


def _model(**changes: object) -> SPSS:
    torch.manual_seed(0)
    return SPSS(Config(**{**SMALL, **changes})).eval()  # type: ignore[arg-type]


def _batch(
    model: SPSS, lengths: list[int], texts: list[int], fill: float = 0.0, longest: int = 0
) -> ParameterBatch:
    generator = torch.Generator().manual_seed(1)
    size, frames = len(lengths), max(*lengths, longest)
    text = torch.zeros(size, max(texts), dtype=torch.long)
    values = torch.full((size, model.config.static, frames), fill)
    for item, (length, tokens) in enumerate(zip(lengths, texts, strict=True)):
        text[item, :tokens] = torch.randint(1, 40, (tokens,), generator=generator)
        values[item, :, :length] = torch.randn(model.config.static, length, generator=generator)
        values[item, 0, :length] = 5.0 + 0.1 * values[item, 0, :length]
    cepstra = model.config.order + 2
    return ParameterBatch(
        [f"u{item}" for item in range(size)],
        text,
        torch.tensor(texts),
        values[:, 0],
        values[:, 1] > 0,
        values[:, 1:cepstra],
        values[:, cepstra:],
        torch.tensor(lengths),
        torch.arange(size) % model.config.speakers,
    )


def _stirred(model: SPSS) -> SPSS:
    """With weights in its last layer: zeros there would hide what lies before."""
    with torch.no_grad():
        model.end.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(2))
        model.initialized.fill_(True)
    return model


@pytest.mark.parametrize("criterion", ["frame", "mge", "trajectory"])
@pytest.mark.parametrize("speakers", [1, 2])
def test_padding_and_company_change_nothing(criterion: str, speakers: int) -> None:
    model = _stirred(_model(criterion=criterion, speakers=speakers))
    both = _batch(model, [60, 41], [9, 5], fill=math.nan, longest=70)
    found = model._read(both)
    predicted = model._predict(found.hidden, found.durations, found.frames)
    values = model._standardised(both)
    total = model._criterion(criterion, predicted, values, both.lengths) * both.lengths.sum()
    apart = 0.0
    for item, (length, tokens) in enumerate(((60, 9), (41, 5))):
        one = ParameterBatch(
            both.names[item : item + 1],
            both.text[item : item + 1, :tokens],
            both.text_lengths[item : item + 1],
            both.log_pitch[item : item + 1, :length],
            both.voiced[item : item + 1, :length],
            both.cepstrum[item : item + 1, :, :length],
            both.aperiodicity[item : item + 1, :, :length],
            both.lengths[item : item + 1],
            both.speaker[item : item + 1],
        )
        alone = model._read(one)
        assert torch.equal(alone.durations[0], found.durations[item, : alone.durations.shape[1]])
        said = model._predict(alone.hidden, alone.durations, alone.frames)
        torch.testing.assert_close(
            said.mean[0], predicted.mean[item, :length], atol=1e-5, rtol=1e-4
        )
        loss = model._criterion(criterion, said, model._standardised(one), one.lengths)
        apart += float(loss.detach()) * length
    assert torch.isfinite(total)
    assert float(total.detach()) == pytest.approx(apart, rel=1e-4)


def test_the_frame_criterion_is_the_gaussians_likelihood() -> None:
    model = _model(criterion="frame")
    generator = torch.Generator().manual_seed(0)
    size = len(WINDOWS) * model.config.static
    mean = torch.randn(1, 30, size, generator=generator)
    variance = torch.rand(1, 30, size, generator=generator) + 0.2
    values = torch.randn(1, 30, model.config.static, generator=generator)
    found = model._criterion(
        "frame", Predicted(mean, variance, mean[..., 0]), values, torch.tensor([30])
    )
    features = mlpg_windowed(values, WINDOWS)
    density = torch.distributions.Normal(mean, variance.sqrt()).log_prob(features)
    static = model.config.static
    inner = density[:, 1:-1, static:].sum() + density[:, :, :static].sum()
    # Without slopes at the two ends; their constants are counted all the same.
    constant = 0.5 * math.log(2 * math.pi) * 2 * 2 * static
    expected = -(inner - constant) / (30 * static)
    torch.testing.assert_close(found, expected)


def test_the_generated_trajectory_is_the_most_likely_one() -> None:
    model = _stirred(_model())
    batch = _batch(model, [50], [8])
    found = model._read(batch)
    mean, variance, _ = model._predict(found.hidden, found.durations, found.frames)
    law = TrajectoryGaussian(mean.double(), variance.double(), WINDOWS, batch.lengths)
    best = law.log_prob(law.mean)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        step = 1e-2 * torch.randn(law.mean.shape, generator=generator, dtype=torch.float64)
        assert (law.log_prob(law.mean + step) < best).all()


@pytest.mark.parametrize("criterion", ["frame", "mge", "trajectory"])
def test_the_criterions_gradient_is_that_of_differences(criterion: str) -> None:
    model = _model(order=1)
    lengths = torch.tensor([7, 5])
    generator = torch.Generator().manual_seed(0)
    static, size = model.config.static, len(WINDOWS) * model.config.static

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mean, logs = drawn(2, 7, size).requires_grad_(), (0.3 * drawn(2, 7, size)).requires_grad_()
    values = drawn(2, 7, static)

    def loss(mean: Tensor, logs: Tensor) -> Tensor:
        return model._criterion(
            criterion, Predicted(mean, logs.exp(), mean[..., 0]), values, lengths
        )

    assert torch.autograd.gradcheck(loss, (mean, logs), atol=1e-5)


@pytest.mark.parametrize("criterion", ["mge", "trajectory"])
def test_the_gradient_goes_through_the_network(criterion: str) -> None:
    model = _stirred(_model(criterion=criterion)).double()
    batch = _batch(model, [24, 20], [4, 3])
    found = model._read(batch)
    hidden = found.hidden.detach()

    def loss() -> Tensor:
        predicted = model._predict(hidden, found.durations, found.frames)
        # The network's outputs are float32; differences need all the digits there are.
        return model._criterion(criterion, predicted, model._standardised(batch), batch.lengths)

    model.zero_grad()
    loss().backward()
    weight = model.end.weight
    assert weight.grad is not None
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).to(weight)
    slope = float((weight.grad * direction).sum())
    with torch.no_grad():
        weight += 1e-3 * direction
        above = float(loss())
        weight -= 2e-3 * direction
        below = float(loss())
    assert slope == pytest.approx((above - below) / 2e-3, rel=2e-2)


@pytest.mark.parametrize("criterion", ["frame", "mge", "trajectory"])
def test_it_learns_what_two_phonemes_sound_like(criterion: str) -> None:
    model = _model(criterion=criterion, frame_steps=20, channels=32).train()
    text = torch.tensor([[3, 7, 3, 7]])
    frames, generator = 80, torch.Generator().manual_seed(0)
    kind = torch.arange(frames) // 20 % 2
    values = 0.1 * torch.randn(1, model.config.static, frames, generator=generator)
    values += torch.where(kind == 0, 1.0, -1.0)
    cepstra = model.config.order + 2
    batch = ParameterBatch(
        ["u"],
        text,
        torch.tensor([4]),
        5 + 0.1 * values[:, 0],
        (kind == 0)[None],
        values[:, 1:cepstra],
        values[:, cepstra:],
        torch.tensor([frames]),
        torch.tensor([0]),
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(60):
        for _, loss, _ in model.steps(batch, step):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    logs = model.eval().validate(batch)
    assert logs["mge"] < 0.1
    assert logs["voicing_error"] < 0.1
    assert float(logs["coverage"]) > 0.9
    assert model._read(batch).durations.tolist() == [[20, 20, 20, 20]]
    (made,), durations = model.synthesize(text, torch.tensor([4]))
    assert made.pitch.shape == (int(durations.sum()),)
    assert made.cepstrum.shape == (6, int(durations.sum()))
    (slow,), _ = model.synthesize(text, torch.tensor([4]), length_scale=2.0)
    assert len(slow.pitch) == pytest.approx(2 * len(made.pitch), abs=2)
    assert model.show(batch)["audio_sample"].shape == (frames * model.config.vocoder.hop,)


def test_the_first_batch_standardises() -> None:
    model = _model()
    batch = _batch(model, [60, 41], [9, 5], fill=math.nan, longest=70)
    next(model.steps(batch, 0))
    values = model._standardised(batch)
    real = torch.cat([values[0, :60], values[1, :41]])
    torch.testing.assert_close(real.mean(0), torch.zeros(real.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(real.std(0), torch.ones(real.shape[1]), atol=1e-3, rtol=0)
    before = model.mean.clone()
    next(model.steps(_batch(model, [30], [4]), 1))
    assert torch.equal(before, model.mean)


def test_a_speaker_has_the_mean_variance_of_the_utterances_heard() -> None:
    model = _model(speakers=3)
    batches = [_batch(model, [40, 25], [5, 4]), _batch(model, [30, 50, 20, 45], [4, 6, 3, 5])]
    found: list[list[Tensor]] = [[], [], []]
    for step, batch in enumerate(batches):
        next(model.steps(batch, step))
        for item, length in enumerate(batch.lengths):
            values = model._values(batch)[item, :length]
            found[int(batch.speaker[item])].append(values.var(0, correction=0))
    wanted = torch.stack([torch.stack(rows).mean(0) for rows in found]).double()
    torch.testing.assert_close(model.natural_variance(), wanted, rtol=1e-3, atol=1e-6)


def test_places_tile_a_token() -> None:
    found = places(torch.tensor([[2, 0, 3]]), 7)
    np.testing.assert_allclose(found[0, 0], [0.25, 0.75, 1 / 6, 0.5, 5 / 6, 0, 0], atol=1e-6)
    np.testing.assert_allclose((found[0, 0] + found[0, 1])[:5], 1)
    assert not found[0, :, 5:].any()


def test_a_speaker_must_be_named() -> None:
    model = _model(speakers=2)
    with pytest.raises(ValueError, match="name one of them"):
        model.synthesize(torch.tensor([[3, 4]]), torch.tensor([2]))
