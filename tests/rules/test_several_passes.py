"""However often a rule runs the network in a step, batch norms count the batch once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from localrules import Learner
from localrules.registry.registry import Registry

REGISTRY = Registry.load(allow=[])
RULES = [
    item.entry.name
    for item in REGISTRY.entries("rule")
    if REGISTRY.resolve("rule", item.entry.name).info.requires.allows_norm
]
MODES = ("strict", "error", "incremental")
CASES: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in RULES]
CASES += [("predictive-coding", {"mode": mode}) for mode in MODES] + [("node-perturbation", {"perturbations": 3})]


@pytest.mark.parametrize(("rule", "options"), CASES)
def test_batch_norms_count_a_batch_once_in_a_step(rule: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(6, 2, 8, 8), torch.arange(6) % 3
    model = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )
    Learner(model, rule, example=images, num_classes=3, config=options).step(images, labels)
    assert [int(model[at].num_batches_tracked) for at in (1, 4)] == [1, 1]
