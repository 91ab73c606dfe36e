"""WaveNet sampling on the CPU, compiled by numba.

What a sample costs is reading the weights, so the weights are laid out in the order of reading and
are read as seldom as they can be:

- A layer of dilation ``d`` knows what its older taps will see for ``d`` samples ahead, so their
  products are made for a block of samples at once; only the newest tap, the residual and the skip
  matrices are read for every sample. That is half of what a plain loop reads.
- Conditioning is projected for all layers at the rate of the frames, and only then interpolated,
  which is the same thing because upsampling treats all channels alike.
- bfloat16 weights lie in pairs in 32-bit words. A shift brings one of them to its place; the other
  is used as it is, its lowest bits being its neighbour's, which packing takes into account.

Channels are divided into two parts which need each other's results once a layer. One thread takes
both or two threads one each, and the arithmetic is the same.
"""

from __future__ import annotations

import copy
import os
import threading
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from glottis.kernels.vector_math import compiled, single
from glottis.kernels.wavenet import (
    ECHO_SCALE,
    HIGHEST_ECHO,
    LOUDEST,
    OUTPUTS,
    Array,
    Double,
    Precision,
    Predictors,
    Weights,
)
from glottis.kernels.wavenet_layout import (
    TILE,
    Matrices,
    aligned,
    aligned_zeros,
    block_length,
    padded_size,
)
from glottis.kernels.wavenet_products import multiply

# Parts of the channels.
PARTS = 2

# Elementary pieces ------------------------------------------------------------------------------


@intrinsic
def _float_of(typing, bits):  # type: ignore[no-untyped-def]
    """The float32 whose bits these are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@compiled
def _exponential(value):  # type: ignore[no-untyped-def]
    """``exp`` of a float32 between -87 and 87, by Cephes' polynomial; see ``vector_math``."""
    power = np.rint(value * single(1.44269504))
    rest = (value - power * single(0.693359375)) + power * single(2.12194440e-4)
    series = single(1.9875691500e-4)
    series = series * rest + single(1.3981999507e-3)
    series = series * rest + single(8.3334519073e-3)
    series = series * rest + single(4.1665795894e-2)
    series = series * rest + single(1.6666665459e-1)
    series = series * rest + single(5.0000001201e-1)
    series = (series * rest * rest + rest) + single(1.0)
    return series * _float_of((np.int32(power) + np.int32(127)) << np.int32(23))  # type: ignore[call-arg]


@compiled
def _open(gates, at, size, z, z_at):  # type: ignore[no-untyped-def]
    """``z = tanh(a) sigmoid(b)`` with ``a`` the first ``size`` gates and ``b`` the next."""
    a, b, out = gates[at : at + size], gates[at + size : at + 2 * size], z[z_at : z_at + size]
    for i in range(size):
        # With u = exp(-2 a) and v = exp(-b): (1 - u) / ((1 + u) (1 + v)), which stays finite.
        u = _exponential(single(-2.0) * min(max(a[i], single(-15.0)), single(15.0)))
        v = _exponential(-min(max(b[i], single(-40.0)), single(40.0)))
        out[i] = (single(1.0) - u) / ((single(1.0) + u) * (single(1.0) + v))


@compiled
def _chosen(logits, first, count, uniform):  # type: ignore[no-untyped-def]
    """The index whose share of the running sum of softmax weights holds ``uniform``."""
    highest = -np.inf
    for i in range(count):
        highest = max(highest, np.float64(logits[first + i]))
    total = 0.0
    for i in range(count):
        total += np.exp(np.float64(logits[first + i]) - highest)
    total *= uniform
    reached = 0.0
    for i in range(count):
        reached += np.exp(np.float64(logits[first + i]) - highest)
        if reached > total:
            return i
    return count - 1


