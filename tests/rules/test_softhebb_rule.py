"""softhebb against its formula by hand, and what becomes of a layer's other parameters."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from helpers.tiny_sessions import dense, perceptron, state, train
from torch import Tensor, nn
from torch.nn import functional

from localrules import Batch, Layer, LayerView, Learner
from localrules.core.ops import record_ops
from localrules.errors import UsageError
from localrules_unsupervised.softhebb import SoftHebb

DRAWS = torch.Generator().manual_seed(0)
MAPS = torch.randn(4, 2, 6, 6, generator=DRAWS) + 0.5
FORMS: dict[str, dict[str, Any]] = {
    "ours": {},
    "not relative": {"relative": False, "sharpness": 0.7},
    "not centred": {"centered": False},
    "as printed": {"relative": False, "centered": False, "sharpness": 1.0},
}


def view_of(module: nn.Module, inputs: Tensor) -> LayerView:
    with record_ops() as operations:
        output = module(inputs)
    layer = Layer("layer", module, out_shapes=(tuple(output.shape[1:]),))
    batch = Batch(inputs, torch.empty(0, dtype=torch.int64), 4)
    return LayerView(layer, (inputs,), output, batch, operations)


def backward(config: SoftHebb.Config, view: LayerView) -> None:
    loss = SoftHebb(config, view.layer, 4)(view)
    assert isinstance(loss, Tensor)
    loss.backward()


def plain_pytorch_step(samples: Tensor, weight: Tensor, sharpness: float, relative: bool, centered: bool) -> Tensor:
    """The change of a matrix (units, inputs) from samples (samples, inputs), one sample and one unit at a time."""
    samples, weight = samples.double(), weight.double()
    if centered:
        samples = samples - samples.mean(0)
    all_units = samples @ weight.T
    scale = sharpness / all_units.std(correction=0) if relative else sharpness
    change = torch.zeros_like(weight)
    for x in samples:
        u = [float((w * x).sum()) for w in weight]
        exponents = [math.exp(float(scale) * value) for value in u]
        for k, w in enumerate(weight):
            y = exponents[k] / sum(exponents) * (1 if u[k] == max(u) else -1)
            change[k] += y * (x - u[k] * w)
    change /= change.abs().max()
    for k, w in enumerate(weight):
        change[k] *= math.sqrt(abs(float((w * w).sum()) ** 0.5 - 1))
    return change


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["matrix", "convolution"])
def test_the_gradient_is_minus_the_change_that_is_printed(kind: str, form: str) -> None:
    if kind == "matrix":
        module: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(72, 5), nn.ReLU())
        samples, weight = MAPS.flatten(1), module[1].weight
    else:
        module = nn.Sequential(nn.Conv2d(2, 5, 3, stride=2, padding=1), nn.ReLU())
        samples = functional.unfold(MAPS, 3, padding=1, stride=2).transpose(1, 2).reshape(-1, 18)
        weight = module[0].weight
    config = SoftHebb.Config(**FORMS[form])
    backward(config, view_of(module, MAPS))
    expected = plain_pytorch_step(
        samples, weight.detach().flatten(1), config.sharpness, config.relative, config.centered
    )
    assert weight.grad is not None
    torch.testing.assert_close(-weight.grad.flatten(1).double(), expected, rtol=1e-4, atol=1e-5)


def test_the_winner_turns_towards_its_input_and_the_others_away() -> None:
    linear = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
    backward(SoftHebb.Config(centered=False, sharpness=0.1), view_of(linear, torch.tensor([[1.0, 0.2]])))
    assert linear.weight.grad is not None
    assert linear.weight.grad[0, 0] < 0  # descent makes it larger
    assert linear.weight.grad[1, 0] > 0


def test_a_unit_of_length_one_rests() -> None:
    linear = nn.Linear(6, 3, bias=False)
    with torch.no_grad():
        linear.weight[0] /= linear.weight[0].norm()
    backward(SoftHebb.Config(), view_of(linear, torch.randn(9, 6, generator=DRAWS)))
    assert linear.weight.grad is not None
    assert linear.weight.grad[0].abs().max() < 1e-3
    assert linear.weight.grad[1].abs().max() > 1e-3


@pytest.mark.parametrize("network", [dense, perceptron])
def test_biases_norms_and_weights_of_sources_stay_and_matrices_move(network: Any) -> None:
    session = network(SoftHebb, optimizer={"name": "sgd", "lr": 0.05})
    before = state(session)
    train(session)
    for layer in session.network.hidden:
        for name, parameter in layer.module.named_parameters():
            same = torch.equal(parameter, before[f"network.{layer.name}.{name}"])
            assert same == (parameter.dim() == 1), (layer.name, name)


def test_triangle_is_what_exceeds_the_mean_over_units_to_a_power() -> None:
    layer = Layer("layer", nn.Linear(3, 3))
    output = torch.tensor([[0.0, 1.0, 5.0]])
    assert SoftHebb(SoftHebb.Config(), layer, 4).transform_output(output) is output
    found = SoftHebb(SoftHebb.Config(triangle=2.0), layer, 4).transform_output(output)
    assert found.tolist() == [[0.0, 0.0, 9.0]]


def test_a_layer_without_weights_is_an_error_that_names_it() -> None:
    with pytest.raises(UsageError, match="'layer' has no linear and no convolution"):
        SoftHebb(SoftHebb.Config(), view_of(nn.BatchNorm2d(2), MAPS).layer, 4)


class Mixed(nn.Module):
    """A convolution over one axis, which Hebbian rules do not train, and a linear."""

    def __init__(self) -> None:
        super().__init__()
        self.along, self.linear = nn.Conv1d(5, 5, 3, padding=1), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(self.along(x)))


@pytest.mark.parametrize("rule", ["softhebb", "oja", "pepita"])
@pytest.mark.parametrize(
    ("kind", "left"),
    [
        (Mixed, r"along\.weight"),
        (lambda: nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), r"in_proj_weight, self_attn\.out_proj\.weight"),
    ],
)
def test_weights_of_other_operations_beside_linears_are_refused_by_name(rule: str, kind: Any, left: str) -> None:
    inputs, labels = torch.randn(6, 5, 4), torch.arange(6) % 3
    model = nn.Sequential(nn.Linear(4, 8), kind(), nn.Flatten(), nn.Linear(40, 3))
    learner = Learner(model, rule, example=inputs, num_classes=3, layers=["0", "1", "3"])
    with pytest.raises(UsageError, match="cannot train layer '1'") as refused:
        learner.step(inputs, labels)
    assert re.search(left, refused.value.why)


def test_positions_that_are_added_to_tokens_stay_as_biases_do() -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.positions, self.linear = nn.Parameter(torch.zeros(1, 5, 8)), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.linear(x + self.positions))

    inputs, labels = torch.randn(6, 5, 4), torch.arange(6) % 3
    model = nn.Sequential(nn.Linear(4, 8), Placed(), nn.Flatten(), nn.Linear(40, 3))
    Learner(model, "softhebb", example=inputs, num_classes=3, layers=["0", "1", "3"]).step(inputs, labels)
    assert not model[1].positions.any()


def test_frozen_weights_of_other_operations_stay_as_they_are() -> None:
    torch.manual_seed(0)
    inputs, labels = torch.randn(6, 5, 4), torch.arange(6) % 3
    model = nn.Sequential(nn.Linear(4, 8), Mixed(), nn.Flatten(), nn.Linear(40, 3))
    model[1].along.requires_grad_(False)
    before = model[1].linear.weight.clone()
    Learner(model, "softhebb", example=inputs, num_classes=3, layers=["0", "1", "3"]).step(inputs, labels)
    assert not torch.equal(model[1].linear.weight, before)


def test_a_weight_from_which_that_of_an_operation_is_derived_is_learned() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(6, 4)
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 3))
    learner = Learner(model, "softhebb", example=inputs, num_classes=3)
    learner.step(inputs, torch.arange(6) % 3)
    assert learner.predict(inputs).shape == (6, 3)
