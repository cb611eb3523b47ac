"""AlexNet and ResNet-50 are torchvision's, BN-Inception has its paper's widths; small grey images fit in."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from helpers.tiny_sessions import train
from torch import nn
from torch.nn import functional
from torchvision.models import alexnet, resnet50

from localrules import Model, Network
from localrules.errors import UsageError
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_backprop.backprop import Backprop
from localrules_classics.inception import InceptionV2
from localrules_classics.torchvision_models import AlexNet, ResNet50
from localrules_supervised.local_ce import LocalCrossEntropy

pytestmark = pytest.mark.slow

BASELINES: tuple[type[Model], ...] = (AlexNet, ResNet50, InceptionV2)
GREY = (1, 48, 48)


NARROW: dict[str, Any] = {"width": 1 / 32, "depth": 3}


def on_meta(kind: type[Model], classes: int) -> Model:
    with torch.device("meta"):
        return kind(kind.Config(), GREY, classes)


@pytest.mark.parametrize(
    ("kind", "of_a_thousand", "of_seven"),
    [(AlexNet, 61_100_840, 57_032_519), (ResNet50, 25_557_032, 23_522_375), (InceptionV2, 11_285_224, 10_267_399)],
)
def test_the_numbers_of_parameters_are_the_published_ones(kind: type[Model], of_a_thousand: int, of_seven: int) -> None:
    counts = [sum(p.numel() for p in on_meta(kind, classes).parameters()) for classes in (1000, 7)]
    assert counts == [of_a_thousand, of_seven]


def test_alexnet_is_torchvisions_on_the_image_in_grey_up_sampled_to_the_least_that_it_reads() -> None:
    torch.manual_seed(3)
    ours = AlexNet(AlexNet.Config(), GREY, 5).eval()
    torch.manual_seed(3)
    theirs = alexnet(num_classes=5).eval()
    images = torch.rand(2, *GREY)
    large = functional.interpolate(images, size=63, mode="bilinear", align_corners=False)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(large.repeat(1, 3, 1, 1)))


def test_resnet50_is_torchvisions_on_the_image_as_it_is() -> None:
    torch.manual_seed(3)
    ours = ResNet50(ResNet50.Config(), GREY, 5).eval()
    torch.manual_seed(3)
    theirs = resnet50(num_classes=5).eval()
    images = torch.rand(2, *GREY)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize(
    ("size", "first_map"), [("native", (112, 112)), ("as-is", (24, 24)), (64, (32, 32)), (8, (16, 16))]
)
def test_images_are_brought_to_the_size_that_is_asked_for(size: str | int, first_map: tuple[int, int]) -> None:
    with torch.device("meta"):
        model = ResNet50(ResNet50.Config(size=size), GREY, 7)
        seen: list[Any] = []
        model.stages[0][0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2:]))
        model(torch.zeros(2, *GREY))
    assert tuple(seen[0]) == first_map


@pytest.mark.parametrize("kind", BASELINES)
def test_images_in_other_than_three_colours_are_refused(kind: type[Model]) -> None:
    with pytest.raises(UsageError, match="takes grey images and images in colour"):
        kind(kind.Config(), (2, 48, 48), 7)


@pytest.mark.parametrize("kind", [AlexNet, ResNet50])
def test_without_torchvision_it_is_said_how_to_get_it(kind: type[Model], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UsageError, match="needs torchvision") as refused:
        kind(kind.Config(), GREY, 7)
    assert "baselines" in refused.value.fix


def test_a_module_of_inception_concatenates_its_branches_and_halves_where_it_has_no_1_by_1() -> None:
    widths = []
    with torch.device("meta"):
        model = InceptionV2(InceptionV2.Config(size="native"), GREY, 7)
        for module in model.mixed:
            module.register_forward_hook(lambda module, inputs, output: widths.append(tuple(output.shape[1:3])))
        model(torch.zeros(1, *GREY))
    assert widths == [
        (256, 28), (320, 28), (576, 14), (576, 14), (576, 14), (608, 14), (608, 14), (1056, 7), (1024, 7), (1024, 7),
    ]  # fmt: skip


def test_every_convolution_of_inception_is_a_layer_and_every_module_a_block() -> None:
    model = InceptionV2(InceptionV2.Config(**NARROW), GREY, 7)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    layers = Network.wrap(model, granularity="layer", example=torch.zeros(2, *GREY)).hidden
    blocks = Network.wrap(model, granularity="block", example=torch.zeros(2, *GREY)).hidden
    assert len(layers) == convolutions
    assert [layer.name for layer in blocks] == ["stem.0", "stem.1", "stem.2", "mixed.0", "mixed.1", "mixed.2"]


@pytest.mark.parametrize("rule", [Backprop, LocalCrossEntropy])
@pytest.mark.parametrize("granularity", ["layer", "block", 2])
def test_inception_is_trained_by_any_rule_at_any_granularity(rule: type, granularity: str | int) -> None:
    data = toy_dataset(shape=(1, 16, 16))
    session = build_session(rule, InceptionV2, data, granularity=granularity, steps=2, model_options=NARROW)
    before = [parameter.clone() for parameter in session.network.parameters()]
    train(session)
    moved = [not torch.equal(a, b) for a, b in zip(before, session.network.parameters(), strict=True)]
    assert all(moved)


def test_resnet50_is_trained_by_a_local_rule_block_by_block() -> None:
    session = build_session(LocalCrossEntropy, ResNet50, toy_dataset(shape=(1, 8, 8)), steps=2, batch_size=6)
    assert len(session.network.hidden) == 17
    # The heads start at zero, so nothing but they move in the first step.
    before = [layer.module.state_dict()["conv1.weight"].clone() for layer in session.network.hidden[1:]]
    train(session)
    after = [layer.module.state_dict()["conv1.weight"] for layer in session.network.hidden[1:]]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
