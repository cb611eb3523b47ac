"""Back-propagation with activation checkpointing, the control for memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch.nn import functional
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from localrules import Batch, Context, Layer, Network, Requirements, Rule, RuleInfo, StepReport
from localrules.core.interception import Forward, intercept_layers
from localrules.utils.torch_utils import active_function_modes, at_least_float32, freeze_batchnorm_stats, function_modes


class BackpropCheckpointed(Rule):
    """Back-propagation that keeps only each layer's inputs and recomputes its forward pass during the backward pass.

    At granularity ``layer`` each layer is a segment, at ``block`` each block. Gradients and batch-norm buffers equal
    those of ``backprop``.

    References:
        Chen et al. 2016, Training deep nets with sublinear memory cost, https://arxiv.org/abs/1604.06174.
    """

    info = RuleInfo(
        formula="as backprop, with each layer's forward pass run again during the backward pass",
        requires=Requirements(samples_first=False, forward_passes=2, targets="weighted"),
        loss_scaling=True,
    )

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Forward with checkpoints, backward with recomputation, and a step of every trained layer."""

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            modes = active_function_modes()

            @contextmanager
            def again() -> Iterator[None]:
                # On a GPU autograd runs it on a thread of its own: what the forward pass saw must hold there, too.
                with function_modes(modes), freeze_batchnorm_stats(layer.module):
                    yield

            def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
                return nullcontext(), again()

            # A list of feature maps may grow after the layer has read it (a dense block's does): keep it as it is now.
            args, kwargs = pytree.tree_map(lambda leaf: leaf, (args, kwargs))
            return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

        with context.autocast(), intercept_layers(network.layers, visit):
            logits = network(batch.images)
            loss = functional.cross_entropy(at_least_float32(logits), batch.targets)
        context.backward(loss)
        for layer in network.layers:
            context.step_layer(layer)
        return StepReport(logits=logits.detach(), loss=loss.detach())
