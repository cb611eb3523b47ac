"""Direct feedback alignment."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from localrules import (
    Batch,
    Context,
    Layer,
    Network,
    Requirements,
    Rule,
    RuleInfo,
    StepReport,
    isolated_forward,
    state_key,
)
from localrules.core.nn.losses import cross_entropy_error
from localrules.utils.torch_utils import at_least_float32
from localrules_feedback.projection import random_patterns


class DirectFeedbackAlignment(Rule):
    """Every hidden layer gets the output's error through a fixed random matrix: ``delta_l = (B_l e) * phi'``.

    ``e`` is the gradient of the mean cross-entropy with respect to the logits, (softmax - target) / batch. The signal
    replaces the gradient at the layer's output; inside the layer (activation, norm, pooling, weights) it follows the
    chain rule. The readout is trained by its own gradient.

    References:
        Nøkland 2016, Direct feedback alignment provides learning in deep neural networks,
        https://arxiv.org/abs/1609.01596.
    """

    info = RuleInfo(
        formula="delta_l = (B_l e) phi', with e = (softmax - target) / batch and B_l fixed and random",
        locality="broadcast-error",
        requires=Requirements(targets="weighted"),
    )

    def prepare(self, network: Network, num_classes: int) -> None:
        """Draw a projection for each output of each hidden layer."""
        for layer in network.hidden:
            for index, shape in enumerate(layer.out_shapes):
                self.register_buffer(state_key(layer, index), random_patterns(num_classes, shape))

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """One forward pass to the error, and a backward pass inside each layer."""
        *hidden, readout = isolated_forward(network, batch.images, precision=context.autocast())
        loss = functional.cross_entropy(at_least_float32(readout.output), batch.targets)
        if context.is_trainable(readout.layer):
            loss.backward()
            context.step_layer(readout.layer)
        error = cross_entropy_error(readout.output, batch.targets) / len(batch.labels)
        for trace in hidden:
            if context.is_trainable(trace.layer):
                learning = [(at, each) for at, each in enumerate(trace.final_outputs) if each.requires_grad]
                signals = [self._signal(trace.layer, index, error, output) for index, output in learning]
                torch.autograd.backward([output for _, output in learning], signals)
                context.step_layer(trace.layer)
        return StepReport(logits=readout.output.detach(), loss=loss.detach())

    def _signal(self, layer: Layer, index: int, error: Tensor, output: Tensor) -> Tensor:
        """The projected error for one output of a layer, shaped like it."""
        patterns = self.get_buffer(state_key(layer, index))
        return (error.to(patterns.dtype) @ patterns.flatten(1)).view_as(output).to(output.dtype)
