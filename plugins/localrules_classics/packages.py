"""Any network of torchvision or timm, as ``torchvision:NAME`` and ``timm:NAME``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules.core.objective import RuleConfig
from localrules.errors import DataError, LocalRulesError, UsageError, describe_exception, suggest_names
from localrules_classics.input_size import sized, to_rgb_channels
from localrules_classics.optional import optional_module

Size = Literal["native", "as-is"] | PositiveInt
SIZE = 224  # pixels of a side where a network names none


class PackageModel(Model):
    """A network of a package, found by its name, with the package's own modules and initialisation.

    Its graph is traced, and cut as ``--granularity`` says; a module whose forward cannot be traced is one layer.
    ``layers`` names the layers by hand instead. Grey images are repeated to three channels.

    Raises:
        MissingDependencyError: The package is not installed.
        UsageError: It has no network of that name, or the network takes no such arguments.
        DataError: The weights are missing, damaged, or those of another network.
    """

    package: ClassVar[str]

    class Config(RuleConfig):
        """Options that both packages share."""

        network: str | None = Field(
            None, description="The package's name for it (ours: none; NAME in --model PACKAGE:NAME)."
        )
        size: Size = Field(
            "native",
            description="Side to which images are brought inside the network, bilinearly: native, the package's own; "
            "a number; or as-is, their own (ours: native).",
        )
        pretrained: bool = Field(
            False, description="Start from the package's trained weights, which are downloaded once (ours: no)."
        )
        weights: Path | None = Field(
            None,
            description="A state dict to start from, .safetensors or .pt (ours: none). Its classifier is left out "
            "where it has another number of classes.",
        )
        arguments: dict[str, Any] = Field(
            default_factory=dict, description="More arguments of the package's function (ours: none)."
        )
        layers: tuple[str, ...] = Field(
            (), description="Names of the modules that are the layers, or patterns (ours: none, the graph is traced)."
        )
        readout: str = Field("", description="The module on top, with layers (ours: the last of them).")

    config: PackageModel.Config

    def __init__(self, config: PackageModel.Config, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        to_rgb_channels(self.package, shape)
        module = optional_module(self.package, f"--model {self.package}:{config.network or 'NAME'}")
        if config.network is None:
            raise UsageError(
                f"{self.package} has to know which network",
                where=f"--model {self.package}",
                why="model.network is not set",
                fix=f"for example --model {self.package}:resnet18",
            )
        known = self.names(module)
        if config.network not in known:
            raise UsageError(
                f"{self.package} has no network {config.network!r}",
                where=f"--model {self.package}:{config.network}",
                why=f"it is none of the {len(known):,} networks for classification of version {module.__version__}",
                fix=suggest_names(config.network, known),
            )
        native = self.native_size(module, config.network)
        side = native if config.size == "native" else None if config.size == "as-is" else config.size
        self._side = None if side is None or (side, side) == shape[1:] else (side, side)
        try:
            self.net = self.build(module, config, self._side or (shape[1], shape[2]), num_classes)
        except (TypeError, ValueError, AssertionError, AttributeError) as error:
            raise UsageError(
                f"{self.package}:{config.network} cannot be built",
                where=f"model.arguments = {config.arguments}",
                why=describe_exception(error),
                fix=f"set arguments that {self.package}'s {config.network} takes, and a model.size that fits it",
            ) from error
        # Without memory for weights (on the meta device) only the shapes are asked for.
        if not next(self.net.parameters()).is_meta:
            if config.pretrained:
                load_state(self.net, self._fetched(module), f"the trained weights of {self.package}")
            if config.weights is not None:
                load_state(self.net, read_state(config.weights), str(config.weights))
        if config.layers:
            names = [f"net.{name}" for name in config.layers]
            self.layer_spec = LayerSpec(layers=names, readout=f"net.{config.readout}" if config.readout else "")

    def _fetched(self, module: ModuleType) -> Mapping[str, Tensor]:
        assert self.config.network is not None
        try:
            return self.pretrained_state(module, self.config.network)
        except Exception as error:  # of the package, of the network connection
            raise LocalRulesError(
                "the trained weights cannot be fetched",
                where=f"--model {self.package}:{self.config.network}, model.pretrained=true",
                why=describe_exception(error),
                fix="check the connection, choose a network with trained weights, or name a file as model.weights",
            ) from error

    @abstractmethod
    def names(self, module: ModuleType) -> list[str]:
        """The package's networks for classification."""

    @abstractmethod
    def native_size(self, module: ModuleType, name: str) -> int:
        """Side of the images for which the network was published."""

    @abstractmethod
    def build(
        self, module: ModuleType, config: PackageModel.Config, side: tuple[int, int], num_classes: int
    ) -> nn.Module:
        """The network with weights as the package draws them, for colour images of this height and width."""

    @abstractmethod
    def pretrained_state(self, module: ModuleType, name: str) -> Mapping[str, Tensor]:
        """The state dict of the package's trained weights."""

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits, (batch, classes)."""
        return self.net(sized(images, self._side))


class TorchvisionModel(PackageModel):
    """A network of torchvision, such as ``torchvision:convnext_tiny``, without auxiliary classifiers.

    References:
        https://docs.pytorch.org/vision/stable/models.html
    """

    package = "torchvision"

    def names(self, module: ModuleType) -> list[str]:
        """Those of ``torchvision.models`` itself."""
        found: list[str] = module.models.list_models(module=module.models)
        return found

    def native_size(self, module: ModuleType, name: str) -> int:
        """The crop of its trained weights' own transforms."""
        weights = list(module.models.get_model_weights(name))
        crop = getattr(weights[-1].transforms(), "crop_size", [SIZE]) if weights else [SIZE]
        return int(crop[0] if isinstance(crop, list | tuple) else crop)

    def build(
        self, module: ModuleType, config: PackageModel.Config, side: tuple[int, int], num_classes: int
    ) -> nn.Module:
        """By torchvision's function."""
        assert config.network is not None
        builder = module.models.get_model_builder(config.network)
        plain: dict[str, Any] = {"num_classes": num_classes}
        if config.network in ("googlenet", "inception_v3"):
            plain |= {"aux_logits": False, "init_weights": False}
        if config.network.startswith("vit_"):
            plain["image_size"] = side[0]
        net: nn.Module = builder(weights=None, **{**plain, **config.arguments})
        return net

    def pretrained_state(self, module: ModuleType, name: str) -> Mapping[str, Tensor]:
        """Its newest weights."""
        state = module.models.get_model_weights(name).DEFAULT.get_state_dict(progress=True, check_hash=True)
        return {key: value for key, value in state.items() if not key.lower().startswith("aux")}


