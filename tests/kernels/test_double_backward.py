"""Gradients of gradients: exact, or refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from localrules.kernels.gram import cosine, linear
from localrules.kernels.normalization import center, normalize, ridge_normalize

ROWS = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


def matrix() -> Tensor:
    return (ROWS @ ROWS.T).detach().requires_grad_()


@pytest.mark.parametrize(("kernel", "argument"), [(linear, ROWS), (center, matrix())], ids=["linear", "center"])
def test_some_are_exact(kernel: Callable[[Tensor], Tensor], argument: Tensor) -> None:
    assert torch.autograd.gradgradcheck(lambda given: kernel(given).square(), (argument,))


@pytest.mark.parametrize(
    ("kernel", "argument"),
    [(cosine, ROWS), (normalize, matrix()), (lambda k: ridge_normalize(k, eps=0.1), matrix())],
    ids=["cosine", "normalize", "ridge_normalize"],
)
def test_others_are_refused(kernel: Callable[[Tensor], Tensor], argument: Tensor) -> None:
    (gradient,) = torch.autograd.grad(kernel(argument).square().sum(), argument, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()
