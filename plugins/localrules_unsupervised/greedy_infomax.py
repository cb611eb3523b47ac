"""Greedy InfoMax: one part of a layer's feature map predicts which image the part below it belongs to."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements, RuleConfig, RuleInfo, SearchRange, UsageError
from localrules.core.nn.pooling import pool
from localrules.kernels.checks import full_precision


class GreedyInfoMax(Objective):
    """InfoNCE between positions of a layer's feature map: position (y, x) predicts position (y + skip + k, x).

    The feature map is averaged over a grid of cells, ``z(y, x)``. For each of several distances ``k``, a bilinear form
    ``W_k`` that is trained with the layer scores pairs, ``f_k = z(y + skip + k, x)' W_k z(y, x)``, and the layer
    minimises ``-log(exp f_k(own) / sum exp f_k(candidate))`` over candidates among which one is its own; averaged over
    positions and distances.

    Candidates (ours) are the cells of all images of the batch at that position: padding reveals the position to a
    convolution, and a layer could tell cells of other positions apart by that alone. ``negatives=drawn`` draws them
    from all positions and images, as the paper does.

    Differences: the paper cuts images into overlapping patches and encodes each by itself, so that two cells share more
    than pixels; here cells are parts of one feature map, and in deep layers they depend on many of the same pixels. A
    layer is one convolution, where the paper's modules are stacks of residual blocks.

    References:
        Löwe, O'Connor & Veeling 2019, Putting an end to end-to-end: gradient-isolated learning of representations,
        https://arxiv.org/abs/1905.11786; InfoNCE: van den Oord, Li & Vinyals 2018, https://arxiv.org/abs/1807.03748.
    """

    class Config(RuleConfig):
        """Options of rule greedy-infomax."""

        grid: int = Field(
            6, ge=2, description="Cells per side over which a larger feature map is averaged (ours; paper: 7)."
        )
        distances: int = Field(
            3, ge=1, description="Number of distances, where the feature map has them (ours; paper: 5)."
        )
        skip: int = Field(
            1, ge=0, description="Cells left out in between, where the feature map has them (the paper's)."
        )
        negatives: Literal["images", "drawn"] = Field(
            "images",
            description="Wrong candidates: the other images' cells at that position (ours), or drawn (paper).",
        )
        draws: int = Field(16, ge=1, description="Wrong candidates per cell, if they are drawn (the paper's).")

    info = RuleInfo(
        search_space={"grid": SearchRange(3, 7, integer=True)},
        formula="-log softmax over images of z_below' W_k z, for the same image k cells below",
        locality="local",
        requires=Requirements(min_batch=2, spatial_outputs=True, targets="weighted", global_batch=True),
        presets={"paper": {"grid": 7, "distances": 5, "negatives": "drawn"}},
        run_defaults={"optimizer": {"lr": 0.01}},
    )

    config: GreedyInfoMax.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        channels, height, width = layer.out_shape
        side = min(height, config.grid)
        if side < 2:
            raise UsageError(
                f"rule 'greedy-infomax' cannot train layer {layer.name!r}",
                where=f"layer {layer.name!r}, whose feature maps have {height} x {width} positions",
                why="it predicts a position from the one above it, and there is only one from top to bottom",
                fix="choose a model whose feature maps stay larger, or another rule for this layer: "
                "--rule 'NAME=RULE,*=...'",
            )
        self.bilinear = nn.Conv2d(channels, channels * self._distances(side), 1, bias=False)  # all W_k in one

    def forward(self, view: LayerView) -> Tensor:
        """The mean InfoNCE, a scalar; the logarithm of the number of candidates where all have equal scores."""
        return self._info_nce_loss(view.output, self.bilinear.weight)

    @full_precision
    def _info_nce_loss(self, maps: Tensor, weight: Tensor) -> Tensor:
        cells = pool(maps, self.config.grid).permute(2, 3, 0, 1)  # (height, width, batch, channels)
        height, channels = cells.shape[0], cells.shape[3]
        nearest = self._skip(height) + 1
        losses = []
        for distance, form in enumerate(weight.view(-1, channels, channels), start=nearest):
            predicted = (cells[:-distance] @ form.T).flatten(0, 1)
            losses.append(self._info_nce(predicted, cells[distance:].flatten(0, 1)))
        return torch.stack(losses).mean()

    def _info_nce(self, predicted: Tensor, found: Tensor) -> Tensor:
        """InfoNCE of predictions and cells, both (positions, batch, channels); the same index is the own candidate."""
        if self.config.negatives == "images":
            scores = (predicted @ found.mT).flatten(0, 1)
            own = torch.arange(found.shape[1], device=found.device).repeat(len(found))
            return functional.cross_entropy(scores, own)
        predicted, found = predicted.flatten(0, 1), found.flatten(0, 1)
        drawn = torch.randint(len(found), (len(found), self.config.draws), device=found.device)
        candidates = torch.cat([found[:, None], found[drawn]], 1)
        scores = (candidates @ predicted[:, :, None]).squeeze(2)
        return functional.cross_entropy(scores, torch.zeros_like(drawn[:, 0]))

    def _skip(self, height: int) -> int:
        return min(self.config.skip, height - 2)

    def _distances(self, height: int) -> int:
        return min(self.config.distances, height - 1 - self._skip(height))
