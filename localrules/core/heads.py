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


def classifier(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    """A classifier whose last matrix starts at zero: without an opinion, it does not pull at its layer at first.

    As in Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656.

    Args:
        inputs: Features that it reads.
        hidden: Units of a hidden layer; 0: it is linear.
        classes: How many labels there are.
    """
    made = perceptron(inputs, hidden, classes, layers=2 if hidden else 1)
    for parameter in made[-1].parameters():
        nn.init.zeros_(parameter)
    return made
