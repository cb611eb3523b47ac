"""The classic networks: sizes as published, images of any size, layers at any granularity, and that they learn."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from helpers.exhaustive import few
from helpers.tiny_sessions import train
from torch import nn

from localrules import Model, Network
from localrules.auditing.dependence import measure_dependence
from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_backprop.backprop import Backprop
from localrules_classics.activations import ACTIVATIONS
from localrules_classics.convnext import ConvNeXtTiny
from localrules_classics.densenet import DenseNetBC
from localrules_classics.lenet import LeNet
from localrules_classics.mixer import MLPMixer
from localrules_classics.mlp import MLP
from localrules_classics.resnet import ResNet18, ResNet20, ResNet32, ResNet110, WideResNet
from localrules_classics.vgg import VGG13, VGG16, VGG19, VGG8b, VGG11b
from localrules_classics.vit import ViTSmall, ViTTiny
from localrules_supervised.local_ce import LocalCrossEntropy

pytestmark = pytest.mark.slow

MODELS: dict[str, type[Model]] = {
    "lenet": LeNet,
    "vgg8b": VGG8b,
    "vgg11b": VGG11b,
    "resnet20": ResNet20,
    "resnet18": ResNet18,
    "densenet_bc": DenseNetBC,
    "wide_resnet": WideResNet,
}
TOKENS: dict[str, type[Model]] = {"vit_tiny": ViTTiny, "mlp_mixer": MLPMixer, "convnext_tiny": ConvNeXtTiny}
SMALL: dict[str, dict[str, Any]] = {
    "lenet": {},
    "vgg8b": {"width": 1 / 32, "hidden": [8]},
    "vgg11b": {"width": 1 / 32, "hidden": [8]},
    "resnet20": {"blocks": [1, 1], "width": 4},
    "resnet18": {"blocks": [1, 1], "width": 4},
    "densenet_bc": {"depth": 10, "growth": 3},
    "wide_resnet": {"depth": 10, "widen": 1 / 4},
    "vit_tiny": {"width": 8, "heads": 2, "depth": 3},
    "mlp_mixer": {"width": 8, "token_hidden": 4, "channel_hidden": 8, "depth": 3},
    "convnext_tiny": {"width": 4, "blocks": [1, 2]},
}
every_model = pytest.mark.parametrize("name", [*MODELS, *TOKENS])
every_convolutional_model = pytest.mark.parametrize("name", MODELS)


def small(name: str, shape: tuple[int, ...] = (1, 16, 16), classes: int = 4, **options: Any) -> Model:
    kind = (MODELS | TOKENS)[name]
    return kind(kind.Config(**(SMALL[name] | options)), shape, classes)


def parameters(kind: type[Model], shape: tuple[int, ...], classes: int = 10, **options: Any) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in kind(kind.Config(**options), shape, classes).parameters())


@pytest.mark.parametrize(
    ("kind", "shape", "published"),
    [
        (MLP, (1, 28, 28), "2.9"),
        (VGG8b, (1, 28, 28), "7.3"),
        (VGG8b, (3, 32, 32), "8.9"),
        (VGG8b, (3, 96, 96), "11.5"),
        (VGG11b, (3, 32, 32), "11.6"),
        (ResNet20, (3, 32, 32), "0.27"),
        (ResNet32, (3, 32, 32), "0.46"),
        (ResNet110, (3, 32, 32), "1.7"),
        (WideResNet, (3, 32, 32), "36.5"),
        (VGG13, (3, 32, 32), "9.4"),
        (VGG16, (3, 32, 32), "14.7"),
        (VGG19, (3, 32, 32), "20.0"),
        (DenseNetBC, (3, 32, 32), "0.8"),
    ],
)
def test_a_model_has_as_many_million_parameters_as_published(
    kind: type[Model], shape: tuple[int, ...], published: str
) -> None:
    digits = len(published.partition(".")[2])
    assert f"{parameters(kind, shape) / 1e6:.{digits}f}" == published


def test_wider_and_deeper_ones_have_as_many_as_published() -> None:
    assert f"{parameters(VGG8b, (1, 28, 28), width=2) / 1e6:.1f}" == "28.2"
    assert f"{parameters(VGG11b, (3, 32, 32), width=3) / 1e6:.1f}" == "91.3"
    assert f"{parameters(ResNet20, (3, 32, 32), blocks=[9, 9, 9]) / 1e6:.2f}" == "0.85"
    assert f"{parameters(WideResNet, (3, 32, 32), depth=16, widen=8) / 1e6:.1f}" == "11.0"
    assert parameters(VGG16, (3, 224, 224), 1000, hidden=[4096, 4096], norm=False) == 138_357_544
    assert parameters(LeNet, (1, 28, 28)) == 61_706
    assert parameters(DenseNetBC, (3, 32, 32), order="norm-first") == 769_162


@pytest.mark.parametrize(
    ("kind", "options", "published"),
    [
        (ViTTiny, {"pool": "class"}, 5_717_416),
        (ViTSmall, {"pool": "class"}, 22_050_664),
        (MLPMixer, {}, 18_528_264),
        (ConvNeXtTiny, {}, 28_589_128),
    ],
)
def test_networks_have_as_many_parameters_as_those_of_timm_and_torchvision(
    kind: type[Model], options: dict[str, Any], published: int
) -> None:
    assert parameters(kind, (3, 224, 224), 1000, **options) == published


INFOPRO = {
    2: ["blocks.6"],
    3: ["blocks.4", "blocks.9"],
    4: ["blocks.2", "blocks.6", "blocks.10"],
    8: ["blocks.0", "blocks.2", "blocks.4", "blocks.6", "blocks.8", "blocks.10", "blocks.12"],
    16: ["stem", *(f"blocks.{place}" for place in range(14))],
}
"""Where ResNet-32 is cut in https://github.com/blackfeather-wang/InfoPro-Pytorch: the last block of each part."""


