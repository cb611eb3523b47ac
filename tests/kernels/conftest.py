"""Slow, obvious float64 forms of the kernels: loops over pairs, and the centring matrix H written out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor


def pairwise(x: Tensor, similarity) -> Tensor:
    rows = [row.reshape(-1) for row in x]
    return torch.stack([torch.stack([similarity(a, b) for b in rows]) for a in rows])


def linear(x: Tensor) -> Tensor:
    return pairwise(x, lambda a, b: sum(a[i] * b[i] for i in range(len(a))))


def cosine(x: Tensor, centered: bool = False) -> Tensor:
    x = x - x.mean(0) if centered else x
    return pairwise(x, lambda a, b: (a * b).sum() / ((a * a).sum().sqrt() * (b * b).sum().sqrt()))


def gaussian(x: Tensor, width: float, scale_by_dim: bool = True) -> Tensor:
    dim = x[0].numel() if scale_by_dim else 1
    return pairwise(x, lambda a, b: torch.exp(-((a - b) ** 2).sum() / (2 * width**2 * dim)))


def median_width(x: Tensor) -> float:
    """The width whose square times d is the lower median of the squared distances of different samples."""
    rows = [row.reshape(-1) for row in x.detach()]
    squares = sorted(((a - b) ** 2).sum().item() for i, a in enumerate(rows) for b in rows[:i])
    return (squares[(len(squares) - 1) // 2] / len(rows[0])) ** 0.5


def centring(m: int) -> Tensor:
    return torch.eye(m, dtype=torch.float64) - torch.ones(m, m, dtype=torch.float64) / m


def hsic(k: Tensor, l: Tensor, power: int = 2) -> Tensor:  # noqa: E741
    m = len(k)
    h = centring(m)
    return torch.trace(k @ h @ l @ h) / (m - 1) ** power


def hsic_by_sums(k: Tensor, l: Tensor) -> float:  # noqa: E741
    """Gretton et al.'s estimator as three expectations over samples, without matrices."""
    m = len(k)
    both = sum(k[i, j] * l[i, j] for i in range(m) for j in range(m)) / m**2
    apart = k.sum() / m**2 * l.sum() / m**2
    cross = sum(k[i, j] * l[i, q] for i in range(m) for j in range(m) for q in range(m)) / m**3
    return float(both + apart - 2 * cross) * m**2 / (m - 1) ** 2


def cka(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    return hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt()


def resolvent(k: Tensor, eps: float, one_sided: bool = False) -> Tensor:
    m = len(k)
    h = centring(m)
    centered = k @ h if one_sided else h @ k @ h
    return centered @ torch.linalg.inv(centered + eps * m * torch.eye(m, dtype=torch.float64))


def nhsic(k: Tensor, l: Tensor, eps: float = 1e-5, one_sided: bool = False) -> Tensor:  # noqa: E741
    return torch.trace(resolvent(k, eps, one_sided) @ resolvent(l, eps, one_sided))


def phsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    m = len(k)
    return sum((k[i, j] - k.mean()) * l[i, j] for i in range(m) for j in range(m)) / m**2


@pytest.fixture(scope="session")
def reference() -> SimpleNamespace:
    functions = (linear, cosine, gaussian, median_width, centring, hsic, hsic_by_sums, cka, resolvent, nhsic, phsic)
    return SimpleNamespace(**{function.__name__: function for function in functions})
