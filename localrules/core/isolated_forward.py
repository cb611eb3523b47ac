"""A forward pass in which every layer's graph stays, cut off at the layer's border."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from localrules.core.interception import (
    Forward,
    InplaceGuard,
    detach_tree,
    intercept_layers,
    layer_outputs,
    tensor_leaves,
)
from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.errors import error_text

Overrides = Mapping[str, list[Tensor]] | Callable[[Layer, list[Tensor]], list[Tensor]]
"""Values that readers are given instead of a layer's outputs: by layer name, or computed from the layer's outputs."""


@dataclass(eq=False)
class LayerTrace:
    """One layer in an isolated forward pass.

    Attributes:
        layer: Which.
        inputs: What it read.
        outputs: Every distinct floating-point tensor that it gave, with this layer's graph alone (and, if the pass is
            ``connected``, that of what stands between its sources and itself).
        final_outputs: Those of its outputs that nothing else inside it reads; for most layers its one output.
        values: What its readers were given in place of ``outputs``: leaves of the graph.
        positions: The index of each of ``outputs`` in ``layer.all_out_shapes``, where a tensor that the layer gives
            twice has two.
    """

    layer: Layer
    inputs: list[Tensor]
    outputs: list[Tensor]
    final_outputs: list[Tensor]
    values: list[Tensor]
    positions: list[int]

    @property
    def output(self) -> Tensor:
        """The last of its final outputs."""
        return self.final_outputs[-1]

    def backward(self, signals: Sequence[Tensor], inputs: Sequence[Tensor] | None = None) -> None:
        """A backward pass inside the layer, from signals at all its outputs.

        Args:
            signals: Shaped like ``outputs``; at one without a graph nothing learns.
            inputs: Tensors that get gradients; by default all that need them.
        """
        pairs = [
            (output, signal.to(output.dtype))
            for output, signal in zip(self.outputs, signals, strict=True)
            if output.requires_grad
        ]
        torch.autograd.backward([output for output, _ in pairs], [signal for _, signal in pairs], inputs=inputs)


def isolated_forward(
    network: Network,
    images: Tensor,
    *,
    connected: bool = False,
    overrides: Overrides | None = None,
    precision: AbstractContextManager[Any] | None = None,
) -> list[LayerTrace]:
    """Run a network with every layer's graph kept, and none reaching into another's.

    Args:
        network: Any network.
        images: Its input, shape (batch, ...).
        connected: Whether a layer's graph goes back, through what stands between, to the ``values`` of the layers that
            it reads: those then require gradients. Otherwise what a layer reads comes detached.
        overrides: Values that readers are given in place of what a layer computed, one for each distinct output: by
            layer name, or a function of the layer and its outputs.
        precision: Mixed precision, as ``context.autocast()`` gives it.

    Returns:
        A trace for each layer in forward order, the readout last; its output is the logits.

    Raises:
        LocalRulesError: The output of a layer was changed in place after the layer returned it.
    """
    traces: list[LayerTrace] = []
    guard = InplaceGuard()

    def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        guard.check()
        if not connected:
            args, kwargs = detach_tree(args), detach_tree(kwargs)
        with torch.enable_grad():
            output = forward(*args, **kwargs)
        outputs = distinct_leaves(output)
        given = overrides(layer, outputs) if callable(overrides) else (overrides or {}).get(layer.name, ())
        instead = iter(given)
        values: dict[int, Tensor] = {}
        for tensor in outputs:
            value = next(instead, tensor).detach()
            if not torch.is_autocast_enabled(tensor.device.type):
                value = value.to(tensor.dtype)  # readers with weights in half precision read nothing else
            values[id(tensor)] = value.requires_grad_() if connected else value
            guard.track(layer, values[id(tensor)])
        known = [id(tensor) for tensor in tensor_leaves(output)]
        traces.append(
            LayerTrace(
                layer,
                tensor_leaves((args, kwargs)),
                outputs,
                layer_outputs(layer, output),
                list(values.values()),
                [known.index(name) for name in values],
            )
        )
        return pytree.tree_map_only(Tensor, lambda tensor: values.get(id(tensor), tensor.detach()), output)

    with (
        naming_changed_outputs(network, images) if connected else nullcontext(),
        torch.set_grad_enabled(connected),
        precision or nullcontext(),
        intercept_layers(network.layers, visit),
    ):
        network(images)
    guard.check()
    return traces


@contextmanager
def naming_changed_outputs(network: Network, images: Tensor) -> Iterator[None]:
    """A forward pass whose readers get leaves of the graph, which autograd lets nobody change in place.

    Raises:
        LocalRulesError: The output of a layer was changed in place after the layer returned it; it is named.
    """
    try:
        yield
    except RuntimeError as error:
        if "leaf Variable that requires grad" in error_text(error):
            isolated_forward(network, images)  # without such leaves: there the guard sees the change
        raise


def distinct_leaves(tree: Any) -> list[Tensor]:
    """Every floating-point tensor in a layer's output, in order; one that stands there twice, once."""
    return list({id(leaf): leaf for leaf in tensor_leaves(tree) if leaf.is_floating_point()}.values())
