"""The multi-layer perceptron."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from localrules import Network
from localrules_classics.mlp import MLP


def test_layers_are_matrix_norm_and_activation() -> None:
    network = Network.wrap(MLP(MLP.Config(hidden=(5, 6)), (1, 4, 4), 3), example=torch.zeros(2, 1, 4, 4))
    assert [layer.name for layer in network.layers] == ["layers.0", "layers.1", "readout"]
    kinds = [type(module) for module in network.layers[0].module]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert network(torch.randn(2, 1, 4, 4)).shape == (2, 3)


@pytest.mark.parametrize("granularity", ["layer", "block", 1, 2])
def test_every_granularity_computes_the_same(granularity: str | int) -> None:
    model = MLP(MLP.Config(hidden=(5, 6)), (1, 4, 4), 3).eval()
    network = Network.wrap(model, granularity=granularity, example=torch.zeros(2, 1, 4, 4))
    images = torch.randn(3, 1, 4, 4)
    assert torch.equal(network(images), model(images))
    assert len(network.hidden) == (granularity if isinstance(granularity, int) else 2)


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu"])
def test_without_norm(activation: str) -> None:
    model = MLP(MLP.Config(hidden=(5,), norm=False, activation=activation), (1, 4, 4), 3)
    assert [type(module).__name__.lower() for module in model.layers[0]] == ["linear", activation]
