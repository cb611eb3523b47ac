"""Marking the layers of any module, and what is said when it does not work out."""

from __future__ import annotations

import pytest
import torch
from helpers.plain_networks import Pyramid, Residual, sequential
from torch import Tensor, nn

from localrules import Network
from localrules.core.layer_spec import matches
from localrules.errors import LocalRulesError, UsageError

IMAGES = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
HAND = ["fine", "coarse", "lateral_*", "smooth", "head"]


def test_layers_run_in_forward_order_whatever_the_order_of_their_names() -> None:
    network = Network.wrap(Pyramid(), HAND[::-1], example=IMAGES)
    names = [layer.name for layer in network.layers]
    assert names == ["fine", "coarse", "lateral_coarse", "lateral_fine", "smooth", "head"]
    assert [layer.index for layer in network.layers] == list(range(6))
    assert network.readout.name == "head"
    assert network.readout.is_readout
    assert not any(layer.is_readout for layer in network.hidden)


def test_marking_changes_neither_names_nor_outputs_nor_the_module() -> None:
    net = Residual().eval()
    before = net(IMAGES)
    names = list(net.state_dict())
    network = Network.wrap(net, ["stem", "blocks.*", "fc"], example=IMAGES)
    assert torch.equal(network(IMAGES), before)
    assert torch.equal(net(IMAGES), before)
    assert list(network.model.state_dict()) == names
    assert not any("forward" in module.__dict__ for module in net.modules())


def test_looking_at_a_network_leaves_its_buffers_and_modes() -> None:
    net = Residual()
    net.stem.eval()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    modes = [module.training for module in net.modules()]
    Network.wrap(net, example=IMAGES)
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
    assert [module.training for module in net.modules()] == modes
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("blocks.0", "blocks.*", True),
        ("blocks.0.convs", "blocks.*", False),
        ("blocks.0.convs.1", "blocks.*.convs.*", True),
        ("lateral_fine", "lateral_*", True),
        ("stem", "stem", True),
        ("stem.0", "stem", False),
    ],
)
def test_a_star_stands_for_one_part_of_a_name(name: str, pattern: str, fits: bool) -> None:
    assert matches(name, pattern) is fits


def test_a_pattern_that_fits_nothing_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="no module is called 'corse'") as found:
        Network.wrap(Pyramid(), ["fine", "corse", "head"])
    assert "'coarse'" in found.value.fix
    with pytest.raises(UsageError, match="no module is called 'haed'"):
        Network.wrap(Pyramid(), HAND, readout="haed")


def test_an_empty_list_of_layers_is_refused() -> None:
    with pytest.raises(UsageError, match="list of layers is empty"):
        Network.wrap(Pyramid(), [])


def test_a_layer_inside_another_is_refused_with_both_names() -> None:
    with pytest.raises(UsageError, match=r"layer 'blocks\.0' lies inside layer 'blocks'"):
        Network.wrap(Residual(), ["stem", "blocks", "blocks.0", "fc"])


def test_a_parameter_of_no_layer_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"2 trainable parameter\(s\) .*: smooth\.weight, smooth\.bias"):
        Network.wrap(Pyramid(), ["fine", "coarse", "lateral_*", "head"])


def test_a_frozen_parameter_needs_no_layer() -> None:
    net = Pyramid()
    net.smooth.requires_grad_(False)
    network = Network.wrap(net, ["fine", "coarse", "lateral_*", "head"], example=IMAGES)
    assert len(network.layers) == 5


def test_a_shared_parameter_is_refused_with_both_layers() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(144, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4))
    net[3].weight = net[2].weight
    for layers in (["1", "2", "3", "4"], None):
        with pytest.raises(UsageError, match=r"parameter '2\.weight' belongs to 2 layers: 2, 3"):
            Network.wrap(net, layers)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.again, self.fc = nn.Linear(144, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.again(self.again(self.one(x.flatten(1)))))


def test_a_layer_used_twice_in_one_pass_is_refused() -> None:
    with pytest.raises(LocalRulesError, match="layer 'again' is used twice in one forward pass"):
        Network.wrap(Twice(), ["one", "again", "fc"], example=IMAGES)
    with pytest.raises(LocalRulesError, match=r"'again\.weight' belongs to 2 layers: again, again"):
        Network.wrap(Twice())


def test_a_part_that_holds_both_uses_is_one_layer() -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice, self.fc = Twice(), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.twice(x))

    assert len(Network.wrap(Inside(), ["twice", "fc"], example=IMAGES).layers) == 2


def test_a_layer_that_does_not_run_is_named() -> None:
    class Idle(Pyramid):
        def forward(self, x: Tensor) -> Tensor:
            features = torch.tanh(self.smooth(self.lateral_fine(self.fine(x)))).mean((2, 3))
            return self.head(torch.cat([features, features[:, :1]], 1))

    with pytest.raises(UsageError, match=r"layer\(s\) coarse, lateral_coarse did not run"):
        Network.wrap(Idle(), HAND, example=IMAGES)


def test_a_readout_that_is_not_the_last_to_run_is_refused() -> None:
    with pytest.raises(UsageError, match="layer 'head' runs after the readout 'smooth'") as found:
        Network.wrap(Pyramid(), HAND, readout="smooth", example=IMAGES)
    assert found.value.fix == "choose readout='head'"


def test_readers_and_depth_are_found_through_whatever_stands_between_layers() -> None:
    network = Network.wrap(Pyramid(), HAND, example=IMAGES)
    assert {layer.name: layer.input_layers for layer in network.layers} == {
        "fine": (),
        "coarse": ("fine",),
        "lateral_coarse": ("coarse",),
        "lateral_fine": ("fine",),
        "smooth": ("lateral_fine", "lateral_coarse"),
        "head": ("smooth",),
    }
    assert [layer.depth for layer in network.layers] == [1, 2, 3, 2, 4, 5]


@pytest.mark.parametrize("granularity", [0, -1, "blocks"])
def test_an_unknown_granularity_is_refused(granularity: str | int) -> None:
    with pytest.raises(UsageError, match="is not known"):
        Network.wrap(sequential(), granularity=granularity)
