"""Generators whose draws depend on nothing but a seed and a place in the run."""

from __future__ import annotations

import numpy as np
import torch

ORDER = 0  # the rows of an epoch
AUGMENT = 1  # the draws of a step


def generator(seed: int, stream: int, number: int) -> torch.Generator:
    """A CPU generator for draw ``number`` of ``stream``: the same on every device, process and resumed run.

    Args:
        seed: The run's seed, 0 or more.
        stream: What is drawn, so that two uses of one seed are independent.
        number: Which epoch or step.
    """
    # torch seeds its Mersenne twister with 32 bits; numpy's SeedSequence mixes the three numbers into them.
    mixed = np.random.SeedSequence((seed, stream, number)).generate_state(1, np.uint32)[0]
    return torch.Generator().manual_seed(int(mixed))
