"""The loop of a run whose layers are divided among processes."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

from localrules.callbacks.base import MetricsRow
from localrules.callbacks.callback_list import CallbackList
from localrules.core.phase import Phase
from localrules.engine.pipeline.networks import MeasuredNetwork
from localrules.engine.pipeline.stage_state import load_state_of_layers, state_of_layers
from localrules.engine.pipeline.stage_steps import StageSteps, StageTimes
from localrules.engine.session import Session
from localrules.engine.step import AveragedStep, StepResult, train_step
from localrules.engine.trainer import CHECKPOINT_SECONDS, Trainer, TrainingInterrupted
from localrules.engine.windows import WindowedRule

MEASURED_STEPS = 3
"""Steps at the start of a phase that all processes take alike, to measure layers; the first does not count (ours)."""


def trainer_of(session: Session, callbacks: CallbackList, folder: Path, state: dict[str, Any], *more: Any) -> Trainer:
    """The trainer of a run; the arguments are those of :class:`~localrules.engine.trainer.Trainer`."""
    return (StageTrainer if session.divides_layers else Trainer)(session, callbacks, folder, state, *more)


class StageTrainer(Trainer):
    """Takes one stage of a session through its steps, in step with the processes that train the others.

    In the first steps of a phase every process trains the whole network, to measure the layers. Then the layers are cut
    into stages, and each process trains its own. All stages, of all replicas, pause where the whole state is needed: at
    the end of an epoch or phase, for a checkpoint, and when a process asks for it, since the run is to be stopped or a
    minute has passed. The main process then holds the state of a run in one process, and does what that would do.
    """

    _settling = MEASURED_STEPS
    _stages: StageSteps | None = None

    @cached_property
    def _times(self) -> StageTimes:
        """The times of this process's stage in all phases."""
        return StageTimes()

    def _run_phase(self, phase: Phase) -> None:
        self._measured = MeasuredNetwork(self.session.network, self.session.rule)
        self._stages = None
        try:
            super()._run_phase(phase)
        except TrainingInterrupted:
            self._close()
            raise
        finally:
            if isinstance(self.session.rule, WindowedRule):
                self.session.rule.arrivals = None
        if self.step < phase.stop:
            self._close()

    def _close(self) -> None:
        if self._stages is not None:
            self._stages.close()

    def _train_step(self, phase: Phase, step: int) -> StepResult:
        if self._stages is None and len(self._measured.seconds) == MEASURED_STEPS:
            self._stages = StageSteps(self.session, self._measured, step, phase.stop, self._times)
        if self._stages is None:
            return train_step(self.session, phase, step, self._measured)
        pauses = self._pauses_after(step + 1, phase)
        return self._stages.step(phase, step, pauses=pauses, reports=self._should_log(step + 1))

    def _pauses_after(self, step: int, phase: Phase) -> bool:
        every = self.session.config.checkpoint_every
        return step == phase.stop or self._is_epoch_end(step) or (every is not None and step % every == 0)

    def _after_step(self, phase: Phase, step: StepResult, found: MetricsRow) -> None:
        stages = self._stages
        if stages is not None and not stages.paused:
            if self._world.is_main and self._should_log(self.step):
                self.callbacks.on_log(self._metrics_row(phase, self._check_step(phase, step, thorough=False)))
            if self._stop or self.callbacks.stop_reason is not None or self._is_checkpoint_late():
                stages.request_pause()
            return
        if stages is not None:
            self._collect(stages, everywhere=self.step == phase.stop)
        self._agree_on_stop()
        super()._after_step(phase, step, found)
        if stages is not None and self.step < phase.stop and self.stop_reason is None:
            stages.go_on()

    @property
    def _has_whole_state(self) -> bool:
        return self._stages is None or self._stages.paused

    def _average(self, step: StepResult) -> AveragedStep:
        return super()._average(step) if self._stages is None else self._stages.reported

    def _is_checkpoint_late(self) -> bool:
        unset = self.session.config.checkpoint_every is None
        return self._world.is_main and unset and time.monotonic() - self._saved_at > CHECKPOINT_SECONDS

    def _collect(self, stages: StageSteps, *, everywhere: bool) -> None:
        """Bring the state of all layers into the main process, or into all, and the times into the main process."""
        network, own, grid = self.session.network, stages.stages[stages.index], self.session.grid
        if everywhere or grid.ranks.is_main:  # in other replicas no process needs it
            state = state_of_layers(self.session, network.layers[own.first : own.last + 1])
            for index, of_layers in grid.replica.gather_objects((stages.index, state), everywhere=everywhere):
                if index != stages.index:
                    load_state_of_layers(self.session, of_layers)
        self._times.peak_memory_mib = self.peak_memory_mib
        times = self._world.gather_objects((stages.index, self._times))
        if self._world.is_main:
            self._sum_up([[each for at, each in times if at == index] for index in range(len(stages.stages))])

    def _sum_up(self, times: list[list[StageTimes]]) -> None:
        """Sum up the times of all processes, those of each stage together."""
        processes = [each for of_stage in times for each in of_stage]
        self.peak_memory_mib = max(each.peak_memory_mib for each in processes)
        if self._times.steps:
            self.stage_seconds = [mean(each.busy / each.steps for each in of_stage) for of_stage in times]
            self.bubble_fraction = 1 - mean(each.busy for each in processes) / self._times.elapsed
