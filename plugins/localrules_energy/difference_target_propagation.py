"""Difference target propagation: every layer has a target, and learned inverses carry targets down."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, Network, Requirements, Rule, StepReport
from localrules.core.locality import Locality
from localrules.core.objective import Options
from localrules.core.relay import Station, relay
from localrules.core.repeating import still_statistics
from localrules.core.rule import Context
from localrules.core.view import BatchStatistics
from localrules_energy.inverses import Range, inverse
from localrules_energy.messages import output_error


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

    class Config(Options):
        """Options of rule difference-target-propagation."""

        step: float = Field(0.22, gt=0, description="How far the first target lies down the loss (Meulemans' paper's).")
        noise: float = Field(
            0.084, ge=0, description="Standard deviation of the noise that inverses learn with (Meulemans' paper's)."
        )
        inverse: Range = Field(
            "tanh", description="What an inverse ends with: tanh, the layers' own (the paper's), or nothing: linear."
        )

    requires: ClassVar[Requirements] = Requirements(auxiliary=True, chain=True, forwards=2)
    locality: ClassVar[Locality] = "feedback"
    formula: ClassVar[str] = "|f_l(h_{l-1}) - t_l|^2 / (2 step), t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)"
    model_defaults: ClassVar[dict[str, object]] = {"norm": False, "activation": "tanh"}

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

    def step(self, network: Network, batch: BatchStatistics, context: Context) -> StepReport:
        """Forward, targets from the top down, and every layer and inverse learns."""
        stations = relay(network, batch.images, joined=True, precision=context.forward_context())
        logits = stations[-1].output
        loss = functional.cross_entropy(logits.float(), batch.labels)
        with torch.no_grad(), context.forward_context():
            targets = self._targets(stations, output_error(logits, batch.labels))
        noisy, disturbed = self._disturbed(network, batch.images, stations, context)
        if context.learns(network.readout):
            loss.backward(inputs=[weight for weight in network.readout.parameters() if weight.requires_grad])
        context.ready(network.readout)
        report = StepReport(logits=logits.detach(), loss=loss.detach())
        for index, station in enumerate(stations[:-1]):
            layer = station.layer
            if not context.learns(layer):
                continue
            away = _mean_square(station.output, targets[layer.name]) / self.config.step
            away.backward(inputs=[weight for weight in layer.parameters() if weight.requires_grad])
            if index:
                with context.forward_context():
                    undone = self.inverses[_key(layer)](disturbed[index])
                _mean_square(undone, noisy[index - 1]).backward()
            report.objectives[layer.name] = away.detach()
            context.ready(layer)
        return report

    def _targets(self, stations: list[Station], error: Tensor) -> dict[str, Tensor]:
        """Every hidden layer's target, by name."""
        *hidden, readout = stations
        top = hidden[-1]
        (slope,) = torch.autograd.grad(readout.output, top.values, error.to(readout.output.dtype), retain_graph=True)
        targets = {top.layer.name: top.output - self.config.step * slope}
        for below, station in reversed(list(pairwise(hidden))):
            back = self.inverses[_key(station.layer)]
            difference = back(targets[station.layer.name]) - back(station.output)
            targets[below.layer.name] = below.output + difference
        return targets

    def _disturbed(
        self, network: Network, images: Tensor, stations: list[Station], context: Context
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What the hidden layers give with noise added, and what each gives when it reads such."""
        noisy = [
            station.output.detach() + self.config.noise * torch.randn_like(station.output) for station in stations[:-1]
        ]
        given = {station.layer.name: [value] for station, value in zip(stations, noisy, strict=False)}
        with still_statistics(network):
            found = relay(network, images, given=given, precision=context.forward_context())
        return noisy, [station.output.detach() for station in found[:-1]]


def _mean_square(found: Tensor, wanted: Tensor) -> Tensor:
    """Half the squared distance, a mean over the batch."""
    distance = found - wanted
    return distance.to(torch.promote_types(distance.dtype, torch.float32)).square().sum() / (2 * len(distance))


def _key(layer: Layer) -> str:
    return layer.name.replace(".", "/")  # names of modules may not hold dots
