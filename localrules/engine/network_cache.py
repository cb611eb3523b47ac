"""Networks that are built once and copied, where many sessions begin with the same one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from localrules.core.network import Network
from localrules.engine.resolved_run import ResolvedRun


class NetworkCache:
    """Networks as their seeds make them, on the CPU.

    An audit builds a session for each layer. Making a network, finding its layers and analysing them takes as long as
    a few steps, and a copy less than that. The random numbers drawn after a copy are those drawn after building.
    """

    def __init__(self) -> None:
        self._built: dict[tuple[object, ...], tuple[Network, Tensor]] = {}

    def copy_of(
        self, run: ResolvedRun, shape: tuple[int, ...], num_classes: int, build: Callable[[], Network]
    ) -> Network:
        """A copy of the network of a run; one that cannot be copied is built each time.

        Args:
            run: The run.
            shape: One image's channels, height, width.
            num_classes: Number of classes.
            build: Builds the network from the run's seed.
        """
        model, config = run.model, run.config
        key = (model.cls, model.config.model_dump_json(), config.granularity, config.seed, shape, num_classes)
        if key not in self._built:
            built, after = build(), torch.get_rng_state()
            try:
                self._built[key] = _copied(built), after
            except Exception:  # a module may hold anything, such as a lock
                return built
            finally:
                torch.set_rng_state(after)
            return built
        built, after = self._built[key]
        torch.set_rng_state(after)
        return _copied(built)


def _copied(network: Network) -> Network:
    """A copy. A module has a dozen empty containers, mostly of hooks, which take ``deepcopy`` most of its time."""
    empty: dict[int, Any] = {}
    for module in network.modules():
        for value in vars(module).values():
            if not value and type(value) in (OrderedDict, dict, set):
                empty[id(value)] = type(value)()
    return deepcopy(network, empty)
