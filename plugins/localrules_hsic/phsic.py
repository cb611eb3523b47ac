"""Plausible HSIC: a kernel bottleneck whose update needs only pairs of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from localrules import (
    Layer,
    LayerView,
    Objective,
    OutputTransform,
    Requirements,
    RuleConfig,
    RuleInfo,
    SearchRange,
    UsageError,
)
from localrules.kernels.checks import full_precision
from localrules.kernels.config import KernelConfig, KernelName, gram
from localrules.kernels.labels import simplex
from localrules_hsic.features import Reading, extract_features


class PHSIC(OutputTransform, Objective):
    """``pHSIC(K_z, K_z) - gamma pHSIC(K_y, K_z)`` with ``pHSIC(A, B) = mean((A - mean A) B)``.

    ``K_z`` compares the layer's outputs, ``K_y`` the labels: 1 within a class, -1 / (classes - 1) between two. With
    ``groups`` outputs are compared by ``u = v^p``, the variances within groups of units, less their mean over the
    groups; with ``divisive`` the layer's readers receive ``(z - mean) / v^divisive``, in training and in prediction.
    The update of a weight is then a sum over pairs of samples of (third factor) x (postsynaptic) x (presynaptic).

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
            "the readout's (the paper: 20 to 2000).",
        )
        reading: Reading = Field(
            "readers",
            description="Without groups: positions per side to which outputs are averaged: as their readers see them "
            "(ours), a number, or flat: not at all (the paper).",
        )
        grid: int = Field(4, ge=1, description="Positions per side where the model declares none (ours).")

        @model_validator(mode="after")
        def _divisive_needs_groups(self) -> PHSIC.Config:
            if self.divisive and not self.groups:
                raise ValueError("divisive normalisation works within groups, and groups is 0")
            return self

    info = RuleInfo(
        search_space={"gamma": SearchRange(0.5, 8, log=True)},
        formula="pHSIC(Z, Z) - gamma pHSIC(Z, Y), pHSIC(A, B) = mean((K_A - mean K_A) K_B)",
        requires=Requirements(min_batch=2, targets="probabilities", global_batch=True),
        presets={
            "paper": {"reading": "flat"},
            "paper-grouped": {"groups": 16},
            "paper-divisive": {"groups": 16, "divisive": 0.2},
            "paper-gaussian": {"kernel": "gaussian", "reading": "flat"},
            "paper-gaussian-grouped": {"kernel": "gaussian", "groups": 32},
            "paper-gaussian-divisive": {"kernel": "gaussian", "groups": 32, "divisive": 0.2},
        },
        autocast=True,  # outputs are pooled in the precision in which they come; kernels run in float32
    )

    config: PHSIC.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self._kernel = KernelConfig(config.kernel, width=config.width, scale_by_dim=False)
        self._grouping = Grouping(config.groups, config.delta) if config.groups else None
        if self._grouping is not None and self._grouping.count(layer.out_shape) < 2:  # kernels compare groups
            raise UsageError(
                f"layer {layer.name!r} cannot be grouped",
                where=f"--set rule.groups={config.groups}",
                why=f"its {layer.out_channels} units or channels do not divide into groups of two units or more",
                fix="choose a width with small factors, more groups, or --set rule.groups=0",
            )

    def forward(self, view: LayerView) -> Tensor:
        """The objective, a scalar."""
        features = self._features(view)
        k_z = gram(features, self._kernel)
        if self.config.kernel == "linear":
            k_z = k_z / features.shape[1]
        target = view.batch.cached(("phsic target", self.config), lambda: self._target(view))
        loss: Tensor = _Pairs.apply(k_z, target.to(k_z))
        return self.config.weight * loss

    def _target(self, view: LayerView) -> Tensor:
        """``gamma (K_y - mean K_y)``."""
        k_y = simplex(view.targets, view.num_classes)
        return self.config.gamma * (k_y - k_y.mean())

    def transform_output(self, output: Tensor) -> Tensor:
        """The output, divisively normalised with ``divisive``."""
        if self._grouping is None or not self.config.divisive:
            return output
        return self._grouping.normalized(output, self.config.divisive)

    def _features(self, view: LayerView) -> Tensor:
        """The input of the kernel, shape (batch, features)."""
        if self._grouping is None:
            return extract_features(view, self.config.reading, self.config.grid)
        power = self.config.power or (1 - self.config.divisive if self.config.divisive else 0.5)
        grouped = self._grouping.variances(view.output) ** power
        return grouped - grouped.mean(1, keepdim=True)


@dataclass(frozen=True)
class Grouping:
    """Units of a layer in groups of equal size, in order, and the variance within each.

    In a feature map a group is all positions of neighbouring channels, as in the paper's code. Where ``groups`` does
    not divide the number of channels, or would leave groups of one unit, the largest smaller number that does is used
    (ours; the paper's code fails).

    Attributes:
        groups: Largest number of groups.
        delta: Added to the sum of squares within a group: the smoothing of the variance.
    """

    groups: int
    delta: float

    def count(self, shape: tuple[int, ...]) -> int:
        """Number of groups for an output of shape (units,) or (channels, height, width)."""
        most = shape[0] if shape[1:] and max(shape[1:]) > 1 else shape[0] // 2
        return next(number for number in range(max(1, min(self.groups, most)), 0, -1) if shape[0] % number == 0)

    def variances(self, output: Tensor) -> Tensor:
        """``v = (sum of (z - mean)^2 + delta) / n`` in each group of n units.

        Args:
            output: Shape (batch, units) or (batch, channels, height, width).

        Returns:
            Shape (batch, groups); positive for a positive ``delta``.
        """
        return _variances(_centered(self._split(output)), self.delta)

    def normalized(self, output: Tensor, power: float) -> Tensor:
        """Divisive normalisation: ``(z - mean) / v^power`` within each group.

        Args:
            output: Shape (batch, units) or (batch, channels, height, width).
            power: Power of the variance.

        Returns:
            A tensor of the same shape and dtype.
        """
        centered = _centered(self._split(output))
        scale = _variances(centered, self.delta) ** -power
        scaled = centered * scale.view(*scale.shape, *(1,) * (centered.dim() - 2))
        return scaled.flatten(1, 2).to(output.dtype)

    def _split(self, output: Tensor) -> Tensor:
        return output.unflatten(1, (self.count(tuple(output.shape[1:])), -1))


@full_precision
def _centered(grouped: Tensor) -> Tensor:
    # A sum of squared differences has slope 0 in its mean, so the mean needs no gradient.
    return grouped - grouped.detach().mean(tuple(range(2, grouped.dim())), keepdim=True)


@full_precision
def _variances(centered: Tensor, delta: float) -> Tensor:
    units = centered[0, 0].numel()
    return (centered.square().flatten(2).sum(2) + delta) / units


class _Pairs(torch.autograd.Function):
    """``pHSIC(K, K) - mean(target K)`` with its derivative in one saved matrix, where autograd would take ten calls.

    A Gram matrix is small, so that the number of calls counts, not that of its entries.
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
