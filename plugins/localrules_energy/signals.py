"""What layers tell each other in a relay: readers to sources, and signals to weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from localrules import Context, Network, isolated_forward
from localrules.core.isolated_forward import LayerTrace
from localrules.utils.torch_utils import RngSnapshot, freeze_batchnorm_stats

Signals = Mapping[str, list[Tensor]]
"""By layer name, a tensor shaped like each of the layer's outputs."""


class Evaluations:
    """One network evaluated several times on one batch, readers being given other values each time.

    Batch norms count the batch once, and dropout drops the same units each time.

    Args:
        network: Any network.
        images: Its input, shape (batch, ...).
        precision: Makes the context that a forward pass runs in.
    """

    def __init__(self, network: Network, images: Tensor, precision: Callable[[], AbstractContextManager[Any]]) -> None:
        self._network, self._images, self._precision = network, images, precision
        self._draws: RngSnapshot | None = None

    def __call__(self, given: Signals | None = None) -> list[LayerTrace]:
        """A joined relay in which readers are given these values.

        Args:
            given: In place of what layers compute; by default nothing.
        """
        if self._draws is None:
            self._draws = RngSnapshot(self._images.device)
            return self._relay(given)
        with self._draws.replay(), freeze_batchnorm_stats(self._network):
            return self._relay(given)

    def _relay(self, given: Signals | None) -> list[LayerTrace]:
        return isolated_forward(
            self._network, self._images, connected=True, overrides=given, precision=self._precision()
        )


def output_error(logits: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each picture's cross-entropy with respect to its logits, shape (batch, classes)."""
    return functional.softmax(precise(logits.detach()), 1) - functional.one_hot(labels, logits.shape[1])


def precise(tensor: Tensor) -> Tensor:
    """In float32 at least: values settle by small steps."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def backward_signals(stations: list[LayerTrace], signals: Signals) -> dict[str, list[Tensor]]:
    """What every layer is told by those that read it: ``sum_k J_k^T signal_k``.

    Args:
        stations: Of a joined relay; the graphs are kept.
        signals: At the readers' outputs.

    Returns:
        Shaped like the layers' outputs; nothing for layers that no signal reaches, or for the readout.
    """
    hidden = stations[:-1]
    sources = [value for station in hidden for value in station.values]
    if not sources:
        return {}
    outputs, at_outputs = _paired(stations, signals)
    found = iter(torch.autograd.grad(outputs, sources, at_outputs, retain_graph=True, allow_unused=True))
    told: dict[str, list[Tensor]] = {}
    for station in hidden:
        messages = [next(found) for _ in station.values]
        if any(message is not None for message in messages):
            told[station.layer.name] = [
                torch.zeros_like(value) if message is None else message
                for message, value in zip(messages, station.values, strict=True)
            ]
    return told


def learn(stations: list[LayerTrace], signals: Signals, context: Context) -> None:
    """Add to the weights' ``.grad`` what the signals at their layers' outputs mean for them: ``signal df/dw``.

    Args:
        stations: Of a relay; the graphs are freed.
        signals: At the layers' outputs.
        context: Knows which layers learn.
    """
    weights = [
        weight
        for station in stations
        if context.is_trainable(station.layer)
        for weight in station.layer.parameters()
        if weight.requires_grad
    ]
    outputs, at_outputs = _paired(stations, signals)
    torch.autograd.backward(outputs, at_outputs, inputs=weights)


def _paired(stations: list[LayerTrace], signals: Signals) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs that have a graph, and the signals at them."""
    pairs = [
        (output, signal.to(output.dtype))
        for station in stations
        for output, signal in zip(station.outputs, signals.get(station.layer.name, ()), strict=False)
        if output.requires_grad
    ]
    return [output for output, _ in pairs], [signal for _, signal in pairs]
