"""What the small networks on a layer read of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView
from localrules.core.heads import Reading
from localrules.core.view import BatchStatistics


def layer(*shape: int, seen_at: int | None = None, accompanied: bool = False) -> Layer:
    return Layer(
        "layer", nn.Identity(), seen_at=seen_at, accompanied=accompanied, in_shape=(5, *shape[1:]), out_shapes=(shape,)
    )


def view_of(seen: Layer) -> LayerView:
    draws = torch.Generator().manual_seed(0)
    inputs = tuple(torch.randn(4, count, *seen.in_shape[1:], generator=draws) for count in (2, 3))
    output = torch.randn(4, *seen.out_shape, generator=draws).requires_grad_()
    return LayerView(seen, inputs, output, BatchStatistics(output, torch.arange(4), 4))


def averaged(maps: Tensor, grid: int) -> Tensor:
    return functional.adaptive_avg_pool2d(maps, grid).flatten(1)


@pytest.mark.parametrize("inputs", [False, True])
def test_without_a_convolution_it_is_averages_over_the_raster(inputs: bool) -> None:
    seen = layer(3, 12, 12, accompanied=True)
    reading, view = Reading(seen, 4, inputs=inputs), view_of(seen)
    expected = averaged(torch.cat([*view.inputs, view.output], 1) if inputs else view.output, 4)
    torch.testing.assert_close(reading(view), expected)
    assert reading.features == expected.shape[1]
    assert not list(reading.parameters())


@pytest.mark.parametrize(("side", "convolved_at"), [(24, 12), (12, 6), (10, 5), (8, 8), (6, 6), (4, 4)])
def test_a_convolution_goes_over_half_the_map_as_long_as_that_is_finer_than_the_raster(
    side: int, convolved_at: int
) -> None:
    seen = layer(3, side, side)
    reading, view = Reading(seen, 4, channels=7).eval(), view_of(seen)
    assert reading.convolved is not None
    maps = functional.avg_pool2d(view.output, side // convolved_at)
    expected = torch.cat([averaged(view.output, 4), averaged(reading.convolved(maps), 4)], 1)
    torch.testing.assert_close(reading(view), expected)
    assert reading.features == expected.shape[1] == (3 + 7) * 16


def test_odd_sides_and_oblong_maps_are_read() -> None:
    seen = layer(3, 11, 9)
    reading, view = Reading(seen, 4, channels=7), view_of(seen)
    assert reading(view).shape == (4, reading.features)


@pytest.mark.parametrize(
    "seen",
    [layer(3, 12, 12, seen_at=2), layer(64), layer(3, 2, 2)],
    ids=["its readers average it", "no maps", "maps coarser than the raster"],
)
def test_what_has_nothing_close_by_is_not_convolved(seen: Layer) -> None:
    reading, view = Reading(seen, 4, channels=7), view_of(seen)
    assert reading.convolved is None
    assert reading(view).shape == (4, reading.features)


def test_gradients_reach_the_output_through_the_convolution_and_never_the_inputs() -> None:
    seen = layer(3, 12, 12, accompanied=True)
    reading, view = Reading(seen, 4, inputs=True, channels=7), view_of(seen)
    reading(view)[:, -7 * 16 :].square().sum().backward()  # the convolution's part alone
    assert view.output.grad is not None
    assert view.output.grad.abs().sum() > 0
    assert all(tensor.grad is None for tensor in view.inputs)
