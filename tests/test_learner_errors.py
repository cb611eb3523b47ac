"""Whatever code of a rule does wrong in a Learner is one error that names class, file and line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from helpers import faulty_plugin
from torch import nn

from localrules import Learner
from localrules.errors import LocalRulesError

IMAGES, LABELS = torch.randn(8, 6), torch.arange(8) % 3


def module() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.slow
@pytest.mark.parametrize("rule", faulty_plugin.RULES)
def test_a_rule(rule: str) -> None:
    if rule.startswith(("hidden-tensor", "closes-")):
        pytest.skip("a Learner stores no options, and owns no stream")
    cls = faulty_plugin.RULES[rule]
    before = sys.stdout, torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
    with pytest.raises(LocalRulesError) as failed:
        Learner(module(), cls, example=IMAGES, num_classes=3).step(IMAGES, LABELS.clone())
    assert (sys.stdout, torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()) == before
    assert Path(faulty_plugin.__file__).name in failed.value.where
    assert "line" in failed.value.where
    assert cls.__name__ in failed.value.what + failed.value.where
    assert failed.value.fix


def test_the_exception_is_the_cause() -> None:
    learner = Learner(module(), faulty_plugin.RULES["value-error"], example=IMAGES, num_classes=3)
    with pytest.raises(LocalRulesError) as failed:
        learner.step(IMAGES, LABELS)
    assert isinstance(failed.value.__cause__, ValueError)
    assert "bad value" in failed.value.why


def test_gradients_left_by_the_users_loop_are_not_blamed_on_the_rule() -> None:
    mine = module()
    mine(IMAGES).sum().backward()
    Learner(mine, "local-ce", example=IMAGES, num_classes=3).step(IMAGES, LABELS)
