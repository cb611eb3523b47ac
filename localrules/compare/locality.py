"""The class of locality of a run's rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localrules.core.locality import CLASSES, Locality
from localrules.engine import mixing
from localrules.errors import LocalRulesError

if TYPE_CHECKING:
    from localrules.engine.config import RunConfig
    from localrules.plugins import Registry


def declared(config: RunConfig, registry: Registry) -> Locality | None:
    """What the rule declares, of a mixture the part that reaches furthest; ``None`` where a rule is not installed."""
    try:
        kinds = [registry.resolve("rule", part.name) for _, part in mixing.choices(config.rule)]
    except LocalRulesError:
        return None
    return max((kind.locality for kind in kinds), key=CLASSES.index)
