"""Any network of torchvision and timm: built by name, traced and cut, with weights from a file, or refused clearly."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from localrules import Network
from localrules.core.model import Model
from localrules.engine.resolve import resolve_component
from localrules.errors import DataError, LocalRulesError, MissingDependencyError, UsageError
from localrules.registry.registry import Registry
from localrules_classics.packages import load_state

pytestmark = pytest.mark.slow

SHAPE = (3, 32, 32)
REGISTRY = Registry.load(allow=[])
SMALL = "torchvision:shufflenet_v2_x0_5"


def build(
    name: str, classes: int = 10, *, shape: tuple[int, ...] = SHAPE, device: str = "meta", **options: Any
) -> Model:
    with torch.device(device):
        model: Model = resolve_component("model", {"name": name, **options}, REGISTRY).build(shape, classes)
    return model


def cut(model: nn.Module, granularity: str | int, shape: tuple[int, ...] = SHAPE) -> Network:
    with torch.device(next(model.parameters()).device):
        return Network.wrap(model, granularity=granularity, example=torch.zeros(2, *shape))


@pytest.mark.parametrize(
    ("name", "published"),
    [("resnet50", 25_557_032), ("vgg16_bn", 138_365_992), ("convnext_tiny", 28_589_128), ("vit_b_16", 86_567_656)],
)
def test_a_network_has_as_many_parameters_as_published(name: str, published: int) -> None:
    model = build(f"torchvision:{name}", 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == published


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet18", 9),
        pytest.param("googlenet", 12, marks=pytest.mark.exhaustive),
        ("vit_b_16", 25),
        ("squeezenet1_1", 17),
    ],
)
def test_a_network_of_torchvision_is_traced_and_cut_into_its_blocks(name: str, blocks: int) -> None:
    model = build(f"torchvision:{name}", size=64)
    assert len(cut(model, "block").hidden) == blocks
    assert len(cut(model, 3).hidden) == 3


def test_a_network_of_timm_is_traced_and_cut_into_its_blocks() -> None:
    model = build("timm:vit_tiny_patch16_224", size="as-is", arguments={"patch_size": 8, "depth": 2})
    network = cut(model, "block")
    assert [layer.name.removeprefix("net.") for layer in network.hidden[1:3]] == [
        "blocks.0.attn.qkv..net.blocks.0.attn.proj",
        "blocks.0.mlp.fc1..net.blocks.0.mlp.fc2",
    ]
    assert network.hidden[0].as_feature_maps().out_shape == (192, 17, 1)  # sixteen patches and a class token


def test_a_network_that_reads_the_data_type_of_its_weights_is_cut_by_layers() -> None:
    network = cut(build("timm:xcit_nano_12_p16_224", size="as-is"), "layer")
    assert len({layer.name for layer in network.layers}) == len(network.layers) > 50


def test_the_cut_network_computes_what_the_packages_does() -> None:
    model = build(SMALL, device="cpu", size="as-is").eval()
    images = torch.randn(2, *SHAPE)
    assert torch.equal(cut(model, "block")(images), model.net(images))
    grey = build(SMALL, shape=(1, 32, 32), device="cpu", size=64).eval()
    assert grey(images[:, :1]).shape == (2, 10)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_come_from_a_file_and_another_classifier_is_drawn_anew(tmp_path: Path, suffix: str) -> None:
    trained = build(SMALL, device="cpu").net
    path = tmp_path / f"weights{suffix}"
    (torch.save if suffix == ".pt" else save_file)(trained.state_dict(), path)
    same, other = (build(SMALL, classes, device="cpu", weights=path).net.state_dict() for classes in (10, 7))
    assert all(torch.equal(tensor, same[name]) for name, tensor in trained.state_dict().items())
    drawn = {name for name, tensor in trained.state_dict().items() if not torch.equal(tensor, other[name])}
    assert drawn == {"fc.weight", "fc.bias"}


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"conv.weight": torch.zeros(2)}, path)
    with pytest.raises(DataError, match="not those of this network"):
        build(SMALL, device="cpu", weights=path)
    path.write_bytes(b"no weights")
    with pytest.raises(DataError, match="cannot be read"):
        build(SMALL, device="cpu", weights=path)
    with pytest.raises(DataError, match="cannot be read"):
        build(SMALL, device="cpu", weights=tmp_path / "missing.safetensors")


def test_trained_weights_that_cannot_be_fetched_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: Any, **options: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(LocalRulesError, match="cannot be fetched") as found:
        build(SMALL, device="cpu", pretrained=True)
    assert "no route to host" in found.value.why


@pytest.mark.parametrize(
    ("name", "options", "said", "fix"),
    [
        ("torchvision:resnt18", {}, "no network 'resnt18'", "resnet18"),
        ("torchvision", {}, "has to know which network", "--model torchvision:"),
        (SMALL, {"arguments": {"depht": 3}}, "cannot be built", "arguments that torchvision's"),
        (SMALL, {"layers": ["conv7", "fc"]}, "no module is called 'net.conv7'", "net.conv"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(name: str, options: dict[str, Any], said: str, fix: str) -> None:
    with pytest.raises(UsageError, match=said) as found:
        cut(build(name, **options), "layer")
    assert fix in found.value.fix


def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match="timm:resnet18 needs timm") as found:
        build("timm:resnet18")
    assert found.value.fix == 'pip install "localrules[timm]"'


def test_layers_can_be_named_by_hand() -> None:
    model = build("torchvision:alexnet", size=64, layers=["features", "classifier"], readout="classifier")
    assert [layer.name for layer in cut(model, "layer").layers] == ["net.features", "net.classifier"]


class TwoClassifiers(nn.Module):
    """As networks that are distilled have."""

    def __init__(self, classes: int, width: int = 8) -> None:
        super().__init__()
        self.body = nn.Linear(6, width)
        self.head, self.head_dist = nn.Linear(width, classes), nn.Linear(width, classes)


def test_all_classifiers_for_another_number_of_classes_are_drawn_anew() -> None:
    old, new = TwoClassifiers(100), TwoClassifiers(10)
    drawn = {name: value.clone() for name, value in new.state_dict().items()}
    load_state(new, old.state_dict(), "old.pt")
    assert torch.equal(new.body.weight, old.body.weight)
    for name in ("head.weight", "head.bias", "head_dist.weight", "head_dist.bias"):
        assert torch.equal(new.state_dict()[name], drawn[name])
    with pytest.raises(DataError, match="not those of this network"):
        load_state(new, TwoClassifiers(100, width=7).state_dict(), "old.pt")
