"""Plausible HSIC: a kernel bottleneck whose update needs only pairs of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.objective import RuleConfig
from localrules.errors import UsageError
from localrules.kernels.config import KernelConfig, KernelName, gram
from localrules.kernels.labels import simplex
from localrules_hsic.features import Reading, extract_features
from localrules_hsic.group_variance import Grouping


class PHSIC(Objective):
    """``pHSIC(K_z, K_z) - gamma pHSIC(K_y, K_z)`` with ``pHSIC(A, B) = mean((A - mean A) B)``.

    ``K_z`` compares the layer's outputs, ``K_y`` the labels: 1 within a class, -1 / (classes - 1) between two. With
    ``groups`` a layer is compared by ``u = v^p``, the variances within groups of its units, less their mean over the
    groups; with ``divisive`` its readers are given ``(z - mean) / v^divisive``, in training and in prediction. The
    update of a weight is then a sum over pairs of samples of (third factor) x (postsynaptic) x (presynaptic).

    Differs from the authors' code: a number of groups that does not divide a layer's channels is lowered; the linear
    kernel is divided by the number of features, so that its scale is that of the other kernels.

    References:
        Pogodin & Latham 2020, https://arxiv.org/abs/2006.07123, and the authors' code
        https://github.com/romanpogodin/plausible-kernelized-bottleneck.
    """

    class Config(RuleConfig):
        """Options of rule phsic."""

        gamma: float = Field(2.0, ge=0, description="Weight of pHSIC(K_y, K_z) (the paper's).")
        kernel: KernelName = Field("cosine", description="Kernel of a layer's output (the paper's first choice).")
        width: float = Field(
            5.0, gt=0, description="Width of the Gaussian kernel, not scaled by the dimension (the paper's)."
        )
        groups: int = Field(0, ge=0, description="Groups of units; 0: none, every unit counts (the paper: 16 or 32).")
        delta: float = Field(1.0, gt=0, description="Smoothing of a group's variance (the paper's).")
        power: float | None = Field(
            None,
            gt=0,
            description="Power of a group's variance; unset: 0.5, or 1 - divisive where that is used (the paper's).",
        )
        divisive: float = Field(
            0.0, ge=0, lt=1, description="Power of divisive normalisation; 0: none (the paper: 0.2). Needs groups."
        )
        weight: float = Field(
            1.0,
            gt=0,
            description="Factor of the objective (ours). Under SGD it is the ratio of the layers' learning rate to "
            "the readout's (the paper: 50 to 2000).",
        )
        reading: Reading = Field(
            "readers",
            description="Without groups: the grid at which a layer is looked at: as its readers do (ours), a number, "
            "flat (the paper).",
        )
        grid: int = Field(4, ge=1, description="The grid where the model names none (ours).")

        @model_validator(mode="after")
        def _divisive_needs_groups(self) -> PHSIC.Config:
            if self.divisive and not self.groups:
                raise ValueError("divisive normalisation works within groups, and groups is 0")
            return self

    formula: ClassVar[str] = "pHSIC(Z, Z) - gamma pHSIC(Z, Y), pHSIC(A, B) = mean((K_A - mean K_A) K_B)"
    requires: ClassVar[Requirements] = Requirements(min_batch=2, global_batch=True)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"reading": "flat"},
        "paper-grouped": {"groups": 16},
        "paper-divisive": {"groups": 16, "divisive": 0.2},
        "paper-gaussian": {"kernel": "gaussian", "reading": "flat"},
        "paper-gaussian-grouped": {"kernel": "gaussian", "groups": 32},
        "paper-gaussian-divisive": {"kernel": "gaussian", "groups": 32, "divisive": 0.2},
    }

    config: PHSIC.Config

    def __init__(self, config: PHSIC.Config | None = None) -> None:
        super().__init__(config)
        self._grouping = Grouping(self.config.groups, self.config.delta) if self.config.groups else None
        self._kernel = KernelConfig(self.config.kernel, width=self.config.width, scale_by_dim=False)

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        """Refuse a layer that cannot be grouped: the kernels compare groups with each other."""
        for layer in layers:
            for shape in layer.out_shapes if self._grouping else ():
                if self._grouping is not None and self._grouping.count(shape) < 2:
                    raise UsageError(
                        f"layer {layer.name!r} cannot be grouped",
                        where=f"--set rule.groups={self.config.groups}",
                        why=f"no two or more groups of equal size, of two units at least, make up its {shape[0]}",
                        fix="choose a width with small factors, more groups, or --set rule.groups=0",
                    )

    def loss(self, view: LayerView) -> Tensor:
        """The layer's objective, a scalar."""
        features = self._features(view)
        k_z = gram(features, self._kernel)
        if self.config.kernel == "linear":
            k_z = k_z / features.shape[1]
        target = view.batch.cached(("phsic target", self.config), lambda: self._target(view))
        loss: Tensor = _Pairs.apply(k_z, target.to(k_z))
        return self.config.weight * loss

    def _target(self, view: LayerView) -> Tensor:
        """``gamma (K_y - mean K_y)``."""
        k_y = simplex(view.labels, view.num_classes)
        return self.config.gamma * (k_y - k_y.mean())

    def hand_on(self, layer: Layer, output: Tensor) -> Tensor:
        """The output, divisively normalised if asked for."""
        if self._grouping is None or not self.config.divisive:
            return output
        return self._grouping.normalized(output, self.config.divisive)

    def _features(self, view: LayerView) -> Tensor:
        """What the kernel compares, shape (batch, features)."""
        if self._grouping is None:
            return extract_features(view, self.config.reading, self.config.grid)
        power = self.config.power or (1 - self.config.divisive if self.config.divisive else 0.5)
        grouped = self._grouping.variances(view.output) ** power
        return grouped - grouped.mean(1, keepdim=True)


class _Pairs(torch.autograd.Function):
    """``pHSIC(K, K) - mean(target K)``, whose derivative is one matrix more: autograd would take ten.

    A layer's Gram matrix is small, so that calls cost what its entries do not.
    """

    @staticmethod
    def forward(ctx: Any, k: Tensor, target: Tensor) -> Tensor:
        centered = k - k.mean()
        ctx.save_for_backward(torch.sub(centered * 2, target).div_(k.numel()))
        return torch.dot((centered - target).flatten(), k.flatten()) / k.numel()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return grad * slope, None
