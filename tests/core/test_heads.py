"""The features that the small networks on a layer read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView
from localrules.core.nn.heads import FeatureReader
from localrules.core.view import Batch


def layer(*shape: int, pool_size: int | None = None, inputs_visible_downstream: bool = False) -> Layer:
    return Layer(
        "layer",
        nn.Identity(),
        pool_size=pool_size,
        inputs_visible_downstream=inputs_visible_downstream,
        in_shape=(5, *shape[1:]),
        out_shapes=(shape,),
    )


def view_of(seen: Layer) -> LayerView:
    draws = torch.Generator().manual_seed(0)
    inputs = tuple(torch.randn(4, count, *seen.in_shape[1:], generator=draws) for count in (2, 3))
    output = torch.randn(4, *seen.out_shape, generator=draws).requires_grad_()
    return LayerView(seen, inputs, output, Batch(output, torch.arange(4), 4))


def averaged(maps: Tensor, grid: int) -> Tensor:
    return functional.adaptive_avg_pool2d(maps, grid).flatten(1)


@pytest.mark.parametrize("inputs", [False, True])
def test_without_a_convolution_it_is_averages_over_the_grid(inputs: bool) -> None:
    seen = layer(3, 12, 12, inputs_visible_downstream=True)
    reading, view = FeatureReader(seen, 4, inputs=inputs), view_of(seen)
    expected = averaged(torch.cat([*view.inputs, view.output], 1) if inputs else view.output, 4)
    torch.testing.assert_close(reading(view), expected)
    assert reading.features == expected.shape[1]
    assert not list(reading.parameters())


@pytest.mark.parametrize("shape", [(24, 24), (16, 16), (17, 23)])
def test_a_convolution_goes_over_fine_maps_at_every_other_place(shape: tuple[int, int]) -> None:
    seen = layer(3, *shape)
    reading, view = FeatureReader(seen, 4, channels=7).eval(), view_of(seen)
    assert reading.convolved is not None
    everywhere = functional.conv2d(view.output, next(reading.convolved.parameters()), padding=1)
    norm, relu = reading.convolved[1:]
    expected = torch.cat([averaged(view.output, 4), averaged(relu(norm(everywhere[:, :, ::2, ::2])), 4)], 1)
    torch.testing.assert_close(reading(view), expected, atol=1e-5, rtol=1e-4)
    assert reading.features == expected.shape[1] == (3 + 7) * 16


@pytest.mark.parametrize(
    "seen",
    [layer(3, 24, 24, pool_size=2), layer(64), layer(3, 2, 2), layer(3, 15, 24)],
    ids=["its readers average it", "no maps", "maps coarser than the grid", "maps hardly finer than the grid"],
)
def test_what_has_nothing_close_by_is_not_convolved(seen: Layer) -> None:
    reading, view = FeatureReader(seen, 4, channels=7), view_of(seen)
    assert reading.convolved is None
    assert reading(view).shape == (4, reading.features)


def test_gradients_reach_the_output_through_the_convolution_and_never_the_inputs() -> None:
    seen = layer(3, 24, 24, inputs_visible_downstream=True)
    reading, view = FeatureReader(seen, 4, inputs=True, channels=7), view_of(seen)
    reading(view)[:, -7 * 16 :].square().sum().backward()  # the convolution's part alone
    assert view.output.grad is not None
    assert view.output.grad.abs().sum() > 0
    assert all(tensor.grad is None for tensor in view.inputs)
