"""Label prediction by a linear decoder on each layer."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from localrules import (
    Layer,
    LayerView,
    Objective,
    Requirements,
    RuleConfig,
    RuleInfo,
    SearchChoice,
    zero_init_classifier,
)
from localrules.utils.torch_utils import at_least_float32
from localrules_supervised.heads import halved_grid


class Pred(Objective):
    """``CE(decoder(h), y)``: the prediction loss of Nøkland & Eidnes.

    It is ``local-ce`` with the paper's decoder, which reads feature maps as finely as its size allows, whatever the
    layer's readers see.

    What differs: dropout is the model's option here; the decoder's input is averaged over a square grid.

    References:
        Nøkland & Eidnes 2019, Training neural networks with local error signals, https://arxiv.org/abs/1901.06656;
        https://github.com/anokland/local-loss.
    """

    class Config(RuleConfig):
        """Options of rule pred."""

        features: int = Field(
            2048,
            ge=1,
            description="Largest number of features that the decoder reads of a feature map, which is averaged until "
            "it has no more (the paper's: 1024 to 4096).",
        )

    info = RuleInfo(
        search_space={"features": SearchChoice((512, 2048, 4096))},
        formula="CE(decoder(h), y), a linear decoder",
        requires=Requirements(targets="weighted"),
        autocast=True,
    )

    config: Pred.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.grid = halved_grid(layer.out_shape, config.features)
        self.decoder = zero_init_classifier(layer.pooled_features(self.grid), 0, num_classes)

    def forward(self, view: LayerView) -> Tensor:
        """The decoder's cross-entropy, a scalar."""
        return functional.cross_entropy(at_least_float32(self.decoder(view.pooled(self.grid))), view.targets)
