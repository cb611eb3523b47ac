"""Rules with feedback weights send no error back through forward weights, in whatever form a layer uses these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules import Learner
from localrules.errors import UsageError

RULES = ["fa", "sign-symmetry", "kolen-pollack", "weight-mirror"]
LABELS = torch.arange(6) % 3


class Uses(nn.Module):
    """A layer that uses its weight as ``function`` of the layer and its input does."""

    def __init__(self, function: Callable[[Uses, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight, self.shift = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(1, 8))
        self.linear, self.table = nn.Linear(8, 8), nn.Embedding(5, 8)
        self._function = function

    def forward(self, x: Tensor) -> Tensor:
        return self._function(self, x)


class Rounded(torch.autograd.Function):
    """Rounds, with the gradient of the identity; torch's function modes do not see it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.round()

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> Tensor:
        return error


def learner(function: Callable[[Uses, Tensor], Tensor], rule: str = "fa") -> Learner:
    """Of three layers, the second of which is ``Uses``."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), Uses(function), nn.Linear(8, 3))
    return Learner(model, rule, example=torch.randn(6, 6), num_classes=3, layers=["0", "1", "2"])


@pytest.mark.parametrize("rule", RULES)
def test_a_transposed_weight_is_refused_by_every_such_rule(rule: str) -> None:
    with pytest.raises(UsageError, match="layer '1' cannot have feedback weights for 'weight'"):
        learner(lambda layer, x: x @ layer.weight.T, rule)


def into_zeros(layer: Uses, x: Tensor) -> Tensor:
    copy = torch.zeros(8, 8)
    copy[:4] = layer.weight[:4]
    return x @ copy


@pytest.mark.parametrize(
    "function",
    [
        lambda layer, x: x @ layer.weight,
        lambda layer, x: x @ layer.weight.t(),
        lambda layer, x: x @ layer.weight.mT,
        lambda layer, x: x @ (layer.weight + 0),
        lambda layer, x: x @ (layer.weight * layer.shift).T.contiguous(),
        lambda layer, x: x @ layer.weight.detach(),
        lambda layer, x: x @ layer.weight.to(x).T,
        lambda layer, x: x @ Rounded.apply(layer.weight).T,
        lambda layer, x: Rounded.apply(x) @ layer.weight.T,
        lambda layer, x: functional.linear(layer.weight, x).T[:, :8],
        into_zeros,
    ],
)
def test_a_weight_outside_of_operations_is_refused_whatever_is_derived_from_it(function: Any) -> None:
    with pytest.raises(UsageError, match="layer '1' cannot have feedback weights for 'weight'"):
        learner(function)


def test_a_weight_of_an_operation_is_refused_where_another_function_uses_it_too() -> None:
    with pytest.raises(UsageError, match=r"layer '1' cannot have feedback weights for 'linear\.weight'"):
        learner(lambda layer, x: layer.linear(x) @ layer.linear.weight.T)


def test_a_weight_of_a_layer_is_refused_where_it_is_used_between_layers() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.last = nn.Linear(6, 8), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(functional.linear(self.up(x), self.up.weight.T))

    with pytest.raises(UsageError, match="layer 'up' cannot have feedback weights for 'weight'"):
        Learner(Tied(), "fa", example=torch.randn(6, 6), num_classes=3, layers=["up", "last"])


@pytest.mark.parametrize(
    "function",
    [
        lambda layer, x: layer.linear(x) + layer.shift,
        lambda layer, x: layer.linear(x) + layer.shift.expand_as(x),
        lambda layer, x: layer.linear(x) + layer.table(torch.tensor(1)),
        lambda layer, x: torch.cat([layer.linear(x)[:, :4], layer.shift.expand(len(x), -1)[:, :4]], 1),
        lambda layer, x: functional.linear(x, layer.weight.T),
        lambda layer, x: functional.linear(x, layer.weight * torch.ones(8, 8), layer.shift[0]),
        lambda layer, x: functional.linear(x, Rounded.apply(layer.weight)),
        lambda layer, x: Rounded.apply(layer.linear(x)),
        lambda layer, x: functional.layer_norm(layer.linear(x), (8,), layer.linear.bias),
    ],
)
def test_what_is_added_and_what_operations_use_in_any_form_is_admitted(function: Any) -> None:
    report = learner(function).step(torch.randn(6, 6), LABELS)
    assert report.loss is not None
    assert report.loss.isfinite()


@pytest.mark.parametrize("rule", RULES)
def test_networks_that_read_tokens_are_trained(rule: str) -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 11, (6, 5))
    model = nn.Sequential(nn.Embedding(11, 4), nn.Flatten(), nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))
    before = model[0].weight.clone()
    Learner(model, rule, example=tokens, num_classes=3).step(tokens, LABELS)
    assert not torch.equal(model[0].weight, before)


def test_equilibrium_propagation_refuses_tokens() -> None:
    tokens = torch.randint(0, 11, (6, 5))
    model = nn.Sequential(nn.Embedding(11, 4), nn.Flatten(), nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(UsageError, match="needs floating-point inputs"):
        Learner(model, "equilibrium-propagation", example=tokens, num_classes=3)
