"""Supervised contrast: samples of one class attract each other, all others repel."""

from __future__ import annotations

import torch
from torch import Tensor

from localrules.kernels.gram import cosine


def supervised_contrast(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """For each sample, how hard it is to tell its own class's other samples from all others; their mean.

    Khosla et al. 2020, https://arxiv.org/abs/2004.11362, with one view of each sample. One that is alone in its class
    counts as zero.

    Args:
        features: (batch, d), compared by their cosine.
        labels: (batch,).
        temperature: What cosines are divided by.

    Returns:
        A scalar.

    Raises:
        UsageError: A batch of one.
    """
    scores = cosine(features) / temperature
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    log_likelihood = scores - scores.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    partners = (labels[:, None] == labels) & ~itself
    return -((log_likelihood * partners).sum(1) / partners.sum(1).clamp_min(1)).mean()
