"""The Gaussian lattice: how likely every frame is under the Gaussian of every token."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from glottis.errors import InputError

#: Frames of a block in the corners of a lattice.
CORNER = 128


class GaussianLattice(Distribution):
    """One Gaussian with diagonal covariance for each token; the lattice of their log-densities.

    This is the prior of Glow-TTS (Kim et al. 2020, eq. 5), Grad-TTS, Matcha-TTS and VITS: token
    ``i`` has the mean ``mu_i`` (``mean[:, :, i]``) and the log standard deviation ``log sigma_i``
    (``log_scale[:, :, i]``), and ``log_prob(z)[b, i, j] = sum_d log N(z[b, d, j]; mu[b, d, i],
    sigma[b, d, i])`` in nats, the input of :func:`glottis.kernels.mas`.

    The squared difference is multiplied out, so that the whole lattice is one matrix product over a
    doubled channel axis. That cancels badly when means are large beside the scales, therefore each
    channel's average is taken off means and latents first, which changes no difference. The
    product runs in float32 at least, under autocast too.

    As a distribution it is over one latent vector for each token: ``batch_shape`` is ``[batch]``,
    ``event_shape`` ``[channels, text]``, and ``mean``, ``stddev``, ``variance``, ``sample`` and
    ``entropy`` (summed over the channels and the tokens inside the lengths) follow from that. Only
    ``log_prob`` departs from torch's shapes: it pairs every frame with every token.

    Args:
        mean: ``[batch, channels, text]``, any floating type and device.
        log_scale: natural logarithm of the standard deviation, of a shape that broadcasts to
            ``mean``'s; None for unit variance, where the product needs only half the channels.
        text_lengths: integers ``[batch]``; what ``mean`` and ``log_scale`` hold beyond them, NaN
            included, is not looked at and gets no gradient. All tokens when None.

    Raises:
        InputError: shapes or lengths that do not fit.
        ValueError: a NaN inside the lengths (torch's own check; ``validate_args=False`` skips it).
    """

    arg_constraints: ClassVar = {"mean": constraints.real, "log_scale": constraints.real}
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(
        self,
        mean: Tensor,
        log_scale: Tensor | None = None,
        *,
        text_lengths: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if mean.dim() != 3 or not mean.is_floating_point():
            raise InputError(
                "mean must be floating [batch, channels, text], "
                f"not {mean.dtype} {list(mean.shape)}"
            )
        if log_scale is not None:
            try:
                log_scale = log_scale.expand_as(mean)
            except RuntimeError as error:
                raise InputError(
                    f"log_scale {list(log_scale.shape)} does not broadcast to the mean's "
                    f"{list(mean.shape)}"
                ) from error
        self.text_lengths = _checked_lengths(text_lengths, mean.shape[0], mean.shape[2], "text")
        inside = _inside(self.text_lengths, mean.shape[2], mean.device)
        self._inside = inside
        if inside is not None:
            # where, not a product: padding may hold NaN, whose product with zero is NaN.
            mean = torch.where(inside[:, None, :], mean, 0)
            if log_scale is not None:
                log_scale = torch.where(inside[:, None, :], log_scale, 0)
        self._mean = mean
        self._log_scale = log_scale
        super().__init__(mean.shape[:1], mean.shape[1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """``[batch, channels, text]``, zero in padding."""
        return self._mean

    @property
    def has_unit_variance(self) -> bool:
        """Whether no log scale was given."""
        return self._log_scale is None

    @property
    def log_scale(self) -> Tensor:
        """``[batch, channels, text]``, natural logarithm; zero in padding and for unit variance."""
        return torch.zeros_like(self._mean) if self._log_scale is None else self._log_scale

    @property
    def mode(self) -> Tensor:
        return self._mean

    @property
    def stddev(self) -> Tensor:
        return self.log_scale.exp()

    @property
    def variance(self) -> Tensor:
        return (2 * self.log_scale).exp()

    def log_prob(self, value: Tensor, frame_lengths: Tensor | None = None) -> Tensor:
        """``[batch, channels, frames] -> [batch, text, frames]`` in nats.

        Cells beyond ``text_lengths`` or ``frame_lengths`` are zero and get no gradient. The result
        is float32, or float64 when an argument is. Differentiable in the value, mean and log scale.
        """
        batch, channels = self._mean.shape[:2]
        if value.dim() != 3 or value.shape[:2] != (batch, channels):
            raise InputError(
                f"the latent must be [batch, channels, frames] with batch {batch} and channels "
                f"{channels}, not {list(value.shape)}"
            )
        frame_lengths = _checked_lengths(frame_lengths, batch, value.shape[2], "frame")
        inside = _inside(frame_lengths, value.shape[2], value.device)
        if inside is not None:
            value = torch.where(inside[:, None, :], value, 0)
        dtype = self._dtype(value)
        with torch.autocast(value.device.type, enabled=False):
            lattice = self._lattice(value.to(dtype), dtype)
            keep = _both(inside, self._inside)
            if keep is not None:
                lattice = torch.where(keep, lattice, 0)
        return lattice

    def blocks(
        self, value: Tensor, item: int, frames: int, size: int = 256
    ) -> Iterator[tuple[int, Tensor]]:
        """One item's lattice in blocks of ``size`` frames, for a search that never holds it whole.

        ``value`` is ``[batch, channels, frames]``, of which the first ``frames`` of ``item`` are
        read. Yields ``(low, [block, width])`` for :func:`glottis.kernels.mas_blocks`, frames next
        to each other in memory, which the next block overwrites: only tokens from which both ends
        can be reached (and up to seven more, because the search likes multiples of eight), the
        corners are not even computed. No gradients.
        """
        text = self._mean.shape[2]
        tokens = text if self.text_lengths is None else int(self.text_lengths[item])
        with torch.no_grad(), torch.autocast(value.device.type, enabled=False):
            dtype = self._dtype(value)
            one = GaussianLattice(
                self._mean[item : item + 1, :, :tokens],
                None if self._log_scale is None else self._log_scale[item : item + 1, :, :tokens],
                validate_args=False,
            )
            centre, of_token, left = (each[0] for each in one._of_tokens(dtype))
            left = left.T
            # Memory of one block's size stays in the cache; fresh memory for each would not.
            size = min(size, frames)
            right = left.new_empty(left.shape[1], size)
            found = left.new_empty(tokens * size)
            last = 0
            while last < frames:
                # Narrow blocks fit the corners, which nobody needs, better than wide ones.
                corner = last < tokens or last + size > frames - tokens
                first, last = last, min(last + (min(size, CORNER) if corner else size), frames)
                low, high = max(0, tokens - frames + first) // 8 * 8, min(last, tokens)
                factor = right[:, : last - first]
                centred = factor[-len(centre) :]
                torch.sub(value[item, :, first:last].to(dtype), centre, out=centred)
                if self._log_scale is not None:
                    torch.mul(centred, centred, out=factor[: len(centre)])
                cells = found[: (high - low) * (last - first)].view(high - low, last - first)
                torch.addmm(of_token[low:high, None], left[low:high], factor, out=cells)
                if self._log_scale is None:
                    cells.add_(-0.5 * centred.square().sum(0))
                yield low, cells.T

    def _dtype(self, value: Tensor) -> torch.dtype:
        """float64 when anything is, else float32."""
        kinds = [value.dtype, self._mean.dtype]
        if self._log_scale is not None:
            kinds.append(self._log_scale.dtype)
        return torch.float64 if torch.float64 in kinds else torch.float32

    # Glow-TTS's four terms: with p = 1 / sigma^2, a token's own term is what needs no frame,
    # -1/2 sum_d (mu^2 p + log 2 pi sigma^2), and the others are the product of (-p / 2, mu p) with
    # (z^2, z). For unit variance -z^2 / 2 is the same for all tokens and needs no product.

    def _lattice(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        """``[batch, text, frames]``."""
        centre, of_token, left = self._of_tokens(dtype)
        of_frame, right = self._of_frames(value, centre)
        # Laid out by rows: the batched product takes a seventh longer to read it the other way.
        left = left.transpose(1, 2).contiguous()
        product = torch.baddbmm(of_token[:, :, None], left, right)
        return product if of_frame is None else product + of_frame

    def _of_tokens(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """The centre ``[batch, channels, 1]``, the token's own term, the left factor's rows."""
        mean = self._mean.to(dtype)
        centre = self._centre(mean.detach())
        mean = mean - centre
        normaliser = mean.shape[1] * math.log(2 * math.pi)
        if self._log_scale is None:
            own = -0.5 * (mean.square().sum(1) + normaliser)
            return centre, own, mean
        log_scale = self._log_scale.to(dtype)
        precision = (-2 * log_scale).exp()
        weighted = mean * precision
        of_token = -0.5 * ((mean * weighted + 2 * log_scale).sum(1) + normaliser)
        return centre, of_token, torch.cat([-0.5 * precision, weighted], dim=1)

    def _of_frames(self, value: Tensor, centre: Tensor) -> tuple[Tensor | None, Tensor]:
        """For unit variance the frame's own term ``[batch, 1, frames]``, and the right factor."""
        if self._log_scale is None:
            value = value - centre
            return -0.5 * value.square().sum(1)[:, None, :], value
        # In place: touching fresh memory costs more than the arithmetic.
        right = torch.cat([value, value], dim=1).sub_(torch.cat([centre, centre], dim=1))
        right[:, : value.shape[1]].pow_(2)
        return None, right

    def _centre(self, mean: Tensor) -> Tensor:
        """Each channel's average mean, ``[batch, channels, 1]``; a constant, so no gradient."""
        if self._inside is None:
            return (
                mean.mean(2, keepdim=True) if mean.shape[2] else mean.new_zeros(*mean.shape[:2], 1)
            )
        return mean.sum(2, keepdim=True) / self._inside.sum(1).to(mean.dtype)[:, None, None]

    def rsample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """One latent for each token, ``[*sample_shape, batch, channels, text]``, differentiable."""
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(
            shape, dtype=self._mean.dtype, device=self._mean.device, generator=generator
        )
        return self._mean + self.stddev * noise

    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """:meth:`rsample` without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator)

    def entropy(self) -> Tensor:
        """``[batch]`` in nats, over all channels of the tokens inside the lengths."""
        each = self.log_scale + 0.5 * (1 + math.log(2 * math.pi))
        if self._inside is not None:
            each = torch.where(self._inside[:, None, :], each, 0)
        return each.sum((1, 2))


def _checked_lengths(lengths: Tensor | None, batch: int, size: int, what: str) -> Tensor | None:
    if lengths is None:
        return None
    if lengths.shape != (batch,) or lengths.is_floating_point():
        raise InputError(
            f"{what}_lengths must be integers [{batch}], one a batch item, not {lengths.dtype} "
            f"{list(lengths.shape)}"
        )
    wrong = ((lengths < 1) | (lengths > size)).nonzero()
    if wrong.numel():
        item = int(wrong[0])
        raise InputError(
            f"batch item {item}: {what} length {int(lengths[item])} is not between 1 and {size}, "
            "the size of that axis"
        )
    return lengths


def _inside(lengths: Tensor | None, size: int, device: torch.device) -> Tensor | None:
    """bool ``[batch, size]``, true inside the lengths."""
    if lengths is None:
        return None
    return torch.arange(size, device=device) < lengths.to(device)[:, None]


def _both(frames: Tensor | None, text: Tensor | None) -> Tensor | None:
    """bool, broadcasting to ``[batch, text, frames]``."""
    if frames is None:
        return None if text is None else text[:, :, None]
    return frames[:, None, :] if text is None else frames[:, None, :] & text[:, :, None]
