"""Predictive coding: every layer predicts its value from its inputs, and the errors of prediction settle."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from localrules import Batch, Context, Network, Requirements, Rule, RuleConfig, RuleInfo, SearchChoice, StepReport
from localrules.core.isolated_forward import LayerTrace
from localrules.core.nn.losses import cross_entropy_error
from localrules.kernels.checks import no_autocast
from localrules.utils.torch_utils import at_least_float32
from localrules_energy.signals import RepeatedForward, Signals, accumulate_gradients, backward_signals

STRICT_ITERATIONS, STRICT_RATE = 20, 0.1
ERROR_ITERATIONS, ERROR_RATE = 5, 0.1
INCREMENTAL_ITERATIONS, INCREMENTAL_RATE = 8, 0.1


class PredictiveCoding(Rule):
    """Layers have values ``v_l``, and each predicts its own from those that it reads: ``f_l``. With the label known,
    values move down the energy ``E = sum_l 1/2 |v_l - f_l|^2 + CE(readout, label)``; then weights do, each by the error
    ``e_l = v_l - f_l`` of its own layer alone, after ``iterations`` moves of the values:
    ``v_l += rate * (-e_l + sum_k J_k^T e_k)``, where the layers k read l.

    ``fixed-prediction``: predictions and Jacobians stay those of the forward pass. An error moves down one layer per
    iteration, so with ``rate`` 1 and as many iterations as there are hidden layers on the longest path the errors
    are back-propagation's, exactly; more change nothing. ``strict``: predictions follow the values.

    ``error``: the same energy, in other variables. Each layer's readers receive ``v_l = f_l + e_l``, and the errors
    ``e_l`` move down the energy, ``e_l -= rate (e_l + dCE/de_l)``; the derivative goes back through the whole network,
    so that a signal reaches the first layer in one move. For small ``rate`` times ``iterations`` the errors are
    back-propagation's, rescaled.

    ``incremental`` (iPC): as ``strict``, but weights do not wait for the values to settle: each time the values move,
    every layer's optimizer takes a step by the errors at that time.

    It works for networks of any shape: a layer gets signals from all its readers. The last prediction is scored by
    cross-entropy, for which Rosenbaum's paper has a squared error or any other loss.

    References:
        Rao & Ballard 1999, https://doi.org/10.1038/4580; Whittington & Bogacz 2017,
        https://doi.org/10.1162/NECO_a_00949; fixed prediction: Millidge, Tschantz & Buckley 2020,
        https://arxiv.org/abs/2006.04182; both modes as in Rosenbaum 2022, https://arxiv.org/abs/2106.13082; errors as
        variables: ePC, https://arxiv.org/abs/2505.20137; incremental: Salvatori et al. 2022,
        https://arxiv.org/abs/2212.00720.
    """

    class Config(RuleConfig):
        """Options of rule predictive-coding."""

        mode: Literal["fixed-prediction", "strict", "error", "incremental"] = Field(
            "fixed-prediction",
            description="Whether predictions stay those of the forward pass, follow values (both the paper's), the "
            "errors themselves settle (ePC's paper), or values and weights move together (iPC's paper); default ours.",
        )
        iterations: int | None = Field(
            None,
            gt=0,
            le=100_000,
            description="Number of moves of the values. By default one per hidden layer on the longest path "
            f"(ours), {STRICT_ITERATIONS} in strict mode (the paper's), {ERROR_ITERATIONS} in error mode (ePC's), "
            f"{INCREMENTAL_ITERATIONS} in incremental mode, each with a step of the optimizers (ours).",
        )
        rate: float | None = Field(
            None,
            gt=0,
            le=1,
            description=f"Step size of the values: by default 1, {STRICT_RATE} in strict mode (the paper's), "
            f"{ERROR_RATE} in error mode and {INCREMENTAL_RATE} in incremental mode (ours).",
        )

    info = RuleInfo(
        search_space={"mode": SearchChoice(("fixed-prediction", "strict", "error", "incremental"))},
        formula="v_l += rate (-e_l + sum_k J_k^T e_k), e_l = v_l - f_l; then dW_l = e_l df_l/dW_l",
        locality="backprop",  # what fixed-prediction computes, exactly; strict is measured as feedback
        requires=Requirements(forward_passes=None, targets="weighted"),
    )

    config: PredictiveCoding.Config

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Forward, let errors settle, and step every layer by its own error."""
        forward = RepeatedForward(network, batch.images, self._precision(batch, context))
        traces = forward()
        logits = traces[-1].output.detach()
        report = StepReport(logits=logits, loss=functional.cross_entropy(at_least_float32(logits), batch.targets))
        if self.config.mode == "incremental":
            self._settle_with_weights(forward, traces, batch.targets, context, report)
            return report
        if self.config.mode != "fixed-prediction":
            settle = self._settle_values if self.config.mode == "strict" else self._settle_free_errors
            traces = settle(forward, traces, batch.targets)
            errors = _errors(traces, batch.targets)
        else:
            errors = self._settle_errors(traces, batch.targets)
        self._learn(traces, errors, context, report)
        return report

    def _precision(self, batch: Batch, context: Context) -> Callable[[], AbstractContextManager[Any]]:
        """The run's, where predictions are fixed; else float32: errors are differences of nearly equal values."""
        if self.config.mode == "fixed-prediction":
            return context.autocast
        return partial(no_autocast, batch.images)

    @staticmethod
    def _learn(traces: list[LayerTrace], errors: Signals, context: Context, report: StepReport) -> None:
        """Step every layer by its own error; the graphs are freed."""
        samples = len(traces[-1].output)
        accumulate_gradients(traces, _scaled(1 / samples, errors), context)
        for trace in traces:
            layer = trace.layer
            if layer.name in errors and not layer.is_readout and context.is_trainable(layer):
                report.objectives[layer.name] = _energy(errors[layer.name]) / samples
            context.step_layer(layer)

    def _settle_errors(self, traces: list[LayerTrace], targets: Tensor) -> Signals:
        """Errors, as predictions less values, where predictions stay fixed.

        Signals are linear in the errors then, so only changes are sent again: in a chain, at rate 1, every layer sends
        once.
        """
        readout = traces[-1]
        rate = self.config.rate or 1.0
        changes: Signals = {readout.layer.name: [cross_entropy_error(readout.output, targets)]}
        errors = changes
        for _ in range(self.config.iterations or readout.layer.depth - 1):
            rest = {} if rate == 1 else {name: each for name, each in changes.items() if name != readout.layer.name}
            changes = _sum(_scaled(1 - rate, rest), _scaled(rate, backward_signals(traces, changes)))
            if not changes:
                break
            errors = _sum(errors, changes)
        return errors

    def _settle_values(self, forward: RepeatedForward, traces: list[LayerTrace], targets: Tensor) -> list[LayerTrace]:
        """Traces of the network at values that have moved down the energy."""
        rate = self.config.rate or STRICT_RATE
        values = _values(traces)
        for _ in range(self.config.iterations or STRICT_ITERATIONS):
            values = _moved(values, traces, _errors(traces, targets), rate)
            traces = forward(values)
        return traces

    def _settle_with_weights(
        self, forward: RepeatedForward, traces: list[LayerTrace], targets: Tensor, context: Context, report: StepReport
    ) -> None:
        """Move values, and weights by the errors at the same time, again and again."""
        rate = self.config.rate or INCREMENTAL_RATE
        values = _values(traces)
        left = self.config.iterations or INCREMENTAL_ITERATIONS
        while left:
            errors = _errors(traces, targets)
            values = _moved(values, traces, errors, rate)
            self._learn(traces, errors, context, report)
            left -= 1
            if left:
                traces = forward(values)

    def _settle_free_errors(
        self, forward: RepeatedForward, traces: list[LayerTrace], targets: Tensor
    ) -> list[LayerTrace]:
        """Traces of the network at values whose errors have moved down the energy, all at once."""
        rate = self.config.rate or ERROR_RATE
        errors = {
            trace.layer.name: [torch.zeros_like(at_least_float32(value)).requires_grad_() for value in trace.values]
            for trace in traces[:-1]
        }
        every = [error for each in errors.values() for error in each]
        for _ in range(self.config.iterations or ERROR_ITERATIONS):
            _, logits = forward.with_errors(errors)
            loss = functional.cross_entropy(at_least_float32(logits), targets, reduction="sum")
            slopes = torch.autograd.grad(loss, every, allow_unused=True) if every else ()
            with torch.no_grad():
                for error, slope in zip(every, slopes, strict=True):
                    error -= rate * (error if slope is None else error + slope)
        with torch.no_grad():
            values, _ = forward.with_errors(errors)
        return forward({name: [value.detach() for value in each] for name, each in values.items()})


