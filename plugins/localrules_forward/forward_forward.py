"""Each layer tells pictures with their own label from pictures with a wrong one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Batch, Layer, LayerView, Objective, RuleConfig, RuleInfo
from localrules.core.objective import Look


class ForwardForward(Objective):
    """Every layer is active for a picture that carries its own label, and quiet for one that carries a wrong label.

    The network is fed both, ``x+`` and ``x-``, in one pass. With the goodness ``g`` of a layer's output and a threshold
    ``theta``, a layer minimises the mean of ``log(1 + exp(theta - g(x+)))`` and ``log(1 + exp(g(x-) - theta))``;
    readers are given the output divided by its root mean square, so that goodness itself is not handed on. A picture is
    classified by trying every label: that with the highest goodness, summed over layers, wins.

    Two forms: goodness as a sum of squares less one per unit, with peer normalisation (after Löwe's reproduction of
    Hinton's Matlab code), and as a mean of squares less 2 (after Pezeshki's).

    What differs: those reproductions pass gradients straight through relu, or train layer after layer; here relu has
    its own gradient and all layers learn together. Maps have the mean over positions of the sum over channels.

    References:
        Hinton 2022, The forward-forward algorithm, https://arxiv.org/abs/2212.13345;
        https://github.com/loeweX/Forward-Forward; https://github.com/mpezeshki/pytorch_forward_forward;
        labels over the whole picture: Scodellaro et al. 2023, https://arxiv.org/abs/2312.14924.
    """

    class Config(RuleConfig):
        """Options of rule forward-forward."""

        goodness: Literal["sum", "mean"] = Field(
            "sum", description="Of a layer's squared activities: their sum (Löwe; the paper) or mean (Pezeshki)."
        )
        threshold: float = Field(
            1.0, description="Goodness per unit that parts right from wrong labels (Löwe, ours: 1; Pezeshki: 2)."
        )
        peer: float = Field(
            0.03, ge=0, description="Weight of peer normalisation: units should be active equally often (the paper's)."
        )
        momentum: float = Field(
            0.9,
            ge=0,
            lt=1,
            description="Of each unit's mean activity over the steps, for peer (Löwe's, not the paper's).",
        )
        label: Literal["auto", "pixels", "waves"] = Field(
            "auto",
            description="Where the label stands: in the first pixels (the paper), as a wave over the whole picture, or "
            "pixels where the first layer gives a vector and waves where it gives maps (ours).",
        )
        strength: float = Field(
            3.0, gt=0, description="How strong the label is, in standard deviations of the pictures (ours)."
        )
        wavelength: float = Field(6.0, gt=0, description="Of the waves, in pixels (ours).")
        size: Literal["rms", "length"] = Field(
            "rms",
            description="What is 1 of a picture and of what is handed on: its root mean square (Löwe; the paper), or "
            "its length (Pezeshki).",
        )
        answer: Literal["all", "upper"] = Field(
            "all", description="Layers whose goodness counts in prediction: all (ours), all but the first (the paper)."
        )

    info = RuleInfo(
        formula="softplus(theta - g(z+)) + softplus(g(z-) - theta), g: goodness, the sum of squares of a layer's output",
        presets={
            "paper": {"answer": "upper"},
            "mean": {"goodness": "mean", "threshold": 2.0, "peer": 0.0, "size": "length"},
        },
        run_defaults={"optimizer": {"lr": 0.01}},
        model_defaults={"norm": False},
        trains_readout=False,
    )

    config: ForwardForward.Config

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        """Decide where the label stands."""
        spatial = len(layers[0].out_shape) == 3
        self._label = ("waves" if spatial else "pixels") if self.config.label == "auto" else self.config.label

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module | None:
        """Each unit's (or channel's) mean activity over the steps, where peers are compared."""
        return MeanActivity(layer.out_shape[0], self.config.momentum) if self.config.peer else None

    def stream(self, batch: Batch) -> Tensor:
        """The pictures with their labels, then the same pictures with other labels, each as likely."""
        others = torch.randint(1, batch.num_classes, batch.labels.shape, device=batch.labels.device)
        wrong = (batch.labels + others) % batch.num_classes
        pairs = [(batch.images, labels) for labels in (batch.labels, wrong)]
        return torch.cat([self._labelled(images, labels, batch.num_classes) for images, labels in pairs])

    def loss(self, view: LayerView) -> dict[str, Tensor]:
        """The logistic loss of goodness over right and wrong labels, and that of unequal peers."""
        squares, right = view.output.float().square(), len(view.labels)
        signs = torch.ones(len(squares), device=squares.device)
        signs[:right] = -1
        losses = {"goodness": functional.softplus(signs * self._goodness(squares)).mean()}
        if isinstance(view.auxiliary, MeanActivity):
            means = view.auxiliary(view.output[:right].float())
            losses["peers"] = self.config.peer * (means - means.mean()).square().mean()
        return losses

    def hand_on(self, layer: Layer, output: Tensor) -> Tensor:
        """The output's direction: divided by its size over all units and positions."""
        return self._normalised(output)

    def predict(self, look: Look, images: Tensor, num_classes: int) -> Tensor:
        """Goodness of each label, summed over layers, shape (batch, classes)."""
        scores = []
        for label in range(num_classes):
            labels = torch.full((len(images),), label, device=images.device)
            views = look(self._labelled(images, labels, num_classes))
            counted = views[1:] if self.config.answer == "upper" and len(views) > 1 else views
            scores.append(torch.stack([self._goodness(view.output.float().square()) for view in counted]).sum(0))
        return torch.stack(scores, 1)

    def _goodness(self, squares: Tensor) -> Tensor:
        """Goodness less the threshold, shape (rows,)."""
        units = squares.shape[1] if self.config.goodness == "sum" else 1
        return units * (squares.flatten(1).mean(1) - self.config.threshold)

    def _labelled(self, images: Tensor, labels: Tensor, num_classes: int) -> Tensor:
        if self._label == "pixels":
            return self._normalised(in_pixels(images, labels, num_classes, self.config.strength))
        waves = embed_as_waves(images, labels, num_classes, self.config.strength, self.config.wavelength)
        return self._normalised(waves)

    def _normalised(self, rows: Tensor) -> Tensor:
        exact = rows.float()
        squares = exact.square().flatten(1)
        size = (squares.mean(1) if self.config.size == "rms" else squares.sum(1)).sqrt()
        return (exact / (size + 1e-8).view(-1, *[1] * (rows.dim() - 1))).to(rows.dtype)


