"""Base of the rules that back-propagate through feedback weights in place of the forward ones."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional

from localrules import Batch, Context, Network, Operation, Requirements, Rule, RuleConfig, RuleInfo, StepReport
from localrules.utils.torch_utils import at_least_float32
from localrules_feedback.backward import apply_with_feedback
from localrules_feedback.coverage import check_coverage

Init = Literal["xavier", "kaiming"]


def init_std(weight: Tensor, init: Init) -> float:
    """The std of an initialisation for weights of shape (units, inputs, ...).

    Its square is 2 / (fan in + fan out) for ``xavier`` (Glorot & Bengio), and 1 / (3 fan in) for ``kaiming``, as in
    torch's own linears and convolutions.
    """
    field = weight[0, 0].numel()
    fan_in, fan_out = weight.shape[1] * field, weight.shape[0] * field
    return float((2 / (fan_in + fan_out) if init == "xavier" else 1 / (3 * fan_in)) ** 0.5)


def draw_like(weight: Tensor, init: Init) -> Tensor:
    """Weights of the same shape and memory layout, uniform around zero with the std of :func:`init_std`."""
    bound = 3**0.5 * init_std(weight, init)
    return torch.empty_like(weight).uniform_(-bound, bound)


class FeedbackOptions(RuleConfig):
    """Options of every rule with feedback weights."""

    init: Init = Field(
        "xavier",
        description="Std of the feedback weights: xavier (Sanfiz & Akrout's paper), or kaiming, as torch draws forward "
        "ones.",
    )


class FeedbackRule(Rule):
    """One global error, sent back through feedback weights, which a subclass defines.

    Linears and convolutions have feedback weights, those of the readout too, wherever they stand and whatever their
    weights are derived from. Everything else (activations, norms, pooling, the scales of norms) sends the error back by
    its own derivative, as in back-propagation.
    """

    Config: ClassVar[type[BaseModel]] = FeedbackOptions
    info = RuleInfo(
        locality="feedback", requires=Requirements(samples_first=False, targets="weighted"), loss_scaling=True
    )

    def prepare(self, network: Network, num_classes: int) -> None:
        """Call :meth:`draw` for each operation through which an error goes back.

        Raises:
            UsageError: A parameter that would carry errors and can have no feedback weights.
        """
        images, operations = _run_on_zeros(network)
        for operation in operations:
            if operation.input.requires_grad:
                self.draw(operation.key, operation.weight.detach())
        check_coverage(network, images)

    @abstractmethod
    def draw(self, key: str, weight: Tensor) -> None:
        """Register the buffers that one operation needs.

        Args:
            key: Names the operation, and may name a buffer.
            weight: The operation's weight, detached, shape (units, ...).
        """

    @abstractmethod
    def feedback(self, key: str, weight: Tensor) -> Tensor:
        """The operation's feedback weights in this step, shaped like ``weight``.

        Args:
            key: As in :meth:`draw`.
            weight: The operation's weight, detached.
        """

    def is_replaced(self, operation: Operation) -> bool:
        """Whether an operation runs with feedback weights in this step: if an error goes back through it."""
        return operation.input.requires_grad

    def replace(self, operation: Operation) -> Tensor:
        """Run an operation with feedback weights; returns its output."""
        return apply_with_feedback(operation, self.feedback(operation.key, operation.weight.detach()))

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Forward, backward through the feedback weights, and a step of every trained layer."""

        def run(operation: Operation) -> Tensor:
            return self.replace(operation) if self.is_replaced(operation) else operation.run()

        with context.autocast():
            with network.intercept_operations(run):
                logits = network(batch.images)
            loss = functional.cross_entropy(at_least_float32(logits), batch.targets)
        context.backward(loss)
        for layer in network.layers:
            context.step_layer(layer)
        return StepReport(logits=logits.detach(), loss=loss.detach())


def _run_on_zeros(network: Network) -> tuple[Tensor, list[Operation]]:
    """An input of zeros, as numbers or as tokens, whichever the network takes; and its operations on it."""
    zeros = next(network.parameters()).new_zeros(2, *network.layers[0].sample_shape)
    try:
        return zeros, network.operations(zeros)
    except (RuntimeError, IndexError, TypeError):
        tokens = zeros.long()
        with suppress(RuntimeError, IndexError, TypeError):
            return tokens, network.operations(tokens)
        raise
