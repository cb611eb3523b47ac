"""HSIC with the labels of what a small network of the layer's own makes of its output."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.heads import Reading, classifier, perceptron
from localrules.core.objective import Options
from localrules.kernels.config import KernelConfig, KernelName, gram
from localrules.kernels.labels import LabelKernel
from localrules.kernels.views import center, inner, normalize
from localrules_hsic.reading import label_gram


class ProjectedHSIC(Objective):
    """``sqrt(HSIC(P, P)) - gamma HSIC(P, Y) / sqrt(HSIC(Y, Y))`` with ``P`` a projection of the layer's output.

    The bottleneck asks a layer to lie so that samples of one class are alike *as it stands*. Later layers and the
    readout can rearrange it; so here a small network, which learns with the layer, may do so first. ``HSIC(P, P)``
    stands for the dependence on the input, as in pHSIC. In a densely connected block the projection sees what the layer
    read, too: the layer then learns what is missing there, not what its inputs know already. With ``channels`` the
    projection also sees what a convolution of its own finds in the maps.

    What differs from Li et al.: labels in the place of views of one picture, a cosine kernel, the weight on the other
    term, and every layer with an objective of its own.

    References:
        Li et al. 2021, Self-supervised learning with kernel dependence maximization, https://arxiv.org/abs/2106.08320
        (SSL-HSIC); the HSIC bottleneck: Ma, Lewis & Kleijn 2020, https://arxiv.org/abs/1908.01580.
    """

    class Config(Options):
        """Options of rule hsic-projected."""

        gamma: float = Field(2.0, gt=0, description="Weight of HSIC(P, Y) (ours).")
        projection: int = Field(64, ge=1, description="Features of the projection (ours).")
        hidden: int = Field(
            128,
            ge=0,
            description="Units of a hidden layer, with batch norm and relu, in the projection; 0: none (ours).",
        )
        inputs: bool = Field(
            True, description="Project what the layer read, too, where all of its readers read that beside it (ours)."
        )
        channels: int = Field(
            0,
            ge=0,
            description="Channels of a 3 x 3 convolution that it also reads, of fine maps; 0: none (ours).",
        )
        ce: float = Field(
            0.0, ge=0, description="Weight of the cross-entropy of a classifier beside the projection; 0: none (ours)."
        )
        kernel: KernelName = Field(
            "cosine", description="Kernel of the projection, less its batch mean if cosine (ours)."
        )
        kernel_y: LabelKernel = Field("delta", description="Kernel of the labels (ours).")
        grid: int = Field(
            4, ge=1, description="Maps are averaged over such a raster where the model names none (ours)."
        )

    formula: ClassVar[str] = "sqrt(HSIC(P, P)) - gamma HSIC(P, Y) / sqrt(HSIC(Y, Y)), P a learned projection of Z"
    requires: ClassVar[Requirements] = Requirements(min_batch=2, global_batch=True, auxiliary=True)

    config: ProjectedHSIC.Config

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """What is read of the layer, its projection, and the classifier if there is one."""
        config = self.config
        reading = Reading(layer, config.grid, inputs=config.inputs, channels=config.channels)
        projection = perceptron(reading.features, config.hidden, config.projection, 2 if config.hidden else 1)
        made = nn.ModuleDict({"reading": reading, "projection": projection})
        if config.ce:
            made["classifier"] = classifier(reading.features, config.hidden, num_classes)
        return made

    def loss(self, view: LayerView) -> dict[str, Tensor]:
        """The layer's objective: scalars, to be added."""
        assert isinstance(view.auxiliary, nn.ModuleDict)
        features = view.auxiliary["reading"](view)
        parts = {"hsic": self._dependence(view.auxiliary["projection"](features).float(), view)}
        if self.config.ce:
            logits = view.auxiliary["classifier"](features).float()
            parts["ce"] = self.config.ce * functional.cross_entropy(logits, view.labels)
        return parts

    def _dependence(self, projected: Tensor, view: LayerView) -> Tensor:
        k = center(gram(projected, KernelConfig(self.config.kernel, centered=True)))
        labels = view.batch.shared(
            ("normalised labels", self.config.kernel_y), lambda: normalize(label_gram(view, self.config.kernel_y))
        )
        # A root has no slope at 0, where a batch that is all alike puts it.
        spread = inner(k, k).clamp_min(1e-12).sqrt()
        return (spread - self.config.gamma * inner(k, labels)) / (k.shape[0] - 1)
