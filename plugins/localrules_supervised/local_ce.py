"""Each layer has a classifier of its own."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.nn.heads import FeatureReader, zero_init_classifier
from localrules.core.objective import RuleConfig


class LocalCrossEntropy(Objective):
    """Cross-entropy of a classifier on each layer's pooled output; the classifier learns with the layer.

    The classifier is linear. With ``hidden`` it has a hidden layer (ours), and with ``inputs`` it sees, in a densely
    connected block, what the layer read as well (ours): then the layer learns what is still missing there. With
    ``channels`` it also sees what a convolution of its own finds in the maps (ours). With ``vote`` the classifiers are
    not thrown away in the end: they have half of the network's answer (ours).

    References:
        Belilovsky et al. 2019, Greedy layerwise learning can scale to ImageNet, https://arxiv.org/abs/1812.11446,
        with all layers trained together; the loss "pred" of Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656.
    """

    class Config(RuleConfig):
        """Options of rule local-ce."""

        grid: int = Field(
            4, ge=1, description="Maps are averaged over such a raster where the model names none (ours)."
        )

        hidden: int = Field(
            0, ge=0, description="Units of a hidden layer, with batch norm and relu, in the classifier; 0: none (ours)."
        )
        inputs: bool = Field(
            False,
            description="Classify by what the layer read, too, where all of its readers read that beside it (ours).",
        )
        channels: int = Field(
            0,
            ge=0,
            description="Channels of a 3 x 3 convolution that it also reads, of fine maps; 0: none (ours).",
        )
        vote: bool = Field(False, description="The classifiers vote with the readout (ours).")

    formula: ClassVar[str] = (
        "CE(c(p(Z)), Y), c a classifier of the layer's own, linear by default, p averages over a raster"
    )
    requires: ClassVar[Requirements] = Requirements(auxiliary=True)

    config: LocalCrossEntropy.Config

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """What is read of the layer, and the classifier; that starts without an opinion."""
        config = self.config
        reading = FeatureReader(layer, config.grid, inputs=config.inputs, channels=config.channels)
        return nn.Sequential(reading, zero_init_classifier(reading.features, config.hidden, num_classes))

    def loss(self, view: LayerView) -> Tensor:
        """The classifier's cross-entropy, a scalar."""
        return functional.cross_entropy(_logits(view), view.labels)

    def vote(self, view: LayerView) -> Tensor | None:
        """The classifier's logits, (batch, classes), if layers vote."""
        return _logits(view) if self.config.vote else None


def _logits(view: LayerView) -> Tensor:
    assert view.auxiliary is not None
    logits: Tensor = view.auxiliary(view)
    return logits.float()
