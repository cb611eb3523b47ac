"""The features of a layer, and the Gram matrices of the network's input and of the labels."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from localrules import LayerView, UsageError
from localrules.core.nn.pooling import pool_flat
from localrules.kernels.config import KernelConfig, gram
from localrules.kernels.gram import Width
from localrules.kernels.labels import LabelKernel, labels_gram

Reading = Literal["readers", "flat"] | PositiveInt
Reference = Literal["input", "previous", "none"]


def extract_features(view: LayerView, reading: Reading, grid: int) -> Tensor:
    """A layer's output as features, shape (batch, features).

    Args:
        view: The layer.
        reading: ``"readers"``: averaged to as many positions per side as the layer's readers see, where the model
            declares that, else to ``grid``; a number: averaged to that everywhere; ``"flat"``: every position.
        grid: Positions per side where the model declares none.
    """
    if reading == "flat":
        return view.output.flatten(1)
    if reading == "readers":
        return view.pooled(view.layer.pool_size or grid)
    return view.pooled(reading)


def input_gram(view: LayerView, reference: Reference, kernel: KernelConfig) -> Tensor | None:
    """The Gram matrix of what a layer should forget: the network's input, the layer's own inputs, or nothing.

    It has no gradient; that of the network's input is computed once per step.

    Raises:
        UsageError: The inputs are integers, such as tokens.
    """
    if reference == "none":
        return None
    compared = view.images if reference == "input" else view.inputs[0]
    if not compared.is_floating_point():
        raise UsageError(
            f"the inputs of layer {view.layer.name!r} cannot be compared",
            where=f"rule.reference={reference}",
            why=f"they are of type {str(compared.dtype).removeprefix('torch.')}: the distance of two tokens' numbers "
            "means nothing",
            fix="--set rule.reference=none, or a rule without a kernel of the input, such as hsic-projected",
        )
    if reference == "input":
        found: Tensor = view.batch.cached(("input gram", kernel), lambda: gram(view.images, kernel))
        return found
    inputs = [pool_flat(tensor, 4) for tensor in view.inputs]
    return sum((gram(tensor, kernel) for tensor in inputs[1:]), gram(inputs[0], kernel)) / len(inputs)


def label_gram(view: LayerView, kind: LabelKernel, width: Width) -> Tensor:
    """The labels' Gram matrix, computed once per step; float64 if the layer's output is.

    Args:
        view: The view.
        kind: The kernel.
        width: Of the Gaussian kernel.
    """
    dtype = torch.float64 if view.output.dtype == torch.float64 else torch.float32

    def compute() -> Tensor:
        return labels_gram(view.targets, view.num_classes, kind, width=width, dtype=dtype)

    found: Tensor = view.batch.cached(("label gram", kind, width, dtype), compute)
    return found
