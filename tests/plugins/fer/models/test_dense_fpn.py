"""dense_fpn: folded weights are scaled maps, the pooled pyramid is the merged one."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from localrules import Network
from localrules_fer.models.dense_fpn import DenseFPN
from localrules_fer.models.dense_layers import DenseBlock, WeightedConv
from localrules_fer.models.readout import merge_pyramid, pool_pyramid


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1)])
def test_a_folded_source_weight_equals_a_scaled_map(kernel: int, stride: int) -> None:
    draws = torch.Generator().manual_seed(0)
    sources = [3, 1, 4]
    conv = WeightedConv(sources, 5, kernel, stride).double()
    with torch.no_grad():
        conv.source_weight.copy_(torch.tensor([0.5, -2.0, 3.0]))
    maps = [torch.randn(6, channels, 7, 7, generator=draws, dtype=torch.float64) for channels in sources]

    def scaled() -> Tensor:
        joined = torch.cat([weight * source for weight, source in zip(conv.source_weight, maps, strict=True)], 1)
        return conv.activation(conv.norm(functional.conv2d(joined, conv.weight, None, stride, kernel // 2)))

    parameters = [conv.weight, conv.source_weight, conv.norm.weight, conv.norm.bias]
    outputs, gradients = [], []
    for compute in (lambda: conv(maps), scaled):
        output = compute()
        probe = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        outputs.append(output)
        gradients.append(torch.autograd.grad((output * probe).sum(), parameters))
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
        assert float(other.abs().max()) > 1e-6


def test_maps_may_come_joined_or_apart() -> None:
    conv = WeightedConv([3, 2], 4, 3).eval()
    maps = [torch.randn(2, 3, 6, 6), torch.randn(2, 2, 6, 6)]
    assert torch.equal(conv(maps), conv(torch.cat(maps, 1)))


SIZES = [
    [(8, 8), (4, 4), (2, 2)],
    [(24, 24), (12, 12), (6, 6)],
    [(14, 14), (7, 7), (4, 4)],
    [(12, 10), (6, 5), (3, 3)],
    [(9, 9), (5, 5), (3, 3), (2, 2)],
    [(7, 7)],
    [(1, 1), (1, 1)],
]


@pytest.mark.parametrize("grid", [1, 2, 4])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_pooled_pyramid_is_the_merged_one_averaged(sizes: list[tuple[int, int]], grid: int) -> None:
    draws = torch.Generator().manual_seed(0)
    levels = [torch.randn(3, 2, *size, generator=draws, dtype=torch.float64).requires_grad_() for size in sizes]
    weights = torch.rand(len(levels), generator=draws, dtype=torch.float64).requires_grad_()
    found = pool_pyramid(levels, weights, grid)
    expected = functional.adaptive_avg_pool2d(merge_pyramid(levels, weights), grid)
    # The pyramid's cell weights are made in float32 where sizes do not divide.
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    probe = torch.randn(expected.shape, generator=draws, dtype=torch.float64)
    ones, others = (torch.autograd.grad((maps * probe).sum(), [*levels, weights]) for maps in (found, expected))
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_merged_pyramid_is_top_down_with_the_finest_first() -> None:
    levels = [torch.full((1, 1, 4, 4), 1.0), torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 1, 1), 3.0)]
    merged = merge_pyramid(levels, torch.tensor([10.0, 100.0, 1000.0]))
    assert merged.shape == (1, 3, 4, 4)
    assert merged[0, :, 2, 3].tolist() == [10.0, 200.0, 3000.0]


def test_a_block_reads_everything_before_and_hands_on_everything() -> None:
    block = DenseBlock(3, 2, 4, "relu").eval()
    maps = torch.randn(2, 3, 6, 6)
    joined = maps
    for conv in block.convs:
        joined = torch.cat([joined, conv(joined)], 1)
    assert block.sources == [3, 2, 2, 2, 2]
    torch.testing.assert_close(block(maps), joined)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("shape", [(1, 48, 48), (3, 33, 20)])
def test_any_number_of_blocks_fits_any_image(blocks: int, shape: tuple[int, int, int]) -> None:
    config = DenseFPN.Config(blocks=blocks, convolutions=1, growth=2, stem=2, lateral=4)
    network = Network.wrap(DenseFPN(config, shape, 7), example=torch.zeros(2, *shape))
    assert len(network.layers) == 1 + blocks + (blocks - 1) + blocks + 1
    sides = [layer.out_shape[1:] for layer in network.layers if layer.name.startswith("laterals.")]
    for fine, coarse in pairwise(sides):
        assert coarse == tuple((side + 1) // 2 for side in fine)
    assert network(torch.randn(2, *shape)).shape == (2, 7)
    blockwise = Network.wrap(network.model, granularity="block", example=torch.zeros(2, *shape))
    assert len(blockwise.layers) == blocks + 1


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu"])
def test_activations(activation: str) -> None:
    config = DenseFPN.Config(blocks=1, convolutions=1, growth=2, stem=2, lateral=4, activation=activation)
    model = DenseFPN(config, (1, 8, 8), 3)
    assert type(model.stem.activation).__name__.lower() == activation
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize("grid", [1, 2, 4])
def test_laterals_are_seen_at_the_grid_of_the_readout(grid: int) -> None:
    config = DenseFPN.Config(blocks=2, convolutions=1, growth=2, stem=2, lateral=4, grid=grid)
    network = Network.wrap(DenseFPN(config, (1, 16, 16), 3), example=torch.zeros(2, 1, 16, 16))
    seen = {layer.name: layer.pool_size for layer in network.layers}
    assert {name for name, at in seen.items() if at == grid} == {"laterals.0", "laterals.1"}
    assert network.model.readout.classifier.in_features == 2 * 4 * grid * grid


def test_nothing_that_learns_stands_in_front_of_a_layers_convolution() -> None:
    """So a local step needs no gradient of the convolution's input."""
    model = DenseFPN(DenseFPN.Config(blocks=1, convolutions=2, growth=2, stem=2, lateral=4), (1, 8, 8), 3)
    network = Network.wrap(model, example=torch.zeros(2, 1, 8, 8))
    for layer in network.hidden:
        maps = torch.randn(2, layer.in_shape[0], 4 if layer.index else 8, 4 if layer.index else 8)
        nodes, stack = set(), [layer.module(maps).grad_fn]
        while stack:
            node = stack.pop()
            if node is not None and node not in nodes:
                nodes.add(node)
                stack += [parent for parent, _ in node.next_functions]
        (convolution,) = [node for node in nodes if "Convolution" in node.name()]
        assert convolution.next_functions[0][0] is None
        assert convolution.next_functions[1][0] is not None


def test_too_few_lateral_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="lateral"):
        DenseFPN.Config(lateral=2)
