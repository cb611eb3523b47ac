"""Labels pass through the network as images; each layer moves an image's output towards its label's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from localrules import (
    Batch,
    CustomPrediction,
    ExtractViews,
    InputTransform,
    Layer,
    LayerView,
    Objective,
    Requirements,
    RuleConfig,
    RuleInfo,
    SearchRange,
)
from localrules.core.layer import require_sample_shape
from localrules.kernels.checks import no_autocast
from localrules.utils.torch_utils import at_least_float32


class SigProp(InputTransform, CustomPrediction, Objective):
    """Signal propagation: images ``x_i`` and one target image ``t_c`` per class go through the same layers.

    With ``h_i`` and ``s_c`` the layer's outputs for them, and ``a_ic`` their similarity, each layer minimises
    ``mean_i(log sum_c n_c exp(a_ic) - a_iy)``, where ``n_c`` is the number of samples of class c in the batch. This is
    the loss v14 of the authors' code, which compares all images of a batch with all targets of a batch: targets of one
    class are equal, so each is computed once here. Its v9 is the same with each sample's term times ``n_y``. The
    prediction is the class whose target is the most similar.

    What differs: the paper learns the projection from labels to targets, and its targets join after the first layer;
    ours are fixed, random images. The authors' code trains the last layer as a classifier and predicts with it; here
    the readout is not trained. Similarity is a cosine by default (ours). Where a layer has batch norm, images and
    targets share its statistics.

    References:
        Kohan, Rietman & Siegelmann 2022, Signal propagation, https://arxiv.org/abs/2204.01723;
        https://github.com/amassivek/signalpropagation.
    """

    class Config(RuleConfig):
        """Options of rule sigprop."""

        similarity: Literal["cosine", "dot"] = Field(
            "cosine",
            description="Similarity of an image and a target: cosine (ours) or dot product (the paper's code).",
        )
        temperature: float = Field(0.1, gt=0, description="Similarities are divided by it (ours; the paper's code: 1).")
        balanced: bool = Field(
            False,
            description="Count every class once, present or not (ours), not as often as in the batch (the paper's "
            "code).",
        )
        answer: Literal["last", "all"] = Field(
            "last", description="Prediction by the last hidden layer or by all, summed (both ours)."
        )

    info = RuleInfo(
        search_space={"temperature": SearchRange(0.03, 1, log=True)},
        formula="CE(cos(z, z_c) / t, Y), z_c the layer's output for class c's own target image",
        # The samples of a batch are told from each other: one has nothing to be told from.
        requires=Requirements(min_batch=2, float_inputs=True, targets="probabilities", global_batch=True),
        presets={"paper": {"similarity": "dot", "temperature": 1.0}},
        trains_readout=False,
        autocast=True,
    )

    config: SigProp.Config
    targets: Tensor

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        if layer.peer_index == 0:  # the layer that makes the network's inputs
            # One image per class: noise, standardised like the images.
            self.register_buffer("targets", torch.randn(num_classes, *layer.sample_shape))

    def make_inputs(self, batch: Batch) -> Tensor:
        """The batch's images, then the classes' targets."""
        return self._with_targets(batch.images)

    def forward(self, view: LayerView) -> Tensor:
        """The cross-entropy of each image's similarities to the targets, a scalar."""
        similarities = self._similarities(view.output)
        targets = view.batch.class_targets(similarities.dtype)
        own = (similarities * targets).sum(1)
        if not self.config.balanced:  # an absent class counts as minus infinity
            similarities = similarities + targets.sum(0).log()
        return (similarities.logsumexp(1) - own).mean()

    @classmethod
    def predict(cls, objectives: Sequence[SigProp], extract_views: ExtractViews, images: Tensor) -> Tensor:
        """Similarities to the classes' targets, shape (batch, classes)."""
        first = objectives[0]
        views = extract_views(first._with_targets(images))
        pairs = list(zip(objectives, views, strict=True))
        used = pairs[-1:] if first.config.answer == "last" else pairs
        return torch.stack([objective._similarities(view.output) for objective, view in used]).sum(0)

    def _similarities(self, output: Tensor) -> Tensor:
        """Of each image's output with each target's, over units and positions, shape (images, classes)."""
        features = at_least_float32(output).flatten(1)
        if self.config.similarity == "cosine":
            features = functional.normalize(features)
        else:
            features = features / output[0, 0].numel() ** 0.5  # a mean over positions, as in the authors' code
        images, targets = features[: -self.num_classes], features[-self.num_classes :]
        with no_autocast(features):  # a rounded similarity is far off once the loss is small
            return images @ targets.T / self.config.temperature

    def _with_targets(self, images: Tensor) -> Tensor:
        require_sample_shape("sigprop", self.layer, images)
        return torch.cat([images, self.targets.to(images)])
