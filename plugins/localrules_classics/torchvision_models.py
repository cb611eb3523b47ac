"""AlexNet and ResNet-50 as torchvision builds them, taken apart into layers."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules.core.objective import RuleConfig
from localrules_classics.input_size import Size, described, side_of, sized, to_rgb_channels
from localrules_classics.optional import optional_module


class BaselineOptions(RuleConfig):
    """Options that these networks share."""

    size: Size


class LargeImages(Model):
    """A network of torchvision's for large images in colour.

    Its modules are torchvision's own, with the weights that torchvision draws; ``stages`` and ``readout`` hold them in
    their order. Grey images are repeated to three channels, so that the network is the published one.
    """

    native: ClassVar[int] = 224
    least: ClassVar[int]

    def __init__(self, config: BaselineOptions, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        self._side = side_of(config.size, shape, self.native, self.least)
        to_rgb_channels(type(self).__name__.lower(), shape)
        stages, readout = self.parts(
            optional_module("torchvision", f"--model {type(self).__name__.lower()}").models, num_classes
        )
        self.stages, self.readout = nn.Sequential(*stages), readout
        self.layer_spec = LayerSpec(layers=["stages.*"], blocks=["stages.*"], readout="readout")

    def parts(self, models: ModuleType, num_classes: int) -> tuple[list[nn.Module], nn.Module]:
        """The network's layers and its readout.

        Args:
            models: ``torchvision.models``.
            num_classes: Logits to give.
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits, (batch, classes)."""
        return self.readout(self.stages(sized(images, self._side)))


class AlexNet(LargeImages):
    """Five convolutions and three matrices, 57.0 M parameters with seven classes. Each operation is a layer.

    References:
        Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks,
        https://arxiv.org/abs/1404.5997, which torchvision builds; after Krizhevsky, Sutskever & Hinton 2012.
    """

    least: ClassVar[int] = 63

    class Config(BaselineOptions):
        """Options of alexnet."""

        size: Size = Field("as-is", description=described(224, 63))

    def parts(self, models: ModuleType, num_classes: int) -> tuple[list[nn.Module], nn.Module]:
        """A convolution with activation and pooling, or dropout, matrix and activation, each."""
        net = models.alexnet(num_classes=num_classes)
        convolutions = _begun_by(nn.Conv2d, list(net.features))
        convolutions[-1].extend([net.avgpool, nn.Flatten()])
        matrices = _begun_by(nn.Dropout, list(net.classifier)[:-1])
        return [*convolutions, *matrices], net.classifier[-1]


class ResNet50(LargeImages):
    """A stem and sixteen bottleneck blocks, 23.5 M parameters with seven classes. Each block is a layer.

    References:
        He, Zhang, Ren & Sun 2016, Deep residual learning for image recognition, https://arxiv.org/abs/1512.03385.
    """

    least: ClassVar[int] = 32

    class Config(BaselineOptions):
        """Options of resnet50."""

        size: Size = Field("as-is", description=described(224, 32))

    def parts(self, models: ModuleType, num_classes: int) -> tuple[list[nn.Module], nn.Module]:
        """The stem, then block by block."""
        net = models.resnet50(num_classes=num_classes)
        stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        blocks = [block for stage in (net.layer1, net.layer2, net.layer3, net.layer4) for block in stage]
        return [stem, *blocks], nn.Sequential(net.avgpool, nn.Flatten(), net.fc)


def _begun_by(kind: type[nn.Module], modules: list[nn.Module]) -> list[nn.Sequential]:
    """Modules in groups, each of which a module of that kind begins."""
    groups: list[nn.Sequential] = []
    for module in modules:
        if isinstance(module, kind):
            groups.append(nn.Sequential())
        groups[-1].append(module)
    return groups
