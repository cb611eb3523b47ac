"""RandAugment by torchvision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from localrules.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def rand_augment(operations: int, magnitude: int) -> Callable[[Tensor, torch.Generator], Tensor]:
    """RandAugment of a batch, each image with its own draws: Cubuk et al. 2020, https://arxiv.org/abs/1909.13719.

    Args:
        operations: So many operations after each other, drawn for each image.
        magnitude: Of each, from 0 to 30.

    Returns:
        Takes images, uint8 of shape (batch, channels, height, width), and a CPU generator; gives new images of the
        same kind.

    Raises:
        MissingDependencyError: torchvision is not installed.
    """
    try:
        from torchvision.transforms import v2
    except ImportError as error:
        raise MissingDependencyError(
            "RandAugment needs torchvision",
            where="augment.rand_augment",
            why=f"it cannot be imported: {error}",
            fix='pip install "localrules[baselines]", or leave it out',
        ) from error
    transform = v2.RandAugment(num_ops=operations, magnitude=magnitude)

    def apply(images: Tensor, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng([]):  # torchvision draws from torch's own generator
            torch.default_generator.manual_seed(seed)
            return torch.stack([transform(image) for image in images])

    return apply