def _values(traces: list[LayerTrace]) -> dict[str, list[Tensor]]:
    """Those of the hidden layers."""
    return {trace.layer.name: [at_least_float32(value.detach()) for value in trace.values] for trace in traces[:-1]}


def _moved(
    values: dict[str, list[Tensor]], traces: list[LayerTrace], errors: Signals, rate: float
) -> dict[str, list[Tensor]]:
    """Values one step down the energy; the graphs are kept."""
    moved = {
        name: [
            value - rate * (signal - error)
            for value, signal, error in zip(values[name], signals, errors[name], strict=True)
        ]
        for name, signals in backward_signals(traces, errors).items()
    }
    return values | moved


def _errors(traces: list[LayerTrace], targets: Tensor) -> Signals:
    """Predictions less values; at the readout, the gradient of the cross-entropy."""
    errors = {
        trace.layer.name: [
            at_least_float32(output.detach()) - value.detach()
            for output, value in zip(trace.outputs, trace.values, strict=True)
        ]
        for trace in traces[:-1]
    }
    return errors | {traces[-1].layer.name: [cross_entropy_error(traces[-1].output, targets)]}


def _scaled(factor: float, signals: Signals) -> Signals:
    return {name: [factor * signal for signal in each] for name, each in signals.items()}


def _sum(some: Signals, others: Signals) -> Signals:
    """Layer by layer; the signals of a layer that is in one of them alone stay as they are."""
    both = {
        name: [one + other for one, other in zip(some[name], others[name], strict=True)]
        for name in some.keys() & others.keys()
    }
    return {**some, **others, **both}


def _energy(errors: list[Tensor]) -> Tensor:
    return torch.stack([at_least_float32(error).square().sum() for error in errors]).sum() / 2
