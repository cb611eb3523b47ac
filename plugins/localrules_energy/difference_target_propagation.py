"""Difference target propagation: every layer has a target, and learned inverses carry targets down."""

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
    StepReport,
    isolated_forward,
)
from localrules.core.isolated_forward import LayerTrace
from localrules.utils.torch_utils import freeze_batchnorm_stats
from localrules_energy.inverses import Range, inverse
from localrules_energy.signals import backward_signals, learn, output_error, precise


class DifferenceTargetPropagation(Rule):
    """The topmost hidden layer's target is a step down the loss, ``t_L = h_L - step dCE/dh_L``; every other layer's
    comes from the layer above by that layer's inverse ``g``, corrected by what the inverse itself gets wrong:
    ``t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)``. A layer comes nearer to its target, what it read held fixed:
    ``|f_l(h_{l-1}) - t_l|^2 / (2 step)``; its inverse learns to undo it around what it read:
    ``|g_l(f_l(h_{l-1} + e)) - (h_{l-1} + e)|^2 / 2``, e normal noise. Both are means over the batch, and both are
    learnt in the same step.

    Divided by ``step`` (ours), the topmost hidden layer's gradient is back-propagation's, and a layer's scale does not
    depend on ``step``. The readout learns by cross-entropy, as in the paper its last layer does. Inverses have one
    matrix or convolution; those of convolutions resize maps and convolve (ours). Layer and inverse share an optimizer
    and its learning rate, where the paper and its successors give each its own.

    References:
        Lee, Zhang, Fischer & Bengio 2015, Difference target propagation, https://arxiv.org/abs/1412.7525; step and
        noise as in the published configurations of Meulemans et al. 2020, https://arxiv.org/abs/2006.14331.
    """

    class Config(RuleConfig):
        """Options of rule difference-target-propagation."""

        step: float = Field(0.22, gt=0, description="How far the first target lies down the loss (Meulemans' paper's).")
        noise: float = Field(
            0.084, ge=0, description="Standard deviation of the noise that inverses learn with (Meulemans' paper's)."
        )
        inverse: Range = Field(
            "tanh", description="What an inverse ends with: tanh, the layers' own (the paper's), or nothing: linear."
        )

    info = RuleInfo(
        formula="|f_l(h_{l-1}) - t_l|^2 / (2 step), t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)",
        locality="feedback",
        requires=Requirements(sequential=True, forward_passes=2),
        model_defaults={"norm": False, "activation": "tanh"},
    )

    config: DifferenceTargetPropagation.Config

    def prepare(self, network: Network, num_classes: int) -> None:
        """An inverse for every hidden layer that reads another."""
        self.inverses = nn.ModuleDict(
            {
                _key(layer): inverse(layer.out_shape, below.out_shape, self.config.inverse)
                for below, layer in pairwise(network.hidden)
            }
        )

    def parameters_of(self, layer: Layer) -> Iterable[nn.Parameter]:
        """Those of the layer's inverse."""
        if _key(layer) in self.inverses:
            yield from self.inverses[_key(layer)].parameters()

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Forward, targets from the top down, and every layer and inverse learns."""
        stations = isolated_forward(network, batch.images, connected=True, precision=context.autocast())
        logits = stations[-1].output.detach()
        report = StepReport(logits=logits, loss=functional.cross_entropy(logits.float(), batch.labels))
        error, rows = output_error(logits, batch.labels), len(logits)
        signals = {network.readout.name: [error / rows]}
        for layer, shift in self._shifts(stations, error):
            signals[layer.name] = [-shift / (self.config.step * rows)]
            if context.is_trainable(layer):
                report.objectives[layer.name] = _half_square(shift) / self.config.step
        read, gave = self._disturbed(network, batch.images, stations, context)
        learn(stations, signals, context)
        for below, layer in pairwise(network.hidden):
            if context.is_trainable(layer):
                with context.autocast():
                    undone = self.inverses[_key(layer)](gave[layer.name])
                _half_square(precise(undone) - read[below.name]).backward()
        for layer in network.layers:
            context.step_layer(layer)
        return report

    def _shifts(self, stations: list[LayerTrace], error: Tensor) -> Iterator[tuple[Layer, Tensor]]:
        """Every hidden layer, from the top down, and its target less its output.

        In float32: the shifts are small beside what they shift.
        """
        *hidden, readout = stations
        (slope,) = backward_signals(stations, {readout.layer.name: [error]})[hidden[-1].layer.name]
        shift = -self.config.step * precise(slope)
        yield hidden[-1].layer, shift
        for below, station in reversed(list(pairwise(hidden))):
            back = self.inverses[_key(station.layer)]
            output = precise(station.output.detach())
            with torch.no_grad(), torch.autocast(output.device.type, enabled=False):
                shift = back(output + shift) - back(output)
            yield below.layer, shift

    def _disturbed(
        self, network: Network, images: Tensor, stations: list[LayerTrace], context: Context
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """By layer name: its output with noise added, and what it gives when it reads such."""
        outputs = {station.layer.name: precise(station.output.detach()) for station in stations[:-1]}
        noisy = {name: output + self.config.noise * torch.randn_like(output) for name, output in outputs.items()}
        given = {name: [output] for name, output in noisy.items()}
        with freeze_batchnorm_stats(network):
            found = isolated_forward(network, images, overrides=given, precision=context.autocast())
        return noisy, {station.layer.name: station.output.detach() for station in found}


def _half_square(distance: Tensor) -> Tensor:
    """A mean over the batch."""
    return distance.square().sum() / (2 * len(distance))


def _key(layer: Layer) -> str:
    return layer.name.replace(".", "/")  # names of modules may not hold dots
