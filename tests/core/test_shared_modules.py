"""A module without parameters that layers share, such as a dropout, runs in each layer's own mode."""

from __future__ import annotations

import pickle
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from localrules import Learner, Network

INPUTS, LABELS = torch.ones(4, 16), torch.arange(4)


class OneDropout(nn.Module):
    """Drops the outputs of both hidden layers by one module, and notes what is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 4)
        self.drop = nn.Dropout(0.5)
        for parameter in (self.first.bias, self.second.bias):
            nn.init.constant_(parameter, 10.0)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.drop(self.second(self.drop(self.first(inputs)))))


def dropped(network: Network, step: object) -> list[bool]:
    """Whether each layer's part had values that dropout set to zero."""
    found: list[bool] = []
    drop = network.model.drop
    handle = drop.register_forward_hook(lambda module, inputs, output: found.append(bool((output == 0).any())))
    step()  # type: ignore[operator]
    handle.remove()
    return found


@pytest.mark.parametrize("rule", ["local-ce", "backprop", "dfa", "pepita"])
@pytest.mark.parametrize(("frozen", "expected"), [("first", [False, True]), ("second", [True, False])])
def test_only_layers_that_learn_drop(rule: str, frozen: str, expected: list[bool]) -> None:
    torch.manual_seed(0)
    model = OneDropout()
    getattr(model, frozen).requires_grad_(False)
    learner = Learner(model, rule, example=INPUTS, num_classes=4)
    seen = dropped(learner.network, lambda: learner.step(INPUTS, LABELS))
    assert seen[:2] == expected
    assert not any(dropped(learner.network, lambda: learner.predict(INPUTS)))
    assert dropped(learner.network, lambda: learner.step(INPUTS, LABELS))[:2] == expected


def test_copies_have_modes_of_their_own() -> None:
    network = Network.wrap(OneDropout(), example=INPUTS)
    for each in (network, deepcopy(network), pickle.loads(pickle.dumps(network))):
        copy = deepcopy(each).train()
        copy.model.first.eval()
        assert dropped(copy, lambda copy=copy: copy(INPUTS)) == [False, True]
        each.eval()
        assert not any(dropped(each, lambda each=each: each(INPUTS)))


def test_a_layer_that_shares_nothing_has_no_hook() -> None:
    network = Network.wrap(
        nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2)), example=INPUTS[:, :4]
    )
    assert not any(module._forward_pre_hooks for module in network.modules())
