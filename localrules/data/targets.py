"""Targets of training images: labels, or weights for each class, smoothed, mixed and weighted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, get_args

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from localrules.errors import UsageError
from localrules.utils.torch_utils import upload

if TYPE_CHECKING:
    from torch import Tensor

TargetKind = Literal["labels", "probabilities", "weighted"]
"""Kinds of targets that a rule can learn from, each including the ones before it.

``labels``: one class for each sample. ``probabilities``: a probability for each class, as of label smoothing and mixup.
``weighted``: the same times a weight, as of class weights, so that they do not sum to 1.
"""
TARGET_KINDS: tuple[TargetKind, ...] = get_args(TargetKind)


class TargetsConfig(BaseModel):
    """The right answers for training images: by default their labels."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Fraction of each target that is spread evenly over all classes (0.1 is usual)."
    )
    mixup: float = Field(
        0.0,
        ge=0,
        description="Mix pairs of images of a batch, and their targets, by a fraction drawn from Beta(mixup, mixup) "
        "for each batch; 0: no (0.2 is usual).",
    )
    class_weights: Literal["balanced"] | tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        None,
        description="Weight of each class in the loss: a list, or balanced, in inverse proportion to the classes' "
        "frequencies in train. Scaled to a mean of 1 over the samples of train (ours: none).",
    )

    @property
    def kind(self) -> TargetKind:
        """The kind of targets that a rule has to learn from."""
        if self.class_weights is not None:
            return "weighted"
        return "probabilities" if self.label_smoothing or self.mixup else "labels"


class Targets:
    """Applies a :class:`TargetsConfig` to batches.

    Args:
        config: What to do.
        labels: Those of the training split, int64, shape (samples,).
        num_classes: Number of classes.

    Raises:
        UsageError: Class weights that do not fit the data.
    """

    def __init__(self, config: TargetsConfig, labels: Tensor, num_classes: int) -> None:
        self.config = config
        self._num_classes = num_classes
        self._weights = class_weights(config, labels, num_classes)

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Mix a batch, and make its targets.

        Args:
            images: Float, shape (batch, ...).
            labels: int64, shape (batch,), on the images' device.
            generator: A CPU generator; the draws are the same on every device.

        Returns:
            Images; labels, that of an image's larger part; and targets, float32, shape (batch, classes).
        """
        smoothing = self.config.label_smoothing
        targets = torch.nn.functional.one_hot(labels, self._num_classes).float()
        targets = targets * (1 - smoothing) + smoothing / self._num_classes
        if self._weights is not None:
            targets = targets * upload(self._weights, targets.device)
        if self.config.mixup:
            order = upload(torch.randperm(len(labels), generator=generator), labels.device)
            drawn = np.random.default_rng(generator.initial_seed()).beta(self.config.mixup, self.config.mixup)
            part = max(drawn, 1 - drawn)  # so that the label is that of the larger part
            images = part * images + (1 - part) * images[order]
            targets = part * targets + (1 - part) * targets[order]
        return images, labels, targets


def class_weights(config: TargetsConfig, labels: Tensor, num_classes: int) -> Tensor | None:
    """The weight of each class, float32, shape (classes,), of mean 1 over the samples; ``None`` without weights.

    Raises:
        UsageError: Another number of weights than classes, or no sample with a weight.
    """
    if config.class_weights is None:
        return None
    counts = torch.bincount(labels.cpu(), minlength=num_classes).double()
    if config.class_weights == "balanced":
        # A class without samples has no weight: label smoothing would teach it alone.
        weights = torch.where(counts > 0, 1 / counts.clamp(min=1), 0.0)
    else:
        weights = torch.tensor(config.class_weights, dtype=torch.float64)
    if len(weights) != num_classes:
        raise UsageError(
            f"there are {len(weights)} class weights for {num_classes} classes",
            where="targets.class_weights",
            fix="give a weight for each class, in the data set's order, or balanced",
        )
    mean = (weights * counts).sum() / counts.sum()
    if mean == 0:
        raise UsageError(
            "no training sample has a weight",
            where="targets.class_weights",
            why="the classes with a weight above 0 have no samples",
            fix="give a weight to a class that train has",
        )
    return (weights / mean).float()
