"""Weight-bearing operations are met where they happen, whatever the module does with its parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from localrules.core.ops import Operation, intercept_ops, record_ops
from localrules_fer.models.dense_layers import WeightedConv

DRAWS = torch.Generator().manual_seed(0)
MAPS = torch.randn(5, 3, 8, 8, generator=DRAWS)


def test_each_operation_is_seen_with_its_input_its_weight_and_its_pre_activation() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 7))
    with record_ops() as seen:
        layer(MAPS)
    convolution, linear = seen
    assert (convolution.kind, linear.kind) == ("conv2d", "linear")
    assert convolution.weight is layer[0].weight
    assert torch.equal(convolution.input, MAPS)
    assert convolution.output is not None
    assert torch.equal(convolution.output, layer[0](MAPS))
    assert linear.output is not None
    assert linear.output.shape == (5, 7)


def test_a_folded_kernel_is_seen_as_the_operation_meets_it() -> None:
    layer = WeightedConv([1, 2], 4, 3)
    with torch.no_grad():
        layer.source_weight.copy_(torch.tensor([2.0, -1.0]))
    with record_ops() as seen:
        layer([MAPS[:, :1], MAPS[:, 1:]])
    assert torch.equal(seen[0].weight[:, :1], layer.weight[:, :1] * 2)
    assert torch.equal(seen[0].weight[:, 1:], -layer.weight[:, 1:])


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.Conv2d(3, 6, 3, padding=1, groups=3),
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.Conv2d(3, 4, (4, 2), padding="same", dilation=(1, 2)),
        nn.Conv2d(3, 4, 3, padding="valid"),
        nn.Linear(8, 4),
    ],
    ids=["strided", "grouped", "same", "same with an even kernel", "valid", "linear"],
)
def test_correlate_is_the_weights_gradient_of_the_same_sum(layer: nn.Module) -> None:
    with record_ops() as seen:
        output = layer(MAPS)
    post = torch.randn(output.shape, generator=DRAWS)
    (expected,) = torch.autograd.grad((post * output).sum(), layer.weight)
    torch.testing.assert_close(seen[0].weight_gradient(post), expected)


def test_a_stand_in_may_give_something_else_and_may_run_the_operation_itself() -> None:
    met: list[str] = []

    def double(operation: Operation) -> Tensor:
        met.append(operation.kind)
        return 2 * operation.run()

    layer = nn.Linear(8, 4, bias=False)
    plain = layer(MAPS)
    with intercept_ops(double):
        doubled = layer(MAPS)
    assert torch.equal(doubled, 2 * plain)
    assert met == ["linear"]  # and not a second time for what the stand-in ran
    assert torch.equal(layer(MAPS), plain)  # nothing stays behind
