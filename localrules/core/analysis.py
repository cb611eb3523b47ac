"""One pass over an example batch that finds out shapes, costs, and who reads whom."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from localrules.core.feature_maps import LastOperation
from localrules.core.interception import (
    Forward,
    InplaceGuard,
    detach_tree,
    intercept_layers,
    layer_outputs,
    tensor_leaves,
)
from localrules.core.layer import Layer, Shape
from localrules.errors import UsageError
from localrules.utils.torch_utils import autograd_nodes, eval_mode

if TYPE_CHECKING:
    from localrules.core.network import Network


def analyze_layers(network: Network, example: Tensor) -> tuple[Layer, ...]:
    """The network's layers in forward order, with shapes, MACs, readers and depth filled in.

    Buffers are left as they were. Who reads whom is read off the autograd graph between the layers, so it
    holds whatever stands between them: concatenation, up-sampling, addition.

    Args:
        network: Any network.
        example: Inputs, shape (batch, ...).

    Raises:
        UsageError: A layer that did not run, a readout that was not the last, or an output written in place.
    """
    found: dict[str, Layer] = {}
    producers: dict[int, str] = {}
    leaves: list[Tensor] = []  # kept alive, so that ids stay unique
    handed = InplaceGuard()

    def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inputs = tensor_leaves((args, kwargs))
        reads = tuple(dict.fromkeys(name for tensor in inputs for name in _sources(tensor, producers)))
        with torch.no_grad(), FlopCounterMode(display=False) as counter, LastOperation() as last:
            output = forward(*detach_tree(args), **detach_tree(kwargs))
        handed.check()
        samples = example.shape[0]
        shapes = tuple(tuple(end.shape[1:]) for end in layer_outputs(layer, output))
        found[layer.name] = replace(
            layer,
            index=len(found),
            input_layers=reads,
            depth=1 + max((found[name].depth for name in reads), default=0),
            inputs_visible_downstream=len({tensor.shape[2:] for tensor in inputs})
            == 1,  # whether it could be; see _in_order
            in_shape=_combined_shape(inputs),
            sample_shape=tuple(example.shape[1:]),
            out_shapes=shapes,
            all_out_shapes=tuple(tuple(each.shape[1:]) for each in tensor_leaves(output)),
            features_last=tuple(last.applies_to(shape) for shape in shapes),
            macs=counter.get_total_flops() // 2 // samples,
        )
        return torch.utils._pytree.tree_map_only(Tensor, lambda tensor: as_source(layer, tensor), output)

    def as_source(layer: Layer, tensor: Tensor) -> Tensor:
        leaf = tensor.detach().requires_grad_(tensor.is_floating_point())
        leaves.append(leaf)
        producers[id(leaf)] = layer.name
        copy = leaf.clone()  # in-place writes to a leaf raise an error that names nobody; to a copy, they are found
        handed.track(layer, copy)
        return copy

    with eval_mode(network.model), torch.enable_grad(), intercept_layers(network.layers, visit):
        network(example)
    handed.check()
    return _sort_by_execution(network, found)


def _sources(tensor: Tensor, producers: dict[int, str]) -> list[str]:
    """Names of the layers whose outputs a tensor was made from, in the order of the network's inputs to it."""
    leaves = (id(getattr(node, "variable", None)) for node in autograd_nodes(tensor))
    return [producers[leaf] for leaf in leaves if leaf in producers]


def _combined_shape(inputs: list[Tensor]) -> Shape:
    """The shape of what a layer reads: maps of one size as if concatenated by channel, else that of the first."""
    shapes = [tuple(tensor.shape[1:]) for tensor in inputs]
    if not shapes or any(shape[1:] != shapes[0][1:] for shape in shapes):
        return shapes[0] if shapes else ()
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _inputs_visible_downstream(layer: Layer, others: list[Layer]) -> bool:
    readers = [other for other in others if layer.name in other.input_layers]
    known = bool(layer.input_layers and readers) and all(
        set(layer.input_layers) <= set(reader.input_layers) for reader in readers
    )
    return known and layer.inputs_visible_downstream


def _sort_by_execution(network: Network, found: dict[str, Layer]) -> tuple[Layer, ...]:
    idle = [layer.name for layer in network.layers if layer.name not in found]
    if idle:
        raise UsageError(
            f"layer(s) {', '.join(idle)} did not run in a forward pass",
            where=f"the layers of {type(network.model).__name__}",
            why="a layer learns from its output; these have none",
            fix="unmark them, or mark a part that runs",
        )
    order = tuple(
        replace(layer, inputs_visible_downstream=_inputs_visible_downstream(layer, list(found.values())))
        for layer in found.values()
    )
    if not order[-1].is_readout:
        raise UsageError(
            f"layer {order[-1].name!r} runs after the readout {network.readout.name!r}",
            where=f"the layers of {type(network.model).__name__}",
            why="the readout gives the logits, so nothing may follow it",
            fix=f"choose readout={order[-1].name!r}",
        )
    return order
