"""Cross-entropy of a head that stands on the next layer's averaged weights: momentum auxiliary networks."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements, RuleConfig, RuleInfo, SearchChoice, UsageError
from localrules.core.feature_maps import feature_map_shape, from_feature_map, to_feature_map
from localrules.utils.torch_utils import at_least_float32
from localrules_supervised.dgl import mlp_sr
from localrules_supervised.heads import Width


class MAN(Objective):
    """``CE(head(learned(h) + average(h)), y)``: the next layer, twice, between a layer and its head.

    ``average`` is the next layer with an exponential moving average of that layer's weights, which do not learn here,
    and ``learned`` a copy of the next layer that learns with this one, to make up for what the average lacks. The
    head is that of ``dgl``. The uppermost hidden layer has no next one, and its head reads the layer itself.

    So a layer learns from the weights of the layer above it: no gradient comes down, but the class is ``window``, of
    two layers. The audit measures that.

    What differs: both copies start as the next layer's weights (in the authors' code at random); the average is taken
    before the loss of a step, not after it; norms of the average have statistics of their own.

    References:
        Su et al. 2024, Momentum auxiliary network for supervised local learning, ECCV,
        https://arxiv.org/abs/2407.05623; https://github.com/JunhaoSu0/MAN.
    """

    class Config(RuleConfig):
        """Options of rule man."""

        momentum: float = Field(
            0.995,
            ge=0,
            le=1,
            description="Weight of earlier values in the average of the next layer's weights (the paper's; its "
            "script for CIFAR defaults to 1, which freezes the average, and its README sets 0.995).",
        )
        learned: bool = Field(True, description="Whether there is a copy that learns beside the average (the paper's).")
        hidden: Width = Field(
            256,
            description="Largest number of units of the head's hidden layers (ours); all: as many as they have inputs "
            "(that of DGL's paper).",
        )

    info = RuleInfo(
        search_space={"momentum": SearchChoice((0.9, 0.99, 0.995, 0.999))},
        formula="CE(head(learned(h) + average(h)), y), average the next layer with a moving average of its weights",
        locality="window",
        window=2,
        requires=Requirements(min_batch=2, sequential=True, targets="weighted"),
    )

    config: MAN.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        readers = [peer for peer in layer.peers if isinstance(peer, Layer) and layer.name in peer.input_layers]
        self._next = readers[:1]  # in a list, so that it is not a submodule
        shape = layer.out_shape
        self.average: nn.Module | None = None
        self.learned: nn.Module | None = None
        for above in self._next:
            _check_shapes(layer, above)
            self.average = _without_parameters(_copy_of(above.module))
            if config.learned:
                self.learned = _copy_of(above.module).requires_grad_()
            shape = above.out_shape
        self.head = mlp_sr(shape, num_classes, config.hidden)

    def forward(self, view: LayerView) -> Tensor:
        """The head's cross-entropy, a scalar."""
        features = view.output
        for above in self._next:
            assert self.average is not None
            self._update_average(above.module)
            read = _as_read_by(above, view.output)
            features = self.average(read)
            if self.learned is not None:
                features = features + self.learned(read)
            features = _as_maps(features, above)
        logits = self.head(features)
        return functional.cross_entropy(at_least_float32(logits), view.targets)

    @torch.no_grad()
    def _update_average(self, above: nn.Module) -> None:
        assert self.average is not None
        kept = dict(self.average.named_buffers())
        for name, weight in above.named_parameters(remove_duplicate=False):
            kept[name].lerp_(weight.to(kept[name].dtype), 1 - self.config.momentum)


def _without_parameters(module: nn.Module) -> nn.Module:
    """A module whose parameters have become buffers: saved with it, and learned by nobody."""
    for part in module.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, weight.detach().clone())
    return module


def _as_read_by(above: Layer, output: Tensor) -> Tensor:
    """A layer's output, as objectives see it, in the shape in which the next layer reads it."""
    shape = above.in_shape
    if tuple(output.shape[1:]) == shape:
        return output
    if output.dim() == 4 and len(shape) > 1 and feature_map_shape(shape) == tuple(output.shape[1:]):
        return from_feature_map(output, shape)
    return output.reshape(len(output), *shape)


def _as_maps(features: Tensor, above: Layer) -> Tensor:
    """The output of copies of the next layer, as objectives see that layer's."""
    return features if tuple(features.shape[1:]) == above.out_shape else to_feature_map(features)


def _copy_of(module: nn.Module) -> nn.Module:
    """A copy, of half-precision weights in float32: an average moves by small steps."""
    is_half = any(weight.dtype in (torch.bfloat16, torch.float16) for weight in module.parameters())
    return deepcopy(module).float() if is_half else deepcopy(module)


def _check_shapes(layer: Layer, above: Layer) -> None:
    if math.prod(layer.out_shape) != math.prod(above.in_shape):
        raise UsageError(
            f"rule 'man' cannot train layer {layer.name!r}",
            where=f"layer {layer.name!r}, whose output is {list(layer.out_shape)}",
            why=f"it needs layers that read the output of the one before as it is; {above.name!r} reads "
            f"{list(above.in_shape)}",
            fix="choose a model whose pooling is inside its layers, or another granularity",
        )
