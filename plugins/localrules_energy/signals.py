"""Signals between layers: from readers to the layers that they read, and from outputs to weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from localrules import Context, Layer, Network, isolated_forward
from localrules.core.interception import Forward, intercept_layers
from localrules.core.isolated_forward import LayerTrace, Overrides, distinct_leaves
from localrules.utils.torch_utils import RngSnapshot, freeze_batchnorm_stats

Signals = Mapping[str, list[Tensor]]
"""By layer name, a tensor shaped like each of the layer's outputs."""


class RepeatedForward:
    """Several forward passes of one network on one batch, in which readers get other values each time.

    Batch norms count the batch once, and dropout drops the same units each time.

    Args:
        network: Any network.
        images: Its input, shape (batch, ...).
        precision: Makes the context in which a forward pass runs.
    """

    def __init__(self, network: Network, images: Tensor, precision: Callable[[], AbstractContextManager[Any]]) -> None:
        self._network, self._images, self._precision = network, images, precision
        self._draws: RngSnapshot | None = None

    def __call__(self, overrides: Overrides | None = None) -> list[LayerTrace]:
        """The traces of one connected forward pass.

        Args:
            overrides: Values that readers get instead of the layers' outputs, as of ``isolated_forward``; by default
                none.
        """
        if self._draws is None:
            self._draws = RngSnapshot(self._images.device)
            return self._run(overrides)
        with self._draws.replay(), freeze_batchnorm_stats(self._network):
            return self._run(overrides)

    def with_errors(self, errors: Signals) -> tuple[dict[str, list[Tensor]], Tensor]:
        """The values that readers get, by layer, and the logits, of a pass with errors added to the outputs of layers.

        The pass is not isolated: the graph of the logits leads back to all errors. It must not be the first one.

        Args:
            errors: Shaped like the hidden layers' outputs.
        """
        assert self._draws is not None
        values: dict[str, list[Tensor]] = {}

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = forward(*args, **kwargs)
            if layer.is_readout:
                return output
            leaves = distinct_leaves(output)
            moved = {
                id(leaf): leaf + error.to(leaf.dtype) for leaf, error in zip(leaves, errors[layer.name], strict=True)
            }
            values[layer.name] = list(moved.values())
            return pytree.tree_map_only(Tensor, lambda leaf: moved.get(id(leaf), leaf), output)

        with (
            self._draws.replay(),
            freeze_batchnorm_stats(self._network),
            torch.enable_grad(),
            self._precision(),
            intercept_layers(self._network.layers, visit),
        ):
            logits = self._network(self._images)
        return values, logits

    def _run(self, overrides: Overrides | None) -> list[LayerTrace]:
        return isolated_forward(
            self._network, self._images, connected=True, overrides=overrides, precision=self._precision()
        )


def backward_signals(traces: list[LayerTrace], signals: Signals) -> dict[str, list[Tensor]]:
    """The signals that layers get from their readers: ``sum_k J_k^T signal_k``.

    Args:
        traces: Of a connected forward pass; the graphs are kept.
        signals: At the readers' outputs.

    Returns:
        Shaped like the layers' outputs; without the layers that no signal reaches, and without the readout.
    """
    hidden = traces[:-1]
    sources = [value for trace in hidden for value in trace.values]
    if not sources:
        return {}
    outputs, at_outputs = _paired(traces, signals)
    gradients = iter(torch.autograd.grad(outputs, sources, at_outputs, retain_graph=True, allow_unused=True))
    found: dict[str, list[Tensor]] = {}
    for trace in hidden:
        received = [next(gradients) for _ in trace.values]
        if any(signal is not None for signal in received):
            found[trace.layer.name] = [
                torch.zeros_like(value) if signal is None else signal
                for signal, value in zip(received, trace.values, strict=True)
            ]
    return found


def accumulate_gradients(traces: list[LayerTrace], signals: Signals, context: Context) -> None:
    """Add ``signal df/dw`` to the weights' ``.grad``, for the signals at their layers' outputs.

    Args:
        traces: Of a forward pass; the graphs are freed.
        signals: At the layers' outputs.
        context: Knows which layers are trained.
    """
    weights = [
        weight
        for trace in traces
        if context.is_trainable(trace.layer)
        for weight in trace.layer.parameters()
        if weight.requires_grad
    ]
    if not weights:  # all are frozen; what the rule trains beside them may learn still
        return
    outputs, at_outputs = _paired(traces, signals)
    torch.autograd.backward(outputs, at_outputs, inputs=weights)


def _paired(traces: list[LayerTrace], signals: Signals) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs that have a graph, and the signals at them."""
    pairs = [
        (output, signal.to(output.dtype))
        for trace in traces
        for output, signal in zip(trace.outputs, signals.get(trace.layer.name, ()), strict=False)
        if output.requires_grad
    ]
    return [output for output, _ in pairs], [signal for _, signal in pairs]
