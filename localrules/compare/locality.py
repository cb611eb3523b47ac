"""The class of locality of a run's rule, measured on the run's own network; what it declares where that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localrules.compare.runs import Run
from localrules.core.locality import CLASSES, Locality
from localrules.engine import mixing
from localrules.engine.config import JOINT, RunConfig, ScheduleConfig
from localrules.engine.session import Session
from localrules.errors import LocalRulesError
from localrules.testing.classes import measure_class
from localrules.testing.locality import measure_dependence
from localrules.testing.sessions import tiny_pictures

if TYPE_CHECKING:
    from localrules.core.options import Configured
    from localrules.plugins import Registry

_STEPS, _BATCH = 3, 8


def declared(config: RunConfig, registry: Registry) -> Locality | None:
    """What the rule declares, of a mixture the part that reaches furthest; ``None`` where a rule is not installed."""
    try:
        return max((kind.locality for kind in _kinds(config, registry)), key=CLASSES.index)
    except LocalRulesError:
        return None


def measured(run: Run, registry: Registry) -> Locality:
    """What is found on a few made-up pictures of the size that the run learned from, with a training for each layer.

    Raises:
        Exception: Whatever the rule or the network raises on so few pictures.
    """
    known = run.record["trained_on"]
    config = run.config.model_copy(
        update={
            "steps": _STEPS,
            "epochs": None,
            "batch_size": max(_BATCH, *(kind.requires.min_batch for kind in _kinds(run.config, registry))),
            "schedule": ScheduleConfig(name="constant"),
            "phases": JOINT,
            "diagnostics": (),
            "device": "cpu",
            "precision": "fp32",
        }
    )
    pictures = tiny_pictures(2 * config.batch_size, len(known["classes"]), tuple(known["shape"]))

    def build() -> Session:
        return Session.build(config, registry, pictures)

    return measure_class(build, measure_dependence(build, steps=_STEPS), steps=_STEPS)


def _kinds(config: RunConfig, registry: Registry) -> list[type[Configured]]:
    return [registry.resolve("rule", part.name) for _, part in mixing.choices(config.rule)]
