"""What pred, sim and predsim have in common: a layer's projection, and its two losses."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from localrules import LayerView
from localrules.core.layer import Shape
from localrules.kernels.similarity import labels_similarity, similarity, similarity_loss
from localrules_supervised.heads import Width, at_most

PROJECTED = (
    "Features that a vector is projected to at most (ours: 512, as a square matrix for 1024 units costs more than the "
    "layer itself); all: as many as it has (the paper's)."
)


def projection(shape: Shape, most: Width) -> nn.Module:
    """Nøkland & Eidnes' map between a layer and its similarity loss, without bias: 3 x 3 convolution, or matrix.

    Args:
        shape: Of the layer's output, without the batch.
        most: The most features that the matrix gives; ``all``: as many as it reads.
    """
    if len(shape) == 3:
        return nn.Conv2d(shape[0], shape[0], 3, padding=1, bias=False)
    units = math.prod(shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(units, at_most(most, units), bias=False))


def classification_loss(view: LayerView, head: nn.Module) -> Tensor:
    """The cross-entropy of a head on the layer's output, a scalar."""
    return functional.cross_entropy(head(view.output).float(), view.labels)


def matching_loss(view: LayerView, project: nn.Module) -> Tensor:
    """How far the similarities of the layer's projected outputs are from those of the labels, a scalar."""
    target: Tensor = view.batch.cached("similarity of labels", lambda: labels_similarity(view.labels, view.num_classes))
    return similarity_loss(similarity(project(view.output)), target)
