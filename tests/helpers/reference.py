"""The HSIC rules' mathematics once more: float64, loops over pairs, matrices written out, explicit inverses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def pooled(maps: Tensor, grid: int | None) -> Tensor:
    """Means over a grid of cells, one cell at a time."""
    if grid is None or maps.dim() != 4 or max(maps.shape[2:]) <= grid:
        return maps.reshape(len(maps), -1)
    side = maps.shape[2] // grid
    cells = [
        maps[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side].mean((2, 3))
        for row in range(grid)
        for column in range(grid)
    ]
    return torch.stack(cells, 2).reshape(len(maps), -1)


def kernel(x: Tensor, name: str, width: float | str, centered: bool) -> Tensor:
    """A Gram matrix, pair by pair."""
    rows = x.double().reshape(len(x), -1)
    m, d = rows.shape
    if name == "gaussian":
        squares = [[((rows[i] - rows[j]) ** 2).sum() for j in range(m)] for i in range(m)]
        if width == "median":
            apart = sorted(float(squares[i][j].detach()) for i in range(m) for j in range(i))
            scale = apart[(len(apart) - 1) // 2]
        else:
            scale = float(width) ** 2 * d
        return torch.stack([torch.stack([torch.exp(-s / (2 * scale)) for s in row]) for row in squares])
    if name == "cosine":
        rows = rows - rows.mean(0) if centered else rows
        rows = torch.stack([row / (row * row).sum().sqrt() for row in rows])
    return torch.stack([torch.stack([(a * b).sum() for b in rows]) for a in rows])


def labels_kernel(labels: Tensor, classes: int, name: str, width: Any = 5.0) -> Tensor:
    """The labels' Gram matrix."""
    m = len(labels)
    if name == "gaussian":
        one_hot = torch.zeros(m, classes, dtype=torch.float64)
        one_hot[torch.arange(m), labels] = 1
        return kernel(one_hot, "gaussian", width, centered=False)
    same = [[float(labels[i] == labels[j]) for j in range(m)] for i in range(m)]
    if name == "balanced":
        same = [[same[i][j] / sum(same[i]) for j in range(m)] for i in range(m)]
    return torch.tensor(same, dtype=torch.float64)


def centering(m: int) -> Tensor:
    return torch.eye(m, dtype=torch.float64) - torch.full((m, m), 1 / m, dtype=torch.float64)


def trace_form(a: Tensor, b: Tensor, power: int) -> Tensor:
    """``tr(a H b H)`` over a power of ``m - 1``, as a double loop over the double-centred matrices."""
    m = len(a)
    h = centering(m)
    left, right = h @ a @ h, h @ b @ h
    return sum((left[i, j] * right[j, i] for i in range(m) for j in range(m)), torch.zeros(())) / (m - 1) ** power


def cosine_of_grams(a: Tensor, b: Tensor) -> Tensor:
    return trace_form(a, b, 0) / (trace_form(a, a, 0) * trace_form(b, b, 0)).sqrt()


def normalized(a: Tensor, b: Tensor, eps_a: float, eps_b: float) -> Tensor:
    """Ma et al.'s ``tr(R_a R_b)``, one-sided centring and explicit inverse as in their code."""
    m = len(a)
    h, one = centering(m), torch.eye(m, dtype=torch.float64)
    r_a = a @ h @ torch.linalg.inv(a @ h + eps_a * m * one)
    r_b = b @ h @ torch.linalg.inv(b @ h + eps_b * m * one)
    return torch.trace(r_a @ r_b)