class TimmModel(PackageModel):
    """A network of timm, such as ``timm:vit_tiny_patch16_224`` or ``timm:resnet18.a1_in1k``.

    References:
        Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models.
    """

    package = "timm"

    def names(self, module: ModuleType) -> list[str]:
        """All, and all with the tag of trained weights."""
        return [*module.list_models(), *module.list_pretrained()]

    def native_size(self, module: ModuleType, name: str) -> int:
        """As timm's configuration of it says."""
        config = module.get_pretrained_cfg(name, allow_unregistered=True)
        return int(config.input_size[-1]) if config is not None else SIZE

    def build(
        self, module: ModuleType, config: PackageModel.Config, side: tuple[int, int], num_classes: int
    ) -> nn.Module:
        """By ``timm.create_model``; networks for one size of images are built for theirs."""
        known = module.get_pretrained_cfg(config.network, allow_unregistered=True)
        fixed = {"img_size": side} if known is not None and known.fixed_input_size else {}
        if tuple(side) == tuple(getattr(known, "input_size", ())[1:]):
            fixed = {}
        net: nn.Module = module.create_model(config.network, num_classes=num_classes, **{**fixed, **config.arguments})
        return net

    def pretrained_state(self, module: ModuleType, name: str) -> Mapping[str, Tensor]:
        """Of the network as published."""
        net: nn.Module = module.create_model(name, pretrained=True, **self.config.arguments)
        return net.state_dict()


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict from a file; loading runs no code.

    Raises:
        DataError: It is missing, or cannot be read as one.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return dict(load(path.expanduser().read_bytes()))
        found = torch.load(path.expanduser(), map_location="cpu", weights_only=True)
        found = found.get("state_dict", found) if isinstance(found, dict) else found
        if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
            raise ValueError("it holds something else than tensors by name")
    except Exception as error:  # of the file system, of torch, of safetensors
        raise DataError(
            "the weights cannot be read",
            where=str(path),
            why=describe_exception(error),
            fix="name a state dict, saved by torch.save or safetensors, as model.weights",
        ) from error
    return found


def load_state(net: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights; classifiers for another number of classes keep those that were drawn.

    Raises:
        DataError: They are not those of this network.
    """
    own = net.state_dict()
    other = sorted(own.keys() ^ state.keys())
    resized = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    # Of a network with several classifiers (for distillation, say) each has a row for each class, as the last one.
    last = [name for name, _ in net.named_parameters()][-1]
    counts = [len(tensors[last]) for tensors in (own, state) if last in tensors and tensors[last].dim()]

    def is_classifier(name: str) -> bool:
        new, old = own[name].shape, state[name].shape
        return [*new[:1], *old[:1]] == counts and new[1:] == old[1:]

    names = other or [name for name in resized if not is_classifier(name)]
    if names:
        raise DataError(
            "the weights are not those of this network",
            where=source,
            why=f"{len(names)} tensors are missing, left over or of another shape, {names[0]!r} among them",
            fix="choose the network that the weights are from, and the model.arguments and model.size it had",
        )
    net.load_state_dict({name: value for name, value in state.items() if name not in resized}, strict=False)
