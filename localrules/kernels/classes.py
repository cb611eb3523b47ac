"""Classes as the corners of a simplex: labels at equal angles, whatever the batch holds."""

from __future__ import annotations

import torch
from torch import Tensor

from localrules.kernels.shapes import require_batch


@torch.no_grad()
def simplex(y: Tensor, num_classes: int) -> Tensor:
    """The cosines of one-hot labels, each less its own mean: 1 within a class, ``-1 / (classes - 1)`` between two.

    What pHSIC (Pogodin & Latham 2020, https://arxiv.org/abs/2006.07123) holds a layer against. Unlike
    ``labels_gram(..., "cosine")``, which subtracts the batch's class frequencies, it does not depend on the batch.

    Args:
        y: (batch,) integer labels in [0, num_classes).
        num_classes: How many classes there are.

    Returns:
        (batch, batch) float32, without gradient.

    Raises:
        UsageError: A batch of one.
    """
    require_batch(y.shape[0], "the label kernel")
    same = (y[:, None] == y).float()
    apart = 1 / max(1, num_classes - 1)
    return same * (1 + apart) - apart
