"""Predictive coding: every layer predicts itself from what it reads, and errors of prediction settle."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from localrules import Batch, Context, Network, Requirements, Rule, RuleConfig, RuleInfo, StepReport
from localrules.core.isolated_forward import LayerTrace
from localrules_energy.signals import Evaluations, Signals, backward_signals, learn, output_error, precise

STRICT_ITERATIONS, STRICT_RATE = 20, 0.1


class PredictiveCoding(Rule):
    """Layers hold values ``v_l``, and each predicts its own from those that it reads: ``f_l``. With the label known,
    values move down the energy ``E = sum_l 1/2 |v_l - f_l|^2 + CE(readout, label)``; then weights do, each by the error
    ``e_l = v_l - f_l`` of its own layer alone, as it stands when the values have been moved ``iterations`` times:
    ``v_l += rate * (-e_l + sum_k J_k^T e_k)``, k being the layers that read l.

    ``fixed-prediction``: predictions and Jacobians stay those of the forward pass. An error comes down one layer in
    each iteration, so with ``rate`` 1 and as many iterations as there are hidden layers on the longest path the errors
    are back-propagation's, exactly; more change nothing. ``strict``: predictions follow the values.

    It holds for networks of any shape: a layer hears from all that read it. The last prediction is scored by
    cross-entropy, for which Rosenbaum's paper has a squared error or any other loss.

    References:
        Rao & Ballard 1999, https://doi.org/10.1038/4580; Whittington & Bogacz 2017,
        https://doi.org/10.1162/NECO_a_00949; fixed prediction: Millidge, Tschantz & Buckley 2020,
        https://arxiv.org/abs/2006.04182; both modes as in Rosenbaum 2022, https://arxiv.org/abs/2106.13082.
    """

    class Config(RuleConfig):
        """Options of rule predictive-coding."""

        mode: Literal["fixed-prediction", "strict"] = Field(
            "fixed-prediction",
            description="Whether predictions stay those of the forward pass or follow values (both the paper's; "
            "default ours).",
        )
        iterations: PositiveInt | None = Field(
            None,
            description="How often values move. By default once for each of the hidden layers on the longest path "
            f"(ours), and {STRICT_ITERATIONS} times in strict mode (the paper's).",
        )
        rate: float | None = Field(
            None,
            gt=0,
            le=1,
            description=f"How far they move: by default 1, {STRICT_RATE} in strict mode (the paper's).",
        )

    info = RuleInfo(
        formula="v_l += rate (-e_l + sum_k J_k^T e_k), e_l = v_l - f_l; then dW_l = e_l df_l/dW_l",
        locality="feedback",
        requires=Requirements(forward_passes=None),
    )

    config: PredictiveCoding.Config

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Forward, let errors settle, and every learning layer learns from its own."""
        evaluations = Evaluations(network, batch.images, context.autocast)
        stations = evaluations()
        logits = stations[-1].output.detach()
        report = StepReport(logits=logits, loss=functional.cross_entropy(logits.float(), batch.labels))
        if self.config.mode == "strict":
            stations = self._settled(evaluations, stations, batch.labels)
            errors = _errors(stations, batch.labels)
        else:
            errors = self._fixed(stations, batch.labels)
        rows = len(batch.labels)
        learn(stations, _times(1 / rows, errors), context)
        for layer in network.layers:
            if layer.name in errors and not layer.is_readout and context.is_trainable(layer):
                report.objectives[layer.name] = _energy(errors[layer.name]) / rows
            context.step_layer(layer)
        return report

    def _fixed(self, stations: list[LayerTrace], labels: Tensor) -> Signals:
        """Errors, as predictions less values, when predictions stay what they are.

        Messages are linear in the errors then, so only what changed is sent again: in a chain, at rate 1, every layer
        sends once.
        """
        readout = stations[-1]
        rate = self.config.rate or 1.0
        changes: Signals = {readout.layer.name: [output_error(readout.output, labels)]}
        errors = changes
        for _ in range(self.config.iterations or readout.layer.depth - 1):
            left = {} if rate == 1 else {name: each for name, each in changes.items() if name != readout.layer.name}
            changes = _sum(_times(1 - rate, left), _times(rate, backward_signals(stations, changes)))
            if not changes:
                break
            errors = _sum(errors, changes)
        return errors

    def _settled(self, evaluations: Evaluations, stations: list[LayerTrace], labels: Tensor) -> list[LayerTrace]:
        """The network evaluated at values that have moved down the energy."""
        rate = self.config.rate or STRICT_RATE
        values = {
            station.layer.name: [precise(value.detach()) for value in station.values] for station in stations[:-1]
        }
        for _ in range(self.config.iterations or STRICT_ITERATIONS):
            errors = _errors(stations, labels)
            told = backward_signals(stations, errors)
            for name, each in told.items():
                values[name] = [
                    value - rate * (message - error)
                    for value, message, error in zip(values[name], each, errors[name], strict=True)
                ]
            stations = evaluations(values)
        return stations


def _errors(stations: list[LayerTrace], labels: Tensor) -> Signals:
    """Predictions less values; at the readout, the gradient of the cross-entropy."""
    errors = {
        station.layer.name: [
            precise(output.detach()) - value.detach()
            for output, value in zip(station.outputs, station.values, strict=True)
        ]
        for station in stations[:-1]
    }
    return errors | {stations[-1].layer.name: [output_error(stations[-1].output, labels)]}


def _times(share: float, signals: Signals) -> Signals:
    return {name: [share * signal for signal in each] for name, each in signals.items()}


def _sum(some: Signals, others: Signals) -> Signals:
    """Layer by layer; a layer that only one of them knows has what that one says."""
    both = {
        name: [one + other for one, other in zip(some[name], others[name], strict=True)]
        for name in some.keys() & others.keys()
    }
    return {**some, **others, **both}


def _energy(errors: list[Tensor]) -> Tensor:
    return torch.stack([error.float().square().sum() for error in errors]).sum() / 2
