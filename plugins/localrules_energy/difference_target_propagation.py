"""Difference target propagation: every layer has a target, propagated down by learned inverses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

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
    state_key,
)
from localrules.core.isolated_forward import LayerTrace
from localrules.core.nn.losses import cross_entropy_error
from localrules.utils.torch_utils import RngSnapshot, at_least_float32, freeze_batchnorm_stats
from localrules_energy.inverses import Range, inverse
from localrules_energy.signals import accumulate_gradients, backward_signals


class DifferenceTargetPropagation(Rule):
    """The topmost hidden layer's target is a step down the loss, ``t_L = h_L - step dCE/dh_L``; every other layer's
    comes from the layer above by that layer's inverse ``g``, corrected by the error of the inverse itself:
    ``t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)``. A layer minimises the distance to its target at a fixed input,
    ``|f_l(h_{l-1}) - t_l|^2 / (2 step)``; its inverse minimises the reconstruction error around that input,
    ``|g_l(f_l(h_{l-1} + e)) - (h_{l-1} + e)|^2 / 2``, with normal noise e. Both are means over the batch, and both are
    minimised in the same step.

    Divided by ``step`` (ours), the topmost hidden layer's gradient is back-propagation's, and a layer's scale does not
    depend on ``step``. The readout is trained by cross-entropy, as the paper's last layer is. Inverses have one linear
    or convolution; those of convolutions resize feature maps and convolve (ours). Layer and inverse share an optimizer
    and its learning rate, where the paper and its successors have one for each.

    References:
        Lee, Zhang, Fischer & Bengio 2015, Difference target propagation, https://arxiv.org/abs/1412.7525; step and
        noise as in the published configurations of Meulemans et al. 2020, https://arxiv.org/abs/2006.14331.
    """

    class Config(RuleConfig):
        """Options of rule difference-target-propagation."""

        step: float = Field(0.22, gt=0, description="Step size of the first target down the loss (Meulemans' paper's).")
        noise: float = Field(
            0.084, ge=0, description="Std of the noise in the training of inverses (Meulemans' paper's)."
        )
        inverse: Range = Field(
            "tanh",
            description="Activation at the end of an inverse: tanh as in the layers (the paper's), elu for layers with "
            "elu (ours), or linear: none.",
        )

    info = RuleInfo(
        search_space={"step": SearchRange(0.05, 1, log=True)},
        formula="|f_l(h_{l-1}) - t_l|^2 / (2 step), t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)",
        locality="feedback",
        requires=Requirements(sequential=True, forward_passes=2, targets="weighted"),
        model_defaults={"norm": False, "activation": "tanh"},
    )

    config: DifferenceTargetPropagation.Config

    def prepare(self, network: Network, num_classes: int) -> None:
        """An inverse for every hidden layer that reads another."""
        self.inverses = nn.ModuleDict(
            {
                state_key(layer): inverse(layer.out_shape, below.out_shape, self.config.inverse)
                for below, layer in pairwise(network.hidden)
            }
        )

    def parameters_for(self, layer: Layer) -> Iterable[nn.Parameter]:
        """The parameters of the layer's inverse."""
        if state_key(layer) in self.inverses:
            yield from self.inverses[state_key(layer)].parameters()

    def auxiliary_serves_others(self, layer: Layer) -> bool:
        """The layer's inverse makes the target of the layer below."""
        return not layer.is_readout

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Forward, targets from the top down, and a step of every layer with its inverse."""
        draws = RngSnapshot(batch.images.device)
        traces = isolated_forward(network, batch.images, connected=True, precision=context.autocast())
        logits = traces[-1].output.detach()
        report = StepReport(logits=logits, loss=functional.cross_entropy(at_least_float32(logits), batch.targets))
        error, samples = cross_entropy_error(logits, batch.targets), len(logits)
        signals = {network.readout.name: [error / samples]}
        for layer, shift in self._shifts(traces, error):
            signals[layer.name] = [-shift / (self.config.step * samples)]
            if context.is_trainable(layer):
                report.objectives[layer.name] = _half_square(shift) / self.config.step
        noisy, outputs = self._add_noise(network, batch, traces, context, draws)
        accumulate_gradients(traces, signals, context)
        for below, layer in pairwise(network.hidden):
            if context.is_objective_trainable(layer):
                with context.autocast():
                    inverted = self.inverses[state_key(layer)](at_least_float32(outputs[layer.name]))
                _half_square(at_least_float32(inverted) - noisy[below.name]).backward()
        for layer in network.layers:
            context.step_layer(layer)
        return report

    def _shifts(self, traces: list[LayerTrace], error: Tensor) -> Iterator[tuple[Layer, Tensor]]:
        """Every hidden layer, from the top down, with its target less its output.

        In float32: the shifts are small beside the outputs.
        """
        *hidden, readout = traces
        (slope,) = backward_signals(traces, {readout.layer.name: [error]})[hidden[-1].layer.name]
        shift = -self.config.step * at_least_float32(slope)
        yield hidden[-1].layer, shift
        for below, trace in reversed(list(pairwise(hidden))):
            invert = self.inverses[state_key(trace.layer)]
            output = at_least_float32(trace.output.detach())
            with torch.no_grad(), torch.autocast(output.device.type, enabled=False):
                shift = invert(output + shift) - invert(output)
            yield below.layer, shift

    def _add_noise(
        self, network: Network, batch: Batch, traces: list[LayerTrace], context: Context, draws: RngSnapshot
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """By layer name: its output with noise added, and its output for an input with noise added.

        Dropout drops the units that the first pass dropped, so that inverses learn the network that has the targets.
        """
        outputs = {trace.layer.name: at_least_float32(trace.output.detach()) for trace in traces[:-1]}
        draw = batch.part.randn_like
        noisy = {name: output + self.config.noise * draw(output) for name, output in outputs.items()}
        overrides = {name: [output] for name, output in noisy.items()}
        with draws.replay(), freeze_batchnorm_stats(network):
            found = isolated_forward(network, batch.images, overrides=overrides, precision=context.autocast())
        return noisy, {trace.layer.name: trace.output.detach() for trace in found}


def _half_square(distance: Tensor) -> Tensor:
    """A mean over the batch."""
    return distance.square().sum() / (2 * len(distance))
