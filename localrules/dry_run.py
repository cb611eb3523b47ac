"""A rehearsal: everything is built and a few steps are taken, and nothing is written."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

from localrules.engine.config import RunConfig
from localrules.engine.metering import peak_memory
from localrules.engine.phases import enter, work
from localrules.engine.session import Session
from localrules.engine.stepping import take_step
from localrules.engine.table import layer_table

if TYPE_CHECKING:
    from localrules.plugins import Registry

STEPS = 3  # timed, behind one that warms up and one that measures memory


def rehearse(config: RunConfig, registry: Registry) -> dict[str, Any]:
    """Build a run, take a few of its steps in memory, and say what it would be.

    Returns:
        ``rule, model, data, parameters, steps, steps_per_epoch, step_seconds, seconds`` (for the whole run),
        ``peak_memory_mib`` and ``layers``, the layer table.
    """
    session = Session.build(config, registry)
    phase = session.phases[0]
    enter(phase, session.network, session.trainable)
    take_step(session, phase, 0)
    _, peak = peak_memory(lambda: take_step(session, phase, 1), session.ranks.device)
    seconds = []
    for step in range(2, 2 + STEPS):
        began = time.perf_counter()
        take_step(session, phase, step)
        seconds.append(time.perf_counter() - began)
    return {
        "rule": config.rule.name,
        "model": config.model.name,
        "data": config.data.name,
        "origin": session.data.origin,
        "granularity": config.granularity,
        "batch_size": config.batch_size,
        "parameters": session.parameter_count,
        "steps": session.total_steps,
        "steps_per_epoch": session.batches.steps_per_epoch,
        "step_seconds": median(seconds),
        "seconds": median(seconds) / phase.cost * work(session.phases, session.total_steps),
        "peak_memory_mib": peak,
        "layers": layer_table(session),
    }
