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


def test_the_hidden_layers_of_pogodin_and_latham_have_no_norm_and_no_bias_and_drop_what_they_read() -> None:
    options = {"norm": False, "bias": False, "activation": "leaky_relu", "dropout": 0.01}
    model = MLP(MLP.Config(hidden=(5, 6), **options), (1, 4, 4), 3)
    assert [type(module) for module in model.layers[0]] == [nn.Linear, nn.LeakyReLU]
    assert [type(module) for module in model.layers[1]] == [nn.Dropout, nn.Linear, nn.LeakyReLU]
    assert [type(module) for module in model.readout] == [nn.Dropout, nn.Linear]
    assert [name for name, _ in model.named_parameters() if "bias" in name] == ["readout.1.bias"]


def test_an_objective_sees_all_of_a_layers_output_and_its_readers_see_what_is_left() -> None:
    torch.manual_seed(0)
    model = MLP(MLP.Config(hidden=(200, 200), norm=False, activation="tanh", dropout=0.5), (1, 4, 4), 3)
    outputs, inputs = [], []
    model.layers[0].register_forward_hook(lambda module, args, output: outputs.append(output))
    model.layers[1][1].register_forward_hook(lambda module, args, output: inputs.append(args[0]))
    model(torch.randn(4, 1, 4, 4))
    assert not (outputs[0] == 0).any()
    assert 0.4 < float((inputs[0] == 0).float().mean()) < 0.6
    model.eval()(torch.randn(4, 1, 4, 4))
    assert torch.equal(outputs[1], inputs[1])
