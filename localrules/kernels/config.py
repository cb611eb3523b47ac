"""A kernel by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from localrules.errors import UsageError, suggest_names
from localrules.kernels.gram import ROUNDING, Width, cosine, gaussian, linear, list_widths

KernelName = Literal["gaussian", "cosine", "linear"]
KERNELS: tuple[str, ...] = get_args(KernelName)


@dataclass(frozen=True)
class KernelConfig:
    """Which kernel, and its settings; each kernel reads its own and leaves the others.

    Args:
        name: ``gaussian``, ``cosine`` or ``linear``.
        width: Of the Gaussian: a number, ``"median"`` (ours), or several, averaged.
        scale_by_dim: Of the Gaussian: multiply ``width^2`` by the dimension (Ma et al.'s).
        centered: Of the cosine: subtract the mean over the batch first.
        eps: Of the cosine: relative length below which a row counts as zero.

    Raises:
        UsageError: An unknown name, or a width that is none.
    """

    name: KernelName = "gaussian"
    width: Width | Sequence[Width] = "median"
    scale_by_dim: bool = True
    centered: bool = False
    eps: float = ROUNDING

    def __post_init__(self) -> None:
        if self.name not in KERNELS:
            raise UsageError(f"unknown kernel {self.name!r}", fix=suggest_names(self.name, list(KERNELS)))
        list_widths(self.width)


def gram(x: Tensor, kernel: KernelConfig | KernelName = "gaussian") -> Tensor:
    """The Gram matrix of a batch under a kernel that is given by name or with its settings.

    Args:
        x: (batch, ...), flattened to (batch, d).
        kernel: A name, for that kernel with its defaults, or a :class:`KernelConfig`.

    Returns:
        (batch, batch).

    Raises:
        UsageError: An unknown name, or a batch of one.
    """
    settings = kernel if isinstance(kernel, KernelConfig) else KernelConfig(kernel)
    if settings.name == "gaussian":
        return gaussian(x, settings.width, scale_by_dim=settings.scale_by_dim)
    if settings.name == "cosine":
        return cosine(x, centered=settings.centered, eps=settings.eps)
    return linear(x)
