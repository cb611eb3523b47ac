"""Stand-ins for the large networks that the paper compares with: the same parts, a few channels each."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn

from localrules_classics import inception
from localrules_classics.inception import Mix


def narrow_inception(patch: pytest.MonkeyPatch) -> None:
    """BN-Inception with three modules of a few channels."""
    patch.setattr(inception, "STEM", (4, 4, 6))
    mixes = (Mix(4, (2, 4), (2, 3), 2), Mix(0, (2, 4), (2, 3), 0, "max"), Mix(4, (2, 4), (2, 3), 2, "max"))
    patch.setattr(inception, "MIXES", mixes)


def small_torchvision(patch: pytest.MonkeyPatch) -> None:
    """torchvision's networks with little in them."""
    patch.setattr("torchvision.models.alexnet", _alexnet)
    patch.setattr("torchvision.models.resnet50", _resnet50)


def _alexnet(num_classes: int) -> SimpleNamespace:
    return SimpleNamespace(
        features=[nn.Conv2d(3, 2, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)],
        avgpool=nn.AdaptiveAvgPool2d(2),
        classifier=[nn.Dropout(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, num_classes)],
    )


def _resnet50(num_classes: int) -> SimpleNamespace:
    return SimpleNamespace(
        conv1=nn.Conv2d(3, 4, 7, 2, 3), bn1=nn.BatchNorm2d(4), relu=nn.ReLU(), maxpool=nn.MaxPool2d(3, 2, 1),
        layer1=[nn.Conv2d(4, 4, 3, padding=1)], layer2=[], layer3=[], layer4=[],
        avgpool=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(4, num_classes),
    )  # fmt: skip
