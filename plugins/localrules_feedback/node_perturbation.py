"""Node perturbation: noise at the layers' outputs, and the change of the loss that it made."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.utils import _pytree as pytree

from localrules import (
    Batch,
    Context,
    Layer,
    Network,
    Requirements,
    Rule,
    RuleConfig,
    RuleInfo,
    SearchRange,
    StepReport,
    isolated_forward,
)
from localrules.core.interception import Forward, intercept_layers
from localrules.core.isolated_forward import distinct_leaves
from localrules.kernels.checks import no_autocast
from localrules.utils.torch_utils import RngSnapshot, at_least_float32, freeze_batchnorm_stats


class NodePerturbation(Rule):
    """A gradient estimate from the loss alone: ``delta_l = (L(h + s) - L(h)) s_l / std^2`` for each sample.

    The network runs once as it is, and ``perturbations`` times with independent normal noise ``s_l`` of a small std at
    the output of every hidden layer. All layers receive a sample's change of loss, and each correlates it with its own
    noise; on average that is the gradient at its output, for small noise. Inside the layer the signal follows the
    chain rule. The readout has its own gradient.

    The noise of all units contributes to the one change of loss, so the variance of the estimate grows with their
    number.

    What differs: noise is added to the layer's output, where the paper adds it to the pre-activations; the paper's
    variants, which perturb layer by layer, measure the change of activity, or decorrelate inputs, are not included.
    Dropout drops the same units in all passes. All passes run in float32 whatever the run's precision: half precision
    would round a loss by more than small noise changes it.

    References:
        Dalm, van Gerven & Ahmad 2023, Effective learning with node perturbation in deep neural networks,
        https://arxiv.org/abs/2310.00965.
    """

    class Config(RuleConfig):
        """Options of rule node-perturbation."""

        std: float = Field(0.01, gt=0, description="Std of the noise (ours).")
        perturbations: int = Field(1, ge=1, le=1000, description="Noisy forward passes per step (the paper's: 1).")

    info = RuleInfo(
        search_space={"std": SearchRange(0.001, 0.1, log=True)},
        formula="delta_l = mean_s (L(h + s) - L(h)) s_l / std^2, s normal noise at the output of every hidden layer",
        locality="broadcast-error",
        requires=Requirements(forward_passes=None, targets="weighted"),
    )

    config: NodePerturbation.Config

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """A clean pass, the noisy passes, and a backward pass inside each layer."""
        draws = RngSnapshot(batch.images.device)
        *hidden, readout = isolated_forward(network, batch.images, precision=no_autocast(batch.images))
        loss = functional.cross_entropy(at_least_float32(readout.output), batch.targets)
        clean = _losses(readout.output.detach(), batch.targets)
        signals = {trace.layer.name: [torch.zeros_like(each) for each in trace.outputs] for trace in hidden}
        scale = 1 / (self.config.std**2 * self.config.perturbations * len(batch.labels))
        for _ in range(self.config.perturbations):
            noise = {
                name: [batch.part.randn_like(each) * self.config.std for each in outputs]
                for name, outputs in signals.items()
            }
            with draws.replay(), freeze_batchnorm_stats(network):
                change = (self._noisy_losses(network, batch, noise) - clean) * scale
            for name, outputs in signals.items():
                for signal, drawn in zip(outputs, noise[name], strict=True):
                    signal += change.view(-1, *[1] * (drawn.dim() - 1)).to(drawn.dtype) * drawn
        if context.is_trainable(readout.layer):
            loss.backward()
            context.step_layer(readout.layer)
        for trace in hidden:
            if context.is_trainable(trace.layer):
                trace.backward(signals[trace.layer.name])
                context.step_layer(trace.layer)
        return StepReport(logits=readout.output.detach(), loss=loss.detach())

    @torch.no_grad()
    def _noisy_losses(self, network: Network, batch: Batch, noise: dict[str, list[Tensor]]) -> Tensor:
        """Each sample's loss with noise at the layers' outputs, shape (batch,)."""

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = forward(*args, **kwargs)
            if layer.is_readout:
                return output
            drawn = zip(distinct_leaves(output), noise[layer.name], strict=True)
            moved = {id(tensor): tensor + each for tensor, each in drawn}
            return pytree.tree_map_only(Tensor, lambda tensor: moved.get(id(tensor), tensor), output)

        with no_autocast(batch.images), intercept_layers(network.layers, visit):
            logits = network(batch.images)
        return _losses(logits, batch.targets)


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Each sample's cross-entropy; float64, because small noise changes it by little."""
    return functional.cross_entropy(logits.double(), targets, reduction="none")
