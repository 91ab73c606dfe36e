"""WaveNet sampling on a GPU, by Triton: one program an utterance, which stays for all its samples.

A program keeps its state in global memory (the last inputs of each layer, in rings) and reads the
weights through the cache that all programs share: a batch costs hardly more than one utterance.
What a layer gives is needed by all of the next one, so nothing leaves the program between samples,
and only barriers stand between layers. Triton's interpreter runs the same code on a CPU when
``TRITON_INTERPRET=1`` is set before the first import. So far the tests have run it in that way
only, and its speed is not known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from glottis.kernels.wavenet import (
    ECHO_SCALE,
    HIGHEST_ECHO,
    LOUDEST,
    OUTPUTS,
    Array,
    Double,
    Predictors,
    Weights,
)


@triton.jit
def _tanh(x):  # type: ignore[no-untyped-def]
    return 1.0 - 2.0 / (1.0 + tl.exp(2.0 * tl.minimum(tl.maximum(x, -15.0), 15.0)))


@triton.jit
def _chosen(logits, uniform, COUNT: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """The index whose share of the running sum of softmax weights holds ``uniform``."""
    index = tl.arange(0, WIDTH)
    high = tl.max(tl.where(index < COUNT, logits, -float("inf")), axis=0)
    shares = tl.where(index < COUNT, tl.exp(logits - high), 0.0)
    reached = tl.cumsum(shares, axis=0)
    passed = (reached <= uniform * tl.sum(shares, axis=0)) & (index < COUNT)
    return tl.minimum(tl.sum(passed.to(tl.int32), axis=0), COUNT - 1)


@triton.jit
def _draw(  # type: ignore[no-untyped-def]
    outputs, one, two, three, floor, half,
    KIND: tl.constexpr, COUNT: tl.constexpr, OUT: tl.constexpr,
):  # fmt: skip
    """A sample from one step's outputs; as the reference's ``draw``. ``KIND`` counts OUTPUTS."""
    index = tl.arange(0, OUT)
    if KIND == 0:
        drawn = _chosen(outputs, one, COUNT, OUT).to(tl.float32)
    else:
        components: tl.constexpr = 1 if KIND == 1 else COUNT // 3
        first: tl.constexpr = 0 if KIND == 1 else COUNT // 3
        place = _chosen(outputs, one, components, OUT)
        loc = tl.sum(tl.where(index == first + place, outputs, 0.0), axis=0)
        log_scale = tl.sum(tl.where(index == first + components + place, outputs, 0.0), axis=0)
        if KIND == 3:
            standard = tl.log(two) - tl.log(1.0 - two)
        else:
            standard = tl.sqrt(-2.0 * tl.log(two)) * tl.cos(6.283185307179586 * three)
        scale = tl.exp(tl.minimum(tl.maximum(log_scale.to(tl.float64), floor), 80.0))
        # The nearest even number where two are as near, as everywhere here.
        value = (loc.to(tl.float64) + scale * standard) * half + 0.5
        below = tl.floor(value)
        odd = below - 2.0 * tl.floor(below * 0.5)
        up = ((value - below) > 0.5) | (((value - below) == 0.5) & (odd == 1.0))
        edge = tl.where(up, below + 1.0, below)
        edge = tl.minimum(tl.maximum(edge, 0.5 - half), half + 0.5)
        drawn = ((edge - 0.5) / half).to(tl.float32)
    return drawn


@triton.jit
def _advance(  # type: ignore[no-untyped-def]
    into, into_bias, gate, bias, residual, residual_bias, skip, skip_bias, hidden_weight,
    hidden_bias, last, last_bias, dilations, places, condition, shares, uniforms, teacher, heard,
    history, coefficients, gains, periods, recent, echoes, amplitudes, samples, given,
    first, origin, count, frames, ring_total, residual_scale, skip_scale, floor, half,
    LAYERS: tl.constexpr, TAPS: tl.constexpr, R: tl.constexpr, H: tl.constexpr, S: tl.constexpr,
    OUT: tl.constexpr, COUNT: tl.constexpr, KIND: tl.constexpr, HOP: tl.constexpr,
    WINDOW: tl.constexpr, PARTS: tl.constexpr, ORDER: tl.constexpr, PAST: tl.constexpr,
    ECHOES: tl.constexpr, RING: tl.constexpr, SCALE: tl.constexpr, HIGHEST: tl.constexpr,
    LIMIT: tl.constexpr, TAUGHT: tl.constexpr, GIVEN: tl.constexpr,
):  # fmt: skip
    item = tl.program_id(0).to(tl.int64)
    r, h, s, o = tl.arange(0, R), tl.arange(0, H), tl.arange(0, S), tl.arange(0, OUT)
    history += item * ring_total * R
    condition += item * (frames + WINDOW - 1) * LAYERS * 2 * H
    shares += item * frames * HOP * WINDOW
    bias += item * LAYERS * 2 * H
    before = tl.load(heard + item)
    if ORDER > 0:
        k = tl.arange(0, PAST)
        coefficients += item * frames * PARTS * ORDER
        gains += item * frames * PARTS
        recent += item * ORDER
        periods += item * frames * PARTS
        echoes += item * RING
        amplitudes += item * RING
    for step in range(0, count):
        now = first + step
        if KIND == 0:
            x = tl.load(into + before.to(tl.int32) * R + r) + tl.load(into_bias + r)
        else:
            x = tl.load(into + r) * before + tl.load(into_bias + r)
        total = tl.zeros([S], tl.float32)
        frame = (now - origin) // HOP
        predictor = (now - origin) // (HOP // PARTS)
        if ECHOES > 0:
            # Two rings further on, so that the remainder is not of a negative number.
            then = now + 2 * RING - tl.load(periods + predictor) - ECHOES // 2
            for echo in range(0, ECHOES):
                value = tl.load(echoes + (then + echo) % RING)
                x += tl.load(into + (1 + echo) * R + r) * value
        if ORDER > 0:
            # The ring holds sample t at t modulo the order; terms beyond the order are nothing.
            terms = tl.load(coefficients + predictor * ORDER + k, mask=k < ORDER, other=0.0)
            then = (now % ORDER + 2 * ORDER - 1 - k) % ORDER
            predicted = tl.sum(terms * tl.load(recent + then, mask=k < ORDER, other=0.0), axis=0)
            gain = tl.load(gains + predictor)
        share = shares + (now - origin) * WINDOW
        for layer in range(0, LAYERS):
            dilation = tl.load(dilations + layer)
            ring = (TAPS - 1) * dilation + 1
            row = history + tl.load(places + layer) * R
            tl.store(row + (now % ring) * R + r, x)
            tl.debug_barrier()
            filtered = tl.load(bias + layer * 2 * H + h)
            opened = tl.load(bias + layer * 2 * H + H + h)
            for around in range(0, WINDOW):
                here = condition + ((frame + around) * LAYERS + layer) * 2 * H
                part = tl.load(share + around)
                filtered += part * tl.load(here + h)
                opened += part * tl.load(here + H + h)
            for tap in range(0, TAPS):
                then = now - (TAPS - 1 - tap) * dilation
                past = tl.load(row + ((then + ring) % ring) * R + r)
                weight = gate + (layer * TAPS + tap) * 2 * H * R
                rows = weight + h[:, None] * R + r[None, :]
                filtered += tl.sum(tl.load(rows) * past[None, :], axis=1)
                opened += tl.sum(tl.load(rows + H * R) * past[None, :], axis=1)
            z = _tanh(filtered) * (0.5 + 0.5 * _tanh(0.5 * opened))
            change = residual + layer * R * H + r[:, None] * H + h[None, :]
            change = tl.sum(tl.load(change) * z[None, :], axis=1)
            x = (x + change + tl.load(residual_bias + layer * R + r)) * residual_scale
            more = skip + layer * S * H + s[:, None] * H + h[None, :]
            total += tl.sum(tl.load(more) * z[None, :], axis=1)
            total += tl.load(skip_bias + layer * S + s)
            tl.debug_barrier()
        y = tl.maximum(total * skip_scale, 0.0)
        square = tl.load(hidden_weight + s[:, None] * S + s[None, :])
        y = tl.maximum(tl.sum(square * y[None, :], axis=1) + tl.load(hidden_bias + s), 0.0)
        wide = tl.load(last + o[:, None] * S + s[None, :])
        outputs = tl.sum(wide * y[None, :], axis=1) + tl.load(last_bias + o)
        if ORDER > 0:
            parts: tl.constexpr = 1 if KIND == 1 else COUNT // 3
            middle = predicted
            if ECHOES > 0:
                here = (o >= COUNT) & (o < COUNT + ECHOES)
                weights = SCALE * tl.where(here, outputs, 0.0).to(tl.float64)
                past = tl.load(amplitudes + (then + o - COUNT + RING) % RING, mask=here, other=0.0)
                size = 1.0 + tl.sum(tl.abs(weights), axis=0)
                middle += HIGHEST * tl.sum(weights * past, axis=0) / size
            scaled = (middle + gain * outputs.to(tl.float64)).to(tl.float32)
            louder = outputs + tl.log(gain).to(tl.float32)
            is_loc = (o >= COUNT - 2 * parts) & (o < COUNT - parts)
            is_scale = (o >= COUNT - parts) & (o < COUNT)
            outputs = tl.where(is_loc, scaled, tl.where(is_scale, louder, outputs))
        at = item * count + step
        drawn = _draw(
            outputs, tl.load(uniforms + at * 3), tl.load(uniforms + at * 3 + 1),
            tl.load(uniforms + at * 3 + 2), floor, half, KIND, COUNT, OUT,
        )  # fmt: skip
        tl.store(samples + at, drawn)
        before = drawn
        if TAUGHT:
            before = tl.load(teacher + at)
        if ORDER > 0:
            amplitude = before.to(tl.float64) - predicted
            excess = amplitude / gain
            tl.debug_barrier()
            tl.store(recent + now % ORDER, before.to(tl.float64))
            before = (excess / (1.0 + tl.abs(excess) / LIMIT)).to(tl.float32)
            if ECHOES > 0:
                tl.store(echoes + now % RING, before)
                tl.store(amplitudes + now % RING, amplitude)
                tl.debug_barrier()
        if GIVEN:
            tl.store(given + at * COUNT + o, outputs, mask=o < COUNT)
    tl.store(heard + item, before)


class Persistent:
    """See :class:`glottis.kernels.wavenet.Sampler`. Channels are padded to powers of two."""

    def __init__(self, weights: Weights, device: str) -> None:
        layers, gates, residual, taps = weights.gate.shape
        skip, outputs = len(weights.hidden), len(weights.last)
        self.weights, self.device = weights, device
        sizes = residual, gates // 2, skip, outputs
        self.sizes = R, H, S, wide = tuple(triton.next_power_of_2(n) for n in sizes)

        def put(array: Any, *shape: int) -> torch.Tensor:
            padded = np.zeros(shape, np.float32)
            padded[tuple(slice(n) for n in array.shape)] = array
            return torch.from_numpy(padded).to(device)

        halves = weights.gate.reshape(layers, 2, gates // 2, residual, taps)
        rings = (taps - 1) * np.array(weights.dilations) + 1
        self.ring_total = int(rings.sum())
        self.constants = [
            put(weights.first.T, weights.first.shape[1], R),
            put(weights.first_bias, R),
            put(np.moveaxis(halves, 4, 1), layers, taps, 2, H, R),
        ]
        self.after = [
            put(weights.residual, layers, R, H),
            put(weights.residual_bias, layers, R),
            put(weights.skip, layers, S, H),
            put(weights.skip_bias, layers, S),
            put(weights.hidden, S, S),
            put(weights.hidden_bias, S),
            put(weights.last, wide, S),
            put(weights.last_bias, wide),
            torch.tensor(weights.dilations, dtype=torch.int64, device=device),
            torch.from_numpy(np.concatenate([[0], np.cumsum(rings)[:-1]])).to(device),
        ]
        self.put = put

    def start(self, batch: int, bias: Array) -> None:
        w, (R, H, _, _) = self.weights, self.sizes
        layers, gates = w.gate_bias.shape
        halves = (bias + w.gate_bias).reshape(batch, layers, 2, gates // 2)
        self.bias = self.put(halves, batch, layers, 2, H)
        self.history = torch.zeros(batch, self.ring_total, R, device=self.device)
        self.heard = torch.full((batch,), w.start, dtype=torch.float32, device=self.device)
        self.order = w.prediction.order if w.prediction else 0
        ring = torch.zeros(batch, max(1, self.order), dtype=torch.float64)
        self.recent = ring.to(self.device)
        longest = w.period.longest + w.around if w.period else 1
        self.echoes = torch.zeros(batch, longest, device=self.device)
        self.amplitudes = self.echoes.double()
        self.now = 0

    def hear(self, first: int, features: Double, shares: Double, predictors: Predictors) -> None:
        w = self.weights
        batch, _, frames = features.shape
        layers, gates, _ = w.condition.shape
        projected = np.einsum("bcf,lgc->bflg", features, w.condition)
        halves = projected.reshape(batch, frames, layers, 2, gates // 2)
        self.condition = self.put(halves, batch, frames, layers, 2, self.sizes[1])
        self.shares = self.put(shares, *shares.shape)
        self.predictors = [torch.from_numpy(part).to(self.device) for part in predictors]
        self.origin = first * w.hop

    def advance(
        self, uniforms: Double, teacher: Array | None, parameters: bool
    ) -> tuple[Array, Array | None]:
        w, (R, H, S, wide) = self.weights, self.sizes
        batch, count, _ = uniforms.shape
        outputs = w.outputs
        samples = torch.zeros(batch, count, device=self.device)
        given = torch.zeros(batch, count if parameters else 0, outputs, device=self.device)
        taught = torch.zeros(0) if teacher is None else torch.from_numpy(teacher.copy())
        _advance[(batch,)](
            *self.constants, self.bias, *self.after, self.condition, self.shares,
            torch.from_numpy(uniforms).to(self.device), taught.to(self.device), self.heard,
            self.history, *self.predictors, self.recent, self.echoes, self.amplitudes,
            samples, given, self.now, self.origin, count, self.shares.shape[1], self.ring_total,
            w.residual_scale, w.skip_scale, w.minimum_log_scale, (2.0**w.bits - 1.0) / 2.0,
            LAYERS=len(w.dilations), TAPS=w.gate.shape[3], R=R, H=H, S=S, OUT=wide, COUNT=outputs,
            KIND=OUTPUTS.index(w.output), HOP=w.hop, WINDOW=self.shares.shape[3],
            PARTS=w.parts,
            ORDER=self.order, PAST=triton.next_power_of_2(max(1, self.order)),
            ECHOES=w.echoes, RING=self.echoes.shape[1], SCALE=ECHO_SCALE, HIGHEST=HIGHEST_ECHO,
            LIMIT=LOUDEST,
            TAUGHT=teacher is not None, GIVEN=parameters,
        )  # fmt: skip
        self.now += count
        found = given.cpu().numpy() if parameters else None
        return samples.cpu().numpy(), found
