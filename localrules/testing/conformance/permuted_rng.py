"""Random numbers that go with the samples of a batch: so a rule that draws can be shown the batch in another order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class PermuteRng(TorchDispatchMode):
    """While entered, random tensors with a slice per sample have these in another order; other draws stay.

    It sees every operation that draws, however it is spelt (``randn_like``, ``bernoulli_``, a dropout). Draws whose
    first dimension is the batch, or several of it one after another, are taken for draws an image: let the batch have
    a size that no dimension of the network has.

    Args:
        order: For each sample of the batch, the sample of the plain batch whose draw it gets.
    """

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self._order = order

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        drawn = func(*args, **(kwargs or {}))
        batch = len(self._order)
        if torch.Tag.nondeterministic_seeded not in func.tags or not isinstance(drawn, Tensor):
            return drawn
        if not drawn.dim() or not len(drawn) or len(drawn) % batch:
            return drawn
        order = self._order.to(drawn.device)
        samples = drawn.unflatten(0, (-1, batch))[:, order].flatten(0, 1)
        if func.overloadpacket is torch.ops.aten.randperm and len(drawn) == batch:
            samples = order.argsort()[samples]  # the samples that a permutation names have moved, too
        return drawn.copy_(samples)  # in place, since the operation may have been
