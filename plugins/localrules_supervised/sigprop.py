"""The labels travel through the network as pictures of their own, and each layer brings a picture near its label's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from localrules import Layer, LayerView, Objective
from localrules.core.objective import Look, RuleConfig
from localrules.core.view import Batch
from localrules.errors import UsageError


class SigProp(Objective):
    """Signal propagation: pictures ``x_i`` and one target picture ``t_c`` per class go through the same layers.

    With ``h_i`` and ``s_c`` what a layer gives for them, and ``a_ic`` their similarity, each layer minimises
    ``mean_i(log sum_c n_c exp(a_ic) - a_iy)``, ``n_c`` counting class c in the batch. That is the losses v9 and v14 of
    the authors' code, which compare all pictures of a batch with all targets of a batch: targets of one class are
    equal, so each is computed once here. A picture is classified by the target that it resembles most.

    What differs: the paper learns the projection from labels to targets, and its targets join after the first layer;
    ours are fixed, random pictures. Similarity is a cosine by default (ours). Where a layer has batch norm, pictures
    and targets share its statistics.

    References:
        Kohan, Rietman & Siegelmann 2022, Signal propagation, https://arxiv.org/abs/2204.01723;
        https://github.com/amassivek/signalpropagation.
    """

    class Config(RuleConfig):
        """Options of rule sigprop."""

        similarity: Literal["cosine", "dot"] = Field(
            "cosine", description="Of a picture and a target: cosine (ours) or dot product (the paper's code)."
        )
        temperature: float = Field(0.1, gt=0, description="Similarities are divided by it (ours; the paper's code: 1).")
        balanced: bool = Field(
            False,
            description="Count every class once, present or not (ours), not as often as in the batch (the paper).",
        )
        answer: Literal["last", "all"] = Field(
            "last", description="Prediction by the last hidden layer (the paper) or by all, summed (ours)."
        )

    trains_readout: ClassVar[bool] = False
    formula: ClassVar[str] = "CE(cos(z, z_c) / t, Y), z_c what the layer makes of class c's own target picture"
    presets: ClassVar[dict[str, dict[str, object]]] = {"paper": {"similarity": "dot", "temperature": 1.0}}

    config: SigProp.Config
    targets: Tensor

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        """Draw a picture for each class: noise, standardised as the data's pictures are."""
        self.register_buffer("targets", torch.randn(num_classes, torch.Size(layers[0].in_shape).numel()))

    def stream(self, batch: Batch) -> Tensor:
        """The batch's pictures, then the classes' targets."""
        return self._with_targets(batch.images)

    def loss(self, view: LayerView) -> Tensor:
        """How far each picture's own target is from outweighing all others, averaged."""
        similarities = self._similarities(view.output)
        own = similarities.gather(1, view.labels[:, None])[:, 0]
        if not self.config.balanced:  # an absent class counts as minus infinity
            similarities = similarities + torch.bincount(view.labels, minlength=view.num_classes).log()
        return (similarities.logsumexp(1) - own).mean()

    def predict(self, look: Look, images: Tensor, num_classes: int) -> Tensor:
        """Similarities to the classes' targets, shape (batch, classes)."""
        views = look(self._with_targets(images))
        counted = views[-1:] if self.config.answer == "last" else views
        return torch.stack([self._similarities(view.output) for view in counted]).sum(0)

    def _similarities(self, output: Tensor) -> Tensor:
        """Of each picture's rows with each target's, over units and positions, shape (pictures, classes)."""
        features = output.float().flatten(1)
        if self.config.similarity == "cosine":
            features = functional.normalize(features)
        else:
            features = features / output[0, 0].numel() ** 0.5  # a mean over positions, as in the authors' code
        pictures, targets = features[: -len(self.targets)], features[-len(self.targets) :]
        return pictures @ targets.T / self.config.temperature

    def _with_targets(self, images: Tensor) -> Tensor:
        if self.targets.shape[1] != images[0].numel():
            raise UsageError(
                "rule 'sigprop' cannot make targets like these pictures",
                where="the network's first layer",
                why=f"it reads {self.targets.shape[1]} values, and a picture has {images[0].numel()}",
                fix="let the first layer read the whole picture",
            )
        return torch.cat([images, self.targets.view(-1, *images.shape[1:]).to(images)])
