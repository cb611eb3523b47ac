"""The same search as a W&B sweep, for W&B's own agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from localrules.config.overrides import Tree, format_overrides
from localrules.config.settings import Settings
from localrules.core.search_space import SearchChoice, SearchValues
from localrules.sweep.space import HELD_OUT, Space

METHODS = {"tpe": "bayes", "cmaes": "bayes", "random": "random", "grid": "grid"}


def as_wandb_sweep(
    settings: Settings,
    space: Space,
    objective: str,
    direction: str,
    sampler: str,
    trials: int,
    plugins: Sequence[str] = (),
) -> str:
    """The YAML that ``wandb sweep FILE`` reads.

    Args:
        settings: Of all runs.
        space: What varies.
        objective: The metric, as it is called on W&B.
        direction: ``maximize`` or ``minimize``.
        sampler: Ours; W&B's nearest method is named.
        trials: How many runs all agents start together.
        plugins: Options that load plugins, or leave them out.
    """
    # Threads are those of the agent's machine.
    tree: Tree = {"holdout_fraction": HELD_OUT, **settings.without("trackers", "threads").tree}
    words = [word for setting in format_overrides(tree) for word in ("--set", setting)]
    document: dict[str, Any] = {
        "method": METHODS[sampler],
        "metric": {"name": objective, "goal": direction},
        "run_cap": trials,
        "parameters": {name: _parameter(values) for name, values in space.items()},
        "command": ["localrules", "run", *plugins, *words, "--wandb", "online", "${args}"],
    }
    return str(yaml.safe_dump(document, sort_keys=False, width=1000))


def _parameter(values: SearchValues) -> Tree:
    if isinstance(values, SearchChoice):
        return {"values": list(values.values)}
    if values.integer and values.log:
        return {"distribution": "q_log_uniform_values", "q": 1, "min": int(values.low), "max": int(values.high)}
    if values.integer:
        return {"distribution": "int_uniform", "min": int(values.low), "max": int(values.high)}
    kind = "log_uniform_values" if values.log else "uniform"
    return {"distribution": kind, "min": values.low, "max": values.high}