@pytest.mark.parametrize("parts", few(INFOPRO, {"16"}))
def test_resnet32_is_cut_where_the_papers_cut_it(parts: int) -> None:
    with torch.device("meta"):
        model = ResNet32(ResNet32.Config(), (3, 32, 32), 10)
        network = Network.wrap(model, granularity=parts, example=torch.zeros(2, 3, 32, 32))
    assert [layer.name.split("..")[-1].removesuffix(".second") for layer in network.hidden[:-1]] == INFOPRO[parts]


@pytest.mark.parametrize("granularity", few([55, "block"], {"block"}))
def test_resnet110_has_55_blocks(granularity: str | int) -> None:
    with torch.device("meta"):
        model = ResNet110(ResNet110.Config(), (3, 32, 32), 10)
        network = Network.wrap(model, granularity=granularity, example=torch.zeros(2, 3, 32, 32))
    assert [layer.name.split("..")[-1].removesuffix(".second") for layer in network.hidden] == [
        "stem",
        *(f"blocks.{place}" for place in range(54)),
    ]


@every_model
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 48, 48), (3, 32, 32), (2, 17, 30)])
def test_any_image_and_any_number_of_classes_fit(name: str, shape: tuple[int, ...]) -> None:
    assert small(name, shape, classes=7)(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", ["lenet", "resnet20", "resnet18", "densenet_bc", "wide_resnet", *TOKENS])
def test_some_take_the_smallest_images(name: str) -> None:
    assert small(name, (1, 8, 8))(torch.randn(2, 1, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize(("name", "side"), [("vgg8b", 15), ("vgg11b", 8), ("densenet_bc", 3)])
def test_a_image_that_would_be_halved_away_is_refused(name: str, side: int) -> None:
    with pytest.raises(UsageError, match=f"too small for {name}") as refused:
        small(name, (1, side, 32))
    assert "resnet20" in refused.value.fix


def test_the_stem_of_vgg_halves_large_images() -> None:
    assert small("vgg8b", (1, 64, 64)).stages[0][0].conv.stride == (1, 1)
    assert small("vgg8b", (1, 65, 65)).stages[0][0].conv.kernel_size == (7, 7)
    with pytest.raises(UsageError, match="too small"):
        small("vgg8b", (1, 31, 65))


@every_convolutional_model
def test_each_layer_has_one_weight_bearing_operation_but_for_a_projection_that_it_adds(name: str) -> None:
    network = Network.wrap(small(name), example=torch.zeros(2, 1, 16, 16))
    counts = {
        layer.name: sum(isinstance(part, (nn.Conv2d, nn.Linear)) for part in layer.module.modules())
        for layer in network.layers
    }
    assert {layer for layer, count in counts.items() if count != 1} == (
        {"resnet18": {"blocks.1.second"}, "wide_resnet": {f"blocks.{place}.second" for place in range(3)}}.get(
            name, set()
        )
    )


@every_model
@pytest.mark.parametrize("granularity", few(["layer", "block", 1, 3], {"layer", "block"}))
def test_every_granularity_computes_the_same(name: str, granularity: str | int) -> None:
    model = small(name).eval()
    network = Network.wrap(model, granularity=granularity, example=torch.zeros(2, 1, 16, 16))
    images = torch.randn(3, 1, 16, 16)
    assert torch.equal(network(images), model(images))
    if isinstance(granularity, int):
        assert len(network.hidden) == granularity


@every_model
@pytest.mark.parametrize("granularity", few(["layer", "block", 3], {"layer"}))
@pytest.mark.parametrize("rule", [LocalCrossEntropy, Backprop])
def test_two_steps_change_every_layer(name: str, granularity: str | int, rule: type) -> None:
    session = build_session(
        rule, (MODELS | TOKENS)[name], toy_dataset(), model_options=SMALL[name], granularity=granularity, steps=2
    )
    # The first step of local-ce moves its heads alone: they start at zero.
    before = [[parameter.clone() for parameter in layer.parameters()] for layer in session.network.layers]
    train(session)
    for layer, was in zip(session.network.layers, before, strict=True):
        now = list(layer.parameters())
        assert any(not torch.equal(one, other) for one, other in zip(was, now, strict=True)), layer.name
        assert all(bool(parameter.isfinite().all()) for parameter in now)


@pytest.mark.parametrize("granularity", few(["layer", 2], {"2"}))
@pytest.mark.parametrize("name", TOKENS)
def test_local_rules_are_local_on_networks_of_tokens(name: str, granularity: str | int) -> None:
    data = toy_dataset(shape=(1, 8, 8))
    found = measure_dependence(
        lambda: build_session(
            LocalCrossEntropy, TOKENS[name], data, model_options=SMALL[name], granularity=granularity, steps=2
        ),
        steps=2,
    )
    assert found.leaks == []
    assert found.is_local


@every_model
def test_the_last_layer_is_seen_as_its_readout_sees_it(name: str) -> None:
    for granularity in ("layer", "block"):
        network = Network.wrap(small(name), granularity=granularity, example=torch.zeros(2, 1, 16, 16))
        pooled = [layer.name for layer in network.layers if layer.pool_size == 1]
        assert pooled == ([] if name in ("lenet", "vgg8b", "vgg11b") else [network.hidden[-1].name])


@every_convolutional_model
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", [True, False])
def test_activation_and_norm_are_options_of_all(name: str, activation: str, norm: bool) -> None:
    model = small(name, activation=activation, norm=norm)
    kind = type(ACTIVATIONS[activation]())
    others = {type(make()) for make in ACTIVATIONS.values()} - {kind}
    found = {type(module) for module in model.modules()}
    assert kind in found
    assert not found & others
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert bool(norms) == norm
    biases = [module.bias for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert all((bias is None) == norm for bias in biases)
    assert bool(model(torch.randn(4, 1, 16, 16)).isfinite().all())


def test_activations_are_those_of_the_papers() -> None:
    at = torch.tensor([-2.0, 0.25, 3.0])
    assert ACTIVATIONS["leaky_relu"]()(at).tolist() == pytest.approx([-0.02, 0.25, 3.0])
    assert ACTIVATIONS["hard_sigmoid"]()(at).tolist() == [0.0, 0.25, 1.0]


@pytest.mark.parametrize("name", ["lenet", "vgg8b"])
def test_dropout_stands_in_front_of_every_layer_but_the_first(name: str) -> None:
    network = Network.wrap(small(name, dropout=0.25), example=torch.zeros(2, 1, 16, 16))
    for layer in network.layers:
        rates = [module.p for module in layer.module.modules() if isinstance(module, (nn.Dropout, nn.Dropout2d))]
        assert rates == ([0.25] if layer.index else [])


def test_lenet_puts_a_small_image_into_a_field_of_32() -> None:
    model = small("lenet", (1, 28, 28))
    assert model.convs[0].conv(torch.zeros(1, 1, 28, 28)).shape == (1, 6, 28, 28)
    assert small("lenet", (1, 32, 32)).convs[0].conv(torch.zeros(1, 1, 32, 32)).shape == (1, 6, 28, 28)


@pytest.mark.parametrize("depth", [9, 4, 12])
def test_a_depth_that_does_not_fit_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match="6 n \\+ 4"):
        DenseNetBC.Config(depth=depth)


@pytest.mark.parametrize(
    "name",
    ["mlp", *MODELS, *TOKENS, "resnet32", "resnet110", "vgg13", "vgg16", "vgg19", "vit_small", "timm", "torchvision"],
)
def test_models_are_registered_and_say_where_each_default_is_from(name: str) -> None:
    registry = Registry.load(allow=[])
    kind = registry.resolve("model", name)
    (entry,) = [listed.entry for listed in registry.entries("model") if listed.entry.name == name]
    assert "https://" in entry.reference
    assert "References:\n" in (kind.__doc__ or "")
    for field in kind.Config.model_fields.values():
        assert re.search("ours|paper", field.description or "")
