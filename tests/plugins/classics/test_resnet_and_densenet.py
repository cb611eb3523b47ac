"""resnet18 and densenet_bc are torchvision's; the layers of residual networks add their outputs; they are local."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import DenseNet, resnet18

from localrules import Network
from localrules.auditing.dependence import measure_dependence
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_backprop.backprop import Backprop
from localrules_classics.densenet import DenseNetBC
from localrules_classics.resnet import ResNet18, ResNet20
from localrules_supervised.local_ce import LocalCrossEntropy


def adopt(model: nn.Module, other: nn.Module) -> None:
    """Load the weights of a module that holds the same ones in the same order under other names."""
    theirs = list(other.state_dict().values())
    assert [tensor.shape for tensor in model.state_dict().values()] == [tensor.shape for tensor in theirs]
    model.load_state_dict(dict(zip(model.state_dict(), theirs, strict=True)))


def randomised(module: nn.Module) -> nn.Module:
    """The module in float64 with every parameter and statistic moved, so that none hides behind a zero or a one."""
    draws = torch.Generator().manual_seed(0)
    for tensor in module.double().state_dict().values():
        if tensor.is_floating_point():
            tensor.mul_(1 + 0.2 * torch.rand(tensor.shape, generator=draws, dtype=torch.float64))
            tensor.add_(0.02 * torch.rand(tensor.shape, generator=draws, dtype=torch.float64))
    return module


def test_resnet18_on_large_images_is_torchvisions() -> None:
    theirs = randomised(resnet18(num_classes=5))
    ours = ResNet18(ResNet18.Config(), (3, 64, 64), 5).double()
    adopt(ours, theirs)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for mode in (False, True):
        torch.testing.assert_close(ours.train(mode)(images), theirs.train(mode)(images), rtol=1e-11, atol=1e-11)
    for one, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_resnet18_has_torchvisions_number_of_parameters() -> None:
    with torch.device("meta"):
        model = ResNet18(ResNet18.Config(), (3, 224, 224), 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_689_512


def test_densenet_bc_with_the_norm_first_is_torchvisions_behind_the_stem() -> None:
    theirs = DenseNet(growth_rate=4, block_config=(2, 2, 2), num_init_features=8, num_classes=5)
    theirs.features.conv0 = nn.Conv2d(3, 8, 3, padding=1, bias=False)  # the paper's stem for small images
    for name in ("norm0", "relu0", "pool0"):
        setattr(theirs.features, name, nn.Identity())
    randomised(theirs)
    ours = DenseNetBC(DenseNetBC.Config(depth=16, growth=4, order="norm-first"), (3, 16, 16), 5).double()
    # Ours keeps blocks and transitions apart, theirs takes turns.
    order = ["conv0", "denseblock1", "denseblock2", "denseblock3", "transition1", "transition2", "norm5"]
    adopt(ours, nn.ModuleList([*(getattr(theirs.features, name) for name in order), theirs.classifier]))
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for mode in (False, True):
        torch.testing.assert_close(ours.train(mode)(images), theirs.train(mode)(images), rtol=1e-11, atol=1e-11)


def test_a_norm_for_each_reader_and_one_for_each_map_differ_by_a_scale_and_a_shift() -> None:
    """The difference of densenet_bc to torchvision's: norms behind convolutions."""
    draws = torch.Generator().manual_seed(0)
    maps = [torch.randn(6, channels, 5, 5, generator=draws, dtype=torch.float64) for channels in (3, 4)]
    each = torch.cat([nn.BatchNorm2d(part.shape[1], affine=False).double()(part) for part in maps], 1)
    torch.testing.assert_close(nn.BatchNorm2d(7, affine=False).double()(torch.cat(maps, 1)), each)


def test_a_padded_shortcut_takes_every_second_pixel_and_adds_channels_of_zeros() -> None:
    model = ResNet20(ResNet20.Config(blocks=(1, 1), width=2), (1, 7, 7), 3)
    maps = torch.randn(2, 2, 7, 7)
    short = model.blocks[1].second.shortcut(maps)
    assert short.shape == (2, 4, 4, 4)
    assert torch.equal(short[:, :2], maps[:, :, ::2, ::2])
    assert not short[:, 2:].any()
    assert not list(model.blocks[1].second.shortcut.parameters())


