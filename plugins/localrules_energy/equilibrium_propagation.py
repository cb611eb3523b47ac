"""Equilibrium propagation: states settle freely, then nudged to the label; weights learn from the contrast."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from localrules import Batch, Context, Network, Requirements, Rule, RuleConfig, RuleInfo, StepReport
from localrules_energy.settling import Settling, pulls
from localrules_energy.signals import learn

Nudges = Literal["one-sided", "random-sign", "symmetric"]


class EquilibriumPropagation(Rule):
    """Every hidden layer has a state ``s_l`` in 0..1. With ``a_l`` the layer without its activation (matrix or
    convolution, then pooling), ``Phi = sum_l s_l . a_l(s_{l-1})`` and the states move by
    ``s_l <- hard_sigmoid(dPhi/ds_l)``: a layer hears from the one below and, by transposed weights, from the one above.

    They settle freely from zero, and settle again from there with ``Phi - beta CE(readout(s_L), label)``. Weights
    follow the contrast of the settled states, ``dW = (dPhi/dW at beta - dPhi/dW at -beta) / (2 beta)``
    (``symmetric``); against the free state instead (``one-sided``); or that with beta's sign drawn in each step
    (``random-sign``). As beta goes to zero this is the gradient of the cross-entropy at the free equilibrium.

    A picture is classified by the readout of its free state; labels have no part in it. The readout is no state, as in
    Laborieux et al. Whatever activation the network has, the states' is the hard sigmoid; under max-pooling the two
    orders of pooling and hard sigmoid are the same. Everything is computed in float32: the contrast of nearly equal
    states would be lost in half precision. What differs: the number of steps (ours are small networks').

    References:
        Scellier & Bengio 2017, https://arxiv.org/abs/1602.05179; this form, its convolutions and three phases:
        Ernoult et al. 2019, https://arxiv.org/abs/1905.13633; Laborieux et al. 2021,
        https://arxiv.org/abs/2006.03824.
    """

    class Config(RuleConfig):
        """Options of rule equilibrium-propagation."""

        beta: float = Field(0.5, gt=0, description="Strength of the nudge towards the label (ours).")
        nudges: Nudges = Field(
            "symmetric", description="Which settled states are set against each other (Laborieux's paper's: symmetric)."
        )
        free_steps: PositiveInt = Field(
            20, description="Steps to settle freely (ours, for few layers; the paper's, for four convolutions: 250)."
        )
        nudged_steps: PositiveInt = Field(
            10, description="Steps to settle when nudged (ours, for few layers; the paper's: 25 to 30)."
        )

    info = RuleInfo(
        formula="dW_l = (dPhi/dW_l at beta - dPhi/dW_l at -beta) / (2 beta), Phi = sum_l s_l . a_l(s_{l-1})",
        locality="feedback",
        requires=Requirements(forward_passes=None, sequential=True, allows_norm=False, one_op_per_layer=True),
        presets={"paper": {"free_steps": 250, "nudged_steps": 30}},
        model_defaults={"norm": False, "activation": "hard_sigmoid"},
    )

    config: EquilibriumPropagation.Config

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Settle freely, settle nudged, and every learning layer is ready."""
        settling = Settling(network, batch.images)
        free = settling.settled(settling.rest(), self.config.free_steps)
        logits = settling(free)[-1].output.detach()
        report = StepReport(logits=logits, loss=functional.cross_entropy(logits, batch.labels))
        for beta, share in self._contrast():
            states = free
            if beta:
                states = settling.settled(free, self.config.nudged_steps, batch.labels, beta)
                report.objectives = {
                    layer.name: _moved(states[layer.name], free[layer.name], beta)
                    for layer in network.hidden
                    if context.is_trainable(layer)
                }
            stations = settling(states)
            share = share / len(batch.labels)
            uphill = pulls(stations, states, batch.labels, beta)
            learn(stations, {name: [-share * pull for pull in each] for name, each in uphill.items()}, context)
        for layer in network.layers:
            context.step_layer(layer)
        return report

    def predict(self, network: Network, images: Tensor) -> Tensor:
        """The readout's logits when the states have settled freely."""
        settling = Settling(network, images)
        return settling(settling.settled(settling.rest(), self.config.free_steps))[-1].output.detach()

    def _contrast(self) -> list[tuple[float, float]]:
        """The nudges, and what share the settled state of each has in the update."""
        beta = self.config.beta
        if self.config.nudges == "symmetric":
            return [(-beta, -0.5 / beta), (beta, 0.5 / beta)]
        if self.config.nudges == "random-sign" and torch.rand(()) < 0.5:
            beta = -beta
        return [(0.0, -1 / beta), (beta, 1 / beta)]


def _moved(nudged: list[Tensor], free: list[Tensor], beta: float) -> Tensor:
    """How far a unit of nudge moved a layer's state: half the square distance, a mean over the batch."""
    distance = torch.stack([(one - other).square().sum() for one, other in zip(nudged, free, strict=True)]).sum()
    return distance / (2 * beta**2 * len(nudged[0]))
