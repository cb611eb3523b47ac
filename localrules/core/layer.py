"""Layers: the parts of a network that learn on their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from torch import nn

from localrules.core.feature_maps import Shape as Shape
from localrules.core.feature_maps import feature_map_shape
from localrules.core.nn.pooling import pooled_features
from localrules.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@dataclass(eq=False, kw_only=True)
class LayerInfo:
    """Name, position and shapes of a layer, without its module, as other layers' objectives receive them.

    Attributes:
        name: Name of its module in the network, or of its part.
        is_readout: Whether this is the network's readout, trained by cross-entropy.
        pool_size: The number of positions per side at which its readers see its output (1 if they pool it globally), as
            declared by the model; ``None`` if they read the feature map as it is, or if its outputs differ in this.
        index: Position in forward order, from 0; the readout comes last.
        depth: Length of the longest path from the network's input, in layers, from 1.
        input_layers: Names of the layers that it reads; empty if it reads only the network's input.
        inputs_visible_downstream: Whether all readers of its output also read everything that the layer itself reads,
            as in a densely connected block; only for feature maps of one size, or vectors.
        in_shape: Shape of its input without the batch; several feature maps of one size count as concatenated by
            channel.
        sample_shape: Shape of one sample as the network receives it, whatever it does before its first layer.
        out_shapes: Shape of each of its outputs without the batch.
        all_out_shapes: Shape of every tensor that others read, those that something inside the layer reads, too, among
            them; as ``LayerTrace.outputs`` has them.
        features_last: Whether the features of each output are its last dimension, as those of tokens, (positions,
            features), are. Objectives see such outputs as feature maps, see :meth:`as_feature_maps`.
        output_indices: Which of the module's outputs count: those that nothing else inside the layer reads; usually
            one.
        read_outputs: Of a layer that was marked by hand: which of the tensors that it returns others read.
        samples_first: Whether the first dimension of its outputs is the samples of the batch.
        output_pool_sizes: For a layer of several modules, the ``pool_size`` of each output.
        macs: Multiply-accumulate operations of one forward pass of one sample.
        parameter_shapes: Shape of each of its parameters.
    """

    name: str = field(kw_only=False)
    is_readout: bool = False
    pool_size: int | None = None
    index: int = -1
    depth: int = 0
    input_layers: tuple[str, ...] = ()
    inputs_visible_downstream: bool = False
    in_shape: Shape = ()
    sample_shape: Shape = ()
    out_shapes: tuple[Shape, ...] = ()
    all_out_shapes: tuple[Shape, ...] = field(default=(), repr=False)
    features_last: tuple[bool, ...] = ()
    output_indices: tuple[int, ...] | None = None
    read_outputs: tuple[int, ...] | None = None
    samples_first: bool = True
    output_pool_sizes: tuple[int | None, ...] = ()
    macs: int = 0
    parameter_shapes: tuple[Shape, ...] = field(default=(), repr=False)

    @property
    def out_shape(self) -> Shape:
        """Shape of its (last) output without the batch."""
        return self.out_shapes[-1]

    @property
    def out_channels(self) -> int:
        """Channels of its output, or features if that is a vector."""
        return self.out_shape[0]

    def pooled_features(self, size: int | None, *, inputs: bool = False) -> int:
        """Number of features that :meth:`localrules.LayerView.pooled` returns for these arguments."""
        beside = pooled_features(self.in_shape, size) if inputs and self.inputs_visible_downstream else 0
        return beside + pooled_features(self.out_shape, size)

    @property
    def parameter_count(self) -> int:
        """Number of learned values."""
        return sum(math.prod(shape) for shape in self.parameter_shapes)


def require_sample_shape(rule: str, layer: LayerInfo, samples: Tensor) -> None:
    """Raises UsageError when samples have another shape than those with which the network was built."""
    found = tuple(samples.shape[1:])
    if found != layer.sample_shape:
        raise UsageError(
            f"rule {rule!r} cannot learn from samples of this shape",
            where=f"a batch with samples of shape {list(found)}",
            why=f"the rule was built for samples of shape {list(layer.sample_shape)}, and uses each of their values",
            fix="give all samples one shape, or build the network and the rule anew",
        )


@dataclass(eq=False)
class Layer(LayerInfo):
    """A gradient-isolated part of a network, with parameters of its own.

    A layer does not wrap its module: the network's modules keep their names, and :mod:`localrules.core.interception`
    separates a layer from its readers only during a forward pass.

    Attributes:
        module: Computes the output; owns the layer's parameters.
        peers: The hidden layers trained by the same rule, in forward order, this one among them. Set for
            objectives. Without their modules, except those within the window that a rule declares, which are a
            :class:`Layer`.
    """

    module: nn.Module
    peers: tuple[LayerInfo, ...] = field(default=(), repr=False, kw_only=True)

    def __post_init__(self) -> None:
        self.parameter_shapes = tuple(tuple(parameter.shape) for parameter in self.parameters())

    @property
    def peer_index(self) -> int:
        """Position among its ``peers``, from 0."""
        return next(place for place, peer in enumerate(self.peers) if peer.index == self.index)

    def without_module(self) -> LayerInfo:
        """The part of this description that other layers' objectives receive."""
        return LayerInfo(**{each.name: getattr(self, each.name) for each in fields(LayerInfo)})

    def select_output(self, index: int) -> Layer:
        """This layer with one of its outputs alone: ``out_shape`` and ``pool_size`` are those of that output."""
        if len(self.out_shapes) == 1:
            return self
        pool_size = self.output_pool_sizes[index] if self.output_pool_sizes else self.pool_size
        last = self.features_last[index : index + 1]
        return replace(self, out_shapes=(self.out_shapes[index],), features_last=last, pool_size=pool_size)

    def has_features_last(self, output: int) -> bool:
        """Whether the features of one of its outputs are its last dimension."""
        return bool(self.features_last) and self.features_last[output]

    def as_feature_maps(self) -> Layer:
        """This layer with the shapes of its outputs as objectives see them: tokens as maps, (features, height, width).

        The positions form a square where their number is one, else a column, (features, positions, 1).
        """
        if not any(self.features_last):
            return self
        shapes = [
            feature_map_shape(shape) if last else shape
            for shape, last in zip(self.out_shapes, self.features_last, strict=True)
        ]
        return replace(self, out_shapes=tuple(shapes), features_last=())

    def parameters(self) -> Iterator[nn.Parameter]:
        """The layer's own parameters."""
        return self.module.parameters()


