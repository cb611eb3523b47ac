"""Feedback weights that change as the forward weights do."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from localrules import Layer, Operation
from localrules.core.rule import is_state_of
from localrules_feedback.backward import apply_with_feedback
from localrules_feedback.feedback_weights import FeedbackOptions, FeedbackRule, draw_like


class KolenPollack(FeedbackRule):
    """Back-propagation through feedback weights ``B`` that start at random and learn: ``dB = dW``, and both decay.

    The change ``dW = -delta h^T`` of a forward weight is the product of its input and the error at its output. The
    feedback weight has the same two values at its ends, so both can change alike without either being copied. Under
    weight decay the difference ``W - B`` shrinks, whatever is learned; without momentum, or where the decay is apart
    from the gradient (AdamW, Muon), by the same factor in each step.

    ``B`` gets the gradient of ``W`` and is stepped by the optimizer of the layer whose operation it belongs to, also
    while no layer below learns and no error goes back through it; it stands still while ``W`` is frozen. Under
    SGD, AdamW and Muon both therefore make the same steps; under Adam with weight decay they do not quite, because the
    decay is part of the gradient there. Where ``W`` is derived from other parameters, ``B`` follows its gradient, not
    its changes.

    What differs: optimizer and decay (the rule's defaults are AdamW and 0.1, both ours).

    References:
        Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019, Deep learning without weight transport,
        https://arxiv.org/abs/1904.05391; https://github.com/makrout/Deep-Learning-without-Weight-Transport; after
        Kolen & Pollack 1994, https://doi.org/10.1109/ICNN.1994.374486.
    """

    info = FeedbackRule.info.replace(
        formula="backprop with B in place of W on the way back; dB = dW, and both decay",
        run_defaults={"optimizer": {"name": "adamw", "weight_decay": 0.1}},
    )

    config: FeedbackOptions

    def draw(self, key: str, weight: Tensor) -> None:
        """A feedback weight per forward weight, which is learned."""
        self.register_parameter(key, nn.Parameter(draw_like(weight, self.config.init)))

    def feedback(self, key: str, weight: Tensor) -> Tensor:
        """The feedback weights as learned so far."""
        return self.get_parameter(key)

    def is_replaced(self, operation: Operation) -> bool:
        """Also where no error goes back, if the forward weight learns."""
        learned = operation.weight.requires_grad and operation.key in self._parameters
        return learned or super().is_replaced(operation)

    def replace(self, operation: Operation) -> Tensor:
        """Run an operation with its feedback weight, which learns if the forward weight does."""
        own = self.feedback(operation.key, operation.weight)
        return apply_with_feedback(operation, own if operation.weight.requires_grad else own.detach())

    def parameters_for(self, layer: Layer) -> Iterable[nn.Parameter]:
        """The feedback weights of the layer's operations."""
        return [parameter for name, parameter in self.named_parameters() if is_state_of(name, layer)]

    def weights_for(self, layer: Layer) -> Iterable[nn.Parameter]:
        """All of them."""
        return self.parameters_for(layer)
