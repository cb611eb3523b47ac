"""Ridge regression onto one-hot labels, from sums that grow batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class LeastSquares(nn.Module):
    """``W = (A'A + ridge * s I)^-1 A'Y`` over all rows so far, ``s`` the mean of the diagonal of ``A'A``.

    In float64: products of float32 would be off by more than a small ridge adds. A column of ones in ``A`` is the bias,
    which the ridge leaves alone. Solved when asked, and again only after new rows came.

    Args:
        features: Columns, without the bias.
        num_classes: Columns of ``Y``.
        ridge: Relative.
    """

    products: Tensor
    targets: Tensor
    rows: Tensor

    def __init__(self, features: int, num_classes: int, ridge: float) -> None:
        super().__init__()
        self.register_buffer("products", torch.zeros(features + 1, features + 1, dtype=torch.float64))
        self.register_buffer("targets", torch.zeros(features + 1, num_classes, dtype=torch.float64))
        self.register_buffer("rows", torch.zeros((), dtype=torch.int64))
        self._ridge = ridge
        self._solved: tuple[int, Tensor] = (0, torch.empty(0))

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take in a batch.

        Args:
            features: Shape (batch, features).
            labels: int64, shape (batch,).
        """
        ones = functional.pad(features.double(), (0, 1), value=1.0)
        wanted = functional.one_hot(labels, self.targets.shape[1]).to(ones)
        self.products += ones.T @ ones
        self.targets += ones.T @ wanted
        self.rows += len(ones)

    def forward(self, features: Tensor) -> Tensor:
        """What the solution says of features, shape (batch, classes); zeros as long as there were no rows."""
        weights = self.solution.to(features)
        return torch.addmm(weights[-1], features, weights[:-1])

    @property
    def solution(self) -> Tensor:
        """float64, shape (features + 1, classes); the last row is the bias."""
        rows = int(self.rows)
        if self._solved[0] != rows or rows == 0:
            self._solved = (rows, self._solve() if rows else torch.zeros_like(self.targets))
        return self._solved[1]

    def _solve(self) -> Tensor:
        penalty = torch.full_like(self.products[0], self._ridge) * self.products.diagonal()[:-1].mean()
        penalty += torch.finfo(penalty.dtype).tiny  # of features that are all zero
        penalty[-1] = 0
        return torch.linalg.solve(self.products + torch.diag(penalty), self.targets)
