"""WaveNet sampling as the equations stand: numpy, float64, the whole past at hand.

Source: van den Oord et al. 2016, "WaveNet: A Generative Model for Raw Audio", sections 2.1 to 2.5;
drawing from mixtures: Salimans et al. 2017, PixelCNN++.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from glottis.kernels.wavenet import ECHO_SCALE, HIGHEST_ECHO, LOUDEST, Array, Predictors, Weights

Double = NDArray[np.float64]


class Reference:
    """See :class:`glottis.kernels.wavenet.Sampler`."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def start(self, batch: int, bias: Array) -> None:
        w = self.weights
        self.bias = w.gate_bias + bias.astype(np.float64)
        # The input of each layer at every time so far, [layer][time][batch, R].
        self.past: list[list[Double]] = [[] for _ in w.dilations]
        self.heard = np.full(batch, w.start)
        # All samples so far; with linear prediction their excesses over their predictions as the
        # network hears them, and as amplitudes.
        self.before: list[Double] = []
        self.hearing: list[Double] = []
        self.amplitudes: list[Double] = []

    def hear(self, first: int, features: Double, shares: Double, predictors: Predictors) -> None:
        batch, frames, hop, window = shares.shape
        around = np.lib.stride_tricks.sliding_window_view(features, window, axis=2)
        self.first = first * hop
        # Of each sample: [batch, time, C].
        condition = np.einsum("bfsm,bcfm->bfsc", shares, around)
        self.condition = condition.reshape(batch, frames * hop, -1)
        self.predictors = predictors

    def advance(
        self, uniforms: Double, teacher: Array | None, parameters: bool
    ) -> tuple[Array, Array | None]:
        batch, count, _ = uniforms.shape
        samples = np.zeros((batch, count), np.float32)
        given = np.zeros((batch, count, self.weights.outputs), np.float32)
        for time in range(count):
            predicted, gain = self._prediction()
            outputs = self._step()
            middle = predicted
            if self.weights.period is not None:
                outputs, taps = np.split(outputs, [self.weights.outputs], axis=1)
                taps = ECHO_SCALE * taps
                taps = HIGHEST_ECHO * taps / (1 + np.abs(taps).sum(1, keepdims=True))
                middle = predicted + (taps * self._period_ago(self.amplitudes)).sum(1)
            if self.weights.prediction is not None:
                # The last two parts are locations and scales, in units of the gain until here.
                parts = outputs.reshape(batch, 2 if self.weights.output == "gaussian" else 3, -1)
                parts[:, -2] = middle[:, None] + gain[:, None] * parts[:, -2]
                parts[:, -1] += np.log(gain)[:, None]
            given[:, time] = outputs
            for item in range(batch):
                samples[item, time] = draw(self.weights, outputs[item], uniforms[item, time])
            self.heard = (samples if teacher is None else teacher)[:, time].astype(np.float64)
            self.before.append(self.heard)
            if self.weights.prediction is not None:
                self.amplitudes.append(self.heard - predicted)
                excess = self.amplitudes[-1] / gain
                self.heard = excess / (1 + np.abs(excess) / LOUDEST)
                self.hearing.append(self.heard)
        return samples, given if parameters else None

    def _prediction(self) -> tuple[Double, Double]:
        """The linear prediction of the next sample and its gain, ``[batch]``."""
        coefficients, gains, _ = self.predictors
        now, part = len(self.before), self._part()
        predicted = np.zeros(len(gains))
        for k in range(min(coefficients.shape[2], now)):
            predicted += coefficients[:, part, k] * self.before[now - 1 - k]
        return predicted, gains[:, part]

    def _period_ago(self, past: list[Double]) -> Double:
        """What stands in ``past`` around one period before the next sample, ``[batch, E]``."""
        if self.weights.period is None:
            return np.zeros((len(self.heard), 0))
        now, side = len(past), self.weights.around
        found = np.zeros((len(self.heard), 2 * side + 1))
        for item, period in enumerate(self.predictors[2][:, self._part()]):
            for k in range(2 * side + 1):
                then = now - period - side + k
                found[item, k] = past[then][item] if then >= 0 else 0.0
        return found

    def _part(self) -> int:
        """Which of the predictors serves the next sample."""
        w = self.weights
        return (len(self.before) - self.first) // (w.hop // w.parts)

    def _step(self) -> Double:
        """One sample's outputs ``[batch, O]`` from everything that was heard."""
        w, now = self.weights, len(self.past[0])
        if w.output == "mulaw":
            x = w.first.astype(np.float64).T[self.heard.astype(int)] + w.first_bias
        else:
            heard = np.concatenate([self.heard[:, None], self._period_ago(self.hearing)], axis=1)
            x = heard @ w.first.T.astype(np.float64) + w.first_bias
        skips = np.zeros((len(x), len(w.hidden)))
        half = w.gate.shape[1] // 2
        for layer, dilation in enumerate(w.dilations):
            past = self.past[layer]
            past.append(x)
            gates = self.bias[:, layer] + self.condition[:, now - self.first] @ w.condition[layer].T
            for tap in range(w.gate.shape[3]):
                then = now - (w.gate.shape[3] - 1 - tap) * dilation
                if then >= 0:
                    gates = gates + past[then] @ w.gate[layer, :, :, tap].T
            z = np.tanh(gates[:, :half]) / (1 + np.exp(-gates[:, half:]))
            skips += z @ w.skip[layer].T + w.skip_bias[layer]
            x = (x + z @ w.residual[layer].T + w.residual_bias[layer]) * w.residual_scale
        hidden = np.maximum(skips * w.skip_scale, 0)
        hidden = np.maximum(hidden @ w.hidden.T + w.hidden_bias, 0)
        return np.asarray(hidden @ w.last.T + w.last_bias)


def draw(weights: Weights, outputs: Double, uniforms: Double) -> float:
    """A sample from one step's parameters ``[O]``, by three uniform numbers.

    The first chooses a component (or a class) along the sum of the weights; the second is put
    through the inverse of the logistic's distribution function, or with the third through Box and
    Muller's transform. The value goes to the nearest of the ``2**bits`` on the grid.
    """
    if weights.output == "mulaw":
        return float(_chosen(outputs, uniforms[0]))
    if weights.output == "gaussian":
        loc, log_scale = outputs
    else:
        logits, locs, log_scales = outputs.reshape(3, -1)
        component = _chosen(logits, uniforms[0])
        loc, log_scale = locs[component], log_scales[component]
    if weights.output == "logistic_mixture":
        standard = math.log(uniforms[1]) - math.log1p(-uniforms[1])
    else:
        standard = math.sqrt(-2 * math.log(uniforms[1])) * math.cos(2 * math.pi * uniforms[2])
    scale = math.exp(min(max(float(log_scale), weights.minimum_log_scale), 80.0))
    return on_grid(float(loc) + scale * standard, weights.bits)


def on_grid(value: float, bits: int) -> float:
    """The nearest of the ``2**bits`` even values from -1 to 1, as float32 holds it."""
    half = (2**bits - 1) / 2
    edge = min(max(np.rint(value * half + 0.5), 1 - 2 ** (bits - 1)), 2 ** (bits - 1))
    return float(np.float32((edge - 0.5) / half))


def _chosen(logits: Double, uniform: float) -> int:
    weights = np.exp(logits - logits.max())
    total = np.cumsum(weights)
    return min(int(np.searchsorted(total, uniform * total[-1], side="right")), len(logits) - 1)
