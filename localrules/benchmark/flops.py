"""The MACs of a training step, counted while one is taken."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from torch.utils.flop_counter import FlopCounterMode

from localrules.benchmark.candidates import noise_dataset
from localrules.config.schema import RunConfig
from localrules.engine.phases import apply_phase
from localrules.engine.resolve import resolve_config
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.registry.registry import Registry


@dataclass(frozen=True)
class CostSegment:
    """Steps of one cost.

    Attributes:
        start, stop: Its steps, counted over the whole run; ``stop`` is the first step after it.
        macs: Of each of its steps.
    """

    start: int
    stop: int
    macs: int


def step_macs(
    config: RunConfig, registry: Registry, shape: tuple[int, ...], classes: int, steps: int
) -> list[CostSegment]:
    """Take a step of each phase of a run, on random images, and count the products in it.

    What is counted are the MACs of convolutions and of products of matrices, forward and backward, wherever
    they are: in the network, in the rule's objective, in its auxiliary modules. Backward they are those that are
    computed: a first layer has no gradient for its input, and a local rule none between layers. Not counted is what
    works element by element: norms, activations, softmax, distances between pairs, the optimizer.

    Args:
        config: The run.
        registry: Where names are looked up.
        shape: An image's channels, height, width.
        classes: How many.
        steps: How many the run takes; a run of so many epochs does not know by itself.
    """
    config = config.model_copy(update={"steps": steps, "epochs": None})
    return list(_counted(config.model_dump_json(), registry, shape, classes))


@lru_cache
def _counted(settings: str, registry: Registry, shape: tuple[int, ...], classes: int) -> tuple[CostSegment, ...]:
    run = resolve_config(RunConfig.model_validate_json(settings), registry, network_only=True)
    session = Session.build(run, noise_dataset(shape, classes, run.config.batch_size))
    found = []
    for phase in session.phases:
        apply_phase(phase, session.network, session.trainable)
        with FlopCounterMode(display=False) as counter:
            train_step(session, phase, phase.start)
        found.append(CostSegment(phase.start, phase.stop, counter.get_total_flops() // 2))
    return tuple(found)
