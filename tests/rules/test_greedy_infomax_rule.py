"""greedy-infomax against its formula by hand, and its requirements of feature maps."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from helpers.tiny_sessions import as_model, dense, perceptron, train
from torch import Tensor, nn

from localrules import Batch, Layer, LayerView
from localrules.auditing.dependence import measure_dependence
from localrules.core.layer_spec import LayerSpec
from localrules.errors import UsageError
from localrules.testing.conformance.digits import digits
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_unsupervised.greedy_infomax import GreedyInfoMax

pytestmark = pytest.mark.slow

DRAWS = torch.Generator().manual_seed(0)


def loss_of(config: GreedyInfoMax.Config, maps: Tensor) -> tuple[Tensor, nn.Conv2d]:
    layer = Layer("layer", nn.Identity(), out_shapes=(tuple(maps.shape[1:]),))
    objective = GreedyInfoMax(config, layer, 4)
    batch = Batch(maps, torch.empty(0, dtype=torch.int64), 4)
    loss = objective(LayerView(layer, (), maps, batch))
    assert isinstance(loss, Tensor)
    return loss, objective.bilinear


def plain_pytorch_step(cells: Tensor, matrices: Tensor, nearest: int) -> float:
    """Cells (batch, channels, height, width); each image's cell against those of all images at that position."""
    cells, matrices = cells.double(), matrices.detach().double()
    batch, _, height, width = cells.shape
    means = []
    for k, matrix in enumerate(matrices):
        terms = []
        for y in range(height - nearest - k):
            for x in range(width):
                for own in range(batch):
                    predicted = matrix @ cells[own, :, y, x]
                    scores = [float(predicted @ cells[b, :, y + nearest + k, x]) for b in range(batch)]
                    terms.append(math.log(sum(math.exp(s) for s in scores)) - scores[own])
        means.append(sum(terms) / len(terms))
    return sum(means) / len(means)


@pytest.mark.parametrize(
    ("side", "options", "distances", "nearest"),
    [
        (4, {}, 2, 2),
        (6, {}, 3, 2),
        (12, {}, 3, 2),
        (3, {}, 1, 2),
        (2, {}, 1, 1),
        (4, {"skip": 0, "distances": 5}, 3, 1),
        (8, {"grid": 4, "skip": 2}, 1, 3),
    ],
)
def test_info_nce_of_cells_below_against_other_images_at_the_same_position(
    side: int, options: dict[str, Any], distances: int, nearest: int
) -> None:
    config = GreedyInfoMax.Config(**options)
    maps = torch.randn(3, 2, side, side, generator=DRAWS)
    loss, bilinear = loss_of(config, maps)
    assert bilinear.weight.shape == (2 * distances, 2, 1, 1)
    grid = min(side, config.grid)
    cells = maps.unflatten(2, (grid, -1)).unflatten(4, (grid, -1)).mean((3, 5))
    assert loss.item() == pytest.approx(
        plain_pytorch_step(cells, bilinear.weight.view(distances, 2, 2), nearest), rel=1e-5
    )


def test_without_knowledge_it_is_the_logarithm_of_the_number_of_candidates() -> None:
    maps = torch.zeros(5, 2, 4, 4)
    assert loss_of(GreedyInfoMax.Config(), maps)[0].item() == pytest.approx(math.log(5))
    drawn = GreedyInfoMax.Config(negatives="drawn")
    assert loss_of(drawn, maps)[0].item() == pytest.approx(math.log(17))


def test_candidates_are_drawn_anew_with_torchs_generator() -> None:
    config = GreedyInfoMax.Config(negatives="drawn")
    maps = torch.randn(4, 3, 5, 5, generator=DRAWS)
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(loss_of(config, maps)[0].item())
    assert values[0] == values[1] != values[2]


def test_maps_of_one_position_in_height_are_refused_before_any_work() -> None:
    layer = Layer("deep.3", nn.Identity(), out_shapes=((8, 1, 5),))
    with pytest.raises(UsageError, match=r"cannot train layer 'deep\.3'"):
        GreedyInfoMax(GreedyInfoMax.Config(), layer, 4)


def test_layers_without_maps_are_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="needs layers with feature maps as outputs"):
        perceptron(GreedyInfoMax)


@pytest.mark.parametrize("negatives", ["images", "drawn"])
def test_no_layer_feels_another(negatives: str) -> None:
    assert measure_dependence(lambda: dense(GreedyInfoMax, rule_options={"negatives": negatives})).is_local


@pytest.mark.parametrize("settings", [{"batch_size": 2}, {"precision": "bf16"}], ids=["two images", "bf16"])
@pytest.mark.parametrize("negatives", ["images", "drawn"])
def test_hard_batches_stay_finite(negatives: str, settings: dict[str, Any]) -> None:
    session = dense(GreedyInfoMax, data=toy_dataset(), rule_options={"negatives": negatives}, **settings)
    train(session)
    assert all(bool(parameter.isfinite().all()) for parameter in session.network.parameters())


class Small(nn.Sequential):
    """Three convolutions at full size."""

    def __init__(self, classes: int) -> None:
        channels = (1, 16, 24, 32)
        layers = [
            nn.Sequential(nn.Conv2d(a, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(channels)
        ]
        readout = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels[-1], classes))
        super().__init__(*layers, readout)


def learned(phases: str | list[dict[str, str]]) -> float:
    marks = LayerSpec(layers=["net.0", "net.1", "net.2"], blocks=[], readout="net.3")
    session = build_session(
        GreedyInfoMax,
        as_model(Small, marks),
        digits(),
        steps=160,
        batch_size=64,
        optimizer={"lr": 0.02},
        augment={"shift": 0},
        schedule={"name": "one-cycle"},
        phases=phases,
    )
    train(session)
    return session.predictor.scores(session.data.split("test")).top1


@pytest.mark.exhaustive
def test_learns_the_digits_where_the_readout_on_random_layers_does_not() -> None:
    assert learned("joint") > 0.9
    assert learned([{"name": "readout", "train_layers": "readout"}]) < 0.88
