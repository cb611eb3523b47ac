"""HSIC with the labels of what a small network of the layer's own makes of its output."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.nn.heads import FeatureReader, mlp, zero_init_classifier
from localrules.core.objective import RuleConfig
from localrules.kernels.config import KernelConfig, KernelName, gram
from localrules.kernels.labels import LabelKernel, labels_gram
from localrules.kernels.normalization import center, frobenius_inner


class ProjectedHSIC(Objective):
    """``HSIC(P, P) - gamma HSIC(P, Y)`` with ``P`` a projection of the layer's output.

    The bottleneck asks a layer to lie so that samples of one class are alike *as it stands*. Later layers and the
    readout can rearrange it; so here a small network, which learns with the layer, may do so first. ``HSIC(P, P)``
    stands for the dependence on the input, as in pHSIC. With ``gamma`` 2 the two terms are, but for a constant, the
    squared distance of the centred Gram matrices of ``P`` and of the labels: pairs that are right already pull no more.

    Proxies, learned points of each class, stand beside the batch in both Gram matrices. In a densely connected block
    the projection sees what the layer read, too: the layer then learns what is missing there, not what its inputs know
    already. With ``channels`` the projection also sees what a convolution of its own finds in the maps.

    References:
        The HSIC bottleneck: Ma, Lewis & Kleijn 2020, https://arxiv.org/abs/1908.01580; a projection, and the spread
        in place of the input: Li et al. 2021, Self-supervised learning with kernel dependence maximization,
        https://arxiv.org/abs/2106.08320 (SSL-HSIC), where views of one picture stand for labels; proxies:
        Movshovitz-Attias et al. 2017, https://arxiv.org/abs/1703.07464, of a loss that is no HSIC.
    """

    class Config(RuleConfig):
        """Options of rule hsic-projected."""

        gamma: float = Field(2.0, gt=0, description="Weight of HSIC(P, Y) (ours).")
        projection: int = Field(64, ge=1, description="Features of the projection (ours).")
        hidden: int = Field(
            128,
            ge=0,
            description="Units of a hidden layer, with batch norm and relu, in the projection; 0: none (ours).",
        )
        proxies: int = Field(
            8, ge=0, description="Learned points of each class beside the batch; 0: the batch alone (ours)."
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
        vote: bool = Field(
            False,
            description="Layers vote with the readout: by that classifier; without ce by one of the projection, of "
            "which the layer feels nothing (ours).",
        )
        kernel: KernelName = Field(
            "cosine", description="Kernel of the projection, less its batch mean if cosine (ours)."
        )
        kernel_y: LabelKernel = Field("delta", description="Kernel of the labels (ours).")
        grid: int = Field(
            4, ge=1, description="Maps are averaged over such a raster where the model names none (ours)."
        )

    formula: ClassVar[str] = (
        "HSIC(P, P) - gamma HSIC(P, Y), P a learned projection of Z, beside learned proxies of the classes"
    )
    requires: ClassVar[Requirements] = Requirements(min_batch=2, global_batch=True, auxiliary=True)

    config: ProjectedHSIC.Config

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """What is read of the layer, its projection, and the proxies and the classifier if there are any."""
        config = self.config
        reading = FeatureReader(layer, config.grid, inputs=config.inputs, channels=config.channels)
        projection = mlp(reading.features, config.hidden, config.projection, 2 if config.hidden else 1)
        made = nn.ModuleDict({"reading": reading, "projection": projection})
        if config.proxies:
            made["proxies"] = Proxies(num_classes, config.proxies, config.projection)
        if config.ce:
            made["classifier"] = zero_init_classifier(reading.features, config.hidden, num_classes)
        elif config.vote:
            made["classifier"] = zero_init_classifier(config.projection, config.hidden, num_classes)
        return made

    def loss(self, view: LayerView) -> dict[str, Tensor]:
        """The layer's objective: scalars, to be added."""
        features, projected = self._projected(view)
        parts = {"hsic": self._dependence(projected.float(), view)}
        if self.config.ce:
            parts["ce"] = self.config.ce * functional.cross_entropy(self._classified(features, view), view.labels)
        elif self.config.vote:
            loss = functional.cross_entropy(self._classified(projected.detach(), view), view.labels)
            parts["vote"] = loss - loss.detach()  # for its classifier alone: the layer's objective is as it was
        return parts

    def vote(self, view: LayerView) -> Tensor | None:
        """The logits of the layer's classifier, (batch, classes), if layers vote."""
        if not self.config.vote:
            return None
        features, projected = self._projected(view)
        return self._classified(features if self.config.ce else projected, view)

    def _projected(self, view: LayerView) -> tuple[Tensor, Tensor]:
        """What is read of the layer, and what the projection makes of it."""
        assert isinstance(view.auxiliary, nn.ModuleDict)
        features = view.auxiliary["reading"](view)
        return features, view.auxiliary["projection"](features)

    def _classified(self, features: Tensor, view: LayerView) -> Tensor:
        assert isinstance(view.auxiliary, nn.ModuleDict)
        logits: Tensor = view.auxiliary["classifier"](features)
        return logits.float()

    def _dependence(self, projected: Tensor, view: LayerView) -> Tensor:
        assert isinstance(view.auxiliary, nn.ModuleDict)
        labels, kind = view.labels, self.config.kernel_y
        if self.config.proxies:
            projected, labels = view.auxiliary["proxies"](projected, labels)
        k = center(gram(projected, KernelConfig(self.config.kernel, centered=True)))
        y = view.batch.cached(
            ("labels beside proxies", kind, self.config.proxies), lambda: labels_gram(labels, view.num_classes, kind)
        )
        return frobenius_inner(k, k - self.config.gamma * y) / (k.shape[0] - 1) ** 2


class Proxies(nn.Module):
    """Points of known classes that learn where their class is projected to.

    Beside a batch they say where its classes lay in the batches before: a few dozen samples alone know that badly.

    Args:
        classes: How many labels there are.
        each: Points of each class.
        features: Of a projected sample.

    Attributes:
        labels: Shape (classes * each,), integers.
        points: Shape (classes * each, features).
    """

    labels: Tensor

    def __init__(self, classes: int, each: int, features: int) -> None:
        super().__init__()
        self.register_buffer("labels", torch.arange(classes).repeat(each), persistent=False)
        self.points = nn.Parameter(torch.randn(classes * each, features))

    def forward(self, projected: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A projected batch, (batch, features), with its labels, and the points behind it with theirs."""
        return torch.cat([projected, self.points]), torch.cat([labels, self.labels])
