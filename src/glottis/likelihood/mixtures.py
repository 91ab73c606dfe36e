"""Distributions of one audio sample: mixtures of logistics and Gaussians, and mu-law classes.

Audio of ``bits`` bits has ``K = 2**bits`` values in [-1, 1], ``-1 + 2 k / (K - 1)``: a grid whose
first and last value are -1 and 1. Each value stands for the bin of width ``2 / (K - 1)`` around it;
the first bin reaches down without end and the last one up, so that the bins' probabilities under
any continuous distribution sum to 1. A discretised mixture gives each value its bin's probability
(Salimans et al. 2017, PixelCNN++; van den Oord et al. 2018, Parallel WaveNet); its log-probability
is never positive. A density has no such bound: where it exceeds 1 its logarithm is positive and a
loss negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints
from torch.nn.functional import softplus

from glottis.errors import InputError
from glottis.kernels import mixture

LOG_2 = math.log(2.0)


def quantize(audio: Tensor, bits: int) -> Tensor:
    """Audio on the grid of ``2**bits`` values from -1 to 1.

    Floating audio goes to the nearest value, beyond the ends to the first or last. Integers are
    signed samples of ``bits`` bits, -32768 to 32767 for 16, and go one to one: ``n`` to ``(2 n + 1)
    / (2**bits - 1)``, as float32. (A reader that divides by 32768 gives values that lie half a step
    off the grid.)

    Raises:
        InputError: integers that do not fit into ``bits`` bits.
    """
    classes = 2**bits
    if not audio.is_floating_point():
        low, high = (int(audio.min()), int(audio.max())) if audio.numel() else (0, 0)
        if not -classes // 2 <= low <= high < classes // 2:
            raise InputError(f"integers from {low} to {high} are not signed samples of {bits} bits")
        return (2 * audio.double() + 1).div(classes - 1).float()
    return _edge(audio.clamp(-1, 1), bits).sub(0.5).div((classes - 1) / 2).clamp(-1, 1)


def _edge(value: Tensor, bits: int) -> Tensor:
    """Upper edge of a value's bin, in bins from the middle of the range: an integer, as a float.

    Counted from the middle, because there a float is finest; the classes run from ``1 - K / 2`` to
    ``K / 2``.
    """
    classes = 2**bits
    value = value if value.dtype == torch.float64 else value.float()
    edge = torch.round(value * ((classes - 1) / 2) + 0.5)
    return edge.clamp(1 - classes // 2, classes // 2)


def _values(bits: int, like: Tensor) -> Tensor:
    classes = torch.arange(2**bits, device=like.device, dtype=torch.float64)
    return ((2 * classes - (2**bits - 1)) / (2**bits - 1)).to(like.dtype)


class Grid(constraints.Constraint):
    """The ``2**bits`` evenly spaced values from -1 to 1."""

    is_discrete = True

    def __init__(self, bits: int) -> None:
        self.bits = bits
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        half = (2**self.bits - 1) / 2
        where = value * half
        # A hundredth of a bin, or what a float of this type can tell near 1 if that is more.
        tolerance = max(0.01, 4 * half * torch.finfo(value.dtype).eps)
        return ((where + 0.5).round() - 0.5 - where).abs().le(tolerance) & value.abs().le(
            1 + tolerance / half
        )


class _AtLeast(torch.autograd.Function):
    """``max(x, floor)`` whose gradient is stopped only where it would push further down.

    A clamp has no gradient below its floor, and a scale that once fell there stays for ever.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, floor: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.floor = floor
        return x.clamp_min(floor)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        # A descent step moves x against the gradient: a negative one lifts it.
        return torch.where((x >= ctx.floor) | (upstream < 0), upstream, 0), None


def floor_log_scale(log_scale: Tensor, floor: float) -> Tensor:
    """``log_scale``, at least ``floor``; below it the gradient of a loss may still raise it."""
    floored: Tensor = _AtLeast.apply(log_scale, floor)
    return floored


