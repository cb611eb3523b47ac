"""Cross-entropy of a linear projection onto the classes, which also gives the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import (
    CustomPrediction,
    ExtractViews,
    Layer,
    LayerView,
    Objective,
    Requirements,
    RuleConfig,
    RuleInfo,
    SearchChoice,
)
from localrules.utils.torch_utils import at_least_float32


class MonoForward(CustomPrediction, Objective):
    """``CE(G, y)`` with ``G = h M^T``: a layer's goodness for each class, by a linear projection without bias.

    The prediction is the goodness summed over layers, or the last layer's. So the readout is not needed; it is trained
    beside the layers as under every rule, and ``answer=readout`` predicts with it instead.

    What differs: feature maps are averaged over a grid before ``M``, which starts at zero; all layers learn together in
    one forward pass.

    References:
        Gong, Li & Abdulla 2025, Mono-Forward, https://arxiv.org/abs/2501.09238.
    """

    class Config(RuleConfig):
        """Options of rule mono-forward."""

        answer: Literal["sum", "last", "readout"] = Field(
            "sum",
            description="What predicts: the goodness summed over layers, the last layer's (both are the paper's), or "
            "the readout (ours).",
        )
        grid: int = Field(
            4,
            ge=1,
            description="Positions per side to which feature maps are averaged, unless the model sets it (ours).",
        )

    info = RuleInfo(
        search_space={"answer": SearchChoice(("sum", "last", "readout"))},
        formula="CE(G, y), G = h M^T; the answer is the sum of G over layers",
        requires=Requirements(targets="weighted"),
        autocast=True,
    )

    config: MonoForward.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.grid = layer.pool_size or config.grid
        self.projection = nn.Linear(layer.pooled_features(self.grid), num_classes, bias=False)
        nn.init.zeros_(self.projection.weight)

    def forward(self, view: LayerView) -> Tensor:
        """The cross-entropy of the layer's goodness, a scalar."""
        return functional.cross_entropy(self._goodness(view), view.targets)

    @classmethod
    def predict(cls, objectives: Sequence[MonoForward], extract_views: ExtractViews, images: Tensor) -> Tensor | None:
        """Goodness for each class, shape (batch, classes); ``None`` with ``answer=readout``."""
        answer = objectives[0].config.answer
        if answer == "readout":
            return None
        pairs = list(zip(objectives, extract_views(images), strict=True))
        used = pairs if answer == "sum" else pairs[-1:]
        return torch.stack([objective._goodness(view) for objective, view in used]).sum(0)

    def _goodness(self, view: LayerView) -> Tensor:
        goodness: Tensor = self.projection(view.pooled(self.grid))
        return at_least_float32(goodness)
