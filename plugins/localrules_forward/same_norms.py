"""Batch norms that normalise a second pass as they did the first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SameNorms(TorchFunctionMode):
    """Notes the batch statistics of every batch norm, in the order of the calls, or uses what another has noted.

    Args:
        noted: What to use; without it, statistics are the batch's own, and are noted.
    """

    def __init__(self, noted: list[tuple[Tensor, Tensor]] | None = None) -> None:
        super().__init__()
        self.noted: list[tuple[Tensor, Tensor]] = []
        self._given = None if noted is None else iter(noted)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return self._normalise(*args, **kwargs) if func is functional.batch_norm else func(*args, **kwargs)

    def _normalise(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Stands in for ``functional.batch_norm``; norms that go by their running statistics are let alone."""
        if training and self._given is not None:
            return functional.batch_norm(input, *next(self._given), weight, bias, False, momentum, eps)
        if training:
            with torch.no_grad():
                wide = torch.promote_types(input.dtype, torch.float32)
                exact = input.to(wide).transpose(0, 1).flatten(1)
                self.noted.append((exact.mean(1), exact.var(1, unbiased=False)))
        return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
