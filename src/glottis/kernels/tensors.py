"""When a compiled form may read a tensor's memory, and how."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def is_plain(tensors: tuple[Tensor, ...]) -> bool:
    """Whether these are float32 tensors with memory on this CPU, and nothing is being traced."""
    return (
        all(type(t) in (Tensor, torch.nn.Parameter) for t in tensors)
        and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
        and not torch.jit.is_tracing()
        # Inside vmap, jvp and their kin a tensor has no memory of its own to hand out.
        and not any(torch._C._functorch.is_functorch_wrapped_tensor(t) for t in tensors)
        and torch.autograd.forward_ad._current_level < 0
    )


def array_of(tensor: Tensor) -> Any:
    """The tensor as a contiguous numpy array, without a copy when it is one."""
    return tensor.detach().contiguous().numpy()
