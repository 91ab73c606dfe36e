"""Invertible layers over sequences and the logarithms of their Jacobian determinants.

Every layer maps ``[batch, channels, time]`` to the same shape. ``mask`` is bool ``[batch, 1,
time]``; what the padding holds, NaN included, is not looked at; it comes out zero and counts for
nothing.
``call_and_ladj`` returns the image and ``log|det dy/dx|`` of each batch item, in nats; ``inverse``
undoes it. Inside a model that is all there is to call.

To take a layer, or a whole :class:`Flow`, elsewhere, ``layer.transform(lengths, condition)`` gives
a ``torch.distributions.Transform`` over events ``[channels, time]``; with :class:`SequenceNormal`
as the base it makes a distribution whose ``log_prob`` runs the layers once::

    latent = flow.transform(lengths, condition)                  # data -> latent
    density = FlowDistribution(SequenceNormal(80, lengths), [latent.inv])
    density.log_prob(mel)                                        # nats, [batch]
    density.sample(generator=generator)                          # [batch, 80, time]

Sources: Kingma & Dhariwal 2018 (Glow) for ActNorm and the invertible convolution, Dinh,
Sohl-Dickstein & Bengio 2017 (RealNVP) for the coupling, Kim et al. 2020 (Glow-TTS) for the groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, TransformedDistribution, constraints

from glottis.errors import InputError
from glottis.likelihood.splines import RationalQuadraticSpline


class Invertible(Protocol):
    """What the layers here and a model's decoder have in common."""

    def call_and_ladj(
        self, x: Tensor, mask: Tensor, condition: Tensor | None = None, /
    ) -> tuple[Tensor, Tensor]: ...

    def inverse(self, y: Tensor, mask: Tensor, condition: Tensor | None = None, /) -> Tensor: ...


