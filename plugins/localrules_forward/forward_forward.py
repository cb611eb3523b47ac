"""Forward-forward: each layer separates images with their own label from images with a wrong one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import (
    Batch,
    CustomPrediction,
    ExtractViews,
    InputTransform,
    Layer,
    LayerView,
    Objective,
    OutputTransform,
    Requirements,
    RuleConfig,
    RuleInfo,
    SearchRange,
    UsageError,
)
from localrules.utils.torch_utils import at_least_float32

RELATIVE_NORM = 0.5  # of a label, to that of a standardised image


class ForwardForward(Objective, InputTransform, OutputTransform, CustomPrediction):
    """Every layer is active for an image that carries its own label, and inactive for one that carries a wrong label.

    The network is trained on both, ``x+`` and ``x-``, in one pass. With the goodness ``g`` of a layer's output and a
    threshold ``theta``, a layer minimises the mean of ``log(1 + exp(theta - g(x+)))`` and
    ``log(1 + exp(g(x-) - theta))``; its readers get the output divided by its root mean square, so that they cannot
    read the goodness itself. Prediction tries every label for an image: the one with the highest goodness, summed over
    layers, wins.

    Goodness is the mean of squares less 1, with peer normalisation (ours). Published forms: their sum less one per unit
    (``preset=paper``, after Löwe's reproduction of Hinton's Matlab code), and their mean less 2 without peer
    normalisation (``preset=mean``, after Pezeshki's). In these the label is a pixel of 3 stds, which a layer hardly
    sees beside a large image; by default its norm is half of the image's.

    Differences: those reproductions pass gradients straight through relu, or train layer after layer; here relu has
    its own gradient and all layers are trained together. The goodness of feature maps is the mean over positions of the
    sum over channels.

    References:
        Hinton 2022, The forward-forward algorithm, https://arxiv.org/abs/2212.13345;
        https://github.com/loeweX/Forward-Forward; https://github.com/mpezeshki/pytorch_forward_forward;
        labels over the whole image: Scodellaro et al. 2023, https://arxiv.org/abs/2312.14924.
    """

    class Config(RuleConfig):
        """Options of rule forward-forward."""

        goodness: Literal["sum", "mean"] = Field(
            "mean",
            description="The sum of a layer's squared activities (Löwe; the paper) or their mean (Pezeshki; default "
            "ours).",
        )
        threshold: float = Field(
            1.0, description="Goodness per unit that separates right from wrong labels (Löwe, ours: 1; Pezeshki: 2)."
        )
        peer: float = Field(
            0.03, ge=0, description="Weight of peer normalisation: units should be active equally often (the paper's)."
        )
        momentum: float = Field(
            0.9,
            ge=0,
            lt=1,
            description="Momentum of each unit's mean activity over the steps, for peer (Löwe's, not the paper's).",
        )
        label: Literal["auto", "pixels", "waves"] = Field(
            "auto",
            description="Embedding of the label: in the first pixels (the paper), as a wave over the whole image, or "
            "waves where input and first layer's output are feature maps and pixels elsewhere (ours).",
        )
        strength: float | None = Field(
            None,
            gt=0,
            description="Strength of the label, in stds of the images; unset: such that its norm is half of an image's "
            "(ours; the reproductions, of 28 x 28: 3).",
        )
        wavelength: float = Field(6.0, gt=0, description="Wavelength of the waves, in pixels (ours).")
        size: Literal["rms", "length"] = Field(
            "rms",
            description="What normalising images and outputs sets to 1: the root mean square (Löwe; the paper), or the "
            "length (Pezeshki).",
        )
        answer: Literal["all", "upper"] = Field(
            "all",
            description="Layers whose goodness counts in prediction: all (ours), or all but the first (the paper).",
        )

    info = RuleInfo(
        search_space={"threshold": SearchRange(0.3, 3, log=True)},
        formula="softplus(theta - g(z+)) + softplus(g(z-) - theta), goodness g: the mean square of a layer's output",
        presets={
            "paper": {"goodness": "sum", "answer": "upper", "strength": 3.0},
            "mean": {"goodness": "mean", "threshold": 2.0, "peer": 0.0, "size": "length", "strength": 3.0},
        },
        requires=Requirements(float_inputs=True, global_batch=True),
        run_defaults={"optimizer": {"lr": 0.01}},
        model_defaults={"norm": False},
        trains_readout=False,
    )

    config: ForwardForward.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        has_maps = len(layer.sample_shape) == 3
        if config.label == "waves" and not has_maps:
            raise UsageError(
                "labels cannot be embedded as waves",
                where=f"inputs of shape {list(layer.sample_shape)}",
                why="a wave extends over the height and width of an image, (channels, height, width)",
                fix="--set rule.label=pixels",
            )
        spatial = has_maps and len(layer.out_shape) == 3
        self.label_embedding = ("waves" if spatial else "pixels") if config.label == "auto" else config.label
        self.mean_activity = MeanActivity(layer.out_channels, config.momentum) if config.peer else None

    def make_inputs(self, batch: Batch) -> Tensor:
        """The images with their labels, then the same images with other labels, each equally likely."""
        others = torch.randint(1, batch.num_classes, batch.labels.shape, device=batch.labels.device)
        wrong = (batch.labels + others) % batch.num_classes
        return torch.cat([self._embed_labels(batch.images, labels) for labels in (batch.labels, wrong)])

    def forward(self, view: LayerView) -> dict[str, Tensor]:
        """The logistic loss of the goodness for right and wrong labels, and the loss of unequal mean activities."""
        squares, right = view.output.square(), len(view.labels)
        signs = torch.ones(len(squares), device=squares.device)
        signs[:right] = -1
        losses = {"goodness": functional.softplus(signs * self._goodness(squares)).mean()}
        if self.mean_activity is not None:
            means = self.mean_activity(view.output[:right])
            losses["peers"] = self.config.peer * (means - means.mean()).square().mean()
        return losses

    def transform_output(self, output: Tensor) -> Tensor:
        """The output divided by its size over all units and positions."""
        return self._normalize(output)

    @classmethod
    def predict(cls, objectives: Sequence[Any], extract_views: ExtractViews, images: Tensor) -> Tensor:
        """Goodness of each label, summed over layers, shape (batch, classes)."""
        first: ForwardForward = objectives[0]
        skipped = 1 if first.config.answer == "upper" and len(objectives) > 1 else 0
        scores = []
        for label in range(first.num_classes):
            labels = torch.full((len(images),), label, device=images.device)
            views = extract_views(first._embed_labels(images, labels))
            pairs = list(zip(objectives, views, strict=True))[skipped:]
            scores.append(
                torch.stack([each._goodness(at_least_float32(view.output).square()) for each, view in pairs]).sum(0)
            )
        return torch.stack(scores, 1)

    def _goodness(self, squares: Tensor) -> Tensor:
        """Goodness less the threshold, shape (samples,)."""
        units = squares.shape[1] if self.config.goodness == "sum" else 1
        return units * (squares.flatten(1).mean(1) - self.config.threshold)

    def _embed_labels(self, images: Tensor, labels: Tensor) -> Tensor:
        config, classes = self.config, self.num_classes
        if self.label_embedding == "pixels":
            strength = config.strength or RELATIVE_NORM * math.sqrt(images[0].numel())
            return self._normalize(embed_in_pixels(images, labels, classes, strength))
        strength = config.strength or RELATIVE_NORM * math.sqrt(2)  # the mean square of a wave is a half
        return self._normalize(embed_as_waves(images, labels, classes, strength, config.wavelength))

    def _normalize(self, samples: Tensor) -> Tensor:
        exact = at_least_float32(samples)
        squares = exact.square().flatten(1)
        size = (squares.mean(1) if self.config.size == "rms" else squares.sum(1)).sqrt()
        return (exact / (size + 1e-8).view(-1, *[1] * (samples.dim() - 1))).to(samples.dtype)


def embed_in_pixels(images: Tensor, labels: Tensor, num_classes: int, strength: float) -> Tensor:
    """The first ``num_classes`` pixels replaced by the label's one-hot code, ``strength`` high.

    Args:
        images: Shape (batch, ...).
        labels: int64, shape (batch,).
        num_classes: Fewer than the number of values in an image.
        strength: In the units of the images, which are standardised.

    Raises:
        UsageError: Nothing would be left of the images.
    """
    flat = images.flatten(1).clone()
    if flat.shape[1] <= num_classes:
        raise UsageError(
            "the labels would replace the inputs",
            where="rule forward-forward, option label: pixels",
            why=f"the label takes the first {num_classes} values of an input, which has {flat.shape[1]}",
            fix="choose another rule; with inputs of (channels, height, width) also --set rule.label=waves",
        )
    flat[:, :num_classes] = strength * functional.one_hot(labels, num_classes).to(flat)
    return flat.view(images.shape)


def embed_as_waves(images: Tensor, labels: Tensor, num_classes: int, strength: float, wavelength: float) -> Tensor:
    """Images with a plane wave added whose direction encodes the label at every position.

    Args:
        images: Shape (batch, channels, height, width).
        labels: int64, shape (batch,).
        num_classes: Directions are spread evenly over half a turn.
        strength: The wave's amplitude, in the units of the images, which are standardised.
        wavelength: In pixels.
    """
    height, width = images.shape[2:]
    angles = torch.arange(num_classes, device=images.device) * (math.pi / num_classes)
    y = torch.arange(height, device=images.device)[:, None]
    x = torch.arange(width, device=images.device)
    along = x * angles.cos()[:, None, None] + y * angles.sin()[:, None, None]
    waves = (strength * (2 * math.pi / wavelength * along).cos()).to(images)
    return images + waves[labels, None]


class MeanActivity(nn.Module):
    """The running mean of each unit's activity; a channel counts as a unit.

    Args:
        units: Number of units.
        momentum: Weight of the mean so far in the next one.
    """

    mean: Tensor

    def __init__(self, units: int, momentum: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((units,), 0.5))
        self._momentum = momentum

    def forward(self, output: Tensor) -> Tensor:
        """The mean, this batch included, shape (units,); its gradient is that of the batch's part."""
        now = output.transpose(0, 1).flatten(1).mean(1)
        mean = self._momentum * self.mean + (1 - self._momentum) * now
        self.mean = mean.detach()
        return mean
