"""Small networks that stand on a layer while it learns."""

from __future__ import annotations

from torch import nn


def perceptron(inputs: int, hidden: int, outputs: int, layers: int) -> nn.Sequential:
    """``layers`` matrices; batch norm and relu behind all but the last.

    Args:
        inputs: Features that it reads.
        hidden: Units between two matrices.
        outputs: Features that it gives.
        layers: 1 is a linear map.
    """
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
        inputs = hidden
    return nn.Sequential(*parts, nn.Linear(inputs, outputs))
