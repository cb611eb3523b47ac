"""Direct feedback alignment."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from localrules import Batch, Context, Layer, Network, Rule, RuleInfo, StepReport, isolated_forward, state_key
from localrules_feedback.projection import random_patterns


class DirectFeedbackAlignment(Rule):
    """Every hidden layer is told the output's error through a fixed random matrix: ``delta_l = (B_l e) * phi'``.

    ``e`` is the gradient of the mean cross-entropy with respect to the logits, (softmax - target) / batch. The signal
    takes the place of the gradient at the layer's output; inside the layer (its activation, norm, pooling, matrix) it
    goes by the chain rule. The readout learns by its own gradient.

    References:
        Nøkland 2016, Direct feedback alignment provides learning in deep neural networks,
        https://arxiv.org/abs/1609.01596.
    """

    info = RuleInfo(
        formula="delta_l = (B_l e) phi', with e = (softmax - target) / batch and B_l fixed and random",
        locality="broadcast-error",
    )

    def prepare(self, network: Network, num_classes: int) -> None:
        """Draw a matrix for each end of each hidden layer."""
        for layer in network.hidden:
            for end, shape in enumerate(layer.out_shapes):
                self.register_buffer(state_key(layer, end), random_patterns(num_classes, shape))

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """One forward pass to the error, and a backward pass inside each layer."""
        *hidden, readout = isolated_forward(network, batch.images, precision=context.autocast())
        loss = functional.cross_entropy(readout.output.float(), batch.labels)
        if context.is_trainable(readout.layer):
            loss.backward()
            context.step_layer(readout.layer)
        error = _error(readout.output.detach(), batch.labels)
        for station in hidden:
            if context.is_trainable(station.layer):
                signals = [
                    self._signal(station.layer, end, error, given) for end, given in enumerate(station.final_outputs)
                ]
                torch.autograd.backward(station.final_outputs, signals)
                context.step_layer(station.layer)
        return StepReport(logits=readout.output.detach(), loss=loss.detach())

    def _signal(self, layer: Layer, end: int, error: Tensor, given: Tensor) -> Tensor:
        """The error as one end of a layer is told it, shaped like what it gave."""
        patterns = self.get_buffer(state_key(layer, end))
        return (error.to(patterns.dtype) @ patterns.flatten(1)).view_as(given).to(given.dtype)


def _error(logits: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the mean cross-entropy with respect to the logits, (batch, classes)."""
    probabilities = logits.float().softmax(1)
    return (probabilities - functional.one_hot(labels, logits.shape[1])) / len(labels)
