"""Tokens as feature maps: which outputs have their features last, and how objectives see them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from localrules import Layer, LayerView, Learner, Network, Objective, OutputTransform, RuleConfig
from localrules.core.feature_maps import feature_map_shape, from_feature_map, to_feature_map


@pytest.mark.parametrize(
    ("shape", "as_map"), [((16, 6), (6, 4, 4)), ((17, 6), (6, 17, 1)), ((1, 6), (6, 1, 1)), ((3, 4, 6), (6, 3, 4))]
)
def test_positions_form_a_square_or_a_column(shape: tuple[int, ...], as_map: tuple[int, ...]) -> None:
    values = torch.randn(2, *shape)
    maps = to_feature_map(values)
    assert feature_map_shape(shape) == tuple(maps.shape[1:]) == as_map
    assert torch.equal(maps.flatten(2).movedim(1, -1), values.flatten(1, -2))
    assert torch.equal(from_feature_map(maps, shape), values)


class Swap(nn.Module):
    """The second and the last dimension in each other's place."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, -1)


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize(
    ("layer", "inputs", "as_map"),
    [
        (nn.Linear(8, 6), (9, 8), (6, 3, 3)),
        (nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)), (5, 8), (8, 5, 1)),
        (SelfAttention(), (5, 8), (8, 5, 1)),
        (nn.Sequential(nn.Conv1d(8, 6, 1), nn.ReLU()), (8, 9), None),  # channels first
        (nn.Sequential(nn.Conv1d(8, 6, 1), Swap()), (8, 9), (6, 3, 3)),
        (nn.Sequential(nn.Linear(8, 6), Swap()), (9, 8), None),  # as a text CNN gives embeddings to a convolution
        (nn.Sequential(nn.Conv2d(8, 6, 1), nn.GroupNorm(2, 6)), (8, 3, 3), None),
        (nn.Linear(8, 6), (3, 4, 8), (6, 3, 4)),  # as in Swin
        (nn.Sequential(nn.Linear(8, 6), Swap()), (3, 4, 8), None),  # as in ConvNeXt
        (nn.Linear(8, 6), (8,), None),
    ],
)
def test_the_last_operation_says_where_the_features_are(
    layer: nn.Module, inputs: tuple[int, ...], as_map: tuple[int, ...] | None
) -> None:
    example = torch.randn(2, *inputs)
    features = layer(example)[0].numel()
    network = Network.wrap(nn.Sequential(layer, nn.Flatten(), nn.Linear(features, 3)), ["0", "2"], example=example)
    found = network.layers[0]
    assert found.features_last == (as_map is not None,)
    assert found.as_feature_maps().out_shape == (as_map or tuple(layer(example).shape[1:]))


class Doubling(Objective, OutputTransform):
    """The mean square of a feature map, whose readers get twice of its first channel."""

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.shape = layer.out_shape

    def forward(self, view: LayerView) -> Tensor:
        assert tuple(view.output.shape[1:]) == self.shape == view.layer.out_shape == (6, 3, 3)
        return view.output[:, 0].square().mean() + view.pooled(1)[:, 1].sum()

    def transform_output(self, output: Tensor) -> Tensor:
        return torch.cat([2 * output[:, :1], output[:, 1:]], 1)


def test_an_objective_sees_tokens_as_maps_and_readers_get_tokens() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.Flatten(), nn.Linear(54, 3))
    images, labels = torch.randn(4, 9, 8), torch.arange(4) % 3
    with torch.no_grad():
        tokens = model[0](images)
        tokens[..., 0] *= 2
        expected = model[1:](tokens)
    weight = model[0].weight.detach().clone().requires_grad_()
    output = nn.functional.linear(images, weight, model[0].bias.detach())
    (output[..., 0].square().mean() + output[..., 1].mean(1).sum()).backward()
    sgd = {"name": "sgd", "momentum": 0, "lr": 0.1}
    learner = Learner(model, Doubling, example=images, num_classes=3, layers=["0", "2"], optimizer=sgd)
    report = learner.step(images, labels)
    torch.testing.assert_close(report.logits, expected)
    assert weight.grad is not None
    torch.testing.assert_close(model[0].weight.detach(), weight.detach() - 0.1 * weight.grad)
