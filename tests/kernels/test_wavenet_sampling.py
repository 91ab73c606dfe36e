"""The WaveNet sampler: every form like the reference, and its draws like its distribution."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from glottis.audio.linear_prediction import LinearPrediction
from glottis.audio.mel import MelConfig
from glottis.audio.period import Period
from glottis.errors import InputError
from glottis.kernels import wavenet
from glottis.kernels.wavenet import OUTPUTS, Sampler, Weights
from glottis.likelihood.mixtures import DiscretizedLogisticMixture, GaussianMixture, MuLaw

MEL = MelConfig(fft_size=48, hop=12, mels=4)
# Distributions, and the order of the linear prediction that they stand around; those of an order of
# 5 and more also listen for the period, and change within a frame.
KINDS = [
    *((output, 0) for output in OUTPUTS),
    *((output, order) for output, order in zip(OUTPUTS[1:], (5, 1, 20), strict=True)),
]


def _weights(
    output: str = "logistic_mixture", taps: int = 3, bits: int = 16, order: int = 0
) -> Weights:
    random = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        fan = shape[2] if len(shape) > 2 else shape[-1]
        return (random.standard_normal(shape) / math.sqrt(fan)).astype(np.float32)

    outputs = {"mulaw": 256, "gaussian": 2}.get(output, 9)
    echoes = 5 if order >= 5 else 0
    # Dilations of which some leave no power of two, and more than the longest block.
    dilations = (1, 2, 6, 32, 3, 20)
    layers = len(dilations)
    return Weights(
        first=some(8, 256 if output == "mulaw" else 1 + echoes),
        first_bias=some(8),
        gate=some(layers, 24, 8, taps),
        gate_bias=some(layers, 24) * 0.1,
        condition=some(layers, 24, 4),
        residual=some(layers, 8, 12),
        residual_bias=some(layers, 8) * 0.1,
        skip=some(layers, 12, 12),
        skip_bias=some(layers, 12) * 0.1,
        hidden=some(12, 12),
        hidden_bias=some(12) * 0.1,
        last=some(outputs + echoes, 12),
        last_bias=some(outputs + echoes) - (1.0 if output != "mulaw" else 0.0),
        context=some(4, 4, 3),
        upsampling=tuple(some(2 * scale + 1) for scale in (3, 4)),
        dilations=dilations,
        residual_scale=math.sqrt(0.5),
        skip_scale=layers**-0.5,
        output=output,  # type: ignore[arg-type]
        bits=8 if output == "mulaw" else bits,
        minimum_log_scale=-14.0,
        start=128.0 if output == "mulaw" else 0.0,
        prediction=LinearPrediction(MEL, order, bits) if order else None,
        period=Period(MEL) if order >= 5 else None,
        parts={5: 4, 20: 3}.get(order, 1),
    )


def _mels(*frames: int) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.standard_normal((4, each)).astype(np.float32) for each in frames]


def _run(
    sampler: Sampler, mels: list[np.ndarray], teacher: np.ndarray | None = None, seed: int = 3
):
    """All samples and parameters, taken in pieces of odd sizes."""
    sampler.start(mels, seed)
    samples, parameters, first = [], [], 0
    for count in (1, 7, 40, 10_000):
        count = min(count, sampler.remaining)
        heard = None if teacher is None else teacher[:, first : first + count]
        some, outputs = sampler.advance(count, heard, parameters=True)
        samples.append(some)
        parameters.append(outputs)
        first += count
    return np.concatenate(samples, 1), np.concatenate(parameters, 1)


@pytest.mark.parametrize(("output", "order"), KINDS)
@pytest.mark.parametrize("taps", [1, 3])
def test_every_form_agrees_with_the_reference(output: str, order: int, taps: int) -> None:
    weights, mels = _weights(output, taps, order=order), _mels(11, 1, 4)
    samples, expected = _run(Sampler(weights, kind="reference"), mels)
    assert samples.shape == (3, 132)
    for precision, tolerance in (("float32", 5e-6), ("bfloat16", 0.05), ("int8", 0.1)):
        fast = Sampler(weights, kind="numba", precision=precision)  # type: ignore[arg-type]
        _, found = _run(fast, mels, samples)
        error = np.abs(found - expected)
        assert error.max() < tolerance * max(1, np.abs(expected).max()), precision
        if precision != "float32":
            assert error.mean() > 1e-5, "the weights were not made smaller"


@pytest.mark.parametrize(("output", "order"), KINDS)
def test_two_threads_give_the_same_bits_as_one(output: str, order: int) -> None:
    weights, mels = _weights(output, order=order), _mels(5, 3)
    one, parameters = _run(Sampler(weights, threads=1), mels)
    two, shared = _run(Sampler(weights, threads=2), mels)
    assert np.array_equal(one, two)
    assert np.array_equal(parameters, shared)


@pytest.mark.parametrize("order", [0, 5])
@pytest.mark.parametrize("kind", ["numba", "reference"])
def test_frames_that_arrive_in_pieces_change_nothing(kind: str, order: int) -> None:
    """Several chunks of conditioning, and utterances that end within the first frames."""
    for frames, pieces in ((41, (1, 0, 9, 3, 20, 8)), (5, (2, 3)), (3, (3, 0))):
        mels = _mels(frames, frames)
        whole = Sampler(_weights(order=order), kind=kind)
        whole.start(mels, 3)
        expected, _ = whole.advance(whole.remaining)
        assert expected.shape == (2, frames * 12)
        sampler, found, first = Sampler(_weights(order=order), kind=kind), [], 0
        for number, count in enumerate(pieces):
            given = [mel[:, first : first + count] for mel in mels]
            more = number + 1 < len(pieces)
            if number == 0:
                sampler.start(given, 3, more=more)
            else:
                sampler.feed(given, more=more)
            first += count
            found.append(sampler.advance(sampler.remaining)[0])
        # Nothing waits longer than the reach of the conditioning, and a block of samples.
        made = sum(part.shape[1] for part in found[:-1])
        assert frames < 10 or made >= (frames - pieces[-1] - 8) * 12
        np.testing.assert_array_equal(np.concatenate(found, axis=1), expected)


def test_segments_are_faded_with_equal_power_in_quiet_frames() -> None:
    mel = _mels(200)[0]
    mel[:, 95:100] -= 9.0
    assert wavenet.quiet_places(mel, 2, 4)[0] in range(95, 100)

    class Noise(Sampler):
        """Draws that do not depend on anything, in place of the network's."""

        def advance(self, count: int, teacher: object = None, *, parameters: bool = False):  # type: ignore[override,no-untyped-def]
            shape = (len(self._mels), min(count, self.remaining))
            return (np.random.default_rng(0).standard_normal(shape) * 0.1).astype(np.float32), None

    made = wavenet.in_segments(Noise(_weights()), mel, segments=3, fade=4)
    assert made.shape == (2400,)
    power = (made.reshape(20, 120) ** 2).mean(1)
    assert power.min() > 0.005
    assert power.max() < 0.02
    # A single segment is the plain sampler.
    sampler = Sampler(_weights())
    alone = wavenet.in_segments(sampler, mel[:, :20], seed=5)
    sampler.start([mel[:, :20]], 5)
    np.testing.assert_array_equal(alone, sampler.advance(240)[0][0])
    with pytest.raises(InputError, match="mulaw"):
        wavenet.in_segments(Sampler(_weights("mulaw")), mel)


