"""The steps of one stage: receive, train, send."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from localrules.core.network import Network
from localrules.core.phase import Phase
from localrules.core.rule import StepReport
from localrules.engine.pipeline.links import Receiver, Sender
from localrules.engine.pipeline.messages import Header, MessageFormat
from localrules.engine.pipeline.networks import Given, MeasuredNetwork, StageNetwork
from localrules.engine.pipeline.stages import BUSY, Stage, cut_into_stages
from localrules.engine.pipeline.window_borders import WindowBorders
from localrules.engine.session import Session
from localrules.engine.step import AveragedStep, StepResult, average_report, train_step
from localrules.engine.windows import WindowedRule
from localrules.errors import LocalRulesError
from localrules.utils.torch_utils import read_scalars


@dataclass
class StageTimes:
    """The time and memory of the steps of a stage.

    Attributes:
        steps: Number of steps.
        busy: Seconds in which the stage computed.
        elapsed: Seconds from the first step to the end of the last one, without pauses.
        peak_memory_mib: The allocator's peak in a step, above what was live at its start.
    """

    steps: int = 0
    busy: float = 0.0
    elapsed: float = 0.0
    peak_memory_mib: float = 0.0


class Border:
    """The border between two stages: the values that cross it in a step.

    Args:
        outputs: Names of the layers whose outputs cross it.
        generators: Names of the layers behind which the state of torch's generator matters beyond the border.
        layouts: Of what the readers of each layer are given.
    """

    def __init__(self, outputs: Sequence[str], generators: Sequence[str], layouts: Mapping[str, Given]) -> None:
        self._outputs, self._generators, self._layouts = outputs, generators, layouts
        tensors = [tensor for name in outputs for tensor in layouts[name].tensors]
        self._format = MessageFormat([*tensors, *(torch.get_rng_state() for _ in generators)])
        self.size = self._format.size

    def pack(self, header: Header, network: StageNetwork) -> Tensor:
        """The message of a step that the network has taken."""
        tensors = [tensor for name in self._outputs for tensor in network.given[name].tensors]
        return self._format.pack(header, [*tensors, *(network.generators[name] for name in self._generators)])

    def unpack(self, message: Tensor, network: StageNetwork) -> Header:
        """Give the network what a message holds, before it takes the step."""
        header, tensors = self._format.unpack(message)
        left = iter(tensors)
        network.given = {}
        for name in self._outputs:
            layout = self._layouts[name]
            network.given[name] = layout.with_tensors([next(left) for _ in layout.tensors])
        network.generators = dict(zip(self._generators, left, strict=True))
        return header


class StageSteps:
    """The steps of this process's stage in one phase of a run.

    The main process trains the last stage of the first replica: what it has finished, all stages have, so it logs a
    step without waiting for any. Replicas meet in each layer, whose gradients they average, and the first stages agree
    before each step on whether to pause. All processes make the same cut and call the same methods, in the same state
    of the whole network.

    Args:
        session: The run.
        measured: Steps in which the whole network was trained in every process.
        start: The first step.
        stop: The step after the last one.
        times: Of this process, counted on.

    Attributes:
        stages: All stages, in forward order.
        paused: Whether all stages stand behind the step that was taken last, since a process asked for that.
        reported: The last step that was reported, with the means over the replicas: of this stage's layers; in the main
            process of all.
    """

    reported: AveragedStep

    def __init__(self, session: Session, measured: MeasuredNetwork, start: int, stop: int, times: StageTimes) -> None:
        world, network, count = session.world, session.network, session.grid.replica.count
        self._session, self._pauses = session, 0
        self.index, self._last = session.grid.stage, count - 1
        _check_order(network, measured)
        self.stages = world.from_main(cut_into_stages(_mean_seconds(session, measured), network.layers, count))
        stage = self.stages[self.index]
        self._network = StageNetwork(network, session.rule, stage, measured.given)
        self._store = dist.distributed_c10d._get_default_store()
        self._name = f"steps from {start}"
        timeout = session.config.process_timeout
        self._receiver: Receiver | None = None
        self._sender: Sender | None = None
        if self.index > 0:
            self._below = _border(session, measured, self.stages[self.index - 1])
            self._receiver = Receiver(world.index + 1, self._below.size, stop - start, timeout)
        if self.index < self._last:
            self._above = _border(session, measured, stage)
            self._sender = Sender(world.index - 1, self._above.size, stop - start, timeout)
        self._borders: WindowBorders | None = None
        if isinstance(session.rule, WindowedRule):
            self._borders = WindowBorders(
                stage,
                [layer.name for layer in network.layers],
                measured.arrivals,
                rank=world.index,
                steps=stop - start,
                timeout=timeout,
            )
            session.rule.arrivals = None
        self._links = [link for link in (self._receiver, self._sender) if link is not None]
        self._links += self._borders.links if self._borders is not None else []
        self.paused = False
        self._times = times
        self._free_others()
        self._since = time.perf_counter()

    def step(self, phase: Phase, step: int, *, pauses: bool, reports: bool) -> StepResult:
        """Take a step, and let the next stage have what it reads.

        Args:
            phase: The phase.
            step: Counted from 0 over the whole run.
            pauses: Whether all know that they pause after it.
            reports: Whether the main process needs a report of all layers, as it does where they pause.

        Returns:
            Of this stage's layers, and of this replica's part of the batch.
        """
        session, network, waited = self._session, self._network, self._waited
        began = time.perf_counter()
        if self._receiver is not None:
            header = self._below.unpack(self._receiver.receive(), network)
            if header.step != step:
                raise LocalRulesError(f"stage {self.index} has received step {header.step} in place of {step}")
            self.paused = header.pauses
        else:
            (self.paused,) = [True] if pauses else session.ranks.any(self._pause_is_requested())
        network.on_end = partial(self._send, Header(step, self.paused))
        with self._crossed_borders(step):
            taken = train_step(session, phase, step, network)
        if self.index < self._last:
            taken = StepResult(replace(taken.report, logits=None, labels=None), taken.labels)
        reports = reports or self.paused
        if reports:
            self.reported = average_report(session.ranks, self._with_busy(taken))
            if session.ranks.is_main and self.index < self._last:
                self._store.set(f"{self._name}/{step}/{self.index}", _to_json(self.reported.report))
        network.given, network.generators = {}, {}
        for link in self._links:
            link.free()
        now = time.perf_counter()
        if not torch.autograd._profiler_enabled():  # which makes a step slow
            self._times.busy += now - began - (self._waited - waited)
            self._times.elapsed += now - self._since
            self._times.steps += 1
        self._since = now
        if reports and session.world.is_main:
            self.reported = replace(self.reported, report=self._whole_report(step, self.reported.report))
        return taken

    def _send(self, header: Header) -> None:
        """Let the next stage have what it reads, before gradients are awaited from there."""
        if self._sender is not None:
            self._sender.send(self._above.pack(header, self._network))

    @contextmanager
    def _crossed_borders(self, step: int) -> Iterator[None]:
        """Let gradients of windows cross the borders of the stage in a step."""
        rule = self._session.rule
        if self._borders is None or not isinstance(rule, WindowedRule):
            yield
            return
        self._borders.begin(step)
        rule.borders = self._borders
        try:
            yield
        finally:
            rule.borders = None

    def _with_busy(self, taken: StepResult) -> StepResult:
        """A step with the metric of the fraction of the time before it in which this stage computed."""
        if not self._times.elapsed:
            return taken
        busy = torch.tensor(self._times.busy / self._times.elapsed)
        metrics = taken.report.metrics | {f"{BUSY}{self.index}": busy}
        return replace(taken, report=replace(taken.report, metrics=metrics))

    @property
    def _waited(self) -> float:
        return sum(link.waited for link in self._links)

    def request_pause(self) -> None:
        """Let all stages pause behind the next step that the first stage has not begun."""
        self._store.set(f"{self._name}/pause {self._pauses}", "")

    def _pause_is_requested(self) -> bool:
        return bool(self._store.check([f"{self._name}/pause {self._pauses}"]))

    def go_on(self) -> None:
        """Continue after a pause."""
        self._pauses += 1
        self.paused = False
        self._free_others()
        self._since = time.perf_counter()

    def _free_others(self) -> None:
        """Free the optimizer state of the other stages' layers, which they send in a pause where it is needed."""
        for layer in self._session.network.layers:
            if layer not in self._network.layers:
                self._session.optimizers.forget_state(layer.name)

    def close(self) -> None:
        """Take no more steps, although there are some left in the phase."""
        for kind in (Sender, Receiver):  # what is sent fits into the room that was made for it
            for link in self._links:
                if isinstance(link, kind):
                    link.close()

    def _whole_report(self, step: int, own: StepReport) -> StepReport:
        """The report of all stages; the others have finished the step before this one."""
        objectives, metrics = dict[str, Tensor](), dict[str, Tensor]()
        for index in range(self._last):
            key = f"{self._name}/{step}/{index}"
            of_stage, more = json.loads(self._store.get(key))
            self._store.delete_key(key)
            objectives |= {name: torch.tensor(value, dtype=torch.float64) for name, value in of_stage.items()}
            metrics |= {name: torch.tensor(value, dtype=torch.float64) for name, value in more.items()}
        metrics |= own.metrics
        return replace(own, objectives=objectives | own.objectives, metrics=dict(sorted(metrics.items())))


