"""Buffers that a forward pass moves, and may have to leave where they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def restored(buffers: Iterable[Tensor]) -> Iterator[None]:
    """Put buffers (the running statistics of batch norms) back to their present values when the context ends."""
    kept = [(buffer, buffer.detach().clone()) for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)
