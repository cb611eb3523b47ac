"""One training step: a batch in, every learning layer stepped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from localrules.config.schema import RunConfig
from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.phase import Phase
from localrules.core.rule import StepReport
from localrules.core.view import Batch
from localrules.data.batches import generator
from localrules.engine.phases import apply_phase
from localrules.engine.ranks import Ranks
from localrules.engine.rule_border import rule_border, run_step
from localrules.engine.schedules import learning_rate
from localrules.engine.session import Session
from localrules.errors import UsageError

STEP_SEED_STREAM = 2  # the stream of seeds for whatever a rule or a network draws in a step


class StepContext:
    """The implementation of a step's context; see :class:`localrules.core.rule.Context`.

    Attributes:
        metrics: Of the engine itself, once the step is finished.
    """

    def __init__(self, session: Session, phase: Phase) -> None:
        self._session, self._phase = session, phase
        self._waiting: list[Layer] = []
        self.metrics: dict[str, Tensor] = {}

    def is_trainable(self, layer: Layer) -> bool:
        """Whether the layer learns in the present phase."""
        return self._phase.is_trainable(layer)

    def is_objective_trainable(self, layer: Layer) -> bool:
        """Whether the layer's auxiliary modules learn, with it or while it stands still."""
        if self.is_trainable(layer) or layer.is_readout:
            return self.is_trainable(layer)
        frozen = layer.name in self._phase.frozen_layers
        return self._phase.auxiliary or (frozen and self._session.rule.auxiliary_serves_others(layer))

    def backward(self, loss: Tensor, layer: Layer | None = None) -> None:
        """The backward pass of a loss, scaled in fp16."""
        if self._session.loss_scaling is None:
            loss.backward()
        else:
            self._session.loss_scaling.backward(loss, layer)

    def step_layer(self, layer: Layer) -> None:
        """The layer's gradients are complete: average them and step, now or at the end of the pass."""
        if not self.is_objective_trainable(layer):
            return
        if self.is_trainable(layer):
            self._session.learning_check.before_step(layer)
        self._session.average_gradients(layer)
        if self._session.config.optimizer.step_timing == "layer":
            self._step(layer)
        elif layer in self._waiting:
            raise UsageError(
                f"layer {layer.name!r} is stepped twice in one step",
                where="optimizer.step_timing=pass",
                why=f"{self._session.rule.describe(layer)} steps layers several times a step, each time by other "
                "gradients; at the end of the pass they would be added up",
                fix="--set optimizer.step_timing=layer",
            )
        else:
            self._waiting.append(layer)

    def submit(self, layer: Layer, work: Callable[[], None]) -> None:
        """Have a layer learn, now or beside the pass."""
        if self._session.executor is None:
            work()
        else:
            self._session.executor.submit(layer.name, work)

    def autocast(self) -> AbstractContextManager[Any]:
        """The run's precision."""
        return self._session.device.autocast()

    def finish(self) -> None:
        """Wait for what is done beside the pass, and step the layers that wait for its end."""
        if self._session.executor is not None:
            self._session.executor.finish()
        for layer in self._waiting:
            self._step(layer)
        self._waiting.clear()
        if self._session.loss_scaling is not None:
            self.metrics |= self._session.loss_scaling.finish_step()

    def _step(self, layer: Layer) -> None:
        if self._session.loss_scaling is None:
            self._session.optimizers.step(layer.name)
        else:
            self._session.loss_scaling.step(layer.name, self._session.optimizers)


@dataclass(frozen=True)
class StepResult:
    """A step that was taken: what the rule reports, and the batch's labels."""

    report: StepReport
    labels: Tensor

    @property
    def accuracy(self) -> Tensor | None:
        """Fraction of samples whose label has the largest logit, a scalar; ``None`` without logits."""
        if self.report.logits is None:
            return None
        return (self.report.logits.argmax(1) == self.labels).float().mean()


@dataclass(frozen=True)
class AveragedStep:
    """A step with the means over all parts of its batch."""

    report: StepReport
    accuracy: Tensor | None


