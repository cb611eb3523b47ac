"""Equilibrium propagation: states settle freely, then nudged towards the label; weights follow the difference."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from localrules import Batch, Context, Network, Requirements, Rule, RuleConfig, RuleInfo, SearchRange, StepReport
from localrules_energy.settling import Settling, energy_gradients
from localrules_energy.signals import accumulate_gradients

Nudges = Literal["one-sided", "random-sign", "symmetric"]


class EquilibriumPropagation(Rule):
    """Every hidden layer has a state ``s_l`` in 0..1. With ``a_l`` the layer without its activation (linear or
    convolution, then pooling), ``Phi = sum_l s_l . a_l(s_{l-1})`` and the states move by
    ``s_l <- hard_sigmoid(dPhi/ds_l)``: a layer is driven by the one below and, through transposed weights, by the one
    above.

    They settle freely from zero, and settle again from there with ``Phi - beta CE(readout(s_L), label)``. Weights
    follow the contrast of the settled states, ``dW = (dPhi/dW at beta - dPhi/dW at -beta) / (2 beta)``
    (``symmetric``); against the free state instead (``one-sided``); or that with beta's sign drawn in each step
    (``random-sign``). As beta goes to zero this is the gradient of the cross-entropy at the free equilibrium.

    An image is classified by the readout of its free state; labels have no part in it. The readout has no state, as in
    Laborieux et al. Whatever activation the network has, that of the states is the hard sigmoid; under max-pooling the
    two orders of pooling and hard sigmoid are the same. Everything is computed in float32: the contrast of nearly equal
    states would be lost in half precision. Difference: the number of steps (ours suits small networks).

    References:
        Scellier & Bengio 2017, https://arxiv.org/abs/1602.05179; this form, its convolutions and three phases:
        Ernoult et al. 2019, https://arxiv.org/abs/1905.13633; Laborieux et al. 2021,
        https://arxiv.org/abs/2006.03824.
    """

    class Config(RuleConfig):
        """Options of rule equilibrium-propagation."""

        beta: float = Field(0.5, gt=0, description="Strength of the nudge towards the label (ours).")
        nudges: Nudges = Field(
            "symmetric", description="Which settled states are contrasted (Laborieux's paper: symmetric)."
        )
        free_steps: int = Field(
            20,
            gt=0,
            le=100_000,
            description="Steps of free settling (ours, for few layers; the paper's, for four convolutions: 250).",
        )
        nudged_steps: int = Field(
            10, gt=0, le=100_000, description="Steps of nudged settling (ours, for few layers; the paper's code: 25)."
        )

    info = RuleInfo(
        search_space={"beta": SearchRange(0.1, 1, log=True)},
        formula="dW_l = (dPhi/dW_l at beta - dPhi/dW_l at -beta) / (2 beta), Phi = sum_l s_l . a_l(s_{l-1})",
        locality="feedback",
        requires=Requirements(
            forward_passes=None,
            sequential=True,
            allows_norm=False,
            one_op_per_layer=True,
            float_inputs=True,
            targets="weighted",
        ),
        presets={"paper": {"beta": 1.0, "free_steps": 250, "nudged_steps": 25}},
        model_defaults={"norm": False, "activation": "hard_sigmoid"},
    )

    config: EquilibriumPropagation.Config

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Settle freely, settle nudged, and step every trained layer."""
        settling = Settling(network, batch.images)
        free = settling.settle(settling.zero_states(), self.config.free_steps)
        logits = settling.evaluate(free)[-1].output.detach()
        report = StepReport(logits=logits, loss=functional.cross_entropy(logits, batch.targets))
        for beta, weight in self._nudges():
            states = free
            if beta:
                states = settling.settle(free, self.config.nudged_steps, batch.targets, beta)
                report.objectives = {
                    layer.name: _squared_change(states[layer.name], free[layer.name], beta)
                    for layer in network.hidden
                    if context.is_trainable(layer)
                }
            traces = settling.evaluate(states)
            weight = weight / len(batch.labels)
            ascent = energy_gradients(traces, states, batch.targets, beta)
            descent = {name: [-weight * gradient for gradient in each] for name, each in ascent.items()}
            accumulate_gradients(traces, descent, context)
        for layer in network.layers:
            context.step_layer(layer)
        return report

    def predict(self, network: Network, images: Tensor) -> Tensor:
        """The readout's logits at the free equilibrium."""
        settling = Settling(network, images)
        free = settling.settle(settling.zero_states(), self.config.free_steps)
        return settling.evaluate(free)[-1].output.detach()

    def _nudges(self) -> list[tuple[float, float]]:
        """The betas, each with the weight of its settled states in the update."""
        beta = self.config.beta
        if self.config.nudges == "symmetric":
            return [(-beta, -0.5 / beta), (beta, 0.5 / beta)]
        if self.config.nudges == "random-sign" and torch.rand(()) < 0.5:
            beta = -beta
        return [(0.0, -1 / beta), (beta, 1 / beta)]


def _squared_change(nudged: list[Tensor], free: list[Tensor], beta: float) -> Tensor:
    """Half the squared change of a layer's state per squared beta, a mean over the batch."""
    distance = torch.stack([(one - other).square().sum() for one, other in zip(nudged, free, strict=True)]).sum()
    return distance / (2 * beta**2 * len(nudged[0]))
