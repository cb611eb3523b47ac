"""Cross-entropy of a small network on each layer."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements, RuleConfig, RuleInfo, SearchChoice
from localrules.core.nn.heads import mlp
from localrules.utils.torch_utils import at_least_float32
from localrules_supervised.heads import Width, conv_unit, limit_width


class DGL(Objective):
    """``CE(head(h), y)`` with a head of several layers: decoupled greedy learning.

    A layer need not make classes linearly separable, only separable by a few cheap layers. The head, MLP-SR, averages
    feature maps to a quarter of their side, applies three 1 x 1 convolutions, averages to 2 x 2, and ends in three
    linear layers.

    What differs: the synchronous form only, no replay buffers; two hidden layers of the three linear ones, as in the
    code of AugLocal's authors, where that of DGL's authors has three and a classifier; they are narrower
    (``preset=paper``: as wide as their input); for vectors only these remain.

    References:
        Belilovsky, Eickenberg & Oyallon 2020, Decoupled greedy learning of CNNs, https://arxiv.org/abs/1901.08164;
        https://github.com/eugenium/DGL.
    """

    class Config(RuleConfig):
        """Options of rule dgl."""

        hidden: Width = Field(
            256,
            description="Largest number of units of the head's hidden layers (ours); all: as many as they have inputs "
            "(the paper's).",
        )

    info = RuleInfo(
        search_space={"hidden": SearchChoice((64, 256, 1024))},
        formula="CE(head(h), y), the head a small network (MLP-SR)",
        requires=Requirements(min_batch=2, targets="weighted"),
        presets={"paper": {"hidden": "all"}},
        autocast=True,
    )

    config: DGL.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.head = mlp_sr(layer.out_shape, num_classes, config.hidden)

    def forward(self, view: LayerView) -> Tensor:
        """The head's cross-entropy, a scalar."""
        return functional.cross_entropy(at_least_float32(self.head(view.output)), view.targets)


def mlp_sr(shape: tuple[int, ...], classes: int, hidden: Width) -> nn.Sequential:
    """Belilovsky et al.'s MLP-SR: cheap convolutions on averaged feature maps, then three linear layers.

    Args:
        shape: Of one sample's output, (channels, height, width), or (features,), for which only the linear layers
            remain.
        classes: Number of classes.
        hidden: Largest number of units of the hidden layers.
    """
    if len(shape) != 3:
        inputs = math.prod(shape)
        return nn.Sequential(nn.Flatten(), mlp(inputs, limit_width(hidden, inputs), classes, 3))
    channels, height, width = shape
    small = (math.ceil(height / 4), math.ceil(width / 4))
    last = (min(2, small[0]), min(2, small[1]))
    inputs = channels * last[0] * last[1]
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(small),
        *(conv_unit(channels, channels, 1) for _ in range(3)),
        nn.AdaptiveAvgPool2d(last),
        nn.Flatten(),
        mlp(inputs, limit_width(hidden, inputs), classes, 3),
    )
