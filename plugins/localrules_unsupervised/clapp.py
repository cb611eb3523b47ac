"""CLAPP: two views of an image predict each other in every layer, and views of other images do not."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from localrules import (
    Batch,
    InputTransform,
    Layer,
    LayerView,
    Objective,
    Requirements,
    RuleConfig,
    RuleInfo,
    SearchRange,
)
from localrules.core.nn.pooling import pool_flat
from localrules_unsupervised.pairing import other_samples


class CLAPP(InputTransform, Objective):
    """``max(0, 1 - z_pos' B c) + max(0, 1 + z_neg' B c)``: contrastive, local and predictive plasticity.

    The network sees each image twice, as it is and shifted with noise. In every layer ``c`` are the features of the
    first view, ``z_pos`` those of the image's other view, ``z_neg`` those of another image's, and ``B`` is learned
    with the layer. The layer minimises the mean over the batch of both hinges: its update is a product of what one
    unit reads, what it gives, the prediction ``B c``, and one number for each sample that says whether it was right.
    No labels; the readout learns from them on the first view.

    Features are averages of feature maps over all positions, or over a grid of patches (CLAPP++): then ``B`` predicts
    patches from patches.

    What differs: it is the form that the paper calls CLAPP-s (both hinges for each sample, one matrix in both
    directions); views are of the whole image, where those of CLAPP's paper are parts of it, one below the other (as in
    ``greedy-infomax``); one negative for each sample, of the same batch; both views learn, and all layers at once. The
    feedback of CLAPP++, where ``c`` is that of the top layer, is left out: it would be of another class.

    References:
        Illing, Ventura, Bellec & Gerstner 2021, Local plasticity rules can learn deep representations using
        self-supervised contrastive predictions, https://arxiv.org/abs/2010.08262;
        https://github.com/EPFL-LCN/pub-illing2021-neurips. CLAPP++: https://arxiv.org/abs/2601.21683.
    """

    class Config(RuleConfig):
        """Options of rule clapp."""

        patches: int = Field(
            1,
            ge=1,
            description="Patches per side over which larger feature maps are averaged (CLAPP's paper: 1).",
        )
        shift: float = Field(
            0.125,
            ge=0,
            le=0.5,
            description="Largest shift of the second view, as a fraction of the image's side (ours).",
        )
        noise: float = Field(
            0.25, ge=0, description="Standard deviation of the second view's noise, in stds of the images (ours)."
        )

    info = RuleInfo(
        search_space={"noise": SearchRange(0.1, 1.0, log=True)},
        formula="max(0, 1 - z_pos' B c) + max(0, 1 + z_neg' B c), c and z features of two views, B learned",
        locality="local",
        requires=Requirements(min_batch=2, float_inputs=True, targets="weighted"),
        presets={"clapp++": {"patches": 2}},
        run_defaults={"optimizer": {"lr": 0.006}},
    )

    config: CLAPP.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        features = layer.pooled_features(config.patches)
        self.prediction = nn.Linear(features, features, bias=False)

    def make_inputs(self, batch: Batch) -> Tensor:
        """The images, then each of them shifted and with noise."""
        images = batch.images
        other = _shift(images, self.config.shift) if self.config.shift and images.dim() == 4 else images
        return torch.cat([images, other + self.config.noise * torch.randn_like(other)])

    def forward(self, view: LayerView) -> dict[str, Tensor]:
        """The mean hinge of an image's other view, and that of another image's."""
        first, second = pool_flat(view.output, self.config.patches).tensor_split(2)
        predicted = self.prediction(first)
        others = other_samples(len(second), second.device)
        right = (predicted * second).sum(1)
        wrong = (predicted * second[others]).sum(1)
        self.log("right", (right > 0).to(right.dtype).mean())
        return {"positive": (1 - right).relu().mean(), "negative": (1 + wrong).relu().mean()}


def _shift(images: Tensor, fraction: float) -> Tensor:
    """Each image moved by its own random number of pixels; pixels of its edges fill what is uncovered."""
    samples, _, height, width = images.shape

    def places(side: int) -> Tensor:
        most: Any = round(fraction * side)
        moves = torch.randint(-most, most + 1, (samples, 1), device=images.device)
        return (torch.arange(side, device=images.device) + moves).clamp(0, side - 1)

    which = torch.arange(samples, device=images.device)[:, None, None]
    return images[which, :, places(height)[:, :, None], places(width)[:, None, :]].movedim(-1, 1).contiguous()