@compiled
def _draw(outputs, at, count, kind, bits, floor, uniforms):  # type: ignore[no-untyped-def]
    """A sample from one step's outputs; as the reference's ``draw``. ``kind`` counts OUTPUTS."""
    if kind == 0:
        return single(_chosen(outputs, at, count, uniforms[0]))
    if kind == 1:
        loc, log_scale = outputs[at], outputs[at + 1]
    else:
        components = count // 3
        component = _chosen(outputs, at, components, uniforms[0])
        loc = outputs[at + components + component]
        log_scale = outputs[at + 2 * components + component]
    if kind == 3:
        standard = np.log(uniforms[1]) - np.log1p(-uniforms[1])
    else:
        standard = np.sqrt(-2.0 * np.log(uniforms[1])) * np.cos(2.0 * np.pi * uniforms[2])
    scale = np.exp(min(max(np.float64(log_scale), floor), 80.0))
    half = (2.0**bits - 1.0) / 2.0
    edge = np.rint((loc + scale * standard) * half + 0.5)
    edge = min(max(edge, 1.0 - 2.0 ** (bits - 1)), 2.0 ** (bits - 1))
    return single((edge - 0.5) / half)


@compiled
def _predicted(recent, at, coefficients):  # type: ignore[no-untyped-def]
    """The linear prediction; ``recent`` is a ring whose oldest sample lies at ``at``."""
    order, total = len(recent), 0.0
    for k in range(at):
        total += coefficients[k] * recent[at - 1 - k]
    for k in range(at, order):
        total += coefficients[k] * recent[order + at - 1 - k]
    return total


@compiled
def _heard(excess, loudest):  # type: ignore[no-untyped-def]
    """An excess in gains as the network hears it, which never is more than ``loudest``."""
    return single(excess / (1.0 + abs(excess) / loudest))


@compiled
def _echo(outputs, at, count, amplitudes, then, scale, highest):  # type: ignore[no-untyped-def]
    """What comes again of the ring ``amplitudes`` from time ``then`` on, by ``count`` weights."""
    total, size = 0.0, 1.0
    for k in range(count):
        weight = scale * np.float64(outputs[at + k])
        total += weight * amplitudes[(then + k) % len(amplitudes)]
        size += abs(weight)
    return highest * total / size


