"""Blocks of which each speaker has their own, but for convolutions."""

from __future__ import annotations

import torch
from torch import nn

from glottis.blocks.convnext import ConvNeXtStack


def test_each_speaker_has_a_stack_of_their_own() -> None:
    """The same as a plain stack with that speaker's weights, and no gradient for another's."""
    torch.manual_seed(0)
    stack = ConvNeXtStack(5, 8, 12, layers=2, kernel_size=3, speakers=3)
    plain = ConvNeXtStack(5, 8, 12, layers=2, kernel_size=3)
    x, mask = torch.randn(2, 5, 9), torch.ones(2, 1, 9, dtype=torch.bool)
    outputs = [stack(x, mask, speaker) for speaker in range(3)]
    # All begin as the same.
    torch.testing.assert_close(outputs[0], outputs[2])
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    state = {}
    for name, value in stack.state_dict().items():
        owner, _, leaf = name.rpartition(".")
        own = value.unflatten(0, (3, -1))[1] if leaf.startswith("speaker_") else value
        leaf = leaf.removeprefix("speaker_").replace("gain", "weight")
        state[f"{owner}.{leaf}"] = own.reshape(plain.state_dict()[f"{owner}.{leaf}"].shape)
    plain.load_state_dict(state)
    out = stack(x, mask, torch.tensor(1))
    torch.testing.assert_close(out, plain(x, mask))
    assert not torch.allclose(out, stack(x, mask, 2))
    out.sum().backward()
    for name, parameter in stack.named_parameters():
        if "speaker_" in name:
            rows = parameter.grad.unflatten(0, (3, -1))
            assert not rows[[0, 2]].any(), name


def test_rows_of_a_matrix_are_of_one_speaker() -> None:
    """So that what is stored with a scale for each row is not coarser for whoever is quiet."""
    stack = ConvNeXtStack(5, 8, 12, layers=1, speakers=3)
    block = stack.layers[0]
    assert block.expand.speaker_weight.shape == (36, 8)
    assert not any(isinstance(module, nn.Linear) for module in stack.modules())
