"""States of hidden layers that settle: each moves to where those below and above, and the label, pull it."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from localrules import Network
from localrules.core.interception import intercept_layers
from localrules.core.isolated_forward import LayerTrace
from localrules_energy.preactivations import bare
from localrules_energy.signals import Evaluations, Signals, backward_signals, output_error

States = dict[str, list[Tensor]]


class Settling:
    """One network on one batch of pictures, evaluated at states of its hidden layers.

    Args:
        network: A chain of layers.
        images: Shape (batch, ...).
    """

    def __init__(self, network: Network, images: Tensor) -> None:
        self._network, self._images = network, images
        self._evaluations = Evaluations(network, images, nullcontext)

    def rest(self) -> States:
        """All states at zero."""
        rows = len(self._images)
        return {layer.name: [self._images.new_zeros(rows, *layer.out_shape)] for layer in self._network.hidden}

    def __call__(self, states: Signals) -> list[LayerTrace]:
        """Each hidden layer without its activation, reading the states of the one below."""
        off = torch.autocast(self._images.device.type, enabled=False)
        with off, intercept_layers(self._network.hidden, bare):
            return self._evaluations(states)

    def settled(self, states: States, steps: int, labels: Tensor | None = None, beta: float = 0.0) -> States:
        """The states after so many steps; without labels, freely."""
        for _ in range(steps):
            stations = self(states)
            pull = {station.layer.name: [output.detach() for output in station.outputs] for station in stations[:-1]}
            for name, messages in backward_signals(stations, pulls(stations, states, labels, beta)).items():
                pull[name] = [below + above for below, above in zip(pull[name], messages, strict=True)]
            states = {name: [each.clamp(0, 1) for each in sums] for name, sums in pull.items()}
        return states


def pulls(stations: list[LayerTrace], states: Signals, labels: Tensor | None, beta: float) -> Signals:
    """The gradient of Phi, nudged, with respect to what each layer gives."""
    if labels is None:
        return states
    readout = stations[-1]
    return {**states, readout.layer.name: [-beta * output_error(readout.output, labels)]}
