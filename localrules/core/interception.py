"""Interception of layers' forward passes.

Nothing is wrapped and no hook stays behind: while :func:`intercept_layers` is active each layer's ``forward`` is a
visitor's, afterwards it is the module's own again. So a network's parameter names, its pickle and its speed in other
hands are those of the plain module.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from localrules.core.layer import Layer
from localrules.errors import LocalRulesError

Forward = Callable[..., Any]
Visitor = Callable[[Layer, Forward, tuple[Any, ...], dict[str, Any]], Any]
"""Called instead of a layer's forward, with the layer, its own forward, and the arguments; returns the output."""


@contextmanager
def patch_forwards(layers: Sequence[Layer], visitor: Visitor) -> Iterator[None]:
    """Let ``visitor`` run each layer's forward for as long as the context lasts, however often it is called."""
    patched = [layer.module.__dict__.get("forward") for layer in layers]  # by others, before us

    def replacement(layer: Layer, own_forward: Forward) -> Forward:
        return lambda *args, **kwargs: visitor(layer, own_forward, args, kwargs)

    try:
        for layer in layers:
            layer.module.forward = replacement(layer, layer.module.forward)
        yield
    finally:
        for layer, before in zip(layers, patched, strict=True):
            layer.module.__dict__.pop("forward", None)
            if before is not None:
                layer.module.__dict__["forward"] = before


@contextmanager
def intercept_layers(layers: Sequence[Layer], visitor: Visitor) -> Iterator[None]:
    """Let ``visitor`` run each layer in one forward pass.

    Raises:
        LocalRulesError: A layer runs twice in the pass: its readers would see two different outputs.
    """
    visited: set[str] = set()

    def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if layer.name in visited:
            raise LocalRulesError(
                f"layer {layer.name!r} is used twice in one forward pass",
                where=f"layer {layer.name!r}",
                why="a layer learns from one output a step; weights shared between two places have two",
                fix="give each place a module of its own, or mark a larger part that holds both uses as one layer",
            )
        visited.add(layer.name)
        return visitor(layer, forward, args, kwargs)

    with patch_forwards(layers, visit):
        yield


def detach_tree(tree: Any) -> Any:
    """The same arguments with every tensor cut from the graph, however deeply lists and dicts nest."""
    if isinstance(tree, Tensor):
        return tree.detach()
    return pytree.tree_map_only(Tensor, Tensor.detach, tree)


def tensor_leaves(tree: Any) -> list[Tensor]:
    """Every tensor in a layer's arguments or output, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def hides_tensors(leaf: Any) -> bool:
    """Whether an object of an output, which torch takes for a whole, has tensors inside, where nobody detaches them."""
    if isinstance(leaf, Tensor | torch.nn.Module):
        return False
    inside = list(vars(leaf).values()) if hasattr(leaf, "__dict__") else []
    if isinstance(leaf, Mapping):
        inside += leaf.values()
    elif isinstance(leaf, list | tuple | set | frozenset | deque):
        inside += leaf
    return any(isinstance(value, Tensor) for value in pytree.tree_leaves(inside))


def layer_outputs(layer: Layer, output: Any) -> list[Tensor]:
    """The outputs of a layer that count: that others read, and nothing else inside it."""
    if layer.output_indices is None:
        leaves = tensor_leaves(output)
        return leaves if layer.read_outputs is None else [leaves[index] for index in layer.read_outputs]
    outputs = output if isinstance(output, tuple) else (output,)  # of a part: some may be sizes
    return [outputs[index] for index in layer.output_indices]


class InplaceGuard:
    """Remembers the outputs of layers, to find out who writes to them.

    An in-place operation between two layers (``x += shortcut``) would change what other readers of the
    same tensor see, after its layer has learned from it. Tensors are remembered weakly: what no reader holds is
    freed, and nobody can be misled by it.
    """

    def __init__(self) -> None:
        self._given: list[tuple[Layer, weakref.ref[Tensor], int]] = []

    def detach_and_track(self, layer: Layer, output: Any) -> Any:
        """The output, detached for its readers and remembered."""
        self.check()
        output = detach_tree(output)
        for tensor in tensor_leaves(output):
            self.track(layer, tensor)
        return output

    def track(self, layer: Layer, tensor: Tensor) -> None:
        """Note a tensor that leaves a layer."""
        self._given.append((layer, weakref.ref(tensor), tensor._version))

    def check(self) -> None:
        """Raises LocalRulesError, naming the layer, if its output was written to."""
        for layer, reference, version in self._given:
            tensor = reference()
            if tensor is not None and tensor._version != version:
                raise LocalRulesError(
                    f"the output of layer {layer.name!r} was changed in place after the layer returned it",
                    where=f"layer {layer.name!r}, output of shape {tuple(tensor.shape)}",
                    why="an in-place operation between layers (+=, relu_, ...) changes what its other readers see",
                    fix="write it out of place (x = x + y), or put the operation inside a layer",
                )
