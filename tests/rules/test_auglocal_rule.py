"""auglocal's heads: their depth, the layers that they are built like, their shapes."""

from __future__ import annotations

import pytest
import torch
from helpers.one_layer import affine, cross_entropy, drawn, layer_of, make, normalised, rectified, see
from helpers.plain_networks import PLAIN
from helpers.tiny_sessions import as_model, dense, perceptron
from torch import nn

from localrules import Layer
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_supervised.auglocal import AugLocal, unit_like


def sample_of_layers(count: int, units: int = 4) -> list[Layer]:
    return [layer_of((units,), index=index, in_shape=(units,)) for index in range(count)]


def picked(count: int, **options: float) -> list[list[int]]:
    layers = sample_of_layers(count)
    rules = [make(AugLocal, layer, peers=layers, **options) for layer in layers]
    return [[other.index for other in rule.pick_layers()] for rule in rules]


def test_layers_are_picked_at_even_distances_up_to_the_last() -> None:
    found = picked(13, depth=3, pyramid=0)
    assert found[0] == [4, 8, 12]
    assert found[3] == [6, 9, 12]
    assert found[9] == [10, 11, 12]
    assert found[11] == [12]
    assert found[12] == []


def test_heads_get_shorter_towards_the_top() -> None:
    # The paper's 16 parts, readout counted, at depth 9, of which the last ones are as long as there are layers left.
    depths = [max(1, round(9 * (1 - 0.5 * place / 14) + 0.5 * place / 14)) for place in range(15)]
    assert (depths[0], depths[14]) == (9, 5)
    assert [len(layers) for layers in picked(15, depth=9)] == [min(d, 14 - n) for n, d in enumerate(depths)]
    assert [len(layers) for layers in picked(9, depth=4, pyramid=1)] == [4, 4, 3, 3, 2, 2, 2, 1, 0]
    assert [len(layers) for layers in picked(1)] == [0]


def test_cross_entropy_of_the_picked_layers_copies() -> None:
    layers = sample_of_layers(3)
    rule = drawn(make(AugLocal, layers[0], peers=layers, depth=2))
    view = see(rule)
    modules = list(rule.head.modules())
    linears = [module for module in modules if isinstance(module, nn.Linear)]
    norms = [module for module in modules if isinstance(module, nn.BatchNorm1d)]
    assert (len(linears), len(norms)) == (3, 2)
    samples = view.output.tolist()
    for linear, norm in zip(linears, norms, strict=False):
        samples = rectified(normalised(affine(samples, linear), norm))
    assert rule(view).item() == pytest.approx(cross_entropy(affine(samples, linears[-1])), rel=1e-5)


def conv_layer(kernel: int, stride: int, read: tuple[int, ...], given: tuple[int, ...]) -> Layer:
    module = nn.Sequential(nn.Conv2d(read[0], given[0], kernel, stride), nn.BatchNorm2d(given[0]), nn.ReLU())
    return Layer("conv", module, in_shape=read, out_shapes=(given,))


@pytest.mark.parametrize(
    ("layer", "shape", "kernel", "stride", "given"),
    [
        (conv_layer(3, 1, (8, 12, 12), (6, 12, 12)), (5, 12, 12), 3, 1, (6, 12, 12)),
        (conv_layer(3, 2, (8, 12, 12), (6, 6, 6)), (5, 12, 12), 3, 2, (6, 6, 6)),
        (conv_layer(1, 1, (8, 6, 6), (6, 6, 6)), (5, 24, 24), 1, 1, (6, 6, 6)),
        (conv_layer(5, 1, (8, 28, 28), (6, 24, 24)), (5, 28, 28), 5, 1, (6, 28, 28)),
        (conv_layer(3, 2, (8, 13, 13), (6, 7, 7)), (5, 13, 13), 3, 2, (6, 7, 7)),
        (conv_layer(3, 1, (8, 12, 12), (6, 12, 12)), (5, 4, 4), 3, 1, (6, 4, 4)),
    ],
    ids=str,
)
def test_a_unit_has_its_layer_s_kernel_stride_and_channels(
    layer: Layer, shape: tuple[int, ...], kernel: int, stride: int, given: tuple[int, ...]
) -> None:
    unit, said = unit_like(layer, shape)
    (conv,) = [module for module in unit.modules() if isinstance(module, nn.Conv2d)]
    assert (conv.in_channels, conv.out_channels) == (shape[0], given[0])
    assert (conv.kernel_size, conv.stride) == ((kernel, kernel), (stride, stride))
    assert said == given == tuple(unit(torch.zeros(2, *shape)).shape[1:])


@pytest.mark.parametrize(("inputs", "groups"), [(8, 8), (4, 4), (6, 2), (5, 1)])
def test_a_unit_has_its_layer_s_groups_as_far_as_they_divide_its_input(inputs: int, groups: int) -> None:
    depthwise = Layer("conv", nn.Conv2d(8, 8, 3, padding=1, groups=8), in_shape=(8, 6, 6), out_shapes=((8, 6, 6),))
    unit, said = unit_like(depthwise, (inputs, 6, 6))
    (conv,) = [module for module in unit.modules() if isinstance(module, nn.Conv2d)]
    assert conv.groups == groups
    assert said == tuple(unit(torch.zeros(2, inputs, 6, 6)).shape[1:]) == (8, 6, 6)


def test_a_unit_like_a_dense_layer_reads_maps_no_larger_than_the_layer_does() -> None:
    layer = Layer("dense", nn.Linear(32, 7), in_shape=(32,), out_shapes=((7,),))
    unit, said = unit_like(layer, (8, 16, 16))
    (linear,) = [module for module in unit.modules() if isinstance(module, nn.Linear)]
    assert (linear.in_features, said) == (32, (7,))
    assert unit(torch.zeros(2, 8, 16, 16)).shape == (2, 7)


@pytest.mark.parametrize("network", ["mlp", "dense", *PLAIN])
def test_heads_fit_any_network_and_share_nothing_with_it(network: str) -> None:
    if network in PLAIN:
        session = build_session(AugLocal, as_model(PLAIN[network]), toy_dataset(), rule_options={"depth": 3})
    else:
        session = {"mlp": perceptron, "dense": dense}[network](AugLocal, rule_options={"depth": 3})
    layers = session.network.hidden
    heads = [objective.head for objective in session.rule.objectives.values()]
    assert len(heads) == len(layers)
    for layer, head in zip(layers, heads, strict=True):
        assert head(torch.zeros(2, *layer.out_shape)).shape == (2, 4)
    ours = {parameter.data_ptr() for head in heads for parameter in head.parameters()}
    assert not ours & {parameter.data_ptr() for parameter in session.network.parameters()}
