"""Each class owns a group of channels; the cross-entropy of the groups' activity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from localrules import (
    CustomPrediction,
    ExtractViews,
    Layer,
    LayerView,
    Objective,
    OutputTransform,
    Requirements,
    RuleConfig,
    RuleInfo,
    SearchChoice,
    UsageError,
)
from localrules.utils.torch_utils import at_least_float32


class ChannelGoodness(OutputTransform, CustomPrediction, Objective):
    """``CE(g, y)``, with ``g_c`` the goodness of the channels that belong to class ``c``: forward-forward without
    negative samples.

    The channels of a layer are split into one group per class. A group's goodness is the mean over its channels and
    positions of the squared activities (CwComp), or of the activities (DeeperForward, ``preset=deeperforward``); there,
    readers receive each group at mean 0 and variance 1, so that they cannot read the goodness itself. The prediction
    is the class with the highest goodness, summed over layers.

    What differs: the sizes of groups may differ by one channel; feature maps with fewer channels than classes are split
    by position too; no layers are selected for the prediction; CwComp's separate convolutions per group would be a
    property of the network.

    References:
        CwComp: Papachristodoulou, Kyrkou, Timotheou & Theocharides 2024, Convolutional channel-wise competitive
        learning for the forward-forward algorithm, https://arxiv.org/abs/2312.12668;
        https://github.com/andreaspapac/CwComp.
        DeeperForward: Sun et al. 2025, https://openreview.net/forum?id=kOYnXVQCtA.
    """

    class Config(RuleConfig):
        """Options of rule channel-goodness."""

        goodness: Literal["mean", "squares"] = Field(
            "squares",
            description="Goodness of a group: the mean of its squared activities (CwComp's paper), or of its "
            "activities (DeeperForward's).",
        )
        normalize: bool = Field(
            False,
            description="Whether readers receive every group normalised (CwComp's paper: not; DeeperForward's: yes).",
        )
        answer: Literal["sum", "last", "readout"] = Field(
            "sum",
            description="What predicts: the goodness summed over layers (DeeperForward's paper, over selected ones), "
            "the last layer's (CwComp's paper), or the readout (CwComp's too); default ours.",
        )

    info = RuleInfo(
        search_space={"goodness": SearchChoice(("mean", "squares"))},
        formula="CE(g, y), g_c the mean activity (or mean square) of the channels that belong to class c",
        requires=Requirements(targets="weighted"),
        presets={
            "paper": {"answer": "last"},
            "deeperforward": {"goodness": "mean", "normalize": True},
        },
    )

    config: ChannelGoodness.Config
    averaging: Tensor
    group: Tensor

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.by_channel = layer.out_channels >= num_classes
        units = layer.out_channels if self.by_channel else math.prod(layer.out_shape)
        if units < num_classes:
            raise UsageError(
                f"rule 'channel-goodness' cannot split layer {layer.name!r} into groups",
                where=f"layer {layer.name!r}, with outputs of shape {list(layer.out_shape)}",
                why=f"each of the {num_classes} classes needs a unit of its own, and there are {units}",
                fix="choose a wider network, or a coarser granularity",
            )
        sizes = torch.tensor([len(part) for part in torch.arange(units).tensor_split(num_classes)])
        values = int(sizes.min()) * (math.prod(layer.out_shape[1:]) if self.by_channel else 1)
        if config.normalize and values < 2:
            raise UsageError(
                f"rule 'channel-goodness' cannot normalise the groups of layer {layer.name!r}",
                where=f"layer {layer.name!r}, with outputs of shape {list(layer.out_shape)}",
                why=f"{units} units in {num_classes} groups leave groups of one value, which becomes 0",
                fix=f"choose a layer of {2 * num_classes} units or more, or --set rule.normalize=false",
            )
        self.register_buffer("group", torch.repeat_interleave(torch.arange(num_classes), sizes))
        self.register_buffer("averaging", functional.one_hot(self.group, num_classes).T / sizes[:, None])

    def forward(self, view: LayerView) -> Tensor:
        """The cross-entropy of the groups' goodness, a scalar."""
        return functional.cross_entropy(self._goodness(view.output), view.targets)

    def transform_output(self, output: Tensor) -> Tensor:
        """Each group at mean 0 and variance 1 over its units and positions; the output itself without normalize."""
        if not self.config.normalize:
            return output
        units = self._units(at_least_float32(output))
        centred = units - self._averages(units)[:, self.group, None]
        variances = self._averages(centred.square())[:, self.group, None]
        return (centred / (variances + 1e-5).sqrt()).view(output.shape).to(output.dtype)

    @classmethod
    def predict(
        cls, objectives: Sequence[ChannelGoodness], extract_views: ExtractViews, images: Tensor
    ) -> Tensor | None:
        """Goodness for each class, shape (batch, classes); ``None`` with ``answer=readout``."""
        answer = objectives[0].config.answer
        if answer == "readout":
            return None
        pairs = list(zip(objectives, extract_views(images), strict=True))
        used = pairs if answer == "sum" else pairs[-1:]
        return torch.stack([objective._goodness(at_least_float32(view.output)) for objective, view in used]).sum(0)

    def _goodness(self, output: Tensor) -> Tensor:
        """Goodness of each class's group, shape (batch, classes)."""
        units = self._units(output)
        return self._averages(units.square() if self.config.goodness == "squares" else units)

    def _units(self, output: Tensor) -> Tensor:
        """The units that are split into groups, shape (batch, units, positions)."""
        return output.reshape(len(output), len(self.group), math.prod(output.shape[1:]) // len(self.group))

    def _averages(self, units: Tensor) -> Tensor:
        """Means over the units of each group and their positions, shape (batch, classes)."""
        return functional.linear(units.mean(2), self.averaging.to(units.dtype))
