"""All that a local rule may see of one layer in one step."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn

from localrules.core.layer import Layer
from localrules.core.nn.pooling import pool_flat
from localrules.core.ops import Operation


@dataclass
class Batch:
    """What is the same for every layer of a step, computed once: Gram matrices of the input, of the labels.

    Attributes:
        images: The network's input, shape (batch, channels, height, width) or (batch, features).
        labels: int64, shape (batch,).
        num_classes: How many labels there are.
    """

    images: Tensor
    labels: Tensor
    num_classes: int
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    _lock: RLock = field(default_factory=RLock, repr=False)  # layers may learn on several threads

    def cached(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """``compute()``, without gradient and once a step, whoever asks first."""
        with self._lock:
            if key not in self._cache:
                with torch.no_grad():
                    self._cache[key] = compute()
            return self._cache[key]


@dataclass
class LayerView:
    """What a layer can see of itself and the batch. What is not here cannot be used by accident.

    Attributes:
        layer: Its place: name, index, depth, shapes.
        inputs: What it read, detached. Shapes (batch, ...).
        output: What it computed, with the graph of this layer alone. Shape (batch, ...).
        batch: The network's input, the labels, and statistics shared by all layers of the step.
        auxiliary: The module that the objective asked for at this layer, if it did.
        operations: The weight-bearing operations that ran inside the layer, in order, if the objective requires them; a
            layer with several ends shows them on the view of its first.
    """

    layer: Layer
    inputs: tuple[Tensor, ...]
    output: Tensor
    batch: Batch
    auxiliary: nn.Module | None = None
    operations: list[Operation] = field(default_factory=list)
    noted: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def labels(self) -> Tensor:
        """int64, shape (batch,)."""
        return self.batch.labels

    @property
    def images(self) -> Tensor:
        """The network's input."""
        return self.batch.images

    @property
    def num_classes(self) -> int:
        """How many labels there are."""
        return self.batch.num_classes

    def note(self, name: str, value: Tensor | float) -> None:
        """Keep a figure of this layer for the run's metrics; the objective declares the name in ``metrics``."""
        self.noted[name] = torch.as_tensor(value).detach()

    def pooled(self, grid: int | None, *, inputs: bool = False) -> Tensor:
        """The output averaged over a ``grid`` x ``grid`` raster and flattened, shape (batch, channels * grid * grid).

        Maps that are no larger than the raster, outputs that are no maps, and ``grid=None`` are only flattened.

        Args:
            grid: See above.
            inputs: Put what the layer read before it, averaged alike, where the layer is ``inputs_visible_downstream`` by that: so
                that its objective asks what it *adds*.
        """
        output = pool_flat(self.output, grid)
        if not (inputs and self.layer.inputs_visible_downstream):
            return output
        return torch.cat([*(pool_flat(tensor, grid) for tensor in self.inputs), output], 1)