@compiled
def _around(outputs, at, count, predicted, gain):  # type: ignore[no-untyped-def]
    """Turn outputs in units of the gain into amplitudes around the prediction, in place."""
    components = max(1, count // 3)
    first = at + count - 2 * components
    for i in range(first, first + components):
        outputs[i] = predicted + gain * outputs[i]
        outputs[i + components] += np.log(gain)


@compiled
def _interpolate(  # type: ignore[no-untyped-def]
    now, block, hop, window, around, place, frames, tiles, shares, share, rows, at, step, unused
):
    """Add what the frames around them say to ``block`` samples from time ``now`` on.

    Time and frames count from the first that is held. ``around`` holds ``[tiles, frames, TILE]``
    from ``place`` on, and ``shares`` ``[frame, phase, window]`` from ``share`` on: the product of a
    matrix that slides along the frames.
    """
    done = 0
    while done < block:
        frame, phase = (now + done) // hop, (now + done) % hop
        count = min(hop - phase, block - done)
        if frame > frames - window:  # a block that reaches beyond the end
            return
        for tile in range(tiles):
            multiply(
                around, place + (tile * frames + frame) * TILE, TILE, unused, 0, 1, window,
                shares, share + (frame * hop + phase) * window, window, count,
                rows, at + done * step + tile * TILE, step,
            )  # fmt: skip
        done += count


# Two threads meet -------------------------------------------------------------------------------


@intrinsic
def _arrive(typing, counter):  # type: ignore[no-untyped-def]
    """Add one to ``counter[0]``, seen by all threads; what was written before is seen with it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        struct = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
        builder.atomic_rmw("add", struct.data, ir.Constant(ir.IntType(64), 1), "seq_cst")
        return context.get_dummy_value()

    return types.void(counter), generate


@intrinsic
def _arrived(typing, counter):  # type: ignore[no-untyped-def]
    """``counter[0]`` as other threads left it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        struct = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
        return builder.load_atomic(struct.data, "acquire", 8)

    return types.int64(counter), generate


_give_way: Any
if hasattr(os, "sched_yield"):
    _give_way = types.ExternalFunction("sched_yield", types.int32())
else:
    _give_way = compiled(lambda: 0)


@compiled
def _meet(counter, threads, met):  # type: ignore[no-untyped-def]
    """Wait until every thread has come here as often as this one; gives how often that is."""
    if threads == 1:
        return met
    met += 1
    _arrive(counter)  # type: ignore[call-arg]
    turns = 0
    while _arrived(counter) < threads * met:
        turns += 1
        if turns % SPINS == 0:  # the other thread may be waiting for this one's processor
            _give_way()
    return met


SPINS = 4096


# The sample loop --------------------------------------------------------------------------------


@compiled
def _advance(  # type: ignore[no-untyped-def]
    thread, threads, first, shape, dilations, blocks, rings, matrices, width, scales, places, ends,
    into, into_bias, bias, timing, condition, shares, residual_bias, skip_bias, hidden_bias,
    last_bias, factors, history, history_at, past, past_at, partial, skips, opened, summed, hidden,
    outputs, kind, bits, coefficients, gains, periods, recent, echoes, amplitudes, heard, teacher,
    uniforms, samples, given, counter,
):  # fmt: skip
    """What one thread does for ``len(uniforms[0])`` samples from time ``first`` on.

    ``shape`` is (batch, layers, taps, residual channels, hidden channels of a part, their padded
    gates, padded residual and skip, skip, padded half skip, outputs, padded outputs).
    ``coefficients`` ``[batch, part, order]``, each for ``span`` samples, are empty without linear
    prediction, and the rings ``[batch, time]`` of what was heard, ``echoes``, and of excesses,
    ``amplitudes``, where no period is listened for.
    """
    batch, layers, taps, residual, size, gates, wide, skip, half_wide, out, out_wide = shape
    window, hop, frames, origin, span = timing
    per_item = (frames - window + 1) * hop * window
    order, echo = coefficients.shape[2], echoes.shape[1]
    low, high = (0, PARTS) if threads == 1 else (thread, thread + 1)
    x = history[thread]
    met = 0
    for step in range(uniforms.shape[1]):
        now = first + step
        row = history_at[0] + now % rings[0] * batch * residual
        for item in range(batch):
            to = row + item * residual
            if kind == 0:
                source = np.int64(heard[item])
                for i in range(residual):
                    x[to + i] = into[source, i] + into_bias[i]
            else:
                value = heard[item]
                for i in range(residual):
                    x[to + i] = into[0, i] * value + into_bias[i]
                if echo > 0:
                    around = len(into) // 2 - 1
                    then = now - periods[item, (now - origin) // span] - around
                    for k in range(1, len(into)):
                        value = echoes[item, (then + k - 1) % echo]
                        for i in range(residual):
                            x[to + i] += into[k, i] * value
        for part in range(low, high):
            skips[part, :] = single(0.0)
        for layer in range(layers):
            block, ring, dilation = blocks[layer], rings[layer], dilations[layer]
            within = now % block
            row = history_at[layer] + now % ring * batch * residual
            for part in range(low, high):
                rows = past[part]
                start = past_at[layer]
                if within == 0:
                    for column in range(block * batch):
                        to = start + column * gates
                        for i in range(gates):
                            rows[to + i] = bias[column % batch, layer, part, i]
                    for item in range(batch):
                        place = ((item * layers + layer) * PARTS + part) * gates * frames
                        _interpolate(
                            now - origin, block, hop, window, condition, place, frames,
                            gates // TILE, shares, item * per_item,
                            rows, start + item * gates, batch * gates, scales,
                        )  # fmt: skip
                    for tap in range(taps - 1):
                        then = (now - (taps - 1 - tap) * dilation) % ring
                        multiply(
                            matrices, places[layer, part, tap, 0], width,
                            scales, places[layer, part, tap, 1], gates // TILE, residual,
                            x, history_at[layer] + then * batch * residual, residual,
                            block * batch, rows, start, gates,
                        )  # fmt: skip
                to = start + within * batch * gates
                multiply(
                    matrices, places[layer, part, taps - 1, 0], width,
                    scales, places[layer, part, taps - 1, 1], gates // TILE, residual,
                    x, row, residual, batch, rows, to, gates,
                )  # fmt: skip
                z = opened[part]
                for item in range(batch):
                    _open(rows, to + item * gates, size, z, item * size)
                sums = partial[layer % 2, part]
                sums[:] = single(0.0)
                multiply(
                    matrices, places[layer, part, taps, 0], width,
                    scales, places[layer, part, taps, 1], wide // TILE, size,
                    z, 0, size, batch, sums, 0, wide,
                )  # fmt: skip
                for item in range(batch):
                    for i in range(skip):
                        skips[part, item * skip + i] += sums[item * wide + residual + i]
            met = _meet(counter, threads, met)
            if layer + 1 < layers:
                here, there = partial[layer % 2, 0], partial[layer % 2, 1]
                following = history_at[layer + 1] + now % rings[layer + 1] * batch * residual
                for item in range(batch):
                    old, new = row + item * residual, following + item * residual
                    for i in range(residual):
                        change = (here[item * wide + i] + there[item * wide + i]) + residual_bias[
                            layer, i
                        ]
                        x[new + i] = (x[old + i] + change) * factors[0]
        total = summed[thread]
        for item in range(batch):
            for i in range(skip):
                value = skips[0, item * skip + i] + skips[1, item * skip + i]
                total[item * skip + i] = max((value + skip_bias[i]) * factors[1], single(0.0))
        for part in range(low, high):
            for item in range(batch):
                for i in range(half_wide):
                    hidden[part, item * half_wide + i] = hidden_bias[part, i]
            multiply(
                matrices, ends[part, 0], width, scales, ends[part, 1], half_wide // TILE, skip,
                total, 0, skip, batch, hidden[part], 0, half_wide,
            )  # fmt: skip
        met = _meet(counter, threads, met)
        if thread == 0:
            half = skip // 2
            for item in range(batch):
                for part in range(PARTS):
                    for i in range(half):
                        total[item * skip + part * half + i] = max(
                            hidden[part, item * half_wide + i], single(0.0)
                        )
                for i in range(out_wide):
                    outputs[item * out_wide + i] = last_bias[i]
            multiply(
                matrices, ends[PARTS, 0], width, scales, ends[PARTS, 1], out_wide // TILE, skip,
                total, 0, skip, batch, outputs, 0, out_wide,
            )  # fmt: skip
            for item in range(batch):
                if order > 0:
                    part = (now - origin) // span
                    predicted = _predicted(recent[item], now % order, coefficients[item, part])
                    middle = predicted
                    if echo > 0:
                        then = now - periods[item, part] - (len(into) // 2 - 1)
                        middle += _echo(
                            outputs, item * out_wide + out, len(into) - 1, amplitudes[item], then,
                            factors[3], factors[4],
                        )  # fmt: skip
                    _around(outputs, item * out_wide, out, middle, gains[item, part])
                drawn = _draw(
                    outputs, item * out_wide, out, kind, bits, factors[2], uniforms[item, step]
                )
                samples[item, step] = drawn
                heard[item] = drawn if teacher.shape[1] == 0 else teacher[item, step]
                if order > 0:
                    recent[item, now % order] = heard[item]
                    amplitude = heard[item] - predicted
                    heard[item] = _heard(amplitude / gains[item, part], factors[5])
                    if echo > 0:
                        echoes[item, now % echo] = heard[item]
                        amplitudes[item, now % echo] = amplitude
                if given.shape[1] > 0:
                    for i in range(out):
                        given[item, step, i] = outputs[item * out_wide + i]
        met = _meet(counter, threads, met)


# Layout -----------------------------------------------------------------------------------------


class Fast:
    """See :class:`glottis.kernels.wavenet.Sampler`."""

    def __init__(self, weights: Weights, precision: Precision, threads: int) -> None:
        layers, gates, residual, taps = weights.gate.shape
        skip, outputs = len(weights.hidden), len(weights.last)
        self.weights, self.threads = weights, threads
        half = gates // 2
        even = {"residual channels": residual, "gate channels": gates // 2, "skip channels": skip}
        for name, size in even.items():
            if size % 4:
                raise ValueError(f"{name} must be a multiple of 4 (gates of 8), not {size}")
        self.size = half // PARTS
        matrices = Matrices(precision)
        places = np.zeros((layers, PARTS, taps + 1, 2), np.int64)
        for layer in range(layers):
            for part in range(PARTS):
                own = slice(part * self.size, (part + 1) * self.size)
                for tap in range(taps):
                    places[layer, part, tap] = matrices.add(
                        self._of_part(weights.gate[layer, :, :, tap], part)
                    )
                both = [weights.residual[layer][:, own], weights.skip[layer][:, own]]
                places[layer, part, taps] = matrices.add(np.concatenate(both))
        middle = skip // PARTS
        ends = [
            matrices.add(weights.hidden[part * middle : (part + 1) * middle])
            for part in range(PARTS)
        ]
        ends.append(matrices.add(weights.last))
        self.places, self.ends = places, np.array(ends)
        self.matrices, self.scales = matrices.joined()
        self.width = matrices.width
        self.gates = padded_size(2 * self.size)
        self.dilations = np.array(weights.dilations)
        self.blocks = np.array([block_length(d) for d in weights.dilations])
        self.rings = (taps - 1) * self.dilations + self.blocks
        self.kind = OUTPUTS.index(weights.output)
        self.into = np.ascontiguousarray(weights.first.T, np.float32)
        self.hidden_bias = np.zeros((PARTS, padded_size(middle)), np.float32)
        self.hidden_bias[:, :middle] = weights.hidden_bias.reshape(PARTS, middle)
        self.last_bias = np.zeros(padded_size(outputs), np.float32)
        self.last_bias[:outputs] = weights.last_bias
        self.skip_bias = weights.skip_bias.astype(np.float64).sum(0).astype(np.float32)
        # The floor of the scale is compared in float64, the factors are used in float32.
        self.factors = (
            np.float32(weights.residual_scale),
            np.float32(weights.skip_scale),
            float(weights.minimum_log_scale),
            # Not looked up inside: what is compiled is kept, and would not notice their change.
            *(ECHO_SCALE, HIGHEST_ECHO, LOUDEST),
        )
        projection = self._packed_gates(np.moveaxis(weights.condition, 2, 0))
        self.projection = projection.reshape(len(projection), -1)
        self.shape = (
            *(layers, taps, residual, self.size, self.gates, padded_size(residual + skip), skip),
            *(padded_size(middle), weights.outputs, padded_size(outputs)),
        )

    def start(self, batch: int, bias: Array) -> None:
        w = self.weights
        _, _, residual, size, gates, wide, skip, half_wide, _, out_wide = self.shape
        self.bias = self._packed_gates(bias + w.gate_bias)
        lengths = self.rings * batch * residual
        self.history_at = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self.history = aligned_zeros(self.threads, int(lengths.sum()))
        lengths = self.blocks * batch * gates
        self.past_at = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self.past = aligned_zeros(PARTS, int(lengths.sum()))
        self.partial = aligned_zeros(2 * PARTS, batch * wide).reshape(2, PARTS, -1)
        self.skips = aligned_zeros(PARTS, batch * skip)
        self.opened = aligned_zeros(PARTS, batch * size)
        self.summed = aligned_zeros(self.threads, batch * skip)
        self.hidden = aligned_zeros(PARTS, batch * half_wide)
        self.outputs = aligned_zeros(1, batch * out_wide)[0]
        self.heard = np.full(batch, w.start, np.float32)
        self.recent = np.zeros((batch, w.prediction.order if w.prediction else 0))
        # Of what was heard, as far back as the earliest value around the longest period.
        self.echoes = np.zeros((batch, w.period.longest + w.around if w.period else 0), np.float32)
        self.amplitudes = np.zeros(self.echoes.shape)
        self.now = 0

    def hear(self, first: int, features: Double, shares: Double, predictors: Predictors) -> None:
        batch, _, frames = features.shape
        layers, tiles = self.shape[0], self.gates // TILE
        flat = features.transpose(0, 2, 1).reshape(batch * frames, -1).astype(np.float32)
        projected = (flat @ self.projection).reshape(batch, frames, layers, PARTS, tiles, TILE)
        self.condition = aligned(np.moveaxis(projected, 1, 4).reshape(-1))
        self.shares = shares.astype(np.float32).reshape(-1)
        hop = self.weights.hop
        self.timing = shares.shape[3], hop, frames, first * hop, hop // self.weights.parts
        self.predictors = predictors

    def advance(
        self, uniforms: Double, teacher: Array | None, parameters: bool
    ) -> tuple[Array, Array | None]:
        batch, count, _ = uniforms.shape
        samples = np.zeros((batch, count), np.float32)
        given = np.zeros((batch, count if parameters else 0, self.weights.outputs), np.float32)
        if teacher is None:
            teacher = np.zeros((batch, 0), np.float32)
        counter = np.zeros(16, np.int64)
        w = self.weights

        def work(thread: int) -> None:
            _advance(
                thread, self.threads, self.now, (batch, *self.shape), self.dilations, self.blocks,
                self.rings, self.matrices, self.width, self.scales, self.places, self.ends,
                self.into, w.first_bias, self.bias, self.timing, self.condition, self.shares,
                w.residual_bias, self.skip_bias, self.hidden_bias, self.last_bias,
                self.factors, self.history, self.history_at, self.past, self.past_at,
                self.partial, self.skips, self.opened, self.summed, self.hidden, self.outputs,
                self.kind, w.bits, *self.predictors, self.recent, self.echoes,
                self.amplitudes, self.heard, np.ascontiguousarray(teacher, np.float32), uniforms,
                samples, given, counter,
            )  # fmt: skip

        others = [threading.Thread(target=work, args=(i,)) for i in range(1, self.threads)]
        for other in others:
            other.start()
        work(0)
        for other in others:
            other.join()
        self.now += count
        return samples, given if parameters else None

    def _of_part(self, gates: Array, part: int) -> Array:
        """The rows of one part: its tanh channels, then its sigmoid channels."""
        half = len(gates) // 2
        first = part * self.size
        return np.concatenate(
            [gates[first : first + self.size], gates[half + first : half + first + self.size]]
        )

    def _packed_gates(self, values: Array) -> Array:
        """``[n, L, G]`` -> float32 ``[n, L, PARTS, padded gates of a part]``."""
        count, layers, _ = values.shape
        packed = np.zeros((count, layers, PARTS, self.gates), np.float32)
        halves = values.reshape(count, layers, 2, PARTS, self.size)
        packed[..., : 2 * self.size] = np.moveaxis(halves, 2, 3).reshape(
            count, layers, PARTS, 2 * self.size
        )
        return packed


class Divided:
    """A batch whose items are divided among threads, which never wait for each other."""

    def __init__(self, form: Fast, threads: int) -> None:
        self.forms = [copy.copy(form) for _ in range(threads)]  # they read the same weights
        for each in self.forms:
            each.threads = 1

    def start(self, batch: int, bias: Array) -> None:
        share = -(-batch // len(self.forms))
        self.parts = [slice(first, first + share) for first in range(0, batch, share)]
        for form, part in zip(self.forms, self.parts, strict=False):
            form.start(len(bias[part]), bias[part])

    def hear(self, first: int, features: Double, shares: Double, predictors: Predictors) -> None:
        for form, part in zip(self.forms, self.parts, strict=False):
            coefficients, gains, periods = predictors
            own = coefficients[part], gains[part], periods[part]
            form.hear(first, features[part], shares[part], own)

    def advance(
        self, uniforms: Double, teacher: Array | None, parameters: bool
    ) -> tuple[Array, Array | None]:
        found: list[Any] = [None] * len(self.parts)

        def work(i: int) -> None:
            part = self.parts[i]
            heard = None if teacher is None else teacher[part]
            found[i] = self.forms[i].advance(uniforms[part], heard, parameters)

        others = [threading.Thread(target=work, args=(i,)) for i in range(1, len(found))]
        for other in others:
            other.start()
        work(0)
        for other in others:
            other.join()
        given = np.concatenate([each[1] for each in found]) if parameters else None
        return np.concatenate([each[0] for each in found]), given
