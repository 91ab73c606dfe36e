"""A flow that does to a voice what tells it from others, and what makes it do so."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from glottis.blocks.pitch import PitchInput
from glottis.blocks.wavenet import GatedNetwork
from glottis.likelihood.flows import Layer


class PitchShift(Layer):
    """What a pitch adds to log-mels, whoever has it: taken out, and put back in with another.

    Low channels are so narrow that harmonics stand in them one by one; a converted voice whose
    pitch is moved has them elsewhere. ``condition`` ``[batch, PITCH_BELLS + 1 or more, frames]``
    begins with :func:`~glottis.blocks.pitch.pitch_bells`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = PitchInput(channels)

    def call_and_ladj(
        self, x: Tensor, mask: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return torch.where(mask, x - self._shift(condition), 0.0), x.new_zeros(len(x))

    def inverse(self, y: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.where(mask, y + self._shift(condition), 0.0)

    def _shift(self, condition: Tensor | None) -> Tensor:
        if condition is None:
            raise ValueError("this flow was built with a pitch and needs one")
        shift: Tensor = self.shift(condition[:, : self.shift.in_channels])
        return shift


class CentredShift(nn.Module):
    """What decides the shift of a coupling: nothing on the average of all speakers.

    A gated network sees the other half, and no speaker; its hidden channels are turned into shifts
    by a matrix for each speaker, less the mean of all these. Shifts of all speakers sum to zero
    for the same input, so that the flow cannot take out what speakers have in common, only what
    sets them apart. A matrix of their own, because embeddings, which other parts need as well, lie
    close together for speakers who are alike; by these the flow would tell them apart last.

    ``condition`` ``[batch, speakers, 1 or frames]`` is how much of each speaker's shift is meant,
    such as :func:`apart` makes, or ends with it.
    """

    def __init__(
        self,
        half: int,
        channels: int,
        kernel_size: int,
        layers: int,
        speakers: int,
    ) -> None:
        super().__init__()
        self.network = GatedNetwork(half, channels, channels, kernel_size, layers)
        self.speaker_shift = nn.Parameter(torch.zeros(speakers, half, channels))

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            raise ValueError("this flow was built with speakers and needs one")
        hidden = self.network(x, mask)
        # The same in every frame.
        speaker = condition[:, -len(self.speaker_shift) :, 0]
        matrix = torch.einsum("bs,shc->bhc", speaker, self.speaker_shift)
        return torch.bmm(matrix, hidden) * mask


def apart(speaker: Tensor, speakers: int) -> Tensor:
    """What :class:`CentredShift` is told of a speaker, int64 ``[batch]``: all of their own shift
    less the mean of all ``speakers``, ``[batch, speakers, 1]``."""
    own = nn.functional.one_hot(speaker, speakers) - 1 / speakers
    return own.unsqueeze(-1)


class SymbolGaussians(nn.Module):
    """A Gaussian for each symbol of the text, whatever stands around it and whoever speaks.

    Means and covariances follow what is heard, older frames counting less with every batch by the
    factor ``memory``. As a prior they know neither speaker nor sentence, so that what is likely
    under them sounds the same from everybody: a text encoder would know from the sentence which
    corpus, and so who, is speaking.

    Covariances are whole ones. Under variances alone a flow gains most by taking from one channel
    what others foretell of it, of each speaker by itself; what it learns to take from one it then
    gives to the other, and words are lost.

    Args:
        pull: how many frames of the mean covariance of all symbols are added to each one's.
        floor: is added to variances.
    """

    mean: Tensor
    square: Tensor
    count: Tensor

    def __init__(
        self,
        symbols: int,
        channels: int,
        memory: float = 0.99,
        pull: float = 2000.0,
        floor: float = 1e-2,
    ) -> None:
        super().__init__()
        self.memory, self.pull, self.floor = memory, pull, floor
        self.register_buffer("mean", torch.zeros(symbols, channels))
        # About the mean: squares of log-mels themselves would lose half of their digits.
        self.register_buffer("square", torch.eye(channels).repeat(symbols, 1, 1))
        self.register_buffer("count", torch.zeros(symbols))

    @torch.no_grad()
    def hear(self, x: Tensor, symbols: Tensor, mask: Tensor) -> None:
        """``x`` ``[batch, channels, frames]``, the ``symbols`` spoken int64 ``[batch, frames]`` and
        ``mask`` bool ``[batch, 1, frames]``.
        """
        self.count.mul_(self.memory)
        for symbol, frames in _sorted(x, symbols, mask):
            share = len(frames) / (self.count[symbol] + len(frames))
            mean = frames.mean(0)
            apart, frames = mean - self.mean[symbol], frames - mean
            with torch.autocast(x.device.type, enabled=False):
                square = frames.T @ frames / len(frames)
            # The covariance of a mixture: those within, and that between the two means.
            between = share * (1 - share) * torch.outer(apart, apart)
            self.square[symbol] = (1 - share) * self.square[symbol] + share * square + between
            self.mean[symbol] += share * apart
            self.count[symbol] += len(frames)

    def covariances(self, symbols: Tensor) -> Tensor:
        """Of the ``symbols`` int64 ``[n]``: ``[n, channels, channels]``."""
        heard = self.count > 0
        weights = (self.count / self.count.sum().clamp_min(1.0))[heard]
        common = torch.einsum("s,sij->ij", weights, self.square[heard])
        count = self.count[symbols, None, None]
        floor = self.floor * torch.eye(self.mean.shape[1], device=self.mean.device)
        return (count * self.square[symbols] + self.pull * common) / (count + self.pull) + floor

    def nats(self, x: Tensor, symbols: Tensor, mask: Tensor) -> Tensor:
        """Negative log-density, nats a frame, but for what ``x`` cannot change."""
        parts = list(_sorted(x, symbols, mask))
        total, spoken = parts[0][1].new_zeros(()), [symbol for symbol, _ in parts]
        # Half precision has too few digits to factor covariances.
        with torch.autocast(x.device.type, enabled=False):
            roots = torch.linalg.cholesky(self.covariances(torch.tensor(spoken, device=x.device)))
            for (symbol, frames), root in zip(parts, roots, strict=True):
                apart = (frames - self.mean[symbol]).T
                white = torch.linalg.solve_triangular(root, apart, upper=False)
                total = total + white.square().sum()
        return 0.5 * total / mask.sum()


def _sorted(x: Tensor, symbols: Tensor, mask: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Each symbol that is spoken, and its frames ``[n, channels]`` in single precision."""
    inside = mask.squeeze(1)
    order = symbols[inside].argsort()
    spoken, counts = symbols[inside][order].unique_consecutive(return_counts=True)
    frames = x.transpose(1, 2)[inside][order].float().split(counts.tolist())
    yield from zip(spoken.tolist(), frames, strict=True)
