"""Ridge regression onto one-hot labels, from sums that grow batch by batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules.kernels.labels import class_codes


class LeastSquares(nn.Module):
    """``W = (A'A + ridge * s I)^-1 A'Y`` over all samples so far, ``s`` the mean of the diagonal of ``A'A``.

    In float64: products in float32 would be off by more than a small ridge adds. A column of ones in ``A`` is the bias,
    which has no ridge. Solved at the first prediction, and again only after new samples.

    Args:
        features: Number of features.
        num_classes: Number of classes.
        ridge: Relative to the mean square of a feature.
    """

    products: Tensor
    targets: Tensor
    samples: Tensor

    def __init__(self, features: int, num_classes: int, ridge: float) -> None:
        super().__init__()
        self.register_buffer("products", torch.zeros(features + 1, features + 1, dtype=torch.float64))
        self.register_buffer("targets", torch.zeros(features + 1, num_classes, dtype=torch.float64))
        self.register_buffer("samples", torch.zeros((), dtype=torch.int64))
        self._ridge = ridge
        self._solved: tuple[int, Tensor] = (0, torch.empty(0))
        self.register_load_state_dict_post_hook(LeastSquares._forget)

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Add a batch to the sums.

        Args:
            features: Shape (batch, features).
            targets: Labels, int64, shape (batch,), or probabilities, shape (batch, classes).
        """
        ones = functional.pad(features.double(), (0, 1), value=1.0)
        self.products += ones.T @ ones
        self.targets += ones.T @ class_codes(targets, self.targets.shape[1], ones.dtype)
        self.samples += len(ones)

    def forward(self, features: Tensor) -> Tensor:
        """Predictions, shape (batch, classes); zeros before the first sample."""
        weights = self.solution.to(features)
        return torch.addmm(weights[-1], features, weights[:-1])

    @property
    def solution(self) -> Tensor:
        """float64, shape (features + 1, classes); the last vector along the first axis is the bias."""
        if torch.compiler.is_exporting():  # of a network that has predicted: the solution is a constant of its graph
            return self._solved[1]
        samples = int(self.samples)
        if self._solved[0] != samples or samples == 0:
            self._solved = (samples, self._solve() if samples else torch.zeros_like(self.targets))
        return self._solved[1]

    @staticmethod
    def _forget(module: nn.Module, _: Any) -> None:
        """Other sums have another solution, though they may be of as many samples."""
        assert isinstance(module, LeastSquares)
        module._solved = (0, torch.empty(0))

    def _solve(self) -> Tensor:
        penalty = torch.full_like(self.products[0], self._ridge) * self.products.diagonal()[:-1].mean()
        penalty += torch.finfo(penalty.dtype).tiny  # for features that are all zero
        penalty[-1] = 0
        return torch.linalg.solve(self.products + torch.diag(penalty), self.targets)
