"""Each layer has a linear classifier of its own."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.objective import Options
from localrules.core.pooling import pool_flat


class LocalCrossEntropy(Objective):
    """Cross-entropy of a linear classifier on each layer's pooled output; the classifier learns with the layer.

    References:
        Belilovsky et al. 2019, Greedy layerwise learning can scale to ImageNet, https://arxiv.org/abs/1812.11446,
        with all layers trained together; the loss "pred" of Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656.
    """

    class Config(Options):
        """Options of rule local-ce."""

        grid: int = Field(
            4, ge=1, description="Maps are averaged over such a raster where the model names none (ours)."
        )

    formula: ClassVar[str] = "CE(W p(Z) + b, Y), p: averages over a raster"
    requires: ClassVar[Requirements] = Requirements(auxiliary=True)

    config: LocalCrossEntropy.Config

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """A linear classifier; zero weights, so that it starts without an opinion (as in Nøkland & Eidnes)."""
        features = pool_flat(torch.zeros(1, *layer.out_shape), self._grid(layer)).shape[1]
        classifier = nn.Linear(features, num_classes)
        nn.init.zeros_(classifier.weight)
        nn.init.zeros_(classifier.bias)
        return classifier

    def loss(self, view: LayerView) -> Tensor:
        """The classifier's cross-entropy, a scalar."""
        assert view.auxiliary is not None
        logits = view.auxiliary(view.pooled(self._grid(view.layer)))
        return functional.cross_entropy(logits.float(), view.labels)

    def _grid(self, layer: Layer) -> int:
        return layer.seen_at or self.config.grid
