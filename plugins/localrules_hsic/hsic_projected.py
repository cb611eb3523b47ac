"""The HSIC bottleneck on a learned projection of each layer's output."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import (
    FeatureReader,
    Layer,
    LayerView,
    LayerVoting,
    Objective,
    Requirements,
    RuleConfig,
    RuleInfo,
    SearchRange,
    zero_init_classifier,
)
from localrules.core.nn.heads import mlp
from localrules.kernels.config import KernelConfig, KernelName, gram
from localrules.kernels.labels import LabelKernel, class_codes, labels_gram
from localrules.kernels.normalization import center, frobenius_inner
from localrules.utils.torch_utils import at_least_float32


class ProjectedHSIC(LayerVoting, Objective):
    """``HSIC(P, P) - gamma HSIC(P, Y)`` with ``P`` a projection of the layer's output.

    The bottleneck makes samples of one class similar in the layer's output *as it stands*. Later layers and the readout
    can rearrange it; so here a small network, trained with the layer, rearranges it first. ``HSIC(P, P)`` takes the
    place of the dependence on the input, as in pHSIC. With ``gamma`` 2 the objective is, up to a constant, the squared
    distance of the centred Gram matrices of ``P`` and of the labels: pairs that are right have no gradient.

    Proxies, learned points of each class, are added to the batch in both Gram matrices. In a densely connected block
    the projection also reads the layer's inputs: the layer then learns what is missing there, not what its inputs have
    already. With ``channels`` the projection also reads the output of a convolution of its own.

    References:
        The HSIC bottleneck: Ma, Lewis & Kleijn 2020, https://arxiv.org/abs/1908.01580; a projection, and the spread
        in place of the input: Li et al. 2021, Self-supervised learning with kernel dependence maximization,
        https://arxiv.org/abs/2106.08320 (SSL-HSIC), where views of one image stand for labels; proxies:
        Movshovitz-Attias et al. 2017, https://arxiv.org/abs/1703.07464, for a loss that is not HSIC.
    """

    class Config(RuleConfig):
        """Options of rule hsic-projected."""

        gamma: float = Field(2.0, gt=0, description="Weight of HSIC(P, Y) (ours).")
        projection: int = Field(64, ge=1, description="Features of the projection (ours).")
        hidden: int = Field(
            128,
            ge=0,
            description="Units of a hidden layer, with batch norm and ReLU, in the projection; 0: none (ours).",
        )
        proxies: int = Field(
            8, ge=0, description="Learned points of each class added to the batch; 0: the batch alone (ours)."
        )
        inputs: bool = Field(
            True, description="Also project the layer's inputs, where all readers of its output read these too (ours)."
        )
        channels: int = Field(
            0,
            ge=0,
            description="Channels of a 3 x 3 convolution on fine feature maps that the projection also reads; 0: none "
            "(ours).",
        )
        ce: float = Field(
            0.0, ge=0, description="Weight of the cross-entropy of a classifier beside the projection; 0: none (ours)."
        )
        vote: bool = Field(
            False,
            description="Whether layers vote with the readout in prediction: by that classifier; without ce by a "
            "classifier of the projection, whose loss does not reach the layer (ours).",
        )
        kernel: KernelName = Field(
            "cosine", description="Kernel of the projection, less its batch mean if cosine (ours)."
        )
        kernel_y: LabelKernel = Field("delta", description="Kernel of the labels (ours).")
        grid: int = Field(
            4,
            ge=1,
            description="Positions per side to which feature maps are averaged, unless the model sets it (ours).",
        )

    info = RuleInfo(
        search_space={"gamma": SearchRange(0.5, 8, log=True)},
        formula="HSIC(P, P) - gamma HSIC(P, Y), P a learned projection of Z, beside learned proxies of the classes",
        requires=Requirements(min_batch=2, targets="probabilities", global_batch=True),
        autocast=True,
    )

    config: ProjectedHSIC.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.reader = FeatureReader(layer, config.grid, inputs=config.inputs, channels=config.channels)
        self.projection = mlp(self.reader.features, config.hidden, config.projection, 2 if config.hidden else 1)
        if config.proxies:
            self.proxies = Proxies(num_classes, config.proxies, config.projection)
        if config.ce:
            self.classifier = zero_init_classifier(self.reader.features, config.hidden, num_classes)
        elif config.vote:
            self.classifier = zero_init_classifier(config.projection, config.hidden, num_classes)

    def forward(self, view: LayerView) -> dict[str, Tensor]:
        """The objective's parts, scalars."""
        features = self.reader(view)
        projected = self.projection(features)
        parts = {"hsic": self._dependence(at_least_float32(projected), view)}
        if self.config.ce:
            parts["ce"] = self.config.ce * functional.cross_entropy(self._classify(features), view.targets)
        elif self.config.vote:
            loss = functional.cross_entropy(self._classify(projected.detach()), view.targets)
            parts["vote"] = loss - loss.detach()  # trains the classifier alone: the layer's objective is unchanged
        return parts

    @property
    def is_voting(self) -> bool:
        """With ``vote``."""
        return self.config.vote

    def layer_logits(self, view: LayerView) -> Tensor | None:
        """The logits of the layer's classifier, shape (batch, classes), with ``vote``."""
        if not self.config.vote:
            return None
        features = self.reader(view)
        return self._classify(features if self.config.ce else self.projection(features))

    def _classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(features)
        return at_least_float32(logits)

    def _dependence(self, projected: Tensor, view: LayerView) -> Tensor:
        targets, kind = view.targets, self.config.kernel_y
        if self.config.proxies:
            projected, targets = self.proxies(projected, targets)
        k = center(gram(projected, KernelConfig(self.config.kernel, centered=True)))
        y = view.batch.cached(
            ("labels beside proxies", kind, self.config.proxies), lambda: labels_gram(targets, view.num_classes, kind)
        )
        return frobenius_inner(k, k - self.config.gamma * y) / (k.shape[0] - 1) ** 2


class Proxies(nn.Module):
    """Learned points of known classes in the space of the projection.

    They keep where the classes lay in earlier batches, which a batch of a few dozen samples shows badly.

    Args:
        classes: Number of classes.
        each: Points of each class.
        features: Features of a projected sample.

    Attributes:
        labels: int64, shape (classes * each,).
        points: Shape (classes * each, features).
    """

    labels: Tensor

    def __init__(self, classes: int, each: int, features: int) -> None:
        super().__init__()
        self.register_buffer("labels", torch.arange(classes).repeat(each), persistent=False)
        self.points = nn.Parameter(torch.randn(classes * each, features))

    def forward(self, projected: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """A projected batch, shape (batch, features), and its targets, each with those of the points appended."""
        own = self.labels
        if targets.is_floating_point():
            own = class_codes(own, targets.shape[1], targets.dtype)
        return torch.cat([projected, self.points]), torch.cat([targets, own])
