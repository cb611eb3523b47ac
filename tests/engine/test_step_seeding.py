"""A step on a CPU seeds torch for its draws, and asks for no GPU."""

from __future__ import annotations

import torch
from helpers.tiny_sessions import RULES, perceptron

from localrules.config.schema import RunConfig
from localrules.data.batches import generator
from localrules.engine.step import STEP_SEED_STREAM, seed_step

CPU = torch.device("cpu")


def draws(config: RunConfig, step: int) -> list[float]:
    seed_step(config, step, CPU)
    return torch.rand(3).tolist()


def test_draws_are_those_of_torch_seeded_with_seed_and_step() -> None:
    config = perceptron(RULES["backprop"], seed=3).config
    found = draws(config, 7)
    torch.manual_seed(generator(3, STEP_SEED_STREAM, 7).initial_seed())
    assert found == torch.rand(3).tolist()


def test_draws_differ_from_step_to_step_and_from_seed_to_seed() -> None:
    first, other = perceptron(RULES["backprop"], seed=3).config, perceptron(RULES["backprop"], seed=4).config
    assert len({tuple(draws(config, step)) for config in (first, other) for step in (0, 1)}) == 4
