"""Cross-entropy of a classifier on each layer."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
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
    SearchChoice,
    zero_init_classifier,
)
from localrules.kernels.checks import require_batch
from localrules.utils.torch_utils import at_least_float32


class LocalCrossEntropy(LayerVoting, Objective):
    """Cross-entropy of a classifier on each layer's pooled output; the classifier is trained with the layer.

    The classifier is linear. With ``hidden`` it has a hidden layer (ours). With ``inputs`` it also reads, in a densely
    connected block, what the layer read (ours), so that the layer learns what is still missing there. With
    ``channels`` it also reads the output of a convolution of its own (ours). With ``vote`` the classifiers also
    predict: they have half of the weight beside the readout (ours).

    References:
        Belilovsky et al. 2019, Greedy layerwise learning can scale to ImageNet, https://arxiv.org/abs/1812.11446,
        with all layers trained together; the loss "pred" of Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656.
    """

    class Config(RuleConfig):
        """Options of rule local-ce."""

        grid: int = Field(
            4,
            ge=1,
            description="Positions per side to which feature maps are averaged, unless the model sets it (ours).",
        )

        hidden: int = Field(
            0, ge=0, description="Units of a hidden layer, with batch norm and ReLU, in the classifier; 0: none (ours)."
        )
        inputs: bool = Field(
            False,
            description="Also classify by the layer's inputs, where all readers of its output read these too (ours).",
        )
        channels: int = Field(
            0,
            ge=0,
            description="Channels of a 3 x 3 convolution on fine feature maps that the classifier also reads; 0: none "
            "(ours).",
        )
        vote: bool = Field(False, description="Whether the classifiers vote with the readout in prediction (ours).")

    info = RuleInfo(
        search_space={"hidden": SearchChoice((0, 64, 256))},
        formula="CE(c(p(Z)), Y), c a classifier of the layer's own, linear by default, p averages over a grid",
        requires=Requirements(targets="weighted"),
        autocast=True,
    )

    config: LocalCrossEntropy.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.reader = FeatureReader(layer, config.grid, inputs=config.inputs, channels=config.channels)
        self.classifier = zero_init_classifier(self.reader.features, config.hidden, num_classes)

    def forward(self, view: LayerView) -> Tensor:
        """The classifier's cross-entropy, a scalar."""
        if self.config.hidden:
            require_batch(len(view.targets), "a batch norm in local-ce's classifier")
        return functional.cross_entropy(self._logits(view), view.targets)

    @property
    def is_voting(self) -> bool:
        """With ``vote``."""
        return self.config.vote

    def layer_logits(self, view: LayerView) -> Tensor | None:
        """The classifier's logits, shape (batch, classes), with ``vote``."""
        return self._logits(view) if self.config.vote else None

    def _logits(self, view: LayerView) -> Tensor:
        logits: Tensor = self.classifier(self.reader(view))
        return at_least_float32(logits)
