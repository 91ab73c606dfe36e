"""Trajectories as their distributions arrive, in numpy: the low-delay form.

``R y = r`` is factored from the first frame on, as ``L D L'``, and solved from the last frame back
(Tokuda, Kobayashi & Imai 1995 add frames recursively; Muramatsu et al. 2008 bound the delay). What
later frames do to an earlier one dies away within a few dozen, so a frame is given out once
``lookahead`` later ones are known. The solution is sought as a deviation from the static means:
frames that are not known yet then count as having none, instead of lying at zero. Vectorised over
dimensions; needs no compiler. When the end is waited for anyway, frames are solved for together
(:mod:`glottis.kernels.block_tridiagonal`), which is many times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glottis.errors import InputError
from glottis.kernels import block_tridiagonal
from glottis.kernels.trajectory import WINDOWS, checked_windows
from glottis.kernels.trajectory_reference import unusable

Float = NDArray[np.float64]


class TrajectoryStream:
    """:func:`glottis.kernels.mlpg` piece by piece.

    Args:
        static: dimensions of the trajectory.
        windows: as for ``mlpg``.
        lookahead: frames that are waited for before one is given out; None waits for the end and
            gives exactly what ``mlpg`` gives.
    """

    def __init__(
        self, static: int, windows: Sequence[Any] = WINDOWS, lookahead: int | None = 30
    ) -> None:
        if static < 1 or (lookahead is not None and lookahead < 0):
            raise InputError("static must be 1 or more, and lookahead 0 or more frames")
        self.windows = checked_windows(windows)
        self.reach = max(max(left, right) for left, right, _ in self.windows)
        self.band = 2 * self.reach
        self.static, self.lookahead = static, lookahead
        # Rows of R and r that windows still add to; row 0 of both is frame ``self.factored``.
        self.rows = np.zeros((0, self.band + 1, static))
        self.right = np.zeros((0, static))
        self.means = np.zeros((0, static))  # static means, from frame ``self.kept`` on
        self.kept = 0
        self.waiting = np.zeros((0, 2, len(self.windows), static))  # frames not yet in windows
        self.seen = 0  # frames whose windows are in R
        self.factored = 0
        # Of frames that were factored and not given out: L's rows, 1 / D, and z of L z = r.
        self.lower = np.zeros((0, self.band, static))
        self.inverse = np.zeros((0, static))
        self.forward = np.zeros((0, static))
        self.given = 0

    def push(self, mean: NDArray[Any], variance: NDArray[Any]) -> Float:
        """Both ``[frames, windows * static]`` -> the trajectory's next frames ``[n, static]``.

        Raises:
            InputError: shapes that do not fit, or a variance that is not positive.
        """
        size = len(self.windows) * self.static
        if mean.ndim != 2 or mean.shape[1] != size or variance.shape != mean.shape:
            raise InputError(
                f"mean and variance must be [frames, {size}], not {list(mean.shape)} and "
                f"{list(variance.shape)}"
            )
        shape = (len(mean), len(self.windows), self.static)
        frames = np.empty((len(mean), 2, *shape[1:]))
        frames[:, 0] = mean.reshape(shape)
        precision = frames[:, 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            np.divide(1.0, variance.reshape(shape), out=precision, dtype=np.float64)
        # A NaN is neither.
        if len(mean) and not (precision.min() >= 0 and precision.max() < np.inf):
            bad = ~((precision >= 0) & (precision < np.inf)).all((1, 2))
            at = self.seen + len(self.waiting) + int(np.flatnonzero(bad)[0])
            raise InputError(unusable(at))
        first = not len(self.waiting)
        self.waiting = frames if first else np.concatenate([self.waiting, frames])
        self.means = np.concatenate([self.means, frames[:, 0, 0]])
        # The last frames have no slopes, and which they are is not known yet.
        if self.lookahead is None:
            return np.zeros((0, self.static))
        self._add(len(self.waiting) - self.reach, final=False)
        self._factor(self.seen - self.reach - self.factored)
        return self._solved(len(self.inverse) - self.lookahead)

    def finish(self) -> Float:
        """The frames that are left."""
        self._add(len(self.waiting), final=True)
        if self.lookahead is None:
            return self._whole()
        self._factor(self.seen - self.factored)
        return self._solved(len(self.inverse))

    def _add(self, count: int, final: bool) -> None:
        """Put the windows of the next ``count`` frames into ``R`` and ``r``."""
        if count <= 0:
            return
        frames, self.waiting = self.waiting[:count], self.waiting[count:]
        place = self.seen + np.arange(count)
        slopes = place >= self.reach
        if final:
            slopes &= place < self.seen + count - self.reach
        first = self.seen - self.factored
        grown = first + count + self.reach - len(self.rows)
        if grown > 0:
            self.rows = np.concatenate([self.rows, np.zeros((grown, *self.rows.shape[1:]))])
            self.right = np.concatenate([self.right, np.zeros((grown, self.static))])
        for number, (left, right, coefficients) in enumerate(self.windows):
            weight = frames[:, 1, number] * (slopes[:, None] if number else 1.0)
            apart = frames[:, 0, number].copy()
            for shift, coefficient in zip(range(-left, right + 1), coefficients, strict=True):
                beside = (place + shift - self.kept).clip(0, len(self.means) - 1)
                apart -= coefficient * self.means[beside]
            pull = weight * apart
            for i in range(-left, right + 1):
                one = coefficients[i + left]
                if not one:
                    continue
                before = max(0, -(first + i))  # rows that no longer take anything
                used = slice(first + i + before, max(0, first + i + count))
                self.right[used] += one * pull[before:]
                for j in range(-left, i + 1):
                    other = one * coefficients[j + left]
                    if other:
                        self.rows[used, i - j] += other * weight[before:]
        self.seen += count

    def _whole(self) -> Float:
        """All frames at once."""
        if not self.seen:
            return np.zeros((0, self.static))
        diagonal, above = block_tridiagonal.banded(self.rows[: self.seen])
        right = np.zeros((len(diagonal) * diagonal.shape[1], self.static))
        right[: self.seen] = self.right[: self.seen]
        shape = (len(diagonal), diagonal.shape[1], self.static)
        try:
            solved = block_tridiagonal.solve(diagonal, above, right.reshape(shape))
        except block_tridiagonal.Indefinite as error:
            raise InputError(unusable(error.block * shape[1])) from error
        return solved.reshape(right.shape)[: self.seen] + self.means

    def _factor(self, count: int) -> None:
        """``L D L'`` and ``L z = r`` for the next ``count`` rows."""
        if count <= 0:
            return
        band, old = self.band, len(self.inverse)
        lower = np.concatenate([self.lower, np.zeros((count, band, self.static))])
        inverse = np.concatenate([self.inverse, np.zeros((count, self.static))])
        forward = np.concatenate([self.forward, np.zeros((count, self.static))])
        for row in range(count):
            now = old + row
            reach = min(band, now)
            pivot = self.rows[row, 0].copy()
            value = self.right[row].copy()
            for k in range(reach, 0, -1):
                product = self.rows[row, k].copy()
                for m in range(k + 1, reach + 1):
                    product -= lower[now, m - 1] * lower[now - k, m - k - 1] / inverse[now - m]
                lower[now, k - 1] = product * inverse[now - k]
                pivot -= product * lower[now, k - 1]
                value -= lower[now, k - 1] * forward[now - k]
            if not (pivot > 0).all():
                raise InputError(unusable(self.factored + row))
            inverse[now] = 1 / pivot
            forward[now] = value
        self.lower, self.inverse, self.forward = lower, inverse, forward
        self.rows, self.right = self.rows[count:], self.right[count:]
        self.factored += count

    def _solved(self, count: int) -> Float:
        """Solve back from the last factored frame, and give out those that were not given."""
        kept = min(self.band, self.given)  # rows before, which factoring still looks at
        count -= kept
        if count <= 0:
            return np.zeros((0, self.static))
        total = len(self.inverse)
        solved = self.forward * self.inverse
        for now in range(total - 1, kept - 1, -1):
            for k in range(1, min(self.band, total - 1 - now) + 1):
                solved[now] -= self.lower[now + k, k - 1] * solved[now + k]
        first = self.given - self.kept
        made = solved[kept : kept + count] + self.means[first : first + count]
        self.given += count
        used = min(self.given, self.seen - self.reach)
        if used > self.kept:
            self.means, self.kept = self.means[used - self.kept :], used
        drop = kept + count - min(self.band, self.given)
        self.lower, self.inverse = self.lower[drop:], self.inverse[drop:]
        self.forward = self.forward[drop:]
        return made
