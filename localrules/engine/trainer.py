"""The loop: steps, logged rows, evaluations, checkpoints."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from localrules.callbacks.base import MetricsRow
from localrules.callbacks.callback_list import CallbackList
from localrules.callbacks.results import EpochResults
from localrules.core.phase import Phase
from localrules.engine import checkpoint
from localrules.engine.diagnostics import Diagnostics
from localrules.engine.divergence import check_finite
from localrules.engine.inference import subsample
from localrules.engine.phases import apply_phase
from localrules.engine.profiling import StepTimer, peak_memory, process_peak_mib
from localrules.engine.scores import Scores
from localrules.engine.session import Session
from localrules.engine.step import AveragedStep, StepResult, average_report, train_step
from localrules.utils.torch_utils import preserve_mode, read_scalars

CHECKPOINT_SECONDS = 60.0
SHOWN_SAMPLES = 32  # whose images callbacks receive at the end of an epoch
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


class TrainingInterrupted(Exception):
    """The user asked the run to stop; it has a checkpoint."""


class Trainer:
    """Takes a session through its steps, from wherever it stands.

    Args:
        session: The run.
        callbacks: The callbacks of the run.
        folder: Where checkpoints go.
        state: The state of callbacks, which is saved with every checkpoint.
        before_step: Called with each step before it is taken.

    Attributes:
        step: Steps done so far.
        timer: Times of the steps.
        peak_memory_mib: The allocator's peak in a step, above what was live at its start.
        seconds: Training time so far, evaluation included.
        stage_seconds: Seconds in which each stage computes in a step, where processes divide the layers; the mean over
            replicas.
        bubble_fraction: The fraction of time in which processes wait for other stages, on average over them.
        valid_scores: The scores of the valid split by the last weights, where the run was evaluated after it.

    All but the last three are the run's: a resumed run counts on from its checkpoint.
    """

    stage_seconds: list[float] | None = None
    bubble_fraction: float | None = None
    valid_scores: Scores | None = None
    _unevaluated: MetricsRow | None = None  # of the last step, where it closes no epoch
    _settling = 0  # steps at the start of a phase in which no memory is measured

    def __init__(
        self,
        session: Session,
        callbacks: CallbackList,
        folder: Path,
        state: dict[str, Any],
        before_step: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.session, self.callbacks = session, callbacks
        self._world = session.world
        self._folder, self._state, self._before_step = folder, state, before_step
        self._diagnostics = Diagnostics(session)
        self.step = 0
        self.timer = StepTimer()
        self.peak_memory_mib = 0.0
        self.seconds = 0.0
        self._stop = False
        self._saved_at = time.monotonic()
        self._resumed_at = time.monotonic()

    def resume(self, progress: dict[str, Any]) -> None:
        """Continue where a checkpoint was made."""
        self.step = progress["step"]
        self.seconds = progress["seconds"]
        self.timer = StepTimer(progress["step_times"])
        self.peak_memory_mib = progress["peak_memory_mib"]
        self._state.update(progress["callbacks"])
        self.callbacks.stop_reason = progress["stop_reason"]

    @property
    def stop_reason(self) -> str | None:
        """The reason for which a callback stopped the run before its last step, if one did."""
        return self.callbacks.stop_reason if self.step < self.session.total_steps else None

    def run(self) -> None:
        """Train to the end of the last phase, or until a callback stops the run.

        Raises:
            TrainingInterrupted: SIGINT, SIGTERM or SIGHUP came; the step was finished and a checkpoint written.
            LocalRulesError: Training diverged; the last checkpoint was made before that.
        """
        self._resumed_at = self._saved_at = time.monotonic()
        if self.stop_reason is None:
            self.callbacks.on_train_start(self.session.network, self.session.rule)
            self._agree_on_stop()
        if self.stop_reason is not None:  # before the first step, or in a run that is resumed after its stop
            self.save()
            return
        with self._graceful_shutdown():
            if self.step == 0:
                self._log_untrained()
                if self.stop_reason is not None:
                    self.save()
                    return
            for phase in self.session.phases:
                if self.step < phase.stop and self.stop_reason is None:
                    self._run_phase(phase)

    def _log_untrained(self) -> None:
        """Log the untrained network as step 0, so that curves begin where learning does."""
        row: MetricsRow = {"step": 0, "epoch": 0.0, "phase": self.session.phases[0].name}
        if self._world.is_main and (found := self._evaluation(row)[0]):
            self.callbacks.on_log(row | found)
        self._agree_on_stop()

    def _evaluation(self, row: MetricsRow) -> tuple[MetricsRow, Scores | None]:
        """The metrics of an epoch that join a row: of the layers' outputs, of the valid split, and of callbacks.

        Returns:
            They, and the scores of the valid split, if there is such.
        """
        found, scores = self._diagnostics.of_epoch(), None
        if "valid" in self.session.data.splits:
            scores = self.session.predictor.scores(self.session.data.split("valid"))
            found |= {"valid_loss": scores.loss, "valid_accuracy": scores.top1}
        with preserve_mode(self.session.network.model, self.session.rule):
            return found | self.callbacks.on_measure(row | found), scores

    def _run_phase(self, phase: Phase) -> None:
        apply_phase(phase, self.session.network, self.session.trainable)
        first, profiled = self.step, False
        for step in range(first, phase.stop):
            self._before_step(step)
            began = time.perf_counter()
            closes_epoch = self._is_epoch_end(step + 1)
            watched = self._diagnostics.watches(self._should_log(step + 1), closes_epoch)
            # The profiler slows its step down, so memory is measured in one that no median counts. It is not one with
            # diagnostics, so that rows are the same after a resume, unless there is no other.
            profiles = not profiled and (step == phase.stop - 1 or (step > first + self._settling and not watched))
            take = partial(self._train_step, phase, step)
            watching: AbstractContextManager[MetricsRow] = nullcontext({})
            if watched:
                watching = self._diagnostics.of_step(phase, step, closes_epoch=closes_epoch)
            with watching as found:
                if profiles:
                    taken, peak = peak_memory(take, self.session.device.device)
                    self.peak_memory_mib, profiled = max(self.peak_memory_mib, peak), True
                else:
                    taken = take()
            if not profiles and not watched:
                self.timer.add(time.perf_counter() - began)
            self.step = step + 1
            self._after_step(phase, taken, found)
            if self.stop_reason is not None and self._has_whole_state:
                return

    @property
    def _has_whole_state(self) -> bool:
        """Whether the main process has the state of all layers, so that the run may end after this step."""
        return True

    def _train_step(self, phase: Phase, step: int) -> StepResult:
        return train_step(self.session, phase, step)

    def _is_epoch_end(self, step: int) -> bool:
        return step % self.session.batches.steps_per_epoch == 0 or step == self.session.total_steps

    def _should_log(self, step: int) -> bool:
        return self._is_epoch_end(step) or step % self.session.config.log_every == 0

    def _after_step(self, phase: Phase, step: StepResult, found: MetricsRow) -> None:
        last = self.step == self.session.total_steps
        closes_epoch, logs = self._is_epoch_end(self.step), self._should_log(self.step)
        stopping, due = self._world.any(self._stop, self._world.is_main and self._should_checkpoint(closes_epoch))
        saves = last or stopping or due
        if logs or saves or self.stop_reason is not None:
            row = self._metrics_row(phase, self._check_step(phase, step, thorough=saves)) | found
            self._unevaluated = row
        if logs:
            scores = None
            if closes_epoch:
                with self.session.averaged_weights():
                    scores = self._evaluate(row)
            else:
                self.callbacks.on_log(row)
            self._agree_on_stop()
            if last or self.stop_reason is not None:
                self.valid_scores = scores
        if saves or self.stop_reason is not None:
            self.save()
            self._agree_on_stop()
        if stopping and not last and self.stop_reason is None:
            raise TrainingInterrupted

    def _evaluate_stopped(self) -> bool:
        """Evaluate a run that a callback has stopped within an epoch, once; whether that was done now."""
        row = self._unevaluated
        if row is None or self.stop_reason is None:
            return False
        with self.session.averaged_weights():
            self.valid_scores = self._evaluate(row)
        return True

    def _evaluate(self, row: MetricsRow) -> Scores | None:
        """Log the row of the last step with the metrics of the valid split, whose scores are returned."""
        scores, self._unevaluated = None, None
        if self._world.is_main:
            evaluated, scores = self._evaluation(row)
            row |= evaluated
        self.callbacks.on_log(row)
        self.callbacks.on_evaluate(row)
        if self._world.is_main:
            self.callbacks.on_results(self._results(scores))
        return scores

    def _check_step(self, phase: Phase, step: StepResult, *, thorough: bool) -> AveragedStep:
        """The step with the means over all parts of its batch.

        Raises:
            LocalRulesError: Training diverged.
        """
        taken = self._average(step)
        if error := check_finite(self.session, taken.report, self.step, thorough=thorough):
            self.callbacks.on_log(self._metrics_row(phase, taken))
            raise error
        return taken

    def _average(self, step: StepResult) -> AveragedStep:
        return average_report(self.session.ranks, step)

    def _results(self, scores: Scores | None) -> EpochResults:
        epoch, histograms = self.step / self.session.batches.steps_per_epoch, self._diagnostics.histograms()
        if scores is None:
            return EpochResults(self.step, epoch, histograms=histograms)
        valid = self.session.data.split("valid")
        few = subsample(valid, SHOWN_SAMPLES)
        rows = torch.arange(len(valid)) if few is None else few
        return EpochResults(self.step, epoch, scores.logits, scores.labels, rows, valid.images[rows], histograms)

    def _metrics_row(self, phase: Phase, taken: AveragedStep) -> MetricsRow:
        report = taken.report
        batches = self.session.batches
        recent = self.timer.recent
        row: MetricsRow = {
            "step": self.step,
            "epoch": self.step / batches.steps_per_epoch,
            "phase": phase.name,
            "lr": self.session.optimizers.learning_rate,
            "samples_per_second": batches.batch_size / recent if recent else None,
            "step_seconds": recent,
            "memory_mib": process_peak_mib(),
        }
        scalars = {f"objective/{name}": value for name, value in report.objectives.items()} | report.metrics
        if taken.accuracy is not None:
            scalars = {"accuracy": taken.accuracy, **scalars}
        if report.loss is not None:
            scalars = {"loss": report.loss, **scalars}
        return {**row, **read_scalars(scalars)}

    def _should_checkpoint(self, closes_epoch: bool) -> bool:
        every = self.session.config.checkpoint_every
        if every is not None:
            return self.step % every == 0
        return closes_epoch or time.monotonic() - self._saved_at > CHECKPOINT_SECONDS

    def save(self) -> None:
        """Write a checkpoint; of several processes, the main one does."""
        if not self._world.is_main:
            return
        self._evaluate_stopped()
        self.callbacks.on_checkpoint()
        if self._evaluate_stopped():  # a callback has just stopped it, and the row is not in the others' state
            self.callbacks.on_checkpoint()
        now = time.monotonic()
        self.seconds += now - self._resumed_at
        self._resumed_at = now
        progress = {
            "step": self.step,
            "seconds": self.seconds,
            "step_times": self.timer.times,
            "peak_memory_mib": self.peak_memory_mib,
            "callbacks": dict(self._state),
            "stop_reason": self.stop_reason,
            "config": self.session.config.to_dict(),
        }
        checkpoint.save(self._folder, self.session, progress)
        self._saved_at = time.monotonic()

    def _agree_on_stop(self) -> None:
        """Stop all processes where a callback has stopped the main one; the others have no callbacks."""
        (stopped,) = self._world.any(self.callbacks.stop_reason is not None)
        if stopped and self.callbacks.stop_reason is None:
            self.callbacks.stop_reason = "the main process was stopped"

    @contextmanager
    def _graceful_shutdown(self) -> Iterator[None]:
        """Let the step in hand finish when the user presses Ctrl-C; a second Ctrl-C or signal ends at once.

        Signals that the process was started to ignore stay ignored, such as SIGHUP under nohup.
        """

        def stop(number: int, frame: object) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True

        try:
            heeded = [each for each in STOP_SIGNALS if signal.getsignal(each) not in (signal.SIG_IGN, None)]
            before = {number: signal.signal(number, stop) for number in heeded}
        except ValueError:  # not the main thread: whoever owns it handles signals
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def metric_names(session: Session) -> tuple[str, ...]:
    """The columns of the run's ``metrics.csv`` that are known before the first step; what a rule logs comes after."""
    layers = [layer.name for layer in session.network.layers]
    objectives = tuple(f"objective/{layer}" for layer in layers)
    diagnostics = Diagnostics(session).columns
    first = ("step", "epoch", "phase", "loss", "accuracy", "valid_loss", "valid_accuracy", "lr")
    return (*first, *objectives, *diagnostics, "samples_per_second", "step_seconds", "memory_mib")