@pytest.mark.parametrize("order", [0, 5])
def test_a_segment_is_what_the_network_says_of_it_alone(order: int) -> None:
    """Away from the cross-fades, whatever the cuts, up to the rounding of another batch."""
    weights, mel = _weights(order=order), _mels(140)[0]
    sampler = Sampler(weights)
    made = wavenet.in_segments(sampler, mel, segments=2, seed=9)
    cut = wavenet.quiet_places(mel, 2, 4)[0]
    sampler.start([mel], 9)
    first, _ = sampler.advance((cut - 10) * 12)
    np.testing.assert_allclose(made[: (cut - 10) * 12], first[0], atol=1e-4)


@pytest.mark.parametrize(
    ("output", "order", "kind"),
    [(*each, "numba") for each in KINDS] + [(output, 0, "reference") for output in OUTPUTS],
)
def test_draws_follow_the_distribution(output: str, order: int, kind: str) -> None:
    """Chi-squared over 20 cells of equal probability, many items that share one first step.

    With the level 1e-6 a right sampler fails once in a million, and one whose scale is off by a
    tenth always.
    """
    weights, items = _weights(output, bits=10, order=order), 6000
    # Every item hears the same and differs in its seed alone.
    sampler = Sampler(weights, kind=kind)
    draws = []
    for first in range(0, items, 500):
        # So quiet that a linear prediction's gain lies well within the range.
        sampler.start(
            [mel - 6 * (order > 0) for mel in _mels(1)] * 500,
            [10_000 + first + i for i in range(500)],
        )
        samples, parameters = sampler.advance(1, parameters=True)
        draws.append(samples[:, 0])
    given = torch.from_numpy(parameters[0, 0]).double()
    if output == "mulaw":
        distribution = MuLaw(given)
        probabilities = torch.softmax(given, -1)
        index = np.concatenate(draws).astype(int)
    else:
        parts = (torch.zeros(1).double(), given[:1], given[1:])
        if output != "gaussian":
            parts = given.chunk(3)
        kinds = {"logistic_mixture": DiscretizedLogisticMixture}
        distribution = kinds.get(output, GaussianMixture)(*parts, 10)
        values = distribution.enumerate_support()
        probabilities = distribution.log_prob(values).exp()
        index = np.rint((np.concatenate(draws) + 1) / 2 * 1023).astype(int)
    assert abs(float(probabilities.sum()) - 1) < 1e-6
    cells = np.minimum((torch.cumsum(probabilities, 0).numpy() * 20 - 1e-9).astype(int), 19)
    expected = np.bincount(cells, probabilities.numpy(), 20) * items
    counts = np.bincount(cells[index], minlength=20)
    used = expected > 5
    assert used.sum() >= 2
    assert counts[~used].sum() <= expected[~used].sum() + 6 * math.sqrt(expected[~used].sum() + 1)
    statistic = float(((counts - expected)[used] ** 2 / expected[used]).sum())
    freedom = int(used.sum()) - 1
    # Wilson and Hilferty's normal form of the chi-squared distribution, at 4.75 deviations.
    limit = freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3
    assert statistic < limit