class _Mixture(Distribution):
    """What the mixtures over samples share: parameters ``[..., components]``, scalar events."""

    arg_constraints: ClassVar = {
        "logits": constraints.real,
        "loc": constraints.real,
        "log_scale": constraints.real,
    }

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        bits: int | None,
        minimum_log_scale: float | None,
        validate_args: bool | None,
    ) -> None:
        if bits is not None and not 1 <= bits <= 24:
            raise InputError(f"bits must be from 1 to 24, not {bits}")
        shapes = [list(t.shape) for t in (logits, loc, log_scale)]
        wanted = "logits, loc and log_scale must broadcast to [..., components], not {}, {} and {}"
        if not any(shapes):
            raise InputError(wanted.format(*shapes))
        try:
            parts = torch.broadcast_tensors(logits, loc, log_scale)
        except RuntimeError as error:
            raise InputError(wanted.format(*shapes)) from error
        if minimum_log_scale is None:
            minimum_log_scale = -math.log(2 ** (bits or 16) - 1) - 3.0
        self.logits, self.loc = parts[:2]
        self.bits, self.minimum_log_scale = bits, minimum_log_scale
        self.log_scale = floor_log_scale(parts[2], minimum_log_scale)
        super().__init__(self.logits.shape[:-1], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), _instance)
        shape = torch.Size(batch_shape)
        for name in ("logits", "loc", "log_scale"):
            setattr(new, name, getattr(self, name).expand(*shape, -1))
        for name in ("bits", "minimum_log_scale", "kind"):
            if hasattr(self, name):
                setattr(new, name, getattr(self, name))
        super(_Mixture, new).__init__(shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def components(self) -> int:
        return self.logits.shape[-1]

    def _validate_sample(self, value: Tensor) -> None:
        if not value.is_floating_point():
            raise InputError(f"samples must be floating in [-1, 1], not {value.dtype}")
        torch.broadcast_shapes(value.shape, self.batch_shape)
        support = self.support
        assert isinstance(support, constraints.Constraint)
        if not support.check(value).all():
            raise InputError(self._refusal(value))

    def _refusal(self, value: Tensor) -> str:
        low, high = value.min().item(), value.max().item()
        if self.bits is None:
            return f"samples must be numbers; these run from {low:g} to {high:g}"
        if not -1 <= low <= high <= 1:
            return f"samples must be in [-1, 1]; these run from {low:g} to {high:g}: scale or clip"
        return (
            f"samples must be on the grid of {self.bits} bits, -1 + 2 k / {2**self.bits - 1} in "
            "[-1, 1]; put audio there by glottis.likelihood.mixtures.quantize"
        )

    def _standard(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Draws from the component's standard form."""
        raise NotImplementedError

    @torch.no_grad()
    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """``[*sample_shape, *batch_shape]``; with ``bits``, values of the grid.

        A component is drawn by the Gumbel-max trick (here: the least of exponential waiting times
        with the components' rates, which is the same race), then a value from it.
        """
        shape = self._extended_shape(torch.Size(sample_shape))
        wait = torch.empty(
            (*shape, self.components), dtype=self.logits.dtype, device=self.logits.device
        ).exponential_(generator=generator)
        chosen = (self.logits - wait.log()).argmax(-1, keepdim=True)
        loc, log_scale = (
            t.expand(*shape, -1).gather(-1, chosen).squeeze(-1) for t in (self.loc, self.log_scale)
        )
        value = loc + log_scale.exp() * self._standard(shape, generator)
        return value if self.bits is None else quantize(value, self.bits).to(value.dtype)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """The grid's values, ``[2**bits, *batch_shape]``, or with ones for the batch."""
        if self.bits is None:
            raise NotImplementedError("a density has no values to enumerate; give bits")
        values = _values(self.bits, self.loc).view(-1, *(1 for _ in self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values

    def _over_the_grid(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Values and log-probabilities, in pieces that bound the memory."""
        values = self.enumerate_support(expand=False)
        piece = max(1, 2**20 // max(1, self.logits.numel()))
        for part in values.split(piece):
            yield part, self._log_prob(part)

    def _log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, of the shape that ``value`` and the batch broadcast to."""
        if self._validate_args:
            self._validate_sample(value)
        return self._log_prob(value)

    def entropy(self) -> Tensor:
        """``[*batch_shape]`` in nats, exact; the cost is that of ``2**bits`` log-probabilities.

        Raises:
            NotImplementedError: the density of more than one component, which has no closed form.
        """
        total = torch.zeros_like(self.loc[..., 0])
        for _, log_prob in self._over_the_grid():
            total = total - (log_prob.exp() * log_prob).sum(0)
        return total

    def bits_per_sample(self, value: Tensor, bits: int | None = None) -> Tensor:
        """``-log2`` of the probability of ``value``'s bin, of ``log_prob``'s shape.

        For a density, of a bin of ``bits`` bits: density times width. This is the number by which
        densities, bin probabilities and mu-law classes can be compared.
        """
        nats = self.log_prob(value)
        if self.bits is None:
            if bits is None:
                raise InputError("a density has no bins: name the audio's bits")
            nats = nats + math.log(2 / (2**bits - 1))
        return -nats / LOG_2


class DiscretizedLogisticMixture(_Mixture):
    """A mixture of logistics over the ``2**bits`` values of audio.

    Salimans et al. 2017 (PixelCNN++), eq. 2; as WaveNet vocoders use it. Component ``m`` has the
    distribution function ``sigmoid((x - loc_m) / exp(log_scale_m))``, a value's probability is what
    that function gains over its bin, and the mixture weighs it by ``softmax(logits)_m``.

    Args:
        logits: ``[..., components]``, weights before the softmax.
        loc: ``[..., components]``, in the range of the audio, [-1, 1]; may lie outside.
        log_scale: ``[..., components]``, natural logarithm of the scale (a logistic's standard
            deviation is ``pi / sqrt(3)`` times it).
        bits: 16 for 16-bit audio, 8 for 8-bit.
        minimum_log_scale: floor of ``log_scale``; None for a twentieth of half a bin, where a
            component already gives one value all its probability. A gradient that would raise a
            scale from below the floor goes through.
        kind: ``"auto"``, ``"numba"`` (float32 on the CPU, in one pass) or ``"torch"``.

    Shapes: ``batch_shape`` is the leading axes, ``event_shape`` empty. A network that gives
    ``[batch, 3 * components, time]`` is used as ``*output.transpose(1, 2).chunk(3, dim=-1)``; no
    copy is made.

    Raises:
        InputError: shapes that do not fit, bits outside 1 to 24; from ``log_prob``, values outside
            [-1, 1] or off the grid (``validate_args=False`` takes the nearest bin instead).
        ValueError: a parameter that is NaN (torch's own check).
    """

    bits: int

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        bits: int = 16,
        *,
        minimum_log_scale: float | None = None,
        kind: str = "auto",
        validate_args: bool | None = None,
    ) -> None:
        self.kind = kind
        super().__init__(logits, loc, log_scale, bits, minimum_log_scale, validate_args)

    @property
    def support(self) -> constraints.Constraint:
        return Grid(self.bits)

    def _log_prob(self, value: Tensor) -> Tensor:
        return mixture.logistic_log_probability(
            _edge(value, self.bits).detach(),
            self.logits,
            self.loc,
            self.log_scale,
            2**self.bits,
            kind=self.kind,
        )

    def _standard(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        # The inverse of the distribution function: x = log u - log(1 - u). u == 0 gives -inf, which
        # the grid takes as its first value.
        return torch.logit(
            torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device, generator=generator)
        )

    @property
    def mean(self) -> Tensor:
        """``[*batch_shape]``: mean of the continuous mixture clipped to [-1, 1].

        ``E[clip(X)] = 1 - integral of the distribution function over [-1, 1]``, which for a
        logistic is a difference of softplus; the grid's own mean is the midpoint rule of the same
        integral, so it differs by less than half a bin, and by far less for scales above a bin.
        """
        scale = self.log_scale.exp()
        upper, lower = (1 - self.loc) / scale, (-1 - self.loc) / scale
        mean = 1 - scale * (softplus(upper) - softplus(lower))
        return (torch.softmax(self.logits, -1) * mean).sum(-1)


class GaussianMixture(_Mixture):
    """A mixture of Gaussians over audio samples, as a density or over the values of ``bits`` bits.

    With ``bits=None`` ``log_prob`` is a density's: a sample under a Gaussian of standard deviation
    0.001 has a log-density up to ``+5.99``, so a loss of it is negative, and means nothing until a
    bin's width is put to it (:meth:`bits_per_sample`). With ``bits`` it is the probability of the
    value's bin, at most 0. For scales above a bin the two differ by the constant
    ``log(2 / (2**bits - 1))`` and train alike; a density can grow without end as the scale falls,
    which is what its floor is for.

    Args:
        logits, loc, log_scale: ``[..., components]``, as for the logistics; the scale is the
            standard deviation.
        bits: None for the density.
        minimum_log_scale: floor of ``log_scale``, with the same gradient as there. None for a
            twentieth of half a bin, which for a density is taken to be one of 16 bits.

    A single Gaussian (ClariNet: Ping, Peng & Chen 2019) is :meth:`single`.
    """

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        bits: int | None = None,
        *,
        minimum_log_scale: float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(logits, loc, log_scale, bits, minimum_log_scale, validate_args)

    @classmethod
    def single(
        cls, loc: Tensor, log_scale: Tensor, bits: int | None = None, **options: Any
    ) -> GaussianMixture:
        """One Gaussian for each element of ``loc`` and ``log_scale`` ``[...]``."""
        loc, log_scale = torch.broadcast_tensors(loc, log_scale)
        return cls(
            torch.zeros_like(loc)[..., None], loc[..., None], log_scale[..., None], bits, **options
        )

    @property
    def support(self) -> constraints.Constraint:
        return constraints.real if self.bits is None else Grid(self.bits)

    def _log_prob(self, value: Tensor) -> Tensor:
        log_weight = torch.log_softmax(self.logits, -1)
        if self.bits is None:
            z = (value[..., None] - self.loc) * torch.exp(-self.log_scale)
            within = -0.5 * (z.square() + math.log(2 * math.pi)) - self.log_scale
        else:
            within = self._log_bin(_edge(value, self.bits).detach()[..., None], self.bits)
        return torch.logsumexp(log_weight + within, -1)

    def _log_bin(self, edge: Tensor, bits: int) -> Tensor:
        """``log(Phi(upper) - Phi(lower))``, without subtracting what is nearly equal."""
        half, classes = (2**bits - 1) / 2, 2**bits
        first, last = edge <= 1 - classes // 2, edge >= classes // 2
        delta = torch.exp(-self.log_scale) / half
        middle = (edge - 0.5 - self.loc * half) * delta
        # Phi(upper) - Phi(lower) is symmetrical: look at it from the side where middle >= 0.
        near = middle.abs() - delta / 2
        far = middle.abs() + delta / 2
        # 1. A narrow bin is its middle's density times its width, and the next term of the series.
        narrow = delta * (1 + middle.abs()) < 0.1
        narrow_delta = torch.where(narrow, delta, 0.01)
        narrow_middle = torch.where(narrow, middle, 0.0)
        density = -0.5 * (narrow_middle.square() + math.log(2 * math.pi)) + narrow_delta.log()
        density = density + torch.log1p((narrow_middle.square() - 1) * narrow_delta.square() / 24)
        # 2. A bin beside the mean: in the tail both ends are multiples of exp(-near^2 / 2).
        beside = ~narrow & (near > 0)
        root = math.sqrt(0.5)
        low = torch.where(beside, near, 1.0)
        high = torch.where(beside, far, 2.0)
        product = torch.where(beside, delta * middle.abs(), 1.5)
        tail = torch.special.erfcx(low * root) - torch.exp(-product) * torch.special.erfcx(
            high * root
        )
        tail = -0.5 * low.square() + torch.log(0.5 * tail)
        # 3. A bin around the mean: two positive parts.
        around = ~narrow & ~beside
        parts = torch.erf(torch.where(around, far, 1.0) * root) - torch.erf(
            torch.where(around, near, -1.0) * root
        )
        within = torch.where(narrow, density, torch.where(beside, tail, torch.log(0.5 * parts)))
        upper = torch.special.log_ndtr(torch.where(first, middle + delta / 2, 0.0))
        lower = torch.special.log_ndtr(-torch.where(last, middle - delta / 2, 0.0))
        return torch.where(first, upper, torch.where(last, lower, within))

    def _standard(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device, generator=generator)

    @property
    def mean(self) -> Tensor:
        """``[*batch_shape]``; with ``bits``, of the mixture clipped to [-1, 1]."""
        mean = self.loc
        if self.bits is not None:
            scale = self.log_scale.exp()

            def below(edge: float) -> Tensor:
                z = (edge - self.loc) / scale
                density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
                return scale * (z * torch.special.ndtr(z) + density)

            mean = 1 - (below(1.0) - below(-1.0))
        return (torch.softmax(self.logits, -1) * mean).sum(-1)

    @property
    def variance(self) -> Tensor:
        """``[*batch_shape]``, of the density."""
        if self.bits is not None:
            raise NotImplementedError("the variance over the grid has no closed form")
        weight = torch.softmax(self.logits, -1)
        spread = (2 * self.log_scale).exp() + (self.loc - self.mean[..., None]).square()
        return (weight * spread).sum(-1)

    def entropy(self) -> Tensor:
        """As the logistics', with ``bits``; in closed form for the density of one component."""
        if self.bits is not None:
            return super().entropy()
        if self.components > 1:
            raise NotImplementedError("the density of a mixture has no entropy in closed form")
        return self.log_scale[..., 0] + 0.5 * (1 + math.log(2 * math.pi))


def mu_law_encode(audio: Tensor, bits: int = 8) -> Tensor:
    """Audio in [-1, 1] -> classes int64, 0 to ``2**bits - 1`` (ITU-T G.711's curve, continuous).

    ``F(x) = sign(x) log(1 + mu |x|) / log(1 + mu)`` with ``mu = 2**bits - 1``, then the nearest of
    ``2**bits`` even steps.
    """
    mu = 2**bits - 1
    audio = audio if audio.dtype == torch.float64 else audio.float()
    curved = audio.sign() * torch.log1p(mu * audio.abs()) / math.log1p(mu)
    return torch.round((curved.clamp(-1, 1) + 1) / 2 * mu).long()


def mu_law_decode(classes: Tensor, bits: int = 8) -> Tensor:
    """Classes -> audio float32 in [-1, 1]: the inverse of the curve at each step."""
    mu = 2**bits - 1
    curved = 2 * classes.double() / mu - 1
    return (curved.sign() * torch.expm1(curved.abs() * math.log1p(mu)) / mu).float()


class MuLaw(Distribution):
    """A class for each step of a mu-law curve (van den Oord et al. 2016, WaveNet, section 2.2).

    Args:
        logits: ``[..., 2**bits]``; the number of classes tells the bits.

    Values are audio samples: ``log_prob`` takes any in [-1, 1] and gives the probability of its
    class, ``sample`` and ``mean`` give decoded values. ``batch_shape`` is the leading axes.

    Raises:
        InputError: a number of classes that is no power of two; from ``log_prob``, values outside
            [-1, 1].
    """

    arg_constraints: ClassVar = {"logits": constraints.real}
    support = constraints.interval(-1.0, 1.0)

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        classes = logits.shape[-1] if logits.dim() else 0
        if classes < 2 or classes & (classes - 1):
            raise InputError(f"logits must be [..., 2**bits], not {list(logits.shape)}")
        self.bits = classes.bit_length() - 1
        self.logits = logits
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> MuLaw:
        return MuLaw(
            self.logits.expand(*torch.Size(batch_shape), -1), validate_args=self._validate_args
        )

    @property
    def values(self) -> Tensor:
        """Audio of each class, ``[2**bits]``, increasing."""
        classes = torch.arange(2**self.bits, device=self.logits.device)
        return mu_law_decode(classes, self.bits).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, of the shape that ``value`` and the batch broadcast to."""
        if self._validate_args and not self.support.check(value).all():
            raise InputError(
                f"samples must be in [-1, 1]; these run from {value.min().item():g} to "
                f"{value.max().item():g}: scale or clip"
            )
        classes = mu_law_encode(value, self.bits)
        shape = torch.broadcast_shapes(classes.shape, self.batch_shape)
        log_probabilities = torch.log_softmax(self.logits, -1).expand(*shape, -1)
        return log_probabilities.gather(-1, classes.expand(shape)[..., None]).squeeze(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """``[*sample_shape, *batch_shape]``, by the Gumbel-max trick."""
        shape = self._extended_shape(torch.Size(sample_shape))
        wait = torch.empty(
            (*shape, 2**self.bits), dtype=self.logits.dtype, device=self.logits.device
        ).exponential_(generator=generator)
        return self.values[(self.logits - wait.log()).argmax(-1)]

    @property
    def mean(self) -> Tensor:
        return torch.softmax(self.logits, -1) @ self.values

    @property
    def variance(self) -> Tensor:
        return torch.softmax(self.logits, -1) @ self.values.square() - self.mean.square()

    def entropy(self) -> Tensor:
        """``[*batch_shape]`` in nats."""
        return Categorical(logits=self.logits, validate_args=False).entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Audio of each class, ``[2**bits, *batch_shape]``, or with ones for the batch."""
        values = self.values.view(-1, *(1 for _ in self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values

    def bits_per_sample(self, value: Tensor) -> Tensor:
        """``-log2`` of the probability of ``value``'s class."""
        return -self.log_prob(value) / LOG_2
