"""A dry run: everything is built and a few steps are taken, and nothing is written."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from localrules.engine.layer_summary import layer_table
from localrules.engine.phases import apply_phase, cost_until
from localrules.engine.profiling import peak_memory
from localrules.engine.resolved_run import ResolvedRun
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.runs.execution import build_trackers
from localrules.utils.torch_utils import preserve_global_state

STEPS = 3  # timed, behind one that warms up and one that measures memory


def dry_run(run: ResolvedRun) -> dict[str, Any]:
    """Build a run, take a few of its steps in memory, and say what it would be.

    Raises:
        UsageError: A tracker says that it cannot work here.

    Returns:
        ``rule, model, data, parameters, steps, steps_per_epoch, step_seconds, seconds`` (for the whole run),
        ``peak_memory_mib`` and ``layers``, the layer table.
    """
    with preserve_global_state():
        build_trackers(run)  # says what is missing
        session, config = Session.build(run), run.config
        phase = session.phases[0]
        apply_phase(phase, session.network, session.trainable)
        train_step(session, phase, 0)
        _, peak = peak_memory(lambda: train_step(session, phase, 1), session.device.device)
        seconds = []
        for step in range(2, 2 + STEPS):
            began = time.perf_counter()
            train_step(session, phase, step)
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
            "seconds": median(seconds) / phase.cost * cost_until(session.phases, session.total_steps),
            "peak_memory_mib": peak,
            "layers": layer_table(session),
        }
