"""Kernels of labels: which samples of a batch belong together."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from localrules.errors import UsageError, suggest_names
from localrules.kernels.checks import require_batch
from localrules.kernels.gram import Width, cosine, gaussian

LabelKernel = Literal["delta", "cosine", "balanced", "gaussian"]
LABEL_KERNELS: tuple[str, ...] = get_args(LabelKernel)


def class_codes(y: Tensor, num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Targets as a weight for each class: one-hot codes of labels; weights as they are.

    Args:
        y: (batch,) integer labels in [0, num_classes), or (batch, num_classes) weights.
        num_classes: How many classes there are.
        dtype: Of the result.

    Returns:
        (batch, num_classes).
    """
    return (y if y.is_floating_point() else one_hot(y, num_classes)).to(dtype)


@torch.no_grad()
def labels_gram(
    y: Tensor,
    num_classes: int,
    kind: LabelKernel = "delta",
    *,
    width: Width = 5.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The Gram matrix of a batch of class labels, or of class probabilities in place of one-hot labels.

    ========== =====================================================================================================
    kind
    ========== =====================================================================================================
    delta      1 for two samples of one class, else 0: the linear kernel on one-hot labels
    cosine     the cosine of one-hot labels less the batch's class frequencies (ours): rare classes point far from the
               rest; :func:`~localrules.kernels.labels.simplex` is the kernel of Pogodin & Latham 2020
    balanced   1 over the class's count in the batch for two samples of it, else 0 (ours): the linear kernel on one-hot
               labels whitened, so that every class is a direction of length 1, however rare
    gaussian   the Gaussian kernel on one-hot labels, as in Ma, Lewis & Kleijn 2020 (https://arxiv.org/abs/1908.01580)
    ========== =====================================================================================================

    Args:
        y: (batch,) integer labels in [0, num_classes), or (batch, num_classes) probabilities.
        num_classes: How many classes there are.
        kind: One of the table's.
        width: Of the Gaussian kernel, scaled by the number of classes, or ``"median"``; see
            :func:`~localrules.kernels.gram.gaussian`.
        dtype: float32, or float64.

    Returns:
        (batch, batch), of type ``dtype``, without gradient.

    Raises:
        UsageError: An unknown kind, or a batch of one.
    """
    require_batch(y.shape[0], "the label kernel")
    if kind not in LABEL_KERNELS:
        raise UsageError(f"unknown label kernel {kind!r}", fix=suggest_names(kind, list(LABEL_KERNELS)))
    if kind == "cosine":
        return cosine(class_codes(y, num_classes, dtype), centered=True)
    if kind == "gaussian":
        return gaussian(class_codes(y, num_classes, dtype), width)
    if not y.is_floating_point():
        same = (y[:, None] == y).to(dtype)
        return same / same.sum(0) if kind == "balanced" else same
    codes = y.to(dtype)
    return codes / codes.sum(0).clamp(min=1e-12) @ codes.T if kind == "balanced" else codes @ codes.T


@torch.no_grad()
def simplex(y: Tensor, num_classes: int) -> Tensor:
    """The cosines of one-hot labels, each less its own mean: 1 within a class, ``-1 / (classes - 1)`` between two.

    What pHSIC (Pogodin & Latham 2020, https://arxiv.org/abs/2006.07123) holds a layer against. Unlike
    ``labels_gram(..., "cosine")``, which subtracts the batch's class frequencies, it does not depend on the batch.

    Of probabilities, the mean of that over the pairs of classes that two samples may have.

    Args:
        y: (batch,) integer labels in [0, num_classes), or (batch, num_classes) probabilities.
        num_classes: How many classes there are.

    Returns:
        (batch, batch) float32, without gradient.

    Raises:
        UsageError: A batch of one.
    """
    require_batch(y.shape[0], "the label kernel")
    same = y.float() @ y.float().T if y.is_floating_point() else (y[:, None] == y).float()
    apart = 1 / max(1, num_classes - 1)
    return same * (1 + apart) - apart
