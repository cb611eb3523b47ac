"""States of hidden layers that settle under an energy."""

from __future__ import annotations

from contextlib import nullcontext

from torch import Tensor

from localrules import Network
from localrules.core.interception import patch_forwards
from localrules.core.isolated_forward import LayerTrace
from localrules.core.nn.losses import cross_entropy_error
from localrules.kernels.checks import no_autocast
from localrules_energy.preactivations import without_activations
from localrules_energy.signals import RepeatedForward, Signals, backward_signals

States = dict[str, list[Tensor]]


class Settling:
    """One network on one batch of images, evaluated at states of its hidden layers.

    Args:
        network: A chain of layers.
        images: Shape (batch, ...).
    """

    def __init__(self, network: Network, images: Tensor) -> None:
        self._network, self._images = network, images
        self._forward = RepeatedForward(network, images, nullcontext)

    def zero_states(self) -> States:
        """All states at zero."""
        batch = len(self._images)
        return {layer.name: [self._images.new_zeros(batch, *layer.out_shape)] for layer in self._network.hidden}

    def evaluate(self, states: Signals) -> list[LayerTrace]:
        """Each hidden layer without its activation, reading the states of the one below."""
        with no_autocast(self._images), patch_forwards(self._network.hidden, without_activations):
            return self._forward(states)

    def settle(self, states: States, steps: int, targets: Tensor | None = None, beta: float = 0.0) -> States:
        """The states after a number of steps; without targets, of the free phase."""
        for _ in range(steps):
            traces = self.evaluate(states)
            sums = {trace.layer.name: [output.detach() for output in trace.outputs] for trace in traces[:-1]}
            from_above = backward_signals(traces, energy_gradients(traces, states, targets, beta))
            for name, signals in from_above.items():
                sums[name] = [below + above for below, above in zip(sums[name], signals, strict=True)]
            states = {name: [each.clamp(0, 1) for each in values] for name, values in sums.items()}
        return states


def energy_gradients(traces: list[LayerTrace], states: Signals, targets: Tensor | None, beta: float) -> Signals:
    """The gradient of the (nudged) Phi with respect to each layer's output."""
    if targets is None:
        return states
    readout = traces[-1]
    return {**states, readout.layer.name: [-beta * cross_entropy_error(readout.output, targets)]}
