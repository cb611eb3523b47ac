"""Similarity matching: which samples of a batch look alike to a layer, against which of them share a label.

``mismatch(similarity(z), labels_similarity(y))`` is the loss "sim" of Nøkland & Eidnes 2019. It is next of kin to pHSIC
with cosine kernels: ``mean((K_z - K_y)^2) = <K_z, K_z> - 2 <K_y, K_z> + const`` up to ``1/m^2``, where the pHSIC
bottleneck (Pogodin & Latham 2020, https://arxiv.org/abs/2006.07123) has ``pHSIC(K_z, K_z) - 2 pHSIC(K_y, K_z)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from localrules.kernels.checks import flatten_features, full_precision, require_pair
from localrules.kernels.gram import cosine
from localrules.kernels.labels import class_codes
from localrules.kernels.normalization import frobenius_inner

FEW_CHANNELS = 3
"""Maps of no more channels than an image are compared pixel by pixel."""


@full_precision
def similarity(x: Tensor) -> Tensor:
    """The cosine of every two samples, each less the mean of its own features.

    Nøkland & Eidnes 2019 (https://arxiv.org/abs/1901.06656), and their code: maps of more than three channels are
    compared by the standard deviation of each channel over its positions, everything else feature by feature.

    Args:
        x: (batch, ...).

    Returns:
        (batch, batch), entries in [-1, 1]; 0, with gradient 0, for a sample whose features are all alike.

    Raises:
        UsageError: A batch of one.
    """
    spatial = x.dim() == 4 and x.shape[1] > FEW_CHANNELS and x.shape[2:].numel() > 1
    rows = _channel_stds(x) if spatial else flatten_features(x)
    return cosine(rows - rows.mean(1, keepdim=True)).clamp(-1, 1)


@torch.no_grad()
def labels_similarity(y: Tensor, num_classes: int) -> Tensor:
    """The similarity of one-hot labels: 1 within a class, ``-1 / (num_classes - 1)`` between two.

    Args:
        y: (batch,) integer labels in [0, num_classes), or (batch, num_classes) probabilities.
        num_classes: How many classes there are.

    Returns:
        (batch, batch) float32.

    Raises:
        UsageError: A batch of one.
    """
    return similarity(class_codes(y, num_classes))


@full_precision
def similarity_loss(a: Tensor, b: Tensor) -> Tensor:
    """The mean squared difference of two Gram matrices' entries, a scalar.

    Args:
        a, b: (batch, batch).

    Raises:
        UsageError: Different shapes, or a batch of one.
    """
    size = require_pair(a, b, "similarity matching")
    difference = a - b
    return frobenius_inner(difference, difference) / size**2


def _channel_stds(maps: Tensor) -> Tensor:
    """The standard deviation of each channel over its positions, (batch, channels); gradient 0 where it is 0."""
    return maps.flatten(2).std(2)
