"""Messages between stages: tensors of known layouts in one buffer, with the memory layouts that they had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from localrules.errors import LocalRulesError

ALIGNMENT = 64  # bytes, as torch's allocator on a CPU: kernels may compute other bits on other boundaries


class Header(NamedTuple):
    """The numbers at the start of a message.

    Attributes:
        step: The step whose outputs these are.
        pauses: Whether all stages pause after it.
    """

    step: int
    pauses: bool


class MessageFormat:
    """The layout of a message: a header, then the tensors, each with its strides as they are.

    Args:
        layouts: Tensors with the shapes, strides and types of those that will be sent; on the meta device, say.
    """

    def __init__(self, layouts: Sequence[Tensor]) -> None:
        self._layouts = [(tensor.shape, tensor.stride(), tensor.dtype) for tensor in layouts]
        self._bounds: list[tuple[int, int]] = []
        end = ALIGNMENT  # behind the header
        for tensor in layouts:
            size = _extent(tensor) * tensor.element_size()
            self._bounds.append((end, end + size))
            end += -(-size // ALIGNMENT) * ALIGNMENT
        self.size = end

    def pack(self, header: Header, tensors: Sequence[Tensor]) -> Tensor:
        """The message, uint8, shape (size,).

        Raises:
            LocalRulesError: A tensor has another layout than expected.
        """
        message = torch.empty(self.size, dtype=torch.uint8)
        message[:16].view(torch.int64).copy_(torch.tensor([header.step, header.pauses]))
        for tensor, layout, (start, end) in zip(tensors, self._layouts, self._bounds, strict=True):
            given = tensor.detach()
            if (given.shape, given.stride(), given.dtype) != layout:
                raise LocalRulesError(
                    "the output of a layer has another size or memory layout than in the steps before",
                    where=f"from {list(layout[0])}, strides {list(layout[1])}, to {list(given.shape)}, "
                    f"strides {list(given.stride())}",
                    why="what stages send each other has a fixed size",
                    fix="leave out --parallel layers",
                )
            message[start:end].view(given.dtype).copy_(_memory(given))
        return message

    def unpack(self, message: Tensor) -> tuple[Header, list[Tensor]]:
        """The header and the tensors of a message, whose memory they share."""
        step, pauses = message[:16].view(torch.int64).tolist()
        tensors = [
            message[start:end].view(dtype).as_strided(shape, stride)
            for (shape, stride, dtype), (start, end) in zip(self._layouts, self._bounds, strict=True)
        ]
        return Header(step, bool(pauses)), tensors


def _extent(tensor: Tensor) -> int:
    """The number of elements from a tensor's first to its last one in memory, gaps included."""
    if not tensor.numel():
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _memory(tensor: Tensor) -> Tensor:
    """A tensor's memory from its first to its last element."""
    return tensor.as_strided((_extent(tensor),), (1,))


def layout_of(tree: Any) -> Any:
    """The same tree with tensors on the meta device, of equal shapes, strides and types."""
    return pytree.tree_map_only(
        Tensor, lambda each: torch.empty_strided(each.shape, each.stride(), dtype=each.dtype, device="meta"), tree
    )
