"""Back-propagation, the control."""

from __future__ import annotations

from torch.nn import functional

from localrules import Batch, Context, Network, Requirements, Rule, RuleInfo, StepReport
from localrules.utils.torch_utils import at_least_float32


class Backprop(Rule):
    """Cross-entropy at the output, gradients by the chain rule through all layers.

    References:
        Rumelhart, Hinton & Williams 1986, https://doi.org/10.1038/323533a0.
    """

    info = RuleInfo(
        formula="dCE(logits, Y)/dW for every W, by the chain rule through all layers above",
        requires=Requirements(samples_first=False, targets="weighted"),
        loss_scaling=True,
    )

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Forward, backward, and a step of every trained layer."""
        with context.autocast():
            logits = network(batch.images)
            loss = functional.cross_entropy(at_least_float32(logits), batch.targets)
        context.backward(loss)
        for layer in network.layers:
            context.step_layer(layer)
        return StepReport(logits=logits.detach(), loss=loss.detach())
