"""Dual propagation: every unit has two states, nudged in opposite directions, whose difference is its error."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from localrules import Batch, Context, Layer, Network, Requirements, Rule, RuleConfig, RuleInfo, SearchRange, StepReport
from localrules.core.interception import intercept_layers
from localrules.core.isolated_forward import LayerTrace
from localrules.core.nn.losses import cross_entropy_error
from localrules.kernels.checks import no_autocast
from localrules_energy.preactivations import Activation, activations_last, apply_all, split_activations
from localrules_energy.signals import RepeatedForward, Signals, accumulate_gradients

States = dict[str, list[Tensor]]


class DualPropagation(Rule):
    """Every unit of a hidden layer has two states. With ``a_l`` the layer without its activation ``act`` (linear or
    convolution, then pooling), with ``m_l = alpha s+_l + (1 - alpha) s-_l`` their mean, which the layer above reads,
    and ``d_l = s+_l - s-_l`` their difference, which comes down through the transposed weights above,

        ``b_l = J_{l+1}^T d_{l+1}``,  ``s+_l = act(a_l(m_{l-1}) + (1 - alpha) b_l)``,
        ``s-_l = act(a_l(m_{l-1}) - alpha b_l)``.

    At the output ``d = -beta dCE/dlogits``. After the states are found, from the top down, weights follow
    ``dW_l = -(d_l / beta) da_l(m_{l-1})/dW_l``. As beta goes to zero this is the gradient of the cross-entropy; where
    no unit's states lie on different sides of a kink it is so at any beta, since there the mean is the forward pass's
    value, whatever alpha.

    This is the variant that the second paper derives from a Lagrangian, which is stable for every alpha; with alpha 0.5
    it is the first paper's. The readout has no states. Everything is computed in float32: the difference of nearly
    equal states would be lost in half precision. Predictions have activations behind the pooling, too; under
    max-pooling the two orders are the same. Difference: states are found in passes from the top down, of which one
    reaches every layer (``passes``), where the paper's experiments sweep from the bottom up, 16 times.

    References:
        Høier, Staudt & Zach 2023, https://arxiv.org/abs/2302.01228; Høier & Zach 2024,
        https://arxiv.org/abs/2402.08573; https://github.com/Rasmuskh/dualprop_icml_2024.
    """

    class Config(RuleConfig):
        """Options of rule dual-propagation."""

        alpha: float = Field(
            0.5, ge=0, le=1, description="Weight of the first state in the mean; 0.5 nudges both alike (the paper's)."
        )
        beta: float = Field(0.1, gt=0, description="Strength of the nudge towards the label (the paper: 0.01 to 1).")
        passes: int = Field(
            1, gt=0, le=10_000, description="Passes from the top down, each after a forward pass of the means (ours)."
        )

    info = RuleInfo(
        formula="dW_l = -(s+ - s-)_l / beta da_l/dW_l, s+-_l = act(a_l + {1 - alpha, -alpha} J^T (s+ - s-)_{l+1})",
        locality="backprop",
        requires=Requirements(
            forward_passes=None, sequential=True, allows_norm=False, one_op_per_layer=True, targets="weighted"
        ),
        model_defaults={"norm": False},
        search_space={"beta": SearchRange(0.01, 1, log=True)},
    )

    config: DualPropagation.Config

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Forward, states from the top down, forward at their means, and a step of every trained layer."""
        forward = RepeatedForward(network, batch.images, nullcontext)
        with no_autocast(batch.images), split_activations(network.hidden) as activations:

            def activated(layer: Layer, outputs: list[Tensor]) -> list[Tensor]:
                if layer.is_readout:
                    return outputs
                return [apply_all(activations[layer.name], output) for output in outputs]

            traces = forward(activated)
            logits = traces[-1].output.detach()
            error = cross_entropy_error(logits, batch.targets)
            for _ in range(self.config.passes):
                means, differences = self._nudged(traces, -self.config.beta * error, activations)
                traces = forward(means)
        samples = len(logits)
        report = StepReport(logits=logits, loss=functional.cross_entropy(logits, batch.targets))
        for layer in network.hidden:
            if context.is_trainable(layer):
                report.objectives[layer.name] = _half_square(differences[layer.name]) / self.config.beta**2 / samples
        scale = -1 / (self.config.beta * samples)
        signals = {name: [scale * each for each in found] for name, found in differences.items()}
        accumulate_gradients(traces, signals | {network.readout.name: [error / samples]}, context)
        for layer in network.layers:
            context.step_layer(layer)
        return report

    def predict(self, network: Network, images: Tensor) -> Tensor:
        """The readout's logits, with activations behind the pooling as in training."""
        with intercept_layers(network.hidden, activations_last):
            logits: Tensor = network(images)
        return logits

    @torch.no_grad()
    def _nudged(
        self, traces: list[LayerTrace], difference: Tensor, activations: dict[str, list[Activation]]
    ) -> tuple[States, Signals]:
        """The mean and the difference of every hidden layer's two states, from the top down."""
        alpha = self.config.alpha
        means: States = {}
        differences: States = {}
        coming = [difference]
        for below, above in reversed(list(pairwise(traces))):
            backs = torch.autograd.grad(above.outputs, below.values, coming, retain_graph=True)
            name = below.layer.name
            found = [
                [apply_all(activations[name], output + weight * back) for weight in (1 - alpha, -alpha)]
                for output, back in zip(below.outputs, backs, strict=True)
            ]
            means[name] = [alpha * plus + (1 - alpha) * minus for plus, minus in found]
            differences[name] = coming = [plus - minus for plus, minus in found]
        return means, differences


def _half_square(differences: list[Tensor]) -> Tensor:
    return torch.stack([each.square().sum() for each in differences]).sum() / 2