def check_ownership(model: nn.Module, layers: Sequence[Layer]) -> None:
    """Raises UsageError naming each trainable parameter that no layer owns, or that two own, or a layer without any."""
    owners: dict[int, list[str]] = {}
    for layer in layers:
        if not layer.parameter_shapes:
            raise UsageError(
                f"layer {layer.name!r} has no parameters",
                where=f"the layers of {type(model).__name__}: {', '.join(layer.name for layer in layers)}",
                why="there is nothing in it that could learn",
                fix="leave it out: what stands between layers runs as it does in the module",
            )
        for parameter in layer.parameters():
            owners.setdefault(id(parameter), []).append(layer.name)
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    orphans = [name for name, parameter in named if id(parameter) not in owners]
    if orphans:
        raise UsageError(
            f"{len(orphans)} trainable parameter(s) belong to no layer: {', '.join(orphans)}",
            where=f"the layers of {type(model).__name__}: {', '.join(layer.name for layer in layers)}",
            why="what no layer owns would never learn",
            fix="mark the module that holds it as a layer, put it into one, or freeze it with requires_grad_(False)",
        )
    shared = {name: owners[id(parameter)] for name, parameter in named if len(owners[id(parameter)]) > 1}
    if shared:
        name, both = next(iter(shared.items()))
        raise UsageError(
            f"parameter {name!r} belongs to {len(both)} layers: {', '.join(both)}",
            where=f"the layers of {type(model).__name__}",
            why="each parameter must have one owner, or two objectives would pull at it",
            fix="untie the weights, or mark a larger part that holds all its uses as one layer",
        )
