"""Reconstruction of the image and separation of the classes, by two heads on each layer."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Batch, Layer, LayerView, Objective, Requirements, RuleConfig, RuleInfo, SearchRange
from localrules.core.layer import require_sample_shape
from localrules.kernels.gram import cosine
from localrules.utils.torch_utils import at_least_float32
from localrules_supervised.heads import conv_unit

Shape = tuple[int, ...]
Weights = tuple[float, float]


class InfoPro(Objective):
    """``a BCE(decoder(h), x) + b task(head(h), y)``: information propagation.

    A layer that only classifies discards what later layers could have used. So the image must also be reconstructable
    from its output, most of all near the input: the weights ``a`` and ``b`` change in equal steps from the first layer
    to the last. The task is supervised contrast, or cross-entropy. The decoder enlarges feature maps to the image's
    size and has two 3 x 3 convolutions with 12 channels between; the head has a convolution and two linear layers. For
    vectors the decoder is one linear layer, and the head has no convolution.

    What differs: images come standardised, and the range from the batch's smallest to its largest value stands for 0
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
        features: int = Field(128, ge=1, description="Units of the head's linear layers (the paper's).")
        temperature: float = Field(0.07, gt=0, description="Temperature of the contrast (the paper's).")

    info = RuleInfo(
        search_space={"temperature": SearchRange(0.03, 0.5, log=True)},
        formula="a BCE(decoder(h), x) + b task(head(h), y), the task supervised contrast or cross-entropy",
        requires=Requirements(min_batch=2, float_inputs=True, targets="probabilities", global_batch=True),
        autocast=True,
    )

    config: InfoPro.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        outputs = config.features if config.task == "contrast" else num_classes
        head = task_head(layer.out_shape, config.features, outputs)
        self.decoder = image_decoder(layer.out_shape, layer.sample_shape)
        self.head = head

    def forward(self, view: LayerView) -> dict[str, Tensor]:
        """Weighted reconstruction and task losses, scalars."""
        logits = at_least_float32(self.decoder(view.output).flatten(1))
        images: Tensor = view.batch.cached("images in 0..1", lambda: self._in_unit_range(view.batch))
        reconstruction = functional.binary_cross_entropy_with_logits(logits, images)
        return {
            "reconstruction": self._weight(self.config.reconstruct) * reconstruction,
            "task": self._weight(self.config.classify) * self._task(view),
        }

    def _task(self, view: LayerView) -> Tensor:
        outputs = self.head(view.output)
        if self.config.task == "softmax":
            return functional.cross_entropy(at_least_float32(outputs), view.targets)
        return supervised_contrast(outputs, view.targets, self.config.temperature)

    def _weight(self, weights: Weights) -> float:
        first, last = weights
        return first + (last - first) * (self.layer.peer_index / max(1, len(self.layer.peers) - 1))

    def _in_unit_range(self, batch: Batch) -> Tensor:
        require_sample_shape("infopro", self.layer, batch.images)
        images = at_least_float32(batch.images.flatten(1))
        low, high = images.aminmax()
        return (images - low) / (high - low).clamp_min(1e-6)


class Enlarge(nn.Module):
    """Bilinear enlargement of feature maps to a size, with aligned corners."""

    def __init__(self, size: Shape) -> None:
        super().__init__()
        self._size = size

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, ...) to (batch, channels, height, width)."""
        return functional.interpolate(maps, size=self._size, mode="bilinear", align_corners=True)


def image_decoder(shape: Shape, image_shape: Shape) -> nn.Module:
    """From a layer's output to images, in logits.

    Args:
        shape: Of one sample's output.
        image_shape: Of one image.
    """
    if len(shape) != 3 or len(image_shape) != 3:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), math.prod(image_shape)))
    last = nn.Conv2d(12, image_shape[0], 3, padding=1)
    return nn.Sequential(Enlarge(image_shape[1:]), conv_unit(shape[0], 12, 3), last)


def task_head(shape: Shape, hidden: int, outputs: int) -> nn.Sequential:
    """A convolution with twice the channels at half the size, global average pooling, two linear layers."""
    units: list[nn.Module] = [nn.Flatten()]
    inputs = math.prod(shape)
    if len(shape) == 3:
        inputs = 2 * shape[0]
        units = [conv_unit(shape[0], inputs, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*units, nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def supervised_contrast(features: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """The supervised contrastive loss: samples of one class attract each other, all others repel.

    Khosla et al. 2020, https://arxiv.org/abs/2004.11362, with one view of each sample. A sample that is alone in its
    class counts as zero.

    Args:
        features: Shape (batch, features), compared by their cosine.
        targets: Labels, shape (batch,), or probabilities of classes, shape (batch, classes); then two samples attract
            each other by the probability that their classes are the same.
        temperature: Cosines are divided by it.

    Returns:
        A scalar, the mean over samples.

    Raises:
        UsageError: A batch of one.
    """
    scores = cosine(features) / temperature
    itself = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    log_likelihood = scores - scores.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    if targets.is_floating_point():
        partners = (targets @ targets.T).masked_fill(itself, 0)
    else:
        partners = (targets[:, None] == targets) & ~itself
    return -((log_likelihood * partners).sum(1) / partners.sum(1).clamp_min(1e-12)).mean()
