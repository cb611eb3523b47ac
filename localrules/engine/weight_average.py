"""An exponential moving average of a run's weights, which labels images in place of the last weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from localrules.engine.split_batch import running_statistics

State = dict[str, dict[str, Tensor]]
"""Averages by the names of the network's state (``"network"``) and of the rule's (``"rule"``)."""


class WeightAverage:
    """The average of the parameters and of the running statistics of batch norms, of a network and of its rule.

    After each step ``average = d * average + (1 - d) * weights``, ``d = min(decay, (1 + step) / (10 + step))``: the
    initial weights are soon forgotten (TensorFlow's ``ExponentialMovingAverage``). Each number is averaged with its own
    past alone, so a rule stays as local as it is.

    Args:
        network: The plain module.
        rule: Its rule: auxiliary modules label images, too.
        decay: ``d`` in the long run; the average is over some ``1 / (1 - decay)`` steps.
    """

    def __init__(self, network: nn.Module, rule: nn.Module, decay: float) -> None:
        self._decay = decay
        self._values = {"network": _averaged(network), "rule": _averaged(rule)}
        self._averages: State = {
            part: {name: value.detach().clone() for name, value in values.items()}
            for part, values in self._values.items()
        }

    def update(self, step: int) -> None:
        """Take the weights after a step into the average.

        Args:
            step: Counted from 0 over the whole run.
        """
        average = get_ema_multi_avg_fn(min(self._decay, (1 + step) / (10 + step)))
        averages, values = self._pairs()
        if averages:
            average(averages, values, step)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the network and the rule have the averages for weights."""
        averages, values = self._pairs()
        kept = [value.clone() for value in values]
        _copy(averages, values)
        try:
            yield
        finally:
            _copy(kept, values)

    def settle(self, names: Mapping[str, Collection[str]]) -> None:
        """Give some weights their averages for good.

        Args:
            names: Those of ``"network"`` and ``"rule"``; what has no average is left as it is.
        """
        for part, averages in self._averages.items():
            found = averages.keys() & names.get(part, ())
            _copy([averages[name] for name in found], [self._values[part][name] for name in found])

    def state_dict(self) -> State:
        """Copies of the averages."""
        return {
            part: {name: value.clone() for name, value in values.items()} for part, values in self._averages.items()
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore what :meth:`state_dict` gave, all or some of it.

        Raises:
            KeyError: An average of a tensor that there is not.
        """
        for part, values in state.items():
            for name, value in values.items():
                self._averages[part][name].copy_(value)

    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        averages = [average for values in self._averages.values() for average in values.values()]
        return averages, [value.detach() for values in self._values.values() for value in values.values()]


def _averaged(module: nn.Module) -> dict[str, Tensor]:
    """The averaged tensors by all the names that the module's state has for them."""
    statistics = {id(value) for value in running_statistics(module)}
    parameters = module.named_parameters(remove_duplicate=False)
    buffers = module.named_buffers(remove_duplicate=False)
    return {
        **{name: value for name, value in parameters if value.is_floating_point()},
        **{name: value for name, value in buffers if id(value) in statistics},
    }


@torch.no_grad()
def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
