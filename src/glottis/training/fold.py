"""A network of one speaker or language from one of several: what it was told becomes part of it.

What a constant input adds is a bias. That is exact, but for the few steps next to padding, where
the constant ends and a bias does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from glottis.blocks.duration import DurationPredictor
from glottis.blocks.hifi_gan import Generator
from glottis.blocks.spectral_decoder import SpectralDecoder
from glottis.blocks.stochastic_duration import StochasticDurationPredictor
from glottis.blocks.wavenet import GatedStack

Names = Mapping[str, Sequence[str]]


def fold(
    model: nn.Module, weights: Mapping[str, Tensor], theirs: Names, ours: Names
) -> dict[str, Tensor]:
    """``weights`` of several speakers, or languages, as a ``model`` of a single one has them.

    It is the one whom both know by the same name, or else the mean of those known.
    """
    result, own = dict(weights), model.state_dict()
    language = _row(result, own, "languages", theirs, ours)
    if language is not None and "encoder.embed.weight" in result:
        result["encoder.embed.weight"] = result["encoder.embed.weight"] + language
    unit = bool(getattr(model, "unit_speakers", False))
    speaker = _row(result, own, "speakers", theirs, ours, unit)
    if speaker is None:
        return result
    told = False
    for name, value in weights.items():
        wanted = own.get(name)
        if wanted is not None and _longer(value, wanted, len(speaker)):
            # Concatenated with the input, behind all else.
            channels = wanted.shape[1]
            result[name] = value[:, :channels]
            _add(result, name.replace("weight", "bias"), _summed(value[:, channels:]) @ speaker)
            told = told or "regression.start." in name
    # Added to what the pitch gives. A frame prior that was told it shows in its regression.
    for name in ("pitch_condition.project", "pitch_input", *["frame_prior.pitch.project"] * told):
        _add(result, f"{name}.bias", speaker)
    for name, module in model.named_modules():
        weight = _plain(weights, f"{name}.condition.weight")
        if weight is None or f"{name}.condition.bias" in own:
            continue
        shift = _summed(weight) @ speaker + weights[f"{name}.condition.bias"]
        if isinstance(module, GatedStack):
            for layer, part in enumerate(shift.chunk(len(module.gates))):
                _add(result, f"{name}.gates.{layer}.bias", part)
        elif isinstance(module, StochasticDurationPredictor):
            _add(result, f"{name}.text.start.bias", shift)
        elif isinstance(module, Generator):
            _add(result, f"{name}.embed.bias", shift)
        elif isinstance(module, (DurationPredictor, SpectralDecoder)):
            first = "first" if isinstance(module, DurationPredictor) else "stack.embed"
            _add(result, f"{name}.{first}.bias", _summed(weights[f"{name}.{first}.weight"]) @ shift)
    return result


def _row(
    weights: dict[str, Tensor],
    own: Mapping[str, Tensor],
    kind: str,
    theirs: Names,
    ours: Names,
    unit: bool = False,
) -> Tensor | None:
    """The embedding that is always meant; None where there is none, or still a choice."""
    table = weights.get(f"{kind}.weight")
    if table is None or f"{kind}.weight" in own:
        return None
    del weights[f"{kind}.weight"]
    if unit:
        table = nn.functional.normalize(table, dim=1)
    before, after = theirs.get(kind, []), ours.get(kind, [])
    if len(before) == len(table) and len(after) == 1 and after[0] in before:
        return table[before.index(after[0])]
    return table.mean(0)


def _longer(value: Tensor, wanted: Tensor, channels: int) -> bool:
    """Whether a weight differs from what is wanted by so many more input channels."""
    before, after = list(value.shape), list(wanted.shape)
    if len(before) != len(after) or len(after) < 2:
        return False
    after[1] += channels
    return before == after


def _summed(weight: Tensor) -> Tensor:
    """``[out, in, ...]`` -> ``[out, in]``: what a convolution does to a constant."""
    return weight.flatten(2).sum(2) if weight.ndim > 2 else weight


def _plain(weights: Mapping[str, Tensor], name: str) -> Tensor | None:
    """A weight, also if it is kept as magnitude and direction."""
    if name in weights:
        return weights[name]
    owner, _, leaf = name.rpartition(".")
    size, direction = (weights.get(f"{owner}.parametrizations.{leaf}.original{i}") for i in (0, 1))
    if size is None or direction is None:
        return None
    return size * direction / direction.flatten(1).norm(dim=1).view_as(size)


def _add(weights: dict[str, Tensor], name: str, value: Tensor) -> None:
    if name in weights:
        weights[name] = weights[name] + value