def test_samples_lie_on_the_grid() -> None:
    samples, _ = _run(Sampler(_weights()), _mels(6))
    classes = (samples.astype(np.float64) + 1) / 2 * 65535
    assert np.abs(classes - np.rint(classes)).max() < 0.01
    assert len(np.unique(samples)) > 30


def test_upsampling_is_the_table() -> None:
    """Short utterances, where both ends are near, and long ones, against the filters themselves."""
    upsampling = _weights().upsampling
    random = np.random.default_rng(2)
    for frames in (1, 2, 5, 7, 8, 30):
        features = random.standard_normal(frames)
        expected = features
        for taps in upsampling:
            size = len(taps) // 2
            padded = np.pad(np.repeat(expected, size), size)
            expected = np.correlate(padded, taps.astype(np.float64), mode="valid")
        table, case = wavenet.cases_of(upsampling, frames)
        reach = table.shape[2] // 2
        around = np.lib.stride_tricks.sliding_window_view(np.pad(features, reach), 2 * reach + 1)
        found = np.einsum("fsm,fm->fs", table[case], around).reshape(-1)
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_pairs_of_bfloat16_are_rounded_like_single_ones() -> None:
    from glottis.kernels.wavenet_layout import LANES, TILE, in_pairs

    values = np.random.default_rng(0).standard_normal((50, TILE)).astype(np.float32)
    values[0, :4] = (0.0, -0.0, 1e-30, -3e38)
    words = in_pairs(values).reshape(50, -1, LANES)
    high, low = words.view(np.float32), (words << np.uint32(16)).view(np.float32)
    found = np.stack([high, low], axis=2).reshape(50, TILE)
    # Half a step of eight binary digits, relative to the value.
    assert (np.abs(found - values) <= np.abs(values) * 2.0**-8 + 1e-38).all()


def test_bad_input_is_named() -> None:
    weights, mels = _weights(), _mels(3)
    with pytest.raises(InputError, match="1 or 2 threads"):
        Sampler(weights, threads=3)
    with pytest.raises(InputError, match="float32, bfloat16, int8"):
        Sampler(weights, precision="float16")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no kind"):
        Sampler(weights, kind="cuda")
    with pytest.raises(InputError, match="as they are"):
        Sampler(weights, kind="reference", precision="int8")
    sampler = Sampler(weights)
    with pytest.raises(InputError, match="nothing to speak"):
        sampler.start([])
    with pytest.raises(InputError, match="item 1: the log-mels have no frames"):
        sampler.start([mels[0], mels[0][:, :0]])
    broken = mels[0].copy()
    broken[1, 2] = np.inf
    with pytest.raises(InputError, match="frame 2"):
        sampler.start([broken])
    with pytest.raises(InputError, match="as many seeds"):
        sampler.start(mels, [1, 2])
    with pytest.raises(InputError, match="'hidden'"):
        replace(weights, hidden=weights.hidden * np.nan)
    with pytest.raises(ValueError, match="goes with linear prediction"):
        replace(_weights(order=5), prediction=None)
    with pytest.raises(ValueError, match="an odd number of values"):
        replace(_weights(order=5), first=np.zeros((8, 7), np.float32))
    with pytest.raises(ValueError, match="linear prediction is of amplitudes"):
        replace(_weights(order=1), prediction=LinearPrediction(MelConfig(), 5))
    with pytest.raises(ValueError, match="gate_bias"):
        replace(weights, gate_bias=weights.gate_bias[:2])
