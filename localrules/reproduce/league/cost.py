"""Time and memory of a rule's step as ratios to the control's, measured side by side."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median

from localrules.benchmark.candidates import Candidate, engine_step
from localrules.benchmark.measure import step_memory, time_interleaved
from localrules.data.dataset import Dataset
from localrules.engine.resolved_run import ResolvedRun
from localrules.utils.atomic_io import write_atomic
from localrules.utils.bootstrap import ratio_bootstrap

SECONDS = 8.0  # for the timed rounds of one rule
FEWEST, MOST = 5, 40


@dataclass(frozen=True)
class Cost:
    """The cost of a step.

    Attributes:
        control_seconds: Of the control's step in the same rounds.
        step_ratio: The rule's time over the control's: median over rounds.
        low, high: 95 % interval of the ratio.
        memory_ratio: The rule's peak memory in a step over the control's.
    """

    control_seconds: float
    step_ratio: float
    low: float
    high: float
    memory_ratio: float


def cost_of(run: ResolvedRun, control: ResolvedRun, data: Dataset, folder: Path) -> Cost:
    """The cost of a rule's step, measured once and kept in a file; learning rates do not change it.

    Args:
        run: The rule's run.
        control: The control's, on the same network and data.
        data: The data set.
        folder: Where measurements are kept; the same settings are not measured again.
    """
    settings = run.config.to_dict()
    settings |= {"steps": None, "seed": 0, "audit": False, "optimizer": settings["optimizer"] | {"lr": None}}
    key = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{run.config.rule.label}-{key}.json"
    if not path.exists():
        found = _measure(run, control, data)
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # another process may have measured meanwhile, and counts by that
            write_atomic(path, json.dumps(asdict(found), indent=2) + "\n")
    return Cost(**json.loads(path.read_text(encoding="utf-8")))


def _measure(run: ResolvedRun, control: ResolvedRun, data: Dataset) -> Cost:
    beside = engine_step("control", control, data)
    one = engine_step("rule", run, data)
    memory = {candidate.name: step_memory(candidate) for candidate in (beside, one)}
    rounds = round(SECONDS / max(_seconds(one) + _seconds(beside), 1e-6))
    times = time_interleaved([beside, one], min(max(rounds, FEWEST), MOST))
    ratio = ratio_bootstrap(times["rule"], times["control"])
    return Cost(
        control_seconds=median(times["control"].tolist()),
        step_ratio=ratio.median,
        low=ratio.low,
        high=ratio.high,
        memory_ratio=memory["rule"] / memory["control"],
    )


def _seconds(candidate: Candidate) -> float:
    began = time.perf_counter()
    candidate.step(2)
    return time.perf_counter() - began