class Layer(nn.Module):
    """An invertible layer; ``condition`` is whatever its network makes of it, and may go unused."""

    def call_and_ladj(
        self, x: Tensor, mask: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``[batch, channels, time]`` -> the image, and ``log|det dy/dx|`` ``[batch]`` in nats."""
        raise NotImplementedError

    def inverse(self, y: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """The ``x`` whose image is ``y``."""
        raise NotImplementedError

    def transform(self, lengths: Tensor, condition: Tensor | None = None) -> LayerTransform:
        """This layer as a ``torch.distributions.Transform`` for sequences of these lengths."""
        return LayerTransform(self, lengths, condition)


class Flow(Layer):
    """Layers one after the other; ``inverse`` goes through them backwards."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def call_and_ladj(
        self, x: Tensor, mask: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        x = torch.where(mask, x, 0.0)
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, ladj = cast(Layer, layer).call_and_ladj(x, mask, condition)
            total = total + ladj
        return x, total

    def inverse(self, y: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        y = torch.where(mask, y, 0.0)
        for layer in reversed(self.layers):
            y = cast(Layer, layer).inverse(y, mask, condition)
        return y


class Flip(Layer):
    """Channels in reverse order, so that the next coupling changes the other half."""

    def call_and_ladj(
        self, x: Tensor, mask: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return torch.where(mask, x, 0.0).flip(1), x.new_zeros(len(x))

    def inverse(self, y: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.where(mask, y, 0.0).flip(1)


class ActNorm(Layer):
    """A gain and an offset for each channel, set by the first batch so that it leaves standardised.

    ``y = offset + exp(log_scale) * x``. The first call in training mode measures mean and standard
    deviation in two passes (the one-pass formula ``E[x^2] - E[x]^2`` cancels), over all processes
    when there are several, and remembers in the state dict that it did; loading a state therefore
    never initialises again. With ``standardize=False`` it starts as the identity and is only learnt
    (VITS' element-wise affine layer).
    """

    initialized: Tensor

    def __init__(self, channels: int, standardize: bool = True) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialized", torch.tensor(not standardize))

    def call_and_ladj(
        self, x: Tensor, mask: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if self.training and not self.initialized:
            self._initialize(x, mask)
        y = self.offset[:, None] + self.log_scale.exp()[:, None] * x
        return torch.where(mask, y, 0.0), self.log_scale.sum() * mask.sum((1, 2))

    def inverse(self, y: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        x = (y - self.offset[:, None]) * (-self.log_scale).exp()[:, None]
        return torch.where(mask, x, 0.0)

    @torch.no_grad()
    def _initialize(self, x: Tensor, mask: Tensor) -> None:
        x = torch.where(mask, x, 0.0).double()
        count = _over_processes(mask.sum().double()).clamp_min(1)
        mean = _over_processes(x.sum((0, 2))) / count
        deviation = torch.where(mask, x - mean[:, None], 0.0)
        variance = _over_processes(deviation.square().sum((0, 2))) / count
        log_scale = -0.5 * variance.clamp_min(1e-12).log()
        self.log_scale.copy_(log_scale)
        self.offset.copy_(-mean * log_scale.exp())
        self.initialized.fill_(True)


def _over_processes(total: Tensor) -> Tensor:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
    return total


class InvertibleConv1x1(Layer):
    """One matrix that mixes channels within groups.

    Channels are dealt to ``channels / group`` groups so that each group takes half of its members
    from either half of the channels, which a coupling treats differently; the same
    ``[group, group]`` matrix mixes each of them (Glow-TTS, section B.2). ``group == channels``
    is Glow's layer. It starts as a random rotation.

    With ``triangular`` the matrix is kept as ``P L (U + diag(sign exp(log_diagonal)))`` (Glow,
    section 3.2): it cannot become singular, its determinant is a sum and its inverse two triangular
    solves, but the signs stay what they were at the start. Otherwise the matrix is free; its
    determinant may have either sign, and ``slogdet`` is taken.

    The mixing runs in float32 at least, under autocast too: what a flow rounds off forwards it
    cannot bring back.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int, group: int = 4, triangular: bool = False) -> None:
        super().__init__()
        if channels % group or group % 2:
            raise InputError(f"group {group} must be even and divide channels {channels}")
        self.channels, self.group, self.triangular = channels, group, triangular
        rotation = torch.linalg.qr(torch.randn(group, group))[0]
        self.stored_inverse: Tensor | None = None
        if not triangular:
            self.weight = nn.Parameter(rotation)
            return
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(diagonal.abs().log())
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", diagonal.sign())

    def call_and_ladj(
        self, x: Tensor, mask: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        y = self._mix(x, self.matrix())
        groups = self.channels // self.group
        return torch.where(mask, y, 0.0), self._log_abs_det() * groups * mask.sum((1, 2))

    def inverse(self, y: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.where(mask, self._mix(y, self.inverse_weight()), 0.0)

    def matrix(self) -> Tensor:
        """The matrix, ``[group, group]``."""
        if not self.triangular:
            return self.weight
        with _exactly(self.lower):
            lower, upper = self._factors()
            return self.permutation @ lower @ upper

    def inverse_weight(self) -> Tensor:
        """The inverse matrix, ``[group, group]``."""
        if self.stored_inverse is not None:
            return self.stored_inverse
        if not self.triangular:
            return torch.linalg.inv(self.weight.double()).to(self.weight.dtype)
        lower, upper = (factor.double() for factor in self._factors())
        half = torch.linalg.solve_triangular(
            lower, self.permutation.double().T, upper=False, unitriangular=True
        )
        return torch.linalg.solve_triangular(upper, half, upper=True).to(self.lower.dtype)

    def store_inverse(self) -> None:
        """Keep the inverse as it is now: a graph to be exported cannot compute it."""
        inverse = self.inverse_weight().detach()
        del self.stored_inverse
        self.register_buffer("stored_inverse", inverse)

    def _factors(self) -> tuple[Tensor, Tensor]:
        lower = self.lower.tril(-1) + torch.eye(self.group).to(self.lower)
        return lower, self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())

    def _log_abs_det(self) -> Tensor:
        if self.triangular:
            return self.log_diagonal.sum()
        # Factorisations exist only from float32 on; autocast must not reach them.
        with _exactly(self.weight):
            weight = self.weight if self.weight.dtype == torch.float64 else self.weight.float()
            return torch.linalg.slogdet(weight)[1]

    def _mix(self, x: Tensor, weight: Tensor) -> Tensor:
        batch, channels, time = x.shape
        half = self.group // 2
        # [batch, 2 halves, groups, half of a group, time] -> members of a group side by side.
        x = x.reshape(batch, 2, channels // self.group, half, time).transpose(1, 2)
        x = x.reshape(batch, channels // self.group, self.group, time)
        with _exactly(x):
            x = torch.matmul(_at_least_single(weight), _at_least_single(x))
        x = x.view(batch, channels // self.group, 2, half, time).transpose(1, 2)
        return x.reshape(batch, channels, time)


def _exactly(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)


def _at_least_single(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


class AffineCoupling(Layer):
    """Half of the channels decide a shift and a log scale for the other half.

    ``y1 = x1``, ``y2 = shift(x1) + exp(log_scale(x1)) * x2``. ``network(x1, mask, condition)``
    returns ``[batch, channels, time]``: the shift, then the log scale; or, when ``mean_only``, a
    shift of half the channels: the additive coupling, which keeps volumes (Dinh, Krueger & Bengio
    2015, NICE). ``bounded_scale`` takes a second half ``r`` for the scale ``sigmoid(r + 2)``, which
    cannot grow (Glow's released code).
    """

    def __init__(
        self, network: nn.Module, mean_only: bool = False, bounded_scale: bool = False
    ) -> None:
        super().__init__()
        self.network, self.mean_only, self.bounded_scale = network, mean_only, bounded_scale

    def call_and_ladj(
        self, x: Tensor, mask: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        first, second = _halves(torch.where(mask, x, 0.0))
        shift, log_scale = self._shift_and_log_scale(first, mask, condition)
        second = torch.where(mask, shift + log_scale.exp() * second, 0.0)
        ladj = torch.where(mask, log_scale, 0.0).sum((1, 2))
        return torch.cat([first, second], dim=1), ladj

    def inverse(self, y: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        first, second = _halves(torch.where(mask, y, 0.0))
        shift, log_scale = self._shift_and_log_scale(first, mask, condition)
        second = torch.where(mask, (second - shift) * (-log_scale).exp(), 0.0)
        return torch.cat([first, second], dim=1)

    def _shift_and_log_scale(
        self, first: Tensor, mask: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        out = _at_least_single(self.network(first, mask, condition))
        if self.mean_only:
            return out, torch.zeros_like(out)
        shift, log_scale = _halves(out)
        if self.bounded_scale:
            log_scale = torch.log(1e-6 + torch.sigmoid(log_scale + 2))
        return shift, log_scale


class SplineCoupling(Layer):
    """Half of the channels decide a monotonic spline for each element of the other half.

    Durkan et al. 2019 (neural spline flows), section 3.3; VITS' stochastic duration predictor.
    ``network(x1, mask, condition)`` returns ``[batch, channels / 2 * (3 bins - 1), time]``: for
    each channel its raw widths, heights and inner derivatives, as
    :class:`~glottis.likelihood.splines.RationalQuadraticSpline` takes them; ``options`` are that
    class's. An odd channel goes to the half that is changed.
    """

    def __init__(
        self, network: nn.Module, bins: int = 10, bound: float = 5.0, **options: Any
    ) -> None:
        super().__init__()
        self.network, self.bins, self.bound, self.options = network, bins, bound, options

    def call_and_ladj(
        self, x: Tensor, mask: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        first, second = _halves(torch.where(mask, x, 0.0))
        spline = self._spline(first, second, mask, condition)
        second, ladj = spline.call_and_ladj(_at_least_single(second))
        ladj = torch.where(mask, ladj, 0.0).sum((1, 2))
        return torch.cat([first, torch.where(mask, second, 0.0)], dim=1), ladj

    def inverse(self, y: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        first, second = _halves(torch.where(mask, y, 0.0))
        spline = self._spline(first, second, mask, condition)
        second, _ = spline.inverse_and_ladj(_at_least_single(second))
        return torch.cat([first, torch.where(mask, second, 0.0)], dim=1)

    def _spline(
        self, first: Tensor, second: Tensor, mask: Tensor, condition: Tensor | None
    ) -> RationalQuadraticSpline:
        raw = _at_least_single(self.network(first, mask, condition))
        batch, channels, time = second.shape
        # What a network makes of padding may be anything; it must not reach the spline's gradient.
        raw = torch.where(mask, raw, 0.0)
        raw = raw.view(batch, channels, 3 * self.bins - 1, time).transpose(2, 3)
        widths, heights, slopes = raw.split([self.bins, self.bins, self.bins - 1], dim=-1)
        return RationalQuadraticSpline(widths, heights, slopes, self.bound, **self.options)


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    # Unlike chunk, known sizes become one node of an exported graph.
    half = int(x.shape[1]) // 2
    first, second = x.split([half, int(x.shape[1]) - half], dim=1)
    return first, second


def _mask(lengths: Tensor, longest: int) -> Tensor:
    """int64 ``[batch]`` -> bool ``[batch, 1, longest]``."""
    return (torch.arange(longest, device=lengths.device) < lengths[:, None])[:, None]


class _SequenceTransform(Transform):
    """A bijection of events ``[channels, time]`` that keeps what it last computed."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.independent(constraints.real, 2)
    bijective = True

    def __init__(self, lengths: Tensor, cache_size: int = 1) -> None:
        super().__init__(cache_size=cache_size)
        self.lengths = lengths
        self._last: tuple[Tensor, Tensor, Tensor] | None = None

    def with_cache(self, cache_size: int = 1) -> Transform:
        if cache_size != self._cache_size:
            raise NotImplementedError("this transform always keeps its last value")
        return self

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``[..., batch, channels, time]`` -> the image and ``log|det dy/dx|`` ``[..., batch]``."""
        raise NotImplementedError

    def _call(self, x: Tensor) -> Tensor:
        y, ladj = self.call_and_ladj(x)
        self._last = (x, y, ladj)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        if self._last is not None and self._last[0] is x and self._last[1] is y:
            return self._last[2]
        return self.call_and_ladj(x)[1]


class LayerTransform(_SequenceTransform):
    """An invertible layer (or decoder) for given lengths and condition, as torch's transform.

    Args:
        layer: anything with ``call_and_ladj(x, mask, condition)`` and ``inverse(y, mask,
            condition)`` over ``[batch, channels, time]``.
        lengths: int64 ``[batch]``.
        condition: ``[batch, ...]``, handed to the layer as it is.

    Axes of samples before the batch are folded into it. The last ``x``, ``y`` and log-determinant
    are kept, so that sampling and then asking for the density runs the layer once.
    """

    def __init__(self, layer: Any, lengths: Tensor, condition: Tensor | None = None) -> None:
        super().__init__(lengths)
        self.layer: Invertible = layer
        self.condition = condition

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat, rest = self._folded(x)
        y, ladj = self.layer.call_and_ladj(flat, *rest)
        return y.view(x.shape), ladj.view(x.shape[:-2])

    def _inverse(self, y: Tensor) -> Tensor:
        flat, rest = self._folded(y)
        return self.layer.inverse(flat, *rest).view(y.shape)

    def _folded(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor | None]]:
        mask, condition = _mask(self.lengths, x.shape[-1]), self.condition
        if x.dim() > 3:
            times = x.shape[:-3].numel()
            mask = mask.repeat(times, 1, 1)
            if condition is not None:
                condition = condition.repeat(times, *(1 for _ in condition.shape[1:]))
        return x.flatten(0, -3), (mask, condition)


class Pointwise(_SequenceTransform):
    """An element-wise transform of some channels, within the lengths.

    ``transform`` is any of torch's or :class:`~glottis.likelihood.splines.RationalQuadraticSpline`;
    ``channels`` says which channels it changes, the others pass. Padding comes out zero.
    """

    def __init__(
        self, transform: Transform, lengths: Tensor, channels: slice = slice(None)
    ) -> None:
        super().__init__(lengths)
        self.pointwise, self.channels = transform, channels

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask = _mask(self.lengths, x.shape[-1])
        before, part, after = self._parts(x)
        # A logarithm of padding would be infinite and its gradient NaN, even where it is not used.
        zero = part.new_zeros(())
        inside = zero if _is_real(self.pointwise.domain) else self.pointwise.inv(zero)
        part = torch.where(mask, part, inside)
        image = self.pointwise(part)
        ladj = torch.where(mask, self.pointwise.log_abs_det_jacobian(part, image), 0.0)
        y = torch.cat([before, image, after], dim=-2)
        return torch.where(mask, y, 0.0), ladj.sum((-2, -1))

    def _inverse(self, y: Tensor) -> Tensor:
        mask = _mask(self.lengths, y.shape[-1])
        before, part, after = self._parts(y)
        zero = part.new_zeros(())
        inside = zero if _is_real(self.pointwise.codomain) else self.pointwise(zero)
        part = self.pointwise.inv(torch.where(mask, part, inside))
        return torch.where(mask, torch.cat([before, part, after], dim=-2), 0.0)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        start, stop, step = self.channels.indices(x.shape[-2])
        if step != 1:
            raise InputError(f"channels must be a run, not {self.channels}")
        return x[..., :start, :], x[..., start:stop, :], x[..., stop:, :]


def _is_real(constraint: Any) -> bool:
    return constraint is constraints.real


class SequenceNormal(Distribution):
    """Independent standard Gaussians over ``[channels, time]``, within the lengths.

    ``batch_shape`` is ``[batch]``, ``event_shape`` ``[channels, longest]``; samples are zero in
    padding, which counts for nothing in ``log_prob`` and ``entropy``.

    Args:
        channels: their number.
        lengths: int64 ``[batch]``.
        longest: size of the time axis; the largest length when None.
        dtype: of the samples.
    """

    arg_constraints: ClassVar = {}
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(
        self,
        channels: int,
        lengths: Tensor,
        longest: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        longest = int(lengths.max()) if longest is None else longest
        self.lengths, self.dtype = lengths, dtype
        self._inside = _mask(lengths, longest)
        super().__init__(lengths.shape, torch.Size([channels, longest]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> SequenceNormal:
        shape = torch.Size(batch_shape)
        if shape != self.batch_shape:
            raise NotImplementedError("the lengths fix the batch")
        return self

    @property
    def mean(self) -> Tensor:
        return torch.zeros(self._extended_shape(), dtype=self.dtype, device=self.lengths.device)

    def rsample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """``[*sample_shape, batch, channels, longest]``."""
        noise = torch.randn(
            self._extended_shape(torch.Size(sample_shape)),
            dtype=self.dtype,
            device=self.lengths.device,
            generator=generator,
        )
        return torch.where(self._inside, noise, 0.0)

    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape, generator)

    def log_prob(self, value: Tensor) -> Tensor:
        """``[..., batch, channels, time]`` -> nats ``[..., batch]``."""
        each = -0.5 * (torch.where(self._inside, value, 0.0).square() + math.log(2 * math.pi))
        return torch.where(self._inside, each, 0.0).sum((-2, -1))

    def entropy(self) -> Tensor:
        """``[batch]`` in nats."""
        each = 0.5 * (1 + math.log(2 * math.pi))
        return each * self._event_shape[0] * self.lengths.to(self.dtype)


class FlowDistribution(TransformedDistribution):
    """torch's TransformedDistribution whose samplers take a generator, if those of its base do."""

    def __init__(self, base: Distribution, transforms: Transform | Sequence[Transform]) -> None:
        chain = [transforms] if isinstance(transforms, Transform) else list(transforms)
        super().__init__(base, chain, validate_args=False)

    def rsample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        base: Any = self.base_dist
        options = {} if generator is None else {"generator": generator}
        x: Tensor = base.rsample(torch.Size(sample_shape), **options)
        for transform in self.transforms:
            x = transform(x)
        return x

    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape, generator)