def _to_json(report: StepReport) -> str:
    """The objectives and the metrics of a report."""
    return json.dumps((read_scalars(report.objectives), read_scalars(report.metrics)))


def _mean_seconds(session: Session, measured: MeasuredNetwork) -> dict[str, float]:
    """The time of each layer: the shortest of its steps but the first, on average over the processes."""
    names = [layer.name for layer in session.network.layers]
    fastest = torch.tensor([min(seconds[name] for seconds in measured.seconds[1:]) for name in names])
    session.world.average_([fastest])
    return dict(zip(names, fastest.tolist(), strict=True))


def _check_order(network: Network, measured: MeasuredNetwork) -> None:
    known, found = [layer.name for layer in network.layers], [*measured.seconds[-1]]
    if found != known:
        raise LocalRulesError(
            "the layers run in another order in training than in evaluation",
            where=f"{', '.join(known)}; in training: {', '.join(found)}",
            why="processes divide the layers by their order",
            fix="leave out --parallel layers",
        )


def _border(session: Session, measured: MeasuredNetwork, stage: Stage) -> Border:
    """The border behind a stage."""
    layers = [layer.name for layer in session.network.layers[: stage.last + 1]]
    generators = [name for name in layers if name in measured.draws_behind or name == layers[-1]]
    return Border(stage.sends, generators, measured.given)