def in_pixels(images: Tensor, labels: Tensor, num_classes: int, strength: float) -> Tensor:
    """The first ``num_classes`` pixels replaced by the label's one-hot code, ``strength`` high.

    Args:
        images: Shape (batch, ...).
        labels: int64, shape (batch,).
        num_classes: At most the number of values in a picture.
        strength: In the units of the pictures, which are standardised.
    """
    flat = images.flatten(1).clone()
    flat[:, :num_classes] = strength * torch.nn.functional.one_hot(labels, num_classes).to(flat)
    return flat.view(images.shape)


def embed_as_waves(images: Tensor, labels: Tensor, num_classes: int, strength: float, wavelength: float) -> Tensor:
    """The picture with a plane wave over it that tells the label at every position: classes differ in its direction.

    Args:
        images: Shape (batch, channels, height, width).
        labels: int64, shape (batch,).
        num_classes: Directions are spread evenly over half a turn.
        strength: The wave's height, in the units of the pictures, which are standardised.
        wavelength: In pixels.
    """
    height, width = images.shape[2:]
    angles = torch.arange(num_classes, device=images.device) * (math.pi / num_classes)
    rows = torch.arange(height, device=images.device)[:, None]
    columns = torch.arange(width, device=images.device)
    along = columns * angles.cos()[:, None, None] + rows * angles.sin()[:, None, None]
    waves = (strength * (2 * math.pi / wavelength * along).cos()).to(images)
    return images + waves[labels, None]


class MeanActivity(nn.Module):
    """The running mean of each unit's activity; a channel counts as a unit.

    Args:
        units: How many.
        momentum: Share of the mean so far in the next one.
    """

    mean: Tensor

    def __init__(self, units: int, momentum: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((units,), 0.5))
        self._momentum = momentum

    def forward(self, output: Tensor) -> Tensor:
        """The mean with this batch counted in, shape (units,); its gradient is that of the batch's share."""
        now = output.transpose(0, 1).flatten(1).mean(1)
        mean = self._momentum * self.mean + (1 - self._momentum) * now
        self.mean = mean.detach()
        return mean
