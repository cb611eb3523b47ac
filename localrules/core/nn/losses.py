"""The gradient of the cross-entropy, for rules that send it elsewhere than autograd would."""

from __future__ import annotations

from torch import Tensor

from localrules.kernels.labels import class_codes
from localrules.utils.torch_utils import at_least_float32


def cross_entropy_error(logits: Tensor, targets: Tensor) -> Tensor:
    """The gradient of each sample's cross-entropy with respect to its logits; in float32 at least.

    Args:
        logits: Shape (batch, classes).
        targets: As of :attr:`localrules.core.view.Batch.targets`.

    Returns:
        Softmax, times the sum of the sample's targets, less targets. Shape (batch, classes).
    """
    softmax = at_least_float32(logits.detach()).softmax(1)
    codes = class_codes(targets, logits.shape[1], softmax.dtype)
    return (softmax * codes.sum(1, keepdim=True) if targets.is_floating_point() else softmax) - codes
