"""A layer learns from how its activity differs between two passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from localrules import Layer
from localrules.core.operations import Operation
from localrules.core.passes import ends, tensors


def activities_of(layer: Layer, operations: list[Operation], output: Any) -> list[Tensor]:
    """What stands for each operation's activity: the layer's output if it is that of this operation, else its own."""
    outputs = ends(layer, output)
    found = []
    for index, operation in enumerate(operations):
        assert operation.output is not None
        last = index == len(operations) - 1 and outputs[-1].shape == operation.output.shape
        found.append((outputs[-1] if last else operation.output).detach())
    return found


def modulate(layer: Layer, operations: list[Operation], output: Any, before: list[Tensor]) -> Tensor:
    """Leave the descent directions in ``.grad``; how far the error moved the layer's activity, a mean square."""
    surrogate, moved = torch.zeros((), device=tensors(output)[0].device), torch.zeros(())
    for operation, first, second in zip(operations, before, activities_of(layer, operations, output), strict=True):
        change = first.float() - second.float()
        units = len(operation.weight)
        direction = operation.correlate(change) * (units / change.numel())  # a mean over batch and positions
        # Through whatever the parameters become before they meet the input, a folded kernel say.
        surrogate = surrogate + (direction * operation.weight.float()).sum()
        moved = change.square().mean()
    if surrogate.requires_grad:  # not so in a layer without matrices
        surrogate.backward()
    return moved
