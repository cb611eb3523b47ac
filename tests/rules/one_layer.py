"""One layer's view with its auxiliary module, in float64, every parameter drawn: a head at zero would hide its part."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from localrules import Layer, LayerView, Objective
from localrules.core.view import Batch

ROWS, CLASSES = 6, 3
LABELS = torch.tensor([0, 1, 2, 0, 1, 1])


def draws(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer_of(shape: tuple[int, ...], *, index: int = 0, pool_size: int | None = None) -> Layer:
    """A layer that is known by what it gives."""
    return Layer("layer", nn.Identity(), index=index, pool_size=pool_size, out_shapes=(shape,))


def see(
    objective: Objective,
    layer: Layer,
    *,
    layers: Sequence[Layer] | None = None,
    images: Tensor | None = None,
    labels: Tensor = LABELS,
) -> LayerView:
    """What an objective sees of a layer that gives random numbers."""
    objective.prepare([layer] if layers is None else layers, CLASSES)
    auxiliary = objective.auxiliary(layer, CLASSES)
    assert auxiliary is not None
    with torch.no_grad():
        for number, parameter in enumerate(auxiliary.double().parameters()):
            parameter.copy_(draws(*parameter.shape, seed=number + 2) * 0.5)
    output = draws(ROWS, *layer.out_shape, seed=1).relu().requires_grad_()
    batch = Batch(draws(ROWS, 4) if images is None else images, labels, CLASSES)
    return LayerView(layer, (), output, batch, auxiliary)


def cross_entropy(logits: list[list[float]], labels: Tensor = LABELS) -> float:
    """Its mean over rows, one by one."""
    each = [
        math.log(sum(math.exp(x) for x in row)) - row[label] for row, label in zip(logits, labels.tolist(), strict=True)
    ]
    return sum(each) / len(each)


def affine(rows: list[list[float]], linear: nn.Linear) -> list[list[float]]:
    """A matrix applied entry by entry."""
    biases = [0.0] * linear.out_features if linear.bias is None else linear.bias.tolist()
    return [
        [
            sum(w * x for w, x in zip(weights, row, strict=True)) + b
            for weights, b in zip(linear.weight.tolist(), biases, strict=True)
        ]
        for row in rows
    ]


def normalised(rows: list[list[float]], norm: nn.BatchNorm1d | nn.BatchNorm2d) -> list[list[float]]:
    """Batch norm in training over rows, column by column."""
    columns = []
    for values, scale, shift in zip(zip(*rows, strict=True), norm.weight.tolist(), norm.bias.tolist(), strict=True):
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        columns.append([(value - mean) / (variance + norm.eps) ** 0.5 * scale + shift for value in values])
    return [list(row) for row in zip(*columns, strict=True)]


def rectified(rows: list[list[float]]) -> list[list[float]]:
    """Nothing below zero."""
    return [[max(0.0, value) for value in row] for row in rows]
