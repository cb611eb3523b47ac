"""Tensors without values, in place of the outputs of layers that a stage does not need."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


class Absent(Tensor):
    """A tensor that has a shape and no values; so has whatever is computed from it, and takes no time.

    A stage runs the network's own forward pass, and with it the operations between layers of other stages, such as the
    concatenations of a dense block.
    """

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            args, kwargs = pytree.tree_map_only(Tensor, lambda each: each.to("meta"), (args, kwargs or {}))
            return pytree.tree_map_only(Tensor, lambda each: each.as_subclass(cls), func(*args, **kwargs))


def absent(tree: Any) -> Any:
    """The same tree with tensors that have no values."""
    return pytree.tree_map_only(Tensor, lambda each: each.detach().to("meta").as_subclass(Absent), tree)


def is_absent(tensor: Tensor) -> bool:
    """Whether a tensor has no values because a stage does not need them."""
    return isinstance(tensor, Absent)
