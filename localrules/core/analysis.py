"""One pass over an example batch that finds out shapes, costs, and who reads whom."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from localrules.core.feature_maps import LastOperation
from localrules.core.interception import (
    Forward,
    InplaceGuard,
    detach_tree,
    hides_tensors,
    intercept_layers,
    layer_outputs,
    tensor_leaves,
)
from localrules.core.layer import Layer, Shape
from localrules.errors import UsageError
from localrules.utils.torch_utils import autograd_nodes, eval_mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localrules.core.network import Network


def _lstm_flops(inputs: Shape, to_input: Shape, to_hidden: Shape, *_: object, **__: object) -> int:
    return 2 * math.prod(inputs[:2]) * (math.prod(to_input) + math.prod(to_hidden))


UNCOUNTED = {torch.ops.aten.mkldnn_rnn_layer: _lstm_flops}
"""Operations that torch's counter does not know: one layer and direction of an LSTM on a CPU."""


def analyze_layers(network: Network, example: Tensor) -> tuple[Layer, ...]:
    """The network's layers in forward order, with shapes, MACs, readers and depth filled in.

    Buffers are left as they were. Who reads whom is read off the autograd graph between the layers, so it
    holds whatever stands between them: concatenation, up-sampling, addition.

    Args:
        network: Any network.
        example: Inputs, shape (batch, ...).

    Raises:
        UsageError: A layer that did not run or hides tensors in its output, a readout that was not the last, an output
            written in place, or logits that are none.
    """
    found: dict[str, Layer] = {}
    producers: dict[int, tuple[str, int]] = {}  # the layer, and the position among the tensors that it returned
    read: dict[str, set[int]] = {}
    returned: dict[str, int] = {}  # tensors, whether others read them or not
    outputs: dict[str, list[Tensor]] = {}  # those that count, without values
    leaves: list[Tensor] = []  # kept alive, so that ids stay unique
    handed = InplaceGuard()
    answer: list[Tensor] = []  # what the readout returned

    def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inputs = tensor_leaves((args, kwargs))
        sources = [source for tensor in inputs for source in _sources(tensor, producers)]
        for name, position in sources:
            read.setdefault(name, set()).add(position)
        reads = tuple(dict.fromkeys(name for name, _ in sources))
        if not torch.is_grad_enabled() and any(parameter.requires_grad for parameter in layer.parameters()):
            raise UsageError(
                f"forward runs layer {layer.name!r} under torch.no_grad()",
                where=f"forward of {type(network.model).__name__}",
                why="a rule trains each layer by gradients of its own, whatever context forward runs it in",
                fix="freeze the layer with requires_grad_(False), and leave out the context",
            )
        with (
            torch.no_grad(),
            FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter,
            LastOperation() as last,
        ):
            output = forward(*detach_tree(args), **detach_tree(kwargs))
        handed.check()
        _check_output(layer, output)
        samples = example.shape[0]
        layer = _without_integers(layer, output)
        returned[layer.name] = len(tensor_leaves(output))
        outputs[layer.name] = [torch.empty_like(end, device="meta") for end in layer_outputs(layer, output)]
        shapes = tuple(tuple(end.shape[1:]) for end in outputs[layer.name])
        found[layer.name] = replace(
            layer,
            index=len(found),
            input_layers=reads,
            depth=1 + max((found[name].depth for name in reads), default=0),
            # Whether they could be: see _sort_by_execution.
            inputs_visible_downstream=len({tensor.shape[2:] for tensor in inputs}) == 1,
            in_shape=_combined_shape(inputs),
            sample_shape=tuple(example.shape[1:]),
            out_shapes=shapes,
            all_out_shapes=tuple(tuple(each.shape[1:]) for each in tensor_leaves(output)),
            features_last=tuple(last.applies_to(shape) for shape in shapes),
            macs=counter.get_total_flops() // 2 // samples,
        )
        positions = count()
        sources = pytree.tree_map_only(Tensor, lambda tensor: as_source(layer, next(positions), tensor), output)
        if layer.is_readout:
            answer[:] = tensor_leaves(sources)
        return sources

    def as_source(layer: Layer, position: int, tensor: Tensor) -> Tensor:
        leaf = tensor.detach().requires_grad_(tensor.is_floating_point())
        leaves.append(leaf)
        producers[id(leaf)] = layer.name, position
        copy = leaf.clone()  # in-place writes to a leaf raise an error that names nobody; to a copy, they are found
        handed.track(layer, copy)
        return copy

    with eval_mode(network.model), torch.enable_grad(), intercept_layers(network.layers, visit):
        logits = network(example)
    handed.check()
    for name, positions in read.items():
        kept = _read_outputs(found[name], positions, returned[name])
        if len(kept) < len(outputs[name]):
            found[name] = _with_outputs(found[name], kept)
            outputs[name] = [outputs[name][at] for at in kept]
    layers = _sort_by_execution(network, found)
    _check_logits(network, logits, len(example))
    network.is_readout_changed = not any(_is_same(logits, each) for each in answer)
    return _with_samples_first(network, layers, outputs, example)


