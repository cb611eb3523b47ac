"""Standing inside layers: what is seen there, what is answered in their place, and that nothing stays behind."""

from __future__ import annotations

import torch
from helpers.tiny_sessions import dense, perceptron
from torch import nn

from localrules.auditing.interventions import perturb_weights, record_layers, replay_outputs
from localrules.core.interception import intercept_layers
from localrules.core.layer import Layer
from localrules.engine.step import train_steps
from localrules_backprop.backprop import Backprop
from localrules_backprop.checkpointed import BackpropCheckpointed
from localrules_forward.pepita import Pepita
from localrules_supervised.local_ce import LocalCrossEntropy


def chain() -> tuple[nn.Sequential, list[Layer]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.Tanh(), nn.Linear(5, 3)), nn.Linear(3, 2))
    return net, [Layer(str(index), module, index=index) for index, module in enumerate(net)]


def test_a_graph_that_crosses_a_border_is_seen_with_both_layers() -> None:
    net, layers = chain()
    with record_layers(layers) as found:
        net(torch.randn(6, 4))
    assert found.crossings == {("1", "0"), ("2", "0"), ("2", "1")}


def test_an_objective_rule_lets_no_graph_cross_and_back_propagation_does() -> None:
    seen = {}
    for rule in (LocalCrossEntropy, Backprop, BackpropCheckpointed):
        session = dense(rule)
        with record_layers(session.network.layers) as found:
            train_steps(session, 1)
        seen[rule] = bool(found.crossings)
    assert seen == {LocalCrossEntropy: False, Backprop: True, BackpropCheckpointed: True}


def test_every_call_is_recorded_also_of_a_rule_that_steps_in_between_itself() -> None:
    session = perceptron(Pepita)
    with record_layers(session.network.layers) as found:
        train_steps(session, 1)
    assert {name: len(calls) for name, calls in found.outputs.items()} == dict.fromkeys(found.outputs, 2)
    for first, second in found.outputs.values():
        assert not torch.equal(first[0], second[0])  # it is shown other images then


def test_a_layer_that_is_answered_for_gives_the_recorded_bits_and_doubles_the_error() -> None:
    net, layers = chain()
    images = torch.randn(6, 4)
    with record_layers(layers) as found:
        plain = net(images)
    plain.sum().backward()
    was = net[0].weight.grad.clone()
    net.zero_grad()
    with replay_outputs(layers[1], found.outputs):
        shown = net(images)
    shown.sum().backward()
    assert torch.equal(shown, plain)
    torch.testing.assert_close(net[0].weight.grad, 2 * was)
    with torch.no_grad():
        net[1][1].weight.add_(1.0)
    with replay_outputs(layers[1], found.outputs):
        assert torch.equal(net(images), plain)


def test_reweighted_operations_keep_their_values_and_own_gradients_and_change_what_goes_back() -> None:
    net, layers = chain()
    images = torch.randn(6, 4)
    plain = net(images)
    plain.sum().backward()
    was = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    with perturb_weights(layers[1], seed=0) as met:
        shown = net(images)
    shown.sum().backward()
    first, _, *others = (parameter.grad for parameter in net.parameters())
    assert [operation.kind for operation in met] == ["linear"]
    assert torch.equal(shown, plain)
    assert not torch.allclose(first, was[0])
    for now, before in zip(others, was[2:], strict=True):
        torch.testing.assert_close(now, before)


def test_convolutions_are_reweighted_too() -> None:
    session = dense(Backprop)
    layer, images = session.network.layers[1], session.batches.batch(0).images
    session.network.eval()
    plain = session.network(images)
    with perturb_weights(layer, seed=0) as met:
        shown = session.network(images)
    assert [operation.kind for operation in met] == ["conv2d"]
    assert torch.equal(shown, plain)


def test_nothing_stays_behind_and_others_who_stepped_in_before_do() -> None:
    _, layers = chain()

    def visit(layer: Layer, forward, args, kwargs):  # type: ignore[no-untyped-def]
        return forward(*args, **kwargs)

    with intercept_layers(layers, visit):
        before = [layer.module.__dict__["forward"] for layer in layers]
        with record_layers(layers):
            pass
        assert [layer.module.__dict__["forward"] for layer in layers] == before
    with record_layers(layers):
        pass
    assert not any("forward" in layer.module.__dict__ for layer in layers)