def average_report(ranks: Ranks, taken: StepResult) -> AveragedStep:
    """The report of a step on the whole batch; every process has reported on its part."""
    report = taken.report
    if ranks.count == 1:
        return AveragedStep(report, taken.accuracy)
    scalars: dict[tuple[str, str], Tensor] = {
        **{("objective", name): value for name, value in report.objectives.items()},
        **{("metric", name): value for name, value in report.metrics.items()},
    }
    if report.loss is not None:
        scalars["", "loss"] = report.loss
    if taken.accuracy is not None:
        scalars["", "accuracy"] = taken.accuracy
    means = ranks.average_scalars(scalars)
    averaged = StepReport(
        objectives={name: means["objective", name] for name in report.objectives},
        loss=means.get(("", "loss")),
        metrics={name: means["metric", name] for name in report.metrics},
    )
    return AveragedStep(averaged, means.get(("", "accuracy")))


def seed_step(config: RunConfig, step: int, device: torch.device) -> None:
    """Seed torch's generators: whatever the network or the rule draws in a step comes from (seed, step)."""
    seed = generator(config.seed, STEP_SEED_STREAM, step).initial_seed()
    if device.type == "cpu":
        # torch.manual_seed, to the same end, first asks for every kind of GPU: some 85 microseconds of each step.
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def train_step(session: Session, phase: Phase, step: int, network: Network | None = None) -> StepResult:
    """One step of a run, from asking for the batch to the last optimizer step.

    Whatever the network or the rule draws comes from (seed, step), so a resumed run draws the same.

    Args:
        session: The run.
        phase: The phase that ``step`` lies in.
        step: Counted from 0 over the whole run.
        network: The network that the rule is given; that of the run if it is not given.

    Raises:
        UsageError: A batch norm is given one value, which has no spread.
    """
    config = session.config
    session.optimizers.set_learning_rate(
        learning_rate(config.schedule, config.optimizer.lr, step - phase.start, phase.stop - phase.start)
    )
    seed_step(config, step, session.device.device)
    batch = session.batches.batch(step)
    classes = len(session.data.classes)
    statistics = Batch(batch.images, batch.labels, classes, batch.soft_targets, session.ranks)
    context = StepContext(session, phase)
    try:
        with session.divided_step(), rule_border(session.rule, session.network, "step"):
            try:
                report = run_step(session.rule, network or session.network, statistics, context)
                context.finish()
            except ValueError as error:
                if config.batch_size == 1 and "more than 1 value per channel" in str(error):  # torch's words
                    raise _single_sample_error() from error
                raise
        session.learning_check.after_step(phase.is_trainable)
        if session.weight_average is not None:
            session.weight_average.update(step - phase.start)
            if step == phase.stop - 1:  # what a phase leaves to the next, and the last one to readers
                session.weight_average.copy_to_weights()
    finally:
        if session.executor is not None:
            session.executor.cancel()
    report.metrics |= context.metrics
    report.metrics = dict(sorted(report.metrics.items()))  # whichever thread was first
    return StepResult(report, batch.labels if report.labels is None else report.labels)


def train_steps(
    session: Session, steps: int | None = None, *, start: int = 0, between: Callable[[], object] | None = None
) -> None:
    """Take some steps, through whatever phases.

    Args:
        session: As it stands before step ``start``.
        steps: How many; by default all that are left.
        start: The first, counted from 0 over the whole run.
        between: Called after each step.
    """
    stop = session.total_steps if steps is None else start + steps
    for phase in session.phases:
        first, end = max(start, phase.start), min(phase.stop, stop)
        if first < end:
            apply_phase(phase, session.network, session.trainable)
        for step in range(first, end):
            train_step(session, phase, step)
            if between is not None:
                between()


def _single_sample_error() -> UsageError:
    return UsageError(
        "a batch norm of the network needs batches of at least 2",
        where="--batch-size 1",
        why="of one image a unit has one value, which has no spread",
        fix="choose --batch-size 2 or more, or --set model.norm=false",
    )
