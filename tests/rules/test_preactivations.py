"""Which activations equilibrium propagation and dual propagation take out of a layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer
from localrules_energy.preactivations import activations_last, without_activations

MODULES: list[nn.Module] = [
    *(nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(), nn.ELU(inplace=True), nn.SELU(), nn.CELU()),
    *(nn.GELU(), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Threshold(0.1, 0.2), nn.Sigmoid(), nn.Hardsigmoid()),
    *(nn.LogSigmoid(), nn.Tanh(), nn.Hardtanh(), nn.Tanhshrink(), nn.Softsign(), nn.Hardswish(), nn.Softshrink()),
    nn.Hardshrink(),
]
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu_": lambda x: x.relu_(),
    "torch.relu_": torch.relu_,
    "functional.relu_": functional.relu_,
    "functional.leaky_relu_": functional.leaky_relu_,
    "sigmoid_": lambda x: x.sigmoid_(),
    "tanh_": torch.tanh_,
    "clamp": lambda x: x.clamp(min=0, max=1),
    "clamp_": lambda x: x.clamp_(0, 1),
    "clip": lambda x: torch.clip(x, -1, 1),
    "clamp_min": lambda x: x.clamp_min(0),
    "clamp_max_": lambda x: x.clamp_max_(0),
    "expit": torch.special.expit,
    "by keyword": lambda x: functional.relu(input=x),
}
CASES = [(type(module).__name__, module) for module in MODULES] + list(FUNCTIONS.items())


class Activated(nn.Module):
    """Values times two, activated, plus one."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, values: Tensor) -> Tensor:
        return self.activation(2 * values) + 1


@pytest.mark.parametrize("activation", [case for _, case in CASES], ids=[name for name, _ in CASES])
def test_torchs_elementwise_activations_are_taken_out_and_put_behind_all_else(
    activation: Callable[[Tensor], Tensor],
) -> None:
    module, values = Activated(activation), torch.linspace(-2, 2, 9)
    layer = Layer("layer", module)
    assert torch.equal(without_activations(layer, module.forward, (values,), {}), 2 * values + 1)
    expected = activation(2 * values + 1)
    assert torch.equal(activations_last(layer, module.forward, (values,), {}), expected)


@pytest.mark.parametrize("activation", [nn.PReLU(), nn.RReLU(), torch.exp], ids=["PReLU", "RReLU", "exp"])
def test_others_stay(activation: Callable[[Tensor], Tensor]) -> None:
    module, values = Activated(activation), torch.linspace(-2, 2, 9)
    torch.manual_seed(0)
    found = without_activations(Layer("layer", module), module.forward, (values,), {})
    torch.manual_seed(0)
    assert torch.equal(found, activation(2 * values) + 1)
