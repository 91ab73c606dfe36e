"""How far a posterior lies from a prior that a flow bends."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_from_draw(
    flowed: Tensor,
    log_scale: Tensor,
    prior_mean: Tensor,
    prior_log_scale: Tensor,
    mask: Tensor,
    ladj: Tensor | None = None,
) -> Tensor:
    """Kullback-Leibler divergence in nats a step, estimated from one draw of the posterior.

    The posterior is a diagonal Gaussian, whose entropy is taken exactly; the prior's density is
    that of the draw's image under a flow (Kim et al. 2021, VITS, eq. 4). In expectation it is the
    closed form for two Gaussians when the flow is the identity.

    Args:
        flowed: the image ``f(z)`` of a draw ``z``, ``[batch, channels, time]``.
        log_scale: of the posterior that ``z`` was drawn from, the same shape.
        prior_mean, prior_log_scale: of the Gaussian of ``f(z)``, the same shape.
        mask: bool ``[batch, 1, time]``; nothing outside is looked at.
        ladj: the flow's ``log|det df/dz|`` ``[batch]``; None for one that keeps volumes.

    Returns:
        A scalar: the sum over channels, averaged over the steps inside the mask.
    """
    distance = 0.5 * (flowed - prior_mean).square() * torch.exp(-2 * prior_log_scale)
    each = prior_log_scale - log_scale - 0.5 + distance
    total = torch.where(mask, each, 0.0).sum()
    if ladj is not None:
        total = total - ladj.sum()
    return total / mask.sum()
