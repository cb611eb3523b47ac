"""Each layer keeps what is needed to redraw the picture, and what tells classes apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.layer import Shape
from localrules.core.objective import RuleConfig
from localrules.core.view import Batch
from localrules.errors import UsageError
from localrules_supervised.contrast import supervised_contrast
from localrules_supervised.heads import conv_unit
from localrules_supervised.matching import classification_loss

Weights = tuple[float, float]


class InfoPro(Objective):
    """``a BCE(decoder(h), x) + b task(head(h), y)``: information propagation.

    A layer that only classifies throws away what later layers could have used. So it must also be able to give the
    picture back, most of all near the input: the weights ``a`` and ``b`` move in equal steps from the first layer to
    the last. The task is supervised contrast, or cross-entropy. The decoder enlarges maps to the picture's size and has
    two 3 x 3 convolutions with 12 channels between; the head has a convolution and two fully connected layers. On
    vectors the decoder is one matrix, and the head has no convolution.

    What differs: pictures come standardised, and the range from the batch's smallest to its largest value stands for 0
    to 1, where the paper undoes the standardisation. The default weights are the paper's for a ResNet-32 cut into 16
    parts; it has others for other networks.

    References:
        Wang, Ni, Song, Yang & Huang 2021, Revisiting locally supervised learning, https://arxiv.org/abs/2101.10832;
        https://github.com/blackfeather-wang/InfoPro-Pytorch.
    """

    class Config(RuleConfig):
        """Options of rule infopro."""

        task: Literal["contrast", "softmax"] = Field(
            "contrast",
            description="What the head learns: supervised contrast, or classification (both are the paper's).",
        )
        reconstruct: Weights = Field(
            (5.0, 0.2), description="Weight of reconstruction in the first and last layer (the paper's)."
        )
        classify: Weights = Field(
            (0.05, 0.5), description="Weight of the task in the first and last layer (the paper's)."
        )
        features: int = Field(128, ge=1, description="Width of the head's fully connected layers (the paper's).")
        temperature: float = Field(0.07, gt=0, description="Of the contrast (the paper's).")

    formula: ClassVar[str] = "a BCE(decoder(h), x) + b task(head(h), y), the task supervised contrast or cross-entropy"
    requires: ClassVar[Requirements] = Requirements(min_batch=2, global_batch=True, auxiliary=True)

    config: InfoPro.Config

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        """Find the pictures' shape, and each layer's place between first and last."""
        first = next((layer for layer in layers if not layer.input_layers), None)
        if first is None:
            raise UsageError(
                "infopro cannot tell how large the pictures are",
                where="--rule",
                why="none of its layers reads the pictures, whose shape it takes from the layer that does",
                fix="let the network's first layer learn by infopro too",
            )
        self._pictures = first.in_shape
        self._place = {layer.index: place / max(1, len(layers) - 1) for place, layer in enumerate(layers)}

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """The decoder and the head."""
        outputs = self.config.features if self.config.task == "contrast" else num_classes
        head = task_head(layer.out_shape, self.config.features, outputs)
        return nn.ModuleDict({"decoder": picture_decoder(layer.out_shape, self._pictures), "head": head})

    def loss(self, view: LayerView) -> dict[str, Tensor]:
        """Reconstruction and task as they are weighed, scalars."""
        assert isinstance(view.auxiliary, nn.ModuleDict)
        drawn = view.auxiliary["decoder"](view.output).flatten(1).float()
        wanted: Tensor = view.batch.cached("pictures in 0..1", lambda: self._in_unit_range(view.batch))
        return {
            "reconstruction": self._weight(self.config.reconstruct, view.layer)
            * functional.binary_cross_entropy_with_logits(drawn, wanted),
            "task": self._weight(self.config.classify, view.layer) * self._task(view, view.auxiliary["head"]),
        }

    def _task(self, view: LayerView, head: nn.Module) -> Tensor:
        if self.config.task == "softmax":
            return classification_loss(view, head)
        return supervised_contrast(head(view.output), view.labels, self.config.temperature)

    def _weight(self, weights: Weights, layer: Layer) -> float:
        first, last = weights
        return first + (last - first) * self._place[layer.index]

    def _in_unit_range(self, batch: Batch) -> Tensor:
        pictures = batch.images.flatten(1).float()
        if pictures.shape[1] != math.prod(self._pictures):
            raise UsageError(
                "infopro cannot reconstruct the pictures",
                where="the network's first layer",
                why=f"it reads {list(self._pictures)}, and a picture is {list(batch.images.shape[1:])}",
                fix="use a network whose first layer reads the pictures as they are",
            )
        low, high = pictures.aminmax()
        return (pictures - low) / (high - low).clamp_min(1e-6)


class Enlarge(nn.Module):
    """Bilinear enlargement of maps to a size, corners onto corners."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self._size = size

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, ...) to (batch, channels, height, width)."""
        return functional.interpolate(maps, size=self._size, mode="bilinear", align_corners=True)


def picture_decoder(shape: Shape, pictures: Shape) -> nn.Module:
    """From a layer's output to pictures, in logits.

    Args:
        shape: Of the output, without the batch.
        pictures: Of a picture.
    """
    if len(shape) != 3 or len(pictures) != 3:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), math.prod(pictures)))
    last = nn.Conv2d(12, pictures[0], 3, padding=1)
    return nn.Sequential(Enlarge(pictures[1:]), conv_unit(shape[0], 12, 3), last)


def task_head(shape: Shape, hidden: int, outputs: int) -> nn.Sequential:
    """A convolution with twice the channels at half the size, the mean of each map, two fully connected layers."""
    units: list[nn.Module] = [nn.Flatten()]
    inputs = math.prod(shape)
    if len(shape) == 3:
        inputs = 2 * shape[0]
        units = [conv_unit(shape[0], inputs, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*units, nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
