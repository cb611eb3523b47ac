"""The steps of several devices as tasks, and the times at which these begin and end.

Each kind of parallelism is a list of tasks: a resource (a device, or the link behind it) takes its own in the order in
which they are listed, each as soon as what it comes after is done. ``simulate_scaling.py`` uses this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

DEPTH = 2  # messages on their way between two stages, as localrules.engine.pipeline.links has it


class Task(NamedTuple):
    """Something that takes a resource for a while."""

    key: Hashable
    resource: Hashable
    seconds: float
    after: tuple[Hashable, ...] = ()


class Span(NamedTuple):
    """The time of a task."""

    start: float
    stop: float


def simulate(tasks: Iterable[Task]) -> dict[Hashable, Span]:
    """The time of each task, by key.

    Raises:
        ValueError: Tasks wait for each other.
    """
    queues: dict[Hashable, deque[Task]] = {}
    for task in tasks:
        queues.setdefault(task.resource, deque()).append(task)
    free = dict.fromkeys(queues, 0.0)
    done: dict[Hashable, Span] = {}
    while any(queues.values()):
        before = len(done)
        for resource, queue in queues.items():
            while queue and all(key in done for key in queue[0].after):
                task = queue.popleft()
                start = max([free[resource], *(done[key].stop for key in task.after)])
                done[task.key] = Span(start, start + task.seconds)
                free[resource] = start + task.seconds
        if len(done) == before:
            raise ValueError(f"these wait for each other: {[queue[0].key for queue in queues.values() if queue]}")
    return done


def elapsed(spans: dict[Hashable, Span]) -> float:
    """The time at which all is done."""
    return max(span.stop for span in spans.values())


def local_steps(stages: Sequence[float], transfers: Sequence[float], steps: int) -> list[Task]:
    """Steps of stages that send outputs up and wait for nothing from above, as ``--parallel layers`` takes them.

    Args:
        stages: Seconds of a step of each.
        transfers: Seconds of a message behind each but the last.
        steps: How many.
    """
    tasks, last = list[Task](), len(stages) - 1
    for step in range(steps):
        for stage, seconds in enumerate(stages):
            arrived = (("transfer", stage - 1, step),) if stage else ()
            # A stage sends without waiting, unless so many messages are on their way already.
            sent = (("transfer", stage, step - DEPTH - 1),) if stage < last and step > DEPTH else ()
            tasks.append(Task(("receive", stage, step), stage, 0.0, arrived))
            tasks.append(Task(("step", stage, step), stage, seconds, sent))
            if stage < last:
                room = (("receive", stage + 1, step - DEPTH),) if step >= DEPTH else ()
                after = (("step", stage, step), *room)
                tasks.append(Task(("transfer", stage, step), ("link", stage), transfers[stage], after))
    return tasks


def pipeline_step(
    forward: Sequence[float],
    backward: Sequence[float],
    transfers: Sequence[float],
    micro: int,
    *,
    alternating: bool,
    ends: Sequence[float] = (),
) -> list[Task]:
    """One step of back-propagation in stages, by micro-batches.

    Args:
        forward, backward: Seconds of each stage for a micro-batch.
        transfers: Seconds of a message behind each stage but the last, and of its gradient.
        micro: Number of micro-batches.
        alternating: Whether a stage takes turns, one forward and one backward (1F1B, PipeDream-Flush); otherwise all
            forward passes come first (GPipe).
        ends: Seconds of what each stage does last, such as its optimizer.
    """
    tasks, last = list[Task](), len(forward) - 1

    def pass_(kind: str, stage: int, number: int) -> None:
        seconds = (forward if kind == "forward" else backward)[stage]
        if kind == "forward":
            after = (("up", stage - 1, number),) if stage else ()
        else:
            after = (("down", stage, number),) if stage < last else ()
        tasks.append(Task((kind, stage, number), stage, seconds, after))
        if kind == "forward" and stage < last:
            tasks.append(Task(("up", stage, number), ("up", stage), transfers[stage], ((kind, stage, number),)))
        if kind == "backward" and stage:
            tasks.append(
                Task(("down", stage - 1, number), ("down", stage), transfers[stage - 1], ((kind, stage, number),))
            )

    for stage in range(last + 1):
        ahead = min(last - stage, micro) if alternating else micro
        for number in range(ahead):
            pass_("forward", stage, number)
        for number in range(micro):
            if ahead + number < micro:
                pass_("forward", stage, ahead + number)
            pass_("backward", stage, number)
        if ends:
            tasks.append(Task(("end", stage), stage, ends[stage]))
    return tasks


def data_step(forward: float, backward: Sequence[tuple[float, float]], end: float) -> list[Task]:
    """One step of back-propagation on a part of the batch, with gradients averaged while it goes on (as torch's DDP).

    Args:
        forward: Seconds of the forward pass.
        backward: Seconds of the backward pass of each bucket of layers, the last layers first, and of its reduction.
        end: Seconds of the optimizer.
    """
    tasks = [Task("forward", "device", forward)]
    for number, (seconds, reduction) in enumerate(backward):
        tasks.append(Task(("backward", number), "device", seconds))
        tasks.append(Task(("reduction", number), "link", reduction, (("backward", number),)))
    return [*tasks, Task("end", "device", end, (("reduction", len(backward) - 1),))]