def test_the_second_layer_of_a_block_reads_the_blocks_input_and_returns_the_activated_sum() -> None:
    model = ResNet20(ResNet20.Config(blocks=(2,), width=4), (1, 8, 8), 3)
    network = Network.wrap(model, example=torch.zeros(2, 1, 8, 8))
    reads = {layer.name: layer.input_layers for layer in network.layers}
    assert reads["blocks.0.second"] == ("blocks.0.first", "stem")
    assert reads["blocks.1.first"] == ("blocks.0.second",)
    block = model.blocks[0].eval()
    maps = torch.randn(2, 4, 8, 8)
    inner = block.first(maps)
    added = (block.second.norm(block.second.conv(inner)) + maps).relu()
    torch.testing.assert_close(block(maps), added)


RESIDUAL: dict[str, Any] = {"blocks": [1, 1], "width": 3}


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["layer", "block", 2])
def test_local_rules_are_local_on_resnet20(granularity: str | int) -> None:
    data = toy_dataset(shape=(1, 8, 8))
    found = measure_dependence(
        lambda: build_session(
            LocalCrossEntropy, ResNet20, data, model_options=RESIDUAL, granularity=granularity, steps=2
        ),
        steps=2,
    )
    assert found.leaks == []
    assert found.is_local


def test_a_projection_learns_from_the_layer_that_adds() -> None:
    data = toy_dataset(shape=(1, 8, 8))
    found = measure_dependence(
        lambda: build_session(LocalCrossEntropy, ResNet18, data, model_options=RESIDUAL, granularity="layer", steps=2),
        steps=2,
    )
    assert found.is_local
    session = build_session(LocalCrossEntropy, ResNet18, data, model_options=RESIDUAL)
    second = next(layer for layer in session.network.layers if layer.name == "blocks.1.second")
    assert {"shortcut.0.weight", "conv.weight"} <= {name for name, _ in second.module.named_parameters()}


@pytest.mark.slow
def test_local_rules_are_local_on_densenet_bc() -> None:
    data = toy_dataset(shape=(1, 8, 8))
    options = {"depth": 10, "growth": 2}
    found = measure_dependence(
        lambda: build_session(LocalCrossEntropy, DenseNetBC, data, model_options=options, steps=2), steps=2
    )
    assert found.is_local


def test_back_propagation_through_resnet20_is_not_a_local_rule() -> None:
    data = toy_dataset(shape=(1, 8, 8))
    found = measure_dependence(
        lambda: build_session(Backprop, ResNet20, data, model_options=RESIDUAL, steps=1), steps=1
    )
    assert all(all(row) for row in found.depends)


def front_gradients(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[bool]:
    """For each convolution or linear operation that ran, whether its backward pass would go on to its input."""
    nodes, stack = set(), [copy.deepcopy(module)(*inputs).grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            stack += [parent for parent, _ in node.next_functions]
    return [node.next_functions[0][0] is not None for node in nodes if "Convolution" in node.name()]


@pytest.mark.parametrize(("order", "needed"), [("conv-first", False), ("norm-first", True)])
def test_only_with_the_norm_first_something_that_learns_stands_in_front_of_a_convolution(
    order: str, needed: bool
) -> None:
    model = DenseNetBC(DenseNetBC.Config(depth=10, growth=2, order=order), (1, 8, 8), 3)
    layer = model.blocks[0][0].bottleneck
    assert front_gradients(layer, (torch.randn(2, 4, 8, 8),)) == [needed]


def test_nothing_that_learns_stands_in_front_of_the_convolutions_of_a_residual_layer() -> None:
    model = ResNet18(ResNet18.Config(blocks=(1, 1), width=4), (1, 8, 8), 3)
    maps, block_input = torch.randn(2, 8, 4, 4), torch.randn(2, 4, 8, 8)
    assert front_gradients(model.blocks[1].second, (maps, block_input)) == [False, False]
