"""The view of one layer in one step that a rule may see."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import torch
from torch import Tensor

from localrules.core.layer import Layer
from localrules.core.nn.pooling import pool_flat
from localrules.core.ops import Operation
from localrules.data.batch_part import WHOLE, BatchPart
from localrules.kernels.labels import class_codes


@dataclass
class Batch:
    """One batch, with a cache for what all layers share in a step, such as the Gram matrix of the labels.

    Attributes:
        images: The network's input, shape (batch, channels, height, width) or (batch, features).
        labels: int64, shape (batch,).
        num_classes: Number of classes.
        soft_targets: The weight of each class for each sample, floating point, shape (batch, classes), where the run
            smooths, mixes or weights labels; ``labels`` is the class of the largest part of an image then. A rule
            that needs labels is not given any, see :attr:`localrules.Requirements.targets`.
        part: Which part of the batch this is. A run can divide its batches among processes; means over the samples
            are then averaged by the engine, and a :class:`~localrules.Rule` passes all else that it computes from
            several samples through ``part``.
    """

    images: Tensor
    labels: Tensor
    num_classes: int
    soft_targets: Tensor | None = None
    part: BatchPart = WHOLE
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    _lock: RLock = field(default_factory=RLock, repr=False)  # layers may learn on several threads

    @property
    def targets(self) -> Tensor:
        """The right answers, as :func:`torch.nn.functional.cross_entropy` takes it.

        The soft targets where there are any, else the labels.
        """
        return self.labels if self.soft_targets is None else self.soft_targets

    def class_targets(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The targets as a weight for each class, shape (batch, classes): for labels, one-hot codes."""
        return class_codes(self.targets, self.num_classes, dtype)

    def cached(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """``compute()``, run without gradients and once per step."""
        with self._lock:
            if key not in self._cache:
                with torch.no_grad():
                    self._cache[key] = compute()
            return self._cache[key]

    def whole(self) -> Batch:
        """The batch with the samples of all parts."""
        if self.part.count == 1:
            return self
        images, labels = self.part.gather(self.images), self.part.gather(self.labels)
        soft = None if self.soft_targets is None else self.part.gather(self.soft_targets)
        return Batch(images, labels, self.num_classes, soft)


@dataclass
class LayerView:
    """The view of one layer in one step that an objective may see.

    Attributes:
        layer: Name, position and shapes of the layer.
        inputs: What the layer read, detached. Shapes (batch, ...).
        output: What the layer computed, with the graph of this layer alone. Shape (batch, ...); tokens, (batch,
            positions, features), come as feature maps, (batch, features, height, width), see
            :meth:`localrules.Layer.as_feature_maps`.
        batch: The network's input, the labels, and a cache shared by all layers of the step.
        operations: The weight-bearing operations that ran inside the layer, in order, if the rule requires them. For a
            layer with several outputs, only the view of the first has them.
    """

    layer: Layer
    inputs: tuple[Tensor, ...]
    output: Tensor
    batch: Batch
    operations: list[Operation] = field(default_factory=list)

    @property
    def labels(self) -> Tensor:
        """int64, shape (batch,)."""
        return self.batch.labels

    @property
    def targets(self) -> Tensor:
        """The batch's targets, as :func:`torch.nn.functional.cross_entropy` takes them; the labels by default."""
        return self.batch.targets

    @property
    def images(self) -> Tensor:
        """The network's input."""
        return self.batch.images

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.batch.num_classes

    def pooled(self, size: int | None, *, inputs: bool = False) -> Tensor:
        """The output averaged to ``size`` x ``size`` positions and flattened, shape (batch, channels * size * size).

        Feature maps that are no larger, outputs without positions, and ``size=None`` are only flattened.

        Args:
            size: Positions per side.
            inputs: Put what the layer read before it, averaged alike, where its readers see that beside the output
                (``layer.inputs_visible_downstream``), so that the objective measures what the layer *adds*.
        """
        output = pool_flat(self.output, size)
        if not (inputs and self.layer.inputs_visible_downstream):
            return output
        return torch.cat([*(pool_flat(tensor, size) for tensor in self.inputs), output], 1)
