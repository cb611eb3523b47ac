"""A local step's gradients are autograd's on a copy that was detached by hand, and each layer runs once."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from helpers.plain_networks import NormFirst, Pyramid, Residual
from helpers.tiny_sessions import LOCAL_RULES, RULES, dense, train
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Network, Objective
from localrules.core.view import Batch
from localrules.engine.layerwise import LayerwiseRule, ObjectiveSpec
from localrules.errors import LocalRulesError

IMAGES = torch.randn(8, 1, 12, 12, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 4
Gradients = dict[str, dict[str, Tensor]]


class Wave(Objective):
    """Some function of the output with a gradient everywhere."""

    def forward(self, view: LayerView) -> Tensor:
        return wave(view.output)


def wave(output: Tensor) -> Tensor:
    return torch.sin(3 * output).mean()


class Recorder:
    """Takes the engine's place: notes each layer's gradients when they are complete, and clears them."""

    def __init__(self, model: nn.Module) -> None:
        self.names = {id(parameter): name for name, parameter in model.named_parameters()}
        self.gradients: Gradients = {}
        self.when_ready: Callable[[Layer], None] = lambda layer: None

    def is_trainable(self, layer: Layer) -> bool:
        return True

    def is_objective_trainable(self, layer: Layer) -> bool:
        return True

    def backward(self, loss: Tensor, layer: Layer | None = None) -> None:
        loss.backward()

    def step_layer(self, layer: Layer) -> None:
        found = {}
        for parameter in layer.parameters():
            assert parameter.grad is not None
            found[self.names[id(parameter)]] = parameter.grad.clone()
            parameter.grad = None
        self.gradients[layer.name] = found
        self.when_ready(layer)

    def submit(self, layer: Layer, work: Callable[[], None]) -> None:
        work()

    def autocast(self) -> AbstractContextManager[Any]:
        return nullcontext()


def local_step(network: Network, objective: type[Objective] = Wave, **listen: Any) -> Recorder:
    spec = ObjectiveSpec(objective, objective.Config())
    rule = LayerwiseRule(dict.fromkeys((layer.name for layer in network.hidden), spec))
    rule.prepare(network, 4)
    recorder = Recorder(network.model)
    recorder.when_ready = listen.get("when_ready", recorder.when_ready)
    rule.step(network, Batch(IMAGES, LABELS, 4), recorder)
    return recorder


class ByHand:
    """Runs parts of a network one by one, each on detached inputs, and keeps their gradients."""

    def __init__(self) -> None:
        self.gradients: Gradients = {}

    def part(self, name: str, owner: nn.Module | list[nn.Module], output: Tensor, loss: Tensor | None = None) -> Tensor:
        modules = owner if isinstance(owner, list) else [owner]
        parameters = [parameter for module in modules for parameter in module.parameters()]
        found = torch.autograd.grad(wave(output) if loss is None else loss, parameters)
        self.gradients[name] = {str(index): gradient for index, gradient in enumerate(found)}
        return output.detach()


def assert_equal(measured: Gradients, expected: Gradients) -> None:
    assert list(measured) == list(expected)
    for name, gradients in expected.items():
        assert len(measured[name]) == len(gradients)
        ones = sorted(measured[name].values(), key=lambda tensor: (tensor.shape, float(tensor.abs().sum())))
        others = sorted(gradients.values(), key=lambda tensor: (tensor.shape, float(tensor.abs().sum())))
        for one, other in zip(ones, others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7, msg=lambda text, at=name: f"{at}: {text}")
        assert any(float(gradient.abs().max()) > 0 for gradient in gradients.values())


def cross_entropy(logits: Tensor) -> Tensor:
    return functional.cross_entropy(logits, LABELS)


def test_across_concatenation() -> None:
    torch.manual_seed(1)
    net = NormFirst()
    hand = ByHand()
    # A norm that stands in front of a convolution follows the layer before it.
    known = [net.conv0(IMAGES)]
    read = [functional.relu(net.norms[0](known[0]))]
    hand.part("conv0", [net.conv0, net.norms[0]], read[0])
    known = [known[0].detach()]
    following = [net.norms[1], net.norms[2], net.last_norm]
    features = read[0].detach()
    for index, norm in enumerate(following):
        own = net.convs[index](features)
        joined = torch.cat([*known, own], 1)
        seen = functional.relu(norm(joined))
        if index == 2:
            seen = functional.adaptive_avg_pool2d(seen, 1).view(8, -1)
        hand.part(f"convs.{index}", [net.convs[index], norm], seen)
        known.append(own.detach())
        features = seen.detach()
    logits = net.classifier(features)
    hand.part("classifier", net.classifier, logits, cross_entropy(logits))

    torch.manual_seed(1)
    network = Network.wrap(NormFirst(), example=IMAGES[:2])
    assert_equal(local_step(network).gradients, hand.gradients)


def test_across_a_residual_border() -> None:
    torch.manual_seed(1)
    net = Residual()
    net.dropout.p = 0.0
    hand = ByHand()
    first, second = net.blocks
    x = hand.part("stem.0", net.stem, net.stem(IMAGES))
    y = hand.part("blocks.0.conv1", [first.conv1, first.bn1], functional.relu(first.bn1(first.conv1(x))))
    x = hand.part("blocks.0.conv2", [first.conv2, first.bn2], functional.relu(first.bn2(first.conv2(y)) + x))
    y = hand.part("blocks.1.conv1", [second.conv1, second.bn1], functional.relu(second.bn1(second.conv1(x))))
    y = hand.part("blocks.1.conv2", [second.conv2, second.bn2], second.bn2(second.conv2(y)))
    x = functional.relu(y + second.shortcut(x)).mean((2, 3))
    x = hand.part("blocks.1.shortcut", second.shortcut, x)
    logits = net.fc(x)
    hand.part("fc", net.fc, logits, cross_entropy(logits))

    torch.manual_seed(1)
    model = Residual()
    model.dropout.p = 0.0
    assert_equal(local_step(Network.wrap(model, example=IMAGES[:2])).gradients, hand.gradients)


def test_across_a_pyramid() -> None:
    torch.manual_seed(1)
    net = Pyramid()
    hand = ByHand()
    fine = hand.part("fine", net.fine, torch.tanh(net.fine(IMAGES)))
    coarse = hand.part("coarse", net.coarse, torch.tanh(net.coarse(fine)))
    top = net.lateral_coarse(coarse).repeat_interleave(2, 2).repeat_interleave(2, 3)
    top = hand.part("lateral_coarse", net.lateral_coarse, top)
    merged = hand.part("lateral_fine", net.lateral_fine, net.lateral_fine(fine) + top)
    features = torch.tanh(net.smooth(merged)).mean((2, 3))
    features = hand.part("smooth", net.smooth, torch.cat([features, IMAGES.mean((2, 3))], 1))
    logits = net.head(features)
    hand.part("head", net.head, logits, cross_entropy(logits))

    torch.manual_seed(1)
    assert_equal(local_step(Network.wrap(Pyramid(), example=IMAGES[:2])).gradients, hand.gradients)


def test_marked_by_hand_what_stands_between_layers_belongs_to_none() -> None:
    torch.manual_seed(1)
    net = Pyramid()
    hand = ByHand()
    fine = torch.tanh(hand.part("fine", net.fine, net.fine(IMAGES)))
    coarse = torch.tanh(hand.part("coarse", net.coarse, net.coarse(fine)))
    top = hand.part("lateral_coarse", net.lateral_coarse, net.lateral_coarse(coarse))
    own = hand.part("lateral_fine", net.lateral_fine, net.lateral_fine(fine))
    merged = own + functional.interpolate(top, scale_factor=2, mode="nearest")
    smooth = hand.part("smooth", net.smooth, net.smooth(merged))
    logits = net.head(torch.cat([torch.tanh(smooth).mean((2, 3)), IMAGES.mean((2, 3))], 1))
    hand.part("head", net.head, logits, cross_entropy(logits))

    torch.manual_seed(1)
    network = Network.wrap(Pyramid(), ["fine", "coarse", "lateral_*", "smooth", "head"], example=IMAGES[:2])
    assert_equal(local_step(network).gradients, hand.gradients)


class TwoHeads(nn.Module):
    """Cut in two, its first part ends in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.left, self.right = nn.Linear(144, 6), nn.Linear(6, 300), nn.Linear(6, 200)
        self.join, self.other, self.fc = nn.Linear(300, 8), nn.Linear(200, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        trunk = torch.tanh(self.trunk(x.flatten(1)))
        left, right = self.left(trunk), self.right(trunk)
        return self.fc(torch.tanh(self.join(left) + self.other(right)))


def test_a_part_with_two_ends_learns_at_both() -> None:
    net = TwoHeads()
    hand = ByHand()
    trunk = torch.tanh(net.trunk(IMAGES.flatten(1)))
    left, right = net.left(trunk), net.right(trunk)
    hand.part("trunk..right", [net.trunk, net.left, net.right], left, wave(left) + wave(right))
    join = torch.tanh(net.join(left.detach()) + net.other(right.detach()))
    logits = net.fc(hand.part("join..other", [net.join, net.other], join))
    hand.part("fc", net.fc, logits, cross_entropy(logits))

    network = Network.wrap(net, granularity=2, example=IMAGES[:2])
    assert network.layers[0].out_shapes == ((300,), (200,))
    assert_equal(local_step(network).gradients, hand.gradients)


def test_a_map_that_the_part_reads_itself_is_not_an_end_of_it() -> None:
    network = Network.wrap(Pyramid(), granularity=2, example=IMAGES[:2])
    assert [layer.out_shapes for layer in network.hidden] == [((5, 6, 6),), ((6,),)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "times"), [*((rule, 1) for rule in (*LOCAL_RULES, "backprop")), ("backprop-checkpointed", 2)]
)
@pytest.mark.parametrize("granularity", ["layer", "block", 3])
def test_each_layer_runs_once_a_step(rule: str, times: int, granularity: str | int) -> None:
    session = dense(RULES[rule], granularity=granularity)
    runs: Counter[str] = Counter()
    for name, module in session.network.model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *_, name=name: runs.update([name]))
    train(session, 0, 2)
    assert len(runs) == 8
    assert set(runs.values()) == {2 * times}


