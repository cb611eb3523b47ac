"""One part of a layer's map tells which picture the part below it belongs to."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements, RuleConfig, RuleInfo, UsageError
from localrules.core.nn.pooling import pool
from localrules.kernels.checks import full_precision


class GreedyInfoMax(Objective):
    """InfoNCE between positions of a layer's map: from row ``i``, what stands in row ``i + skip + k`` below it.

    The map is averaged over a raster of cells, ``z(r, c)``. For each distance ``k`` of several, a matrix ``W_k`` that
    learns with the layer scores pairs, ``f_k = z(r + skip + k, c)' W_k z(r, c)``, and the layer minimises
    ``-log(exp f_k(own) / sum exp f_k(candidate))`` over candidates among which one is its own; averaged over positions
    and distances.

    Candidates (ours) are the cells of all pictures of the batch at that place: padding tells a convolution where it is,
    and a layer could tell cells of other places apart by that alone. ``negatives=drawn`` draws them from all places and
    pictures, as the paper does.

    What differs: the paper cuts pictures into overlapping patches and encodes each by itself, so that what two cells
    share is more than pixels; here cells are parts of one map, and in deep layers they have seen many of the same
    pixels. A layer is one convolution, where the paper's modules are stacks of residual blocks.

    References:
        Löwe, O'Connor & Veeling 2019, Putting an end to end-to-end: gradient-isolated learning of representations,
        https://arxiv.org/abs/1905.11786; InfoNCE: van den Oord, Li & Vinyals 2018, https://arxiv.org/abs/1807.03748.
    """

    class Config(RuleConfig):
        """Options of rule greedy-infomax."""

        raster: int = Field(6, ge=2, description="Cells a side that a larger map is averaged over (ours; paper: 7).")
        distances: int = Field(
            3, ge=1, description="So many rows below are predicted, where the map has them (ours; paper: 5)."
        )
        skip: int = Field(1, ge=0, description="Rows left out in between, where the map has them (the paper's).")
        negatives: Literal["pictures", "drawn"] = Field(
            "pictures",
            description="Wrong candidates: the other pictures' cells at that place (ours), or drawn (paper).",
        )
        draws: int = Field(16, ge=1, description="Wrong candidates for each cell, if they are drawn (the paper's).")

    info = RuleInfo(
        formula="-log softmax over pictures of z_below' W_k z, for the same picture k rows below",
        locality="local",
        requires=Requirements(min_batch=2, spatial_outputs=True),
        presets={"paper": {"raster": 7, "distances": 5, "negatives": "drawn"}},
        run_defaults={"optimizer": {"lr": 0.01}},
    )

    config: GreedyInfoMax.Config

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """A matrix for each distance, as a convolution of 1 x 1 for all of them."""
        channels, height, width = layer.out_shape
        rows = min(height, self.config.raster)
        if rows < 2:
            raise UsageError(
                f"rule 'greedy-infomax' cannot train layer {layer.name!r}",
                where=f"layer {layer.name!r} gives maps of {height} x {width}",
                why="it predicts rows of a map from the rows above them, and one row has none below",
                fix="choose a model whose maps stay larger, or another rule for this layer: --rule 'NAME=RULE,*=...'",
            )
        return nn.Conv2d(channels, channels * self._distances(rows), 1, bias=False)

    def loss(self, view: LayerView) -> Tensor:
        """The mean InfoNCE, a scalar; without knowledge it is the logarithm of the number of candidates."""
        assert isinstance(view.auxiliary, nn.Conv2d)
        return self._contrast(view.output, view.auxiliary.weight)

    @full_precision
    def _contrast(self, maps: Tensor, weight: Tensor) -> Tensor:
        cells = _cells(maps, self.config.raster).permute(2, 3, 0, 1)  # (rows, columns, batch, channels)
        rows, channels = cells.shape[0], cells.shape[3]
        nearest = self._skip(rows) + 1
        losses = []
        for distance, matrix in enumerate(weight.view(-1, channels, channels), start=nearest):
            predicted = (cells[:-distance] @ matrix.T).flatten(0, 1)
            losses.append(self._info_nce(predicted, cells[distance:].flatten(0, 1)))
        return torch.stack(losses).mean()

    def _info_nce(self, predicted: Tensor, found: Tensor) -> Tensor:
        """Of predictions and what was found, both (places, batch, channels); the same index is the own candidate."""
        if self.config.negatives == "pictures":
            scores = (predicted @ found.mT).flatten(0, 1)
            own = torch.arange(found.shape[1], device=found.device).repeat(len(found))
            return functional.cross_entropy(scores, own)
        predicted, found = predicted.flatten(0, 1), found.flatten(0, 1)
        drawn = torch.randint(len(found), (len(found), self.config.draws), device=found.device)
        candidates = torch.cat([found[:, None], found[drawn]], 1)
        scores = (candidates @ predicted[:, :, None]).squeeze(2)
        return functional.cross_entropy(scores, torch.zeros_like(drawn[:, 0]))

    def _skip(self, rows: int) -> int:
        return min(self.config.skip, rows - 2)

    def _distances(self, rows: int) -> int:
        return min(self.config.distances, rows - 1 - self._skip(rows))


def _cells(maps: Tensor, raster: int) -> Tensor:
    """Means over a raster; a side that has fewer pixels keeps them."""
    height, width = maps.shape[2:]
    if min(height, width) >= raster:
        return pool(maps, raster)
    return functional.adaptive_avg_pool2d(maps, (min(height, raster), min(width, raster)))
