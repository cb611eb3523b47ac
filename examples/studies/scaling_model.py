"""GPUs and links with stated speeds, the measured work of layers, and kinds of parallelism, for a simulation.

The time of a part of a layer's step is the longest of three: its FLOPs at a fraction of the peak, its bytes at a
fraction of the memory's bandwidth, and its operations at a time for each.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from scaling_schedules import DEPTH, data_step, elapsed, local_steps, pipeline_step, simulate

from localrules.engine.pipeline.stages import cut_into_stages

PER_NODE = 8
STEPS = 200  # between two pauses, in which stages wait for each other (ours)
BUCKET = 25e6  # bytes of gradients that torch's DDP averages together
WEIGHT, GRADIENT, MOMENTS = 4, 4, 8  # bytes for each parameter: float32, with Adam
HALF = 0.5  # bf16 to the float32 that was measured


@dataclass(frozen=True)
class Machine:
    """Speeds of GPUs and links.

    Attributes:
        flops: Peak of dense bf16 products, a second.
        flops_fraction: The part of it that a large product reaches.
        bandwidth: Of the memory, bytes a second.
        bandwidth_fraction: The part of it that operations reach.
        operation: Seconds that an operation takes at least, launch included.
        nvlink, infiniband: Bytes a second and GPU in each direction, as they are reached.
        latency: Seconds until a message arrives, or a reduction begins, beside its bytes.
    """

    flops: float = 989e12
    flops_fraction: float = 0.5
    bandwidth: float = 3.35e12
    bandwidth_fraction: float = 0.8
    operation: float = 5e-6
    nvlink: float = 380e9
    infiniband: float = 45e9
    latency: float = 20e-6

    def link(self, above: int) -> float:
        """Bytes a second between a GPU and the one before it, of this number."""
        return self.infiniband if above % PER_NODE == 0 else self.nvlink

    def reduction(self, size: float, gpus: int) -> float:
        """Seconds in which gradients of this size in bytes are averaged over GPUs: in nodes, between them, in nodes."""
        here, nodes = min(gpus, PER_NODE), -(-gpus // PER_NODE)
        inside = 2 * (here - 1) / here * size / self.nvlink
        between = 2 * (nodes - 1) / nodes * size / here / self.infiniband
        return 0.0 if gpus == 1 else self.latency * (1 + (nodes > 1)) + inside + between


MACHINES = {"h100": Machine(), "h200": replace(Machine(), bandwidth=4.8e12)}


@dataclass(frozen=True)
class LayerWork:
    """A line of a file of ``measure_layers.py``."""

    name: str
    input_layers: tuple[str, ...]
    parameters: int
    auxiliary: int
    elements: int
    counts: dict[str, float] = field(repr=False)

    def seconds(self, parts: Sequence[str], batch: float, machine: Machine) -> float:
        """Of parts of a step on one GPU, one after the other."""
        return sum(self._part(part, batch, machine) for part in parts)

    def _part(self, part: str, batch: float, machine: Machine) -> float:
        counts = self.counts
        flops = counts[f"{part}_flops"] * batch
        moved = HALF * counts[f"{part}_bytes"] * batch + counts[f"{part}_bytes_fixed"]
        return max(
            flops / (machine.flops * machine.flops_fraction),
            moved / (machine.bandwidth * machine.bandwidth_fraction),
            counts[f"{part}_operations_fixed"] * machine.operation,
        )

    def kept(self, part: str, batch: float) -> float:
        """Bytes that are kept for the backward pass."""
        return HALF * self.counts[f"{part}_kept"] * batch


class Result(NamedTuple):
    """The result of a kind of parallelism.

    Attributes:
        name: Of the kind.
        step: Seconds of a step.
        bubble: The fraction of the time in which GPUs do not compute, on average over them.
        border: Bytes that cross the widest border between stages in a step, upwards.
        reduced: Bytes of gradients that a GPU averages with others in a step.
        memory: Bytes of the GPU that needs most.
    """

    name: str
    step: float
    bubble: float
    border: float
    reduced: float
    memory: float


def read_layers(file: Path) -> list[LayerWork]:
    """The layers of a network, in forward order."""
    with file.open(newline="", encoding="utf-8") as lines:
        return [
            LayerWork(
                row.pop("layer"),
                tuple(row.pop("reads").split()),
                *(int(row.pop(name)) for name in ("parameters", "auxiliary", "elements")),
                {name: float(value) for name, value in row.items()},
            )
            for row in csv.DictReader(lines)
        ]


BACKPROP = ("forward", "backward", "optimizer")
PARTS = (*BACKPROP, "local")
LAYERS, GRID = "local rule, layers", "local rule, layers and data"


def one_gpu(layers: Sequence[LayerWork], batch: int, machine: Machine, parts: Sequence[str]) -> float:
    """Seconds of a step of the whole batch on one GPU, whatever memory it takes."""
    return sum(layer.seconds(parts, batch, machine) for layer in layers)


def data_parallel(layers: Sequence[LayerWork], batch: int, gpus: int, machine: Machine) -> Result:
    """Back-propagation, each GPU on a part of the batch."""
    part = batch / gpus
    buckets: list[list[float]] = [[0.0, 0.0]]
    for layer in reversed(layers):
        if buckets[-1][1] >= BUCKET:
            buckets.append([0.0, 0.0])
        buckets[-1][0] += layer.seconds(["backward"], part, machine)
        buckets[-1][1] += GRADIENT * layer.parameters
    reduced = sum(size for _, size in buckets)
    end = sum(layer.seconds(["optimizer"], part, machine) for layer in layers)
    forward = sum(layer.seconds(["forward"], part, machine) for layer in layers)
    backward = [(seconds, machine.reduction(size, gpus)) for seconds, size in buckets]
    step = elapsed(simulate(data_step(forward, backward, end)))
    busy = forward + sum(seconds for seconds, _ in backward) + end
    kept = sum(layer.kept("forward", part) for layer in layers)
    return Result("DDP, backprop", step, 1 - busy / step, 0, reduced, _state(layers, auxiliary=False) + kept)


def local_data_parallel(layers: Sequence[LayerWork], batch: int, gpus: int, machine: Machine) -> Result:
    """The local rule, each GPU on a part of the batch; a layer waits until its gradients are averaged, as ours do."""
    part = batch / gpus
    sizes = [GRADIENT * (layer.parameters + layer.auxiliary) for layer in layers]
    busy = one_gpu(layers, part, machine, ["local"])
    step = busy + sum(machine.reduction(size, gpus) for size in sizes)
    memory = _state(layers) + max(layer.kept("local", part) for layer in layers)
    return Result("local rule, data", step, 1 - busy / step, 0, sum(sizes), memory)


def layer_parallel(
    layers: Sequence[LayerWork], batch: int, gpus: int, machine: Machine, replicas: int = 1
) -> Result | None:
    """The local rule, each GPU on a part of the layers, and of the batch if there are replicas of the stages."""
    count, part = gpus // replicas, batch / replicas
    if count > len(layers):
        return None
    times = {layer.name: layer.seconds(["local"], part, machine) for layer in layers}
    stages = cut_into_stages(times, layers, count)  # type: ignore[arg-type]  # of a layer it reads what is here
    parts = [layers[stage.first : stage.last + 1] for stage in stages]
    borders = [_border(layers, stage.sends, part) for stage in stages]
    sizes = [GRADIENT * sum(layer.parameters + layer.auxiliary for layer in own) for own in parts]
    computing = [sum(times[layer.name] for layer in own) for own in parts]
    # Replicas of a stage are as far apart as they can be: on other nodes, where there are several.
    spread = replace(machine, nvlink=machine.infiniband if gpus > PER_NODE else machine.nvlink)
    steps = [seconds + spread.reduction(size, replicas) for seconds, size in zip(computing, sizes, strict=True)]
    sending = [machine.latency + size / machine.link(above) for above, size in enumerate(borders[:-1], 1)]
    step = elapsed(simulate(local_steps(steps, sending, STEPS))) / STEPS
    weights = WEIGHT * sum(layer.parameters + layer.auxiliary for layer in layers)  # each has those of all layers
    memory = max(
        weights
        + _state(own)
        - WEIGHT * sum(layer.parameters + layer.auxiliary for layer in own)
        + max(layer.kept("local", part) for layer in own)
        + (DEPTH + 1) * (borders[index] + (borders[index - 1] if index else 0))
        for index, own in enumerate(parts)
    )
    shape = f"{count} stages" if replicas == 1 else f"{count} stages x {replicas} parts"
    reduced = max(sizes) if replicas > 1 else 0
    return Result(
        f"local rule, layers: {shape}", step, 1 - sum(computing) / count / step, max(borders), reduced, memory
    )


def pipeline_parallel(
    layers: Sequence[LayerWork],
    batch: int,
    gpus: int,
    machine: Machine,
    *,
    alternating: bool,
    micro: int,
    replicas: int = 1,
) -> Result | None:
    """Back-propagation in stages, by micro-batches; of replicas of the stages each takes a part of the batch."""
    count, part = gpus // replicas, batch / replicas / micro
    if count > len(layers) or part < 1 or count == 1:
        return None
    times = {layer.name: layer.seconds(["forward", "backward"], part, machine) for layer in layers}
    stages = cut_into_stages(times, layers, count)  # type: ignore[arg-type]  # of a layer it reads what is here
    parts = [layers[stage.first : stage.last + 1] for stage in stages]
    borders = [_border(layers, stage.sends, part) for stage in stages]
    forward, backward, optimizer = (
        [sum(layer.seconds([what], part, machine) for layer in own) for own in parts] for what in BACKPROP
    )
    sizes = [GRADIENT * sum(layer.parameters for layer in own) for own in parts]
    spread = replace(machine, nvlink=machine.infiniband if gpus > PER_NODE else machine.nvlink)
    ends = [seconds + spread.reduction(size, replicas) for seconds, size in zip(optimizer, sizes, strict=True)]
    sending = [machine.latency + size / machine.link(above) for above, size in enumerate(borders[:-1], 1)]
    tasks = pipeline_step(forward, backward, sending, micro, alternating=alternating, ends=ends)
    step = elapsed(simulate(tasks))
    busy = micro * (sum(forward) + sum(backward)) + sum(optimizer)
    memory = max(
        _state(own, auxiliary=False)
        + sum(layer.kept("forward", part) for layer in own) * (min(count - index, micro) if alternating else micro)
        for index, own in enumerate(parts)
    )
    shape = f"{count} stages" + (f" x {replicas} parts" if replicas > 1 else "")
    name = f"{'1F1B' if alternating else 'GPipe'}, backprop: {shape}, {micro} micro-batches"
    reduced = max(sizes) if replicas > 1 else 0
    return Result(name, step, 1 - busy / count / step, micro * max(borders), reduced, memory)


def _state(layers: Iterable[LayerWork], *, auxiliary: bool = True) -> float:
    """Bytes of weights, gradients and moments."""
    return (WEIGHT + GRADIENT + MOMENTS) * sum(each.parameters + auxiliary * each.auxiliary for each in layers)


def _border(layers: Sequence[LayerWork], sent: Iterable[str], batch: float) -> float:
    elements = {layer.name: layer.elements for layer in layers}
    return sum(2 * elements[name] * batch for name in sent)  # in bf16


def fastest(found: Iterable[Result | None]) -> Result | None:
    """The fastest of some that are possible."""
    return min((each for each in found if each is not None), key=lambda each: each.step, default=None)


def shapes(gpus: int) -> list[int]:
    """Numbers of replicas of stages."""
    return [replicas for replicas in (1, 2, 4, 8, 16) if gpus // replicas > 1]


def kinds(gpus: int) -> dict[str, Callable[[Sequence[LayerWork], int, Machine], Result | None]]:
    """The kinds of parallelism that are compared; of some, the fastest shape."""

    def grid(layers: Sequence[LayerWork], batch: int, machine: Machine) -> Result | None:
        return fastest(layer_parallel(layers, batch, gpus, machine, replicas) for replicas in shapes(gpus)[1:])

    def pipeline(layers: Sequence[LayerWork], batch: int, machine: Machine, alternating: bool) -> Result | None:
        return fastest(
            pipeline_parallel(layers, batch, gpus, machine, alternating=alternating, micro=micro, replicas=replicas)
            for replicas in shapes(gpus)
            for micro in (1, 2, 4, 8, 16, 32, 64)
        )

    return {
        "DDP": lambda layers, batch, machine: data_parallel(layers, batch, gpus, machine),
        "GPipe": partial(pipeline, alternating=False),
        "1F1B": partial(pipeline, alternating=True),
        "local rule, data": lambda layers, batch, machine: local_data_parallel(layers, batch, gpus, machine),
        LAYERS: lambda layers, batch, machine: layer_parallel(layers, batch, gpus, machine),
        GRID: grid,
    }