class Saved:
    """A tensor that autograd keeps."""

    def __init__(self, tensor: Tensor, layer: str) -> None:
        self.tensor, self.layer = tensor, layer


def layers_with_a_graph(rule: str) -> list[set[str]]:
    """The layers whose graphs are alive, each time that autograd keeps one more tensor."""
    session = dense(RULES[rule])
    alive: weakref.WeakSet[Saved] = weakref.WeakSet()
    running = [""]
    seen: list[set[str]] = []
    for layer in session.network.layers:
        layer.module.register_forward_pre_hook(lambda *_, name=layer.name: running.__setitem__(0, name))

    def pack(tensor: Tensor) -> Saved:
        saved = Saved(tensor, running[0])
        alive.add(saved)
        seen.append({one.layer for one in alive})
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        train(session, 0, 1)
    return seen


@pytest.mark.parametrize("rule", LOCAL_RULES)
def test_one_layers_graph_is_alive_at_a_time(rule: str) -> None:
    assert max(map(len, layers_with_a_graph(rule))) == 1


def test_all_graphs_are_alive_together_under_back_propagation() -> None:
    assert max(map(len, layers_with_a_graph("backprop"))) == 9


class Spoils(nn.Module):
    """Writes to the output of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.fc = nn.Linear(144, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x.flatten(1))
        two = self.two(one)
        one += two
        return self.fc(one)


def test_a_write_between_layers_into_an_output_is_found_with_its_layer() -> None:
    unprobed = Network.wrap(Spoils(), ["one", "two", "fc"])
    for layer in unprobed.layers:
        layer.out_shapes = ((6,),)
    for spoil in (lambda: local_step(unprobed), lambda: Network.wrap(Spoils(), ["one", "two", "fc"], example=IMAGES)):
        with pytest.raises(LocalRulesError, match=r"layer 'one' was changed in place") as found:
            spoil()
        assert "x = x + y" in found.value.fix


class WritesIntoItsInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(144, 6)
        self.two = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 6))
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x.flatten(1))
        return self.fc(self.two(one) + one)


def test_a_layer_that_writes_into_what_it_reads_is_found_at_the_start() -> None:
    with pytest.raises(LocalRulesError, match="layer 'one' was changed in place"):
        Network.wrap(WritesIntoItsInput(), ["one", "two", "fc"], example=IMAGES[:2])


def test_an_objective_that_forgets_its_layer_is_named() -> None:
    class Forgets(Objective):
        def forward(self, view: LayerView) -> Tensor:
            return view.output.detach().mean()

    with pytest.raises(LocalRulesError, match="objective of layer 'fine' does not depend on the layer") as found:
        local_step(Network.wrap(Pyramid(), example=IMAGES[:2]), Forgets)
    assert "Forgets.forward" in found.value.where


def test_an_objective_may_name_its_terms() -> None:
    class Named(Objective):
        def forward(self, view: LayerView) -> dict[str, Tensor]:
            return {"half": wave(view.output) / 2, "other half": wave(view.output) / 2}

    one, other = (local_step(Network.wrap(net, example=IMAGES[:2]), rule) for net, rule in twice(Wave, Named))
    for name, gradients in one.gradients.items():
        for parameter, gradient in gradients.items():
            torch.testing.assert_close(other.gradients[name][parameter], gradient)


def twice(*rules: type[Objective]) -> list[tuple[nn.Module, type[Objective]]]:
    made = []
    for rule in rules:
        torch.manual_seed(1)
        made.append((Pyramid(), rule))
    return made


def test_a_view_holds_detached_inputs_and_the_output_of_this_layer_alone() -> None:
    looked: dict[str, tuple[list[bool], bool]] = {}

    class Looks(Wave):
        def forward(self, view: LayerView) -> Tensor:
            inputs = [tensor.requires_grad or tensor.grad_fn is not None for tensor in view.inputs]
            looked[view.layer.name] = inputs, view.output.requires_grad
            return super().forward(view)

    local_step(Network.wrap(Pyramid(), example=IMAGES[:2]), Looks)
    assert list(looked) == ["fine", "coarse", "lateral_coarse", "lateral_fine", "smooth"]
    assert all(not any(inputs) and output for inputs, output in looked.values())
    assert len(looked["lateral_fine"][0]) == 2  # its map and the one from above


def test_a_forward_that_someone_else_had_replaced_is_put_back() -> None:
    net = Pyramid()
    calls: list[int] = []
    own = net.coarse.forward
    net.coarse.forward = lambda x: calls.append(1) or own(x)  # type: ignore[func-returns-value,method-assign]
    network = Network.wrap(net, ["fine", "coarse", "lateral_*", "smooth", "head"], example=IMAGES[:2])
    local_step(network)
    net(IMAGES)
    assert len(calls) == 3
    assert "forward" not in net.fine.__dict__
