"""An objective on one layer and what it sees there, in float64, and reference computations entry by entry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from localrules import Batch, Layer, LayerView, Objective

T = TypeVar("T", bound=Objective)

SAMPLES, CLASSES = 6, 3
LABELS = torch.tensor([0, 1, 2, 0, 1, 1])


def draws(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer_of(
    shape: tuple[int, ...], *, index: int = 0, pool_size: int | None = None, in_shape: tuple[int, ...] = ()
) -> Layer:
    """A layer that is known by its shapes, and that reads the network's input."""
    return Layer(
        "layer",
        nn.Identity(),
        index=index,
        pool_size=pool_size,
        in_shape=in_shape,
        sample_shape=in_shape,
        out_shapes=(shape,),
    )


def make(rule: type[T], layer: Layer, *, peers: Sequence[Layer] = (), num_classes: int = CLASSES, **options: Any) -> T:
    """A rule's objective for a layer, by default the only one."""
    known = tuple(peer.without_module() for peer in peers or (layer,))
    return rule(rule.Config(**options), replace(layer, peers=known), num_classes)


def drawn(objective: T) -> T:
    """The same objective in float64, every parameter random: the part of a head at zero would not show."""
    with torch.no_grad():
        for number, parameter in enumerate(objective.double().parameters()):
            parameter.copy_(draws(*parameter.shape, seed=number + 2) * 0.5)
    return objective


def see(objective: Objective, *, images: Tensor | None = None, labels: Tensor = LABELS) -> LayerView:
    """The view of a layer with a random, rectified output."""
    output = draws(len(labels), *objective.layer.out_shape, seed=1).relu().requires_grad_()
    batch = Batch(draws(len(labels), 4) if images is None else images, labels, objective.num_classes)
    return LayerView(objective.layer, (), output, batch)


def cross_entropy(logits: list[list[float]], labels: Tensor = LABELS) -> float:
    """Its mean over samples, one by one."""
    each = [
        math.log(sum(math.exp(x) for x in sample)) - sample[label]
        for sample, label in zip(logits, labels.tolist(), strict=True)
    ]
    return sum(each) / len(each)


def affine(samples: list[list[float]], linear: nn.Linear) -> list[list[float]]:
    """A linear layer applied entry by entry."""
    biases = [0.0] * linear.out_features if linear.bias is None else linear.bias.tolist()
    return [
        [
            sum(w * x for w, x in zip(weights, sample, strict=True)) + b
            for weights, b in zip(linear.weight.tolist(), biases, strict=True)
        ]
        for sample in samples
    ]


def normalised(samples: list[list[float]], norm: nn.BatchNorm1d | nn.BatchNorm2d) -> list[list[float]]:
    """Batch norm in training mode, feature by feature."""
    columns = []
    for values, scale, shift in zip(zip(*samples, strict=True), norm.weight.tolist(), norm.bias.tolist(), strict=True):
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        columns.append([(value - mean) / (variance + norm.eps) ** 0.5 * scale + shift for value in values])
    return [list(sample) for sample in zip(*columns, strict=True)]


def rectified(samples: list[list[float]]) -> list[list[float]]:
    """ReLU."""
    return [[max(0.0, value) for value in sample] for sample in samples]
