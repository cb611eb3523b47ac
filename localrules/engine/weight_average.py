"""An exponential moving average of a run's weights, which labels images in place of the weights themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from localrules.engine.split_batch import running_statistics
from localrules.errors import UsageError
from localrules.utils.torch_utils import at_least_float32

State = dict[str, dict[str, Tensor]]
"""Averages by the names of the network's state (``"network"``) and of the rule's (``"rule"``)."""


class WeightAverage:
    """The average of the parameters and of the running statistics of batch norms, of a network and of its rule.

    After each step ``average = d * average + (1 - d) * weights``, ``d = min(decay, (1 + n) / (10 + n))`` after ``n``
    steps, so that the weights of the start are soon forgotten (TensorFlow's ``ExponentialMovingAverage``). Each number
    is averaged with its own past alone, so a rule stays as local as it is.

    Args:
        network: The plain module.
        rule: Its rule: auxiliary modules label images, too.
        decay: ``d`` in the long run; the average is over some ``1 / (1 - decay)`` steps.

    Raises:
        UsageError: A parameter is not in the state of its module, which a checkpoint holds.
    """

    def __init__(self, network: nn.Module, rule: nn.Module, decay: float) -> None:
        self._decay = decay
        self._values = {"network": _averaged(network), "rule": _averaged(rule)}
        self._averages: State = {
            part: {name: _stored(value).clone() for name, value in values.items()}
            for part, values in self._values.items()
        }

    def update(self, steps: int) -> None:
        """Take the weights after a step into the average.

        Args:
            steps: Averaged before this one.
        """
        average = get_ema_multi_avg_fn(min(self._decay, (1 + steps) / (10 + steps)))
        averages, values = self._pairs()
        if averages:
            average(averages, [_stored(value) for value in values], steps)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the network and the rule have the averages for weights."""
        _, values = self._pairs()
        kept = [value.clone() for value in values]
        self.copy_to_weights()
        try:
            yield
        finally:
            _copy(kept, values)

    def copy_to_weights(self) -> None:
        """Give the network and the rule the averages for weights, for good."""
        _copy(*self._pairs())

    def state_dict(self, keeps: Callable[[str, str], bool] = lambda _, __: True) -> State:
        """Copies of the averages, float32 where weights have half the precision.

        Args:
            keeps: Whether to include one, by part, ``"network"`` or ``"rule"``, and name; by default all are.
        """
        return {
            part: {name: value.clone() for name, value in values.items() if keeps(part, name)}
            for part, values in self._averages.items()
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
    parameters = {id(value): name for name, value in module.named_parameters()}
    statistics = {id(value) for value in running_statistics(module)}
    state = {name: value for name, value in module.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    if lost := parameters.keys() - {id(value) for value in state.values()}:
        raise UsageError(
            "the weights cannot be averaged",
            where="ema_decay",
            why=f"parameter {parameters[min(lost, key=lambda each: parameters[each])]!r} of {type(module).__name__} "
            "is not in its state_dict, which a checkpoint holds",
            fix="leave out ema_decay, or keep the parameter itself in the state_dict",
        )
    averaged = parameters.keys() | statistics
    return {
        name: value
        for name, value in state.items()
        if id(value) in averaged and (value.is_floating_point() or value.is_complex())
    }


def _stored(value: Tensor) -> Tensor:
    """A weight in the precision of its average: in that of bfloat16 a small step of an average would be rounded off."""
    value = value.detach()
    return at_least_float32(value) if value.is_floating_point() else value


@torch.no_grad()
def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