def _check_output(layer: Layer, output: Any) -> None:
    hidden = next((leaf for leaf in pytree.tree_leaves(output) if hides_tensors(leaf)), None)
    if hidden is not None:
        raise UsageError(
            f"layer {layer.name!r} returns a {type(hidden).__name__} with tensors in it",
            where=f"the output of layer {layer.name!r}",
            why="torch takes the object for a whole, so that gradients would go through it to the layer",
            fix="return tensors, tuples, lists or dicts, or register the class by torch.utils._pytree",
        )


def _is_same(logits: Tensor, output: Tensor) -> bool:
    """Whether two tensors hold the same numbers in the same order."""
    return logits is output or (
        logits.numel() == output.numel() and torch.equal(logits.flatten().nan_to_num(), output.flatten().nan_to_num())
    )


def _check_logits(network: Network, logits: Any, samples: int) -> None:
    if isinstance(logits, Tensor) and logits.dim() == 2 and len(logits) == samples and logits.is_floating_point():
        return
    found = f"a tensor of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    raise UsageError(
        f"the output of {type(network.model).__name__} is not logits",
        where=f"forward of {type(network.model).__name__}",
        why=f"for {samples} samples it is {found}; expected floating-point numbers of shape ({samples}, classes)",
        fix="pass a module around it that returns one row of logits for each sample",
    )


def _without_integers(layer: Layer, output: Any) -> Layer:
    """The layer, without those of its outputs that no objective can learn from: indices, masks."""
    outputs = layer_outputs(layer, output)
    kept = [at for at, tensor in enumerate(outputs) if isinstance(tensor, Tensor) and tensor.is_floating_point()]
    if len(kept) in (0, len(outputs)):
        return layer
    if layer.output_indices is None:
        return replace(layer, read_outputs=tuple(kept))
    sizes = tuple(layer.output_pool_sizes[at] for at in kept) if layer.output_pool_sizes else ()
    return replace(layer, output_indices=tuple(layer.output_indices[at] for at in kept), output_pool_sizes=sizes)


def _read_outputs(layer: Layer, read: set[int], returned: int) -> list[int]:
    """Which outputs of a layer count: of one that was marked by hand, those that another layer reads."""
    if layer.output_indices is not None or layer.is_readout:
        return list(range(len(layer.out_shapes)))
    positions = range(returned) if layer.read_outputs is None else layer.read_outputs
    return [at for at, position in enumerate(positions) if position in read]


def _with_outputs(layer: Layer, kept: Sequence[int]) -> Layer:
    return replace(
        layer,
        read_outputs=tuple(kept if layer.read_outputs is None else (layer.read_outputs[at] for at in kept)),
        out_shapes=tuple(layer.out_shapes[at] for at in kept),
        features_last=tuple(layer.features_last[at] for at in kept),
    )


def _with_samples_first(
    network: Network, layers: tuple[Layer, ...], outputs: dict[str, list[Tensor]], example: Tensor
) -> tuple[Layer, ...]:
    """The layers, with ``samples_first`` filled in.

    Where another dimension has as many values as there are samples, it must hold for a batch with one more, too.
    """
    samples = len(example)
    first = _have_samples_first(outputs, samples)
    if samples == 1 or any(samples in each.shape[1:] for given in outputs.values() for each in given):
        outputs = {}

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = forward(*args, **kwargs)
            outputs[layer.name] = [torch.empty_like(end, device="meta") for end in layer_outputs(layer, output)]
            return output

        with eval_mode(network.model), torch.no_grad(), intercept_layers(layers, visit):
            network(torch.cat([example, example[:1]]))
        first &= _have_samples_first(outputs, samples + 1)
    return tuple(replace(layer, samples_first=layer.name in first) for layer in layers)


def _have_samples_first(outputs: dict[str, list[Tensor]], samples: int) -> set[str]:
    return {name for name, given in outputs.items() if all(each.dim() and len(each) == samples for each in given)}


def _sources(tensor: Tensor, producers: dict[int, tuple[str, int]]) -> list[tuple[str, int]]:
    """The outputs of layers that a tensor was made from, in the order of the network's inputs to it."""
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
