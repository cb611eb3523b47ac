"""An isolated forward pass keeps every layer's graph, cut off at the layer's border."""

from __future__ import annotations

import pytest
import torch
from helpers.plain_networks import NormFirst, Residual
from torch import Tensor, nn
from torch.nn import functional

from localrules import Network
from localrules.core.isolated_forward import LayerTrace, isolated_forward
from localrules.errors import LocalRulesError

IMAGES = torch.randn(6, 1, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(6) % 4


def network(kind: type[nn.Module]) -> Network:
    torch.manual_seed(0)
    return Network.wrap(kind().double().eval(), example=IMAGES)


@pytest.mark.parametrize("kind", [Residual, NormFirst])
def test_its_last_output_is_the_networks(kind: type[nn.Module]) -> None:
    net = network(kind)
    traces = isolated_forward(net, IMAGES)
    assert [trace.layer.name for trace in traces] == [layer.name for layer in net.layers]
    assert torch.equal(traces[-1].output, net(IMAGES))


def test_apart_no_graph_reaches_into_another_layer() -> None:
    net = network(NormFirst)
    traces = isolated_forward(net, IMAGES)
    for trace in traces:
        for other in net.layers:
            gradients = torch.autograd.grad(
                trace.output.sum(), list(other.parameters()), retain_graph=True, allow_unused=True
            )
            own = other.name == trace.layer.name
            assert all((gradient is not None) == own for gradient in gradients)


@pytest.mark.parametrize("kind", [Residual, NormFirst])
def test_joined_messages_from_reader_to_source_add_up_to_back_propagation(kind: type[nn.Module]) -> None:
    net = network(kind)
    expected = torch.autograd.grad(functional.cross_entropy(net(IMAGES), LABELS), list(net.parameters()))
    traces = isolated_forward(net, IMAGES, connected=True)
    logits = traces[-1].output
    (top,) = torch.autograd.grad(functional.cross_entropy(logits, LABELS), logits, retain_graph=True)
    found = gradients(traces, top)
    for weight, gradient in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(found[id(weight)], gradient)


def gradients(traces: list[LayerTrace], top: Tensor) -> dict[int, Tensor]:
    """Every parameter's gradient, from errors that go down from reader to source, one border at a time."""
    error = {id(value): torch.zeros_like(value) for trace in traces for value in trace.values}
    error[id(traces[-1].values[-1])] = top
    found = {}
    for trace in reversed(traces):
        own = list(trace.layer.parameters())
        leaves = [value for other in traces if other is not trace for value in other.values]
        arrived = [error[id(value)] for value in trace.values]
        sent = torch.autograd.grad(trace.outputs, [*own, *leaves], arrived, allow_unused=True)
        found |= {id(weight): gradient for weight, gradient in zip(own, sent, strict=False)}
        for leaf, message in zip(leaves, sent[len(own) :], strict=True):
            if message is not None:
                error[id(leaf)] += message
    return found


def test_readers_see_the_values_that_are_given() -> None:
    net = network(Residual)
    first = isolated_forward(net, IMAGES)[0]
    zero = [torch.zeros_like(value) for value in first.values]
    given = isolated_forward(net, IMAGES, overrides={first.layer.name: zero})
    assert torch.equal(given[0].output, first.output)  # what the layer itself computes stands
    assert all(not bool(tensor.any()) for tensor in given[1].inputs)


class Twice(nn.Module):
    """Gives one tensor twice, and another one."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.linear(x)
        return found, found, found * 2


class Summed(nn.Module):
    def forward(self, given: tuple[Tensor, ...]) -> Tensor:
        return torch.stack(given).sum(0)


def test_a_tensor_that_a_layer_gives_twice_is_one_output() -> None:
    model = nn.Sequential(Twice(), Summed(), nn.Linear(8, 3))
    images = torch.randn(4, 6)
    first, _ = isolated_forward(Network.wrap(model, ["0", "2"], example=images), images, connected=True)
    assert len(first.outputs) == len(first.values) == 2
    assert first.positions == [0, 2]
    assert len(first.layer.all_out_shapes) == 3


@pytest.mark.parametrize("connected", [False, True])
def test_a_change_in_place_of_what_readers_get_is_refused_with_the_layer_s_name(connected: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5, inplace=True), nn.Linear(8, 3))
    images = torch.randn(4, 6)
    net = Network.wrap(model, ["0", "2"], example=images).train()  # in eval mode the dropout does nothing
    with pytest.raises(LocalRulesError, match="the output of layer '0' was changed in place"):
        isolated_forward(net, images, connected=connected)
